//! What the report plots.

use super::chart::{Chart, Line, Style};
use super::history::History;
use super::palette::{BLUE, Colour, GREY, RED, STEP_PARTS, VIOLET, kind_colour, part_colour};
use super::series::{Points, points, smooth};
use super::shares::{PARTS, Stretch, time_shares};
use crate::metrics::{Breakdown, TrainRecord, ValidationRecord};

/// Page pixels of figures of losses, and of those of the machinery.
pub(super) const LARGE: (i32, i32) = (460, 310);
const SMALL: (i32, i32) = (340, 230);

/// A chart and the sentence beneath it.
pub struct Figure {
    pub chart: Chart,
    pub caption: String,
}

/// Training and validation loss, the objective where it is another, then validation loss by kind and by component.
pub fn losses(history: &History) -> Vec<Figure> {
    let mut figures = vec![loss(history)];
    if history.is_weighted() {
        figures.push(objective(history));
    }
    if !history.validation.is_empty() {
        figures.push(by_kind(history));
    }
    if history.validated_components().len() > 1 {
        figures.push(by_component(history));
    }
    figures
}

/// Learning rate, norms, and steps that were left out, if any.
pub fn optimization(history: &History) -> Vec<Figure> {
    let mut figures = vec![
        small(history, "Learning rate", "learning rate", |record| {
            Some(record.lr)
        }),
        small(history, "Gradient norm", "norm before clipping", |record| {
            Some(record.grad_norm)
        }),
        small(history, "Update norm", "norm", |record| {
            Some(record.update_norm)
        }),
        small(history, "Parameter norm", "norm", |record| {
            Some(record.param_norm)
        }),
        small(history, "Logits", "root mean square", |record| {
            Some(record.logit_rms)
        }),
    ];
    if history.last().skipped_steps > 0 {
        figures.push(small(history, "Skipped steps", "steps so far", |record| {
            Some(record.skipped_steps as f64)
        }));
    }
    figures
}

/// Where the time went, tokens a second, and what is known of utilisation and memory.
pub fn speed(history: &History) -> Vec<Figure> {
    let mut figures = vec![
        time(history),
        small(history, "Throughput", "tokens / second", |record| {
            Some(record.time.tokens_per_sec)
        }),
    ];
    figures.extend(known(
        history,
        "Model FLOPs utilisation",
        "% of peak",
        |record| Some(100.0 * record.time.mfu?),
    ));
    figures.extend(known(history, "Memory", "GiB, largest so far", |record| {
        Some(record.time.peak_memory? as f64 / (1u64 << 30) as f64)
    }));
    figures
}

fn loss(history: &History) -> Figure {
    let raw = curve(history, |record| Some(record.loss));
    let span = span(&raw);
    let smoothed = smooth(&raw, span);
    let mut lines = vec![
        line("training", raw, (BLUE, Style::Faint)),
        line("training, smoothed", smoothed, (BLUE, Style::Solid)),
    ];
    if !history.validation.is_empty() {
        let validation = validation(history, |record| Some(record.loss));
        lines.push(line("validation", validation, (RED, Style::Dotted)));
        lines.push(unigram(history));
    }
    Figure {
        chart: large(history, "Training and validation loss", lines),
        caption: format!(
            "Cross-entropy over all tokens. Smoothed: mean over {span} records around each."
        ),
    }
}

fn objective(history: &History) -> Figure {
    let smoothed = |value: fn(&TrainRecord) -> Option<f64>| {
        let raw = curve(history, value);
        smooth(&raw, span(&raw))
    };
    let objective = smoothed(|record| Some(record.objective));
    let loss = smoothed(|record| Some(record.loss));
    let lines = vec![
        line("objective", objective, (VIOLET, Style::Solid)),
        line("loss", loss, (BLUE, Style::Solid)),
    ];
    Figure {
        chart: large(history, "Objective and training loss", lines),
        caption: "The objective, which is minimised, weighs kinds of token differently and holds the z-loss; the loss does neither. Both smoothed."
            .to_string(),
    }
}

fn by_kind(history: &History) -> Figure {
    let mut lines = breakdown(history, &history.kinds(), |record| &record.by_kind);
    for line in &mut lines {
        line.colour = kind_colour(&line.name);
    }
    lines.push(unigram(history));
    Figure {
        chart: large(history, "Validation loss by token kind", lines),
        caption: "Kinds differ in how predictable they are: compare each with its own baseline in the table below."
            .to_string(),
    }
}

fn by_component(history: &History) -> Figure {
    let components = history.validated_components();
    let lines = breakdown(history, &components, |record| &record.by_component);
    Figure {
        chart: large(history, "Validation loss by component", lines),
        caption: "Components of the mixture, each on its own held-out documents.".to_string(),
    }
}

/// A line of validation losses for each of the parts.
fn breakdown(
    history: &History,
    parts: &[&str],
    values: fn(&ValidationRecord) -> &Breakdown,
) -> Vec<Line> {
    let part = |(index, &part): (usize, &&str)| {
        let curve = validation(history, |record| values(record).get(part));
        line(part, curve, (part_colour(index), Style::Dotted))
    };
    parts.iter().enumerate().map(part).collect()
}

/// Shares of the parts of a step, stacked: each line is the sum of its part and those below, which are drawn over it.
fn time(history: &History) -> Figure {
    let stretches = time_shares(&history.train);
    let stacked = |part: usize| {
        let level = |stretch: &Stretch| {
            let upto: f64 = stretch.shares[..=part].iter().sum();
            let (start, end) = stretch.steps;
            [(start, 100.0 * upto), (end, 100.0 * upto)]
        };
        points(stretches.iter().flat_map(level))
    };
    let area = |part: usize| line(PARTS[part], stacked(part), (STEP_PARTS[part], Style::Area));
    let chart = Chart {
        title: "Where the time goes".into(),
        y_label: "% of the time of steps",
        lines: (0..PARTS.len()).rev().map(area).collect(),
        first_step: history.run.first_step,
        from_zero: true,
        size: SMALL,
    };
    Figure {
        chart,
        caption: String::new(),
    }
}

/// The baseline of all tokens, across the whole figure.
fn unigram(history: &History) -> Line {
    let ends = [
        (history.run.first_step, history.run.unigram.loss),
        (history.last().step, history.run.unigram.loss),
    ];
    line(
        "unigram, all tokens",
        points(ends.into_iter()),
        (GREY, Style::Dashed),
    )
}

fn large(history: &History, title: &'static str, lines: Vec<Line>) -> Chart {
    Chart {
        title: title.into(),
        y_label: "nats / token",
        lines,
        first_step: history.run.first_step,
        from_zero: false,
        size: LARGE,
    }
}

/// A figure of one value of each training record.
fn small(
    history: &History,
    title: &'static str,
    y_label: &'static str,
    value: fn(&TrainRecord) -> Option<f64>,
) -> Figure {
    let curve = curve(history, value);
    let chart = Chart {
        title: title.into(),
        y_label,
        lines: vec![line(title, curve, (VIOLET, Style::Solid))],
        first_step: history.run.first_step,
        from_zero: true,
        size: SMALL,
    };
    Figure {
        chart,
        caption: String::new(),
    }
}

/// The same of a value that is not always known; none where it never is.
fn known(
    history: &History,
    title: &'static str,
    y_label: &'static str,
    value: fn(&TrainRecord) -> Option<f64>,
) -> Option<Figure> {
    let is_known = history.train.iter().any(|record| value(record).is_some());
    is_known.then(|| small(history, title, y_label, value))
}

fn curve(history: &History, value: fn(&TrainRecord) -> Option<f64>) -> Points {
    let values = history.train.iter();
    points(values.filter_map(|record| Some((record.step, value(record)?))))
}

fn validation(history: &History, value: impl Fn(&ValidationRecord) -> Option<f64>) -> Points {
    let values = history.validation.iter();
    points(values.filter_map(|record| Some((record.step, value(record)?))))
}

/// Records over which a curve is smoothed.
fn span(curve: &Points) -> usize {
    (curve.len() / 40).max(4)
}

pub(super) fn line(name: &str, points: Points, (colour, style): (Colour, Style)) -> Line {
    Line {
        name: name.to_string(),
        points,
        colour,
        style,
    }
}
