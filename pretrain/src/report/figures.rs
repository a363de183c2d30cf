//! What the report plots.

use super::chart::{Chart, Line, Style};
use super::history::History;
use super::palette::{BLUE, Colour, GREY, RED, VIOLET, kind_colour};
use super::series::{Points, points, smooth};
use crate::metrics::TrainRecord;

/// Page pixels of the two figures of losses, and of the three of the machinery.
const LARGE: (i32, i32) = (460, 310);
const SMALL: (i32, i32) = (340, 230);

/// A chart and the sentence beneath it.
pub struct Figure {
    pub chart: Chart,
    pub caption: String,
}

/// Training and validation loss, then validation loss by kind, where there was validation.
pub fn losses(history: &History) -> Vec<Figure> {
    let mut figures = vec![loss(history)];
    if !history.validation.is_empty() {
        figures.push(by_kind(history));
    }
    figures
}

/// Learning rate, gradient norm, tokens a second.
pub fn machinery(history: &History) -> Vec<Figure> {
    vec![
        small(history, "Learning rate", "learning rate", |record| {
            record.lr
        }),
        small(history, "Gradient norm", "norm before clipping", |record| {
            record.grad_norm
        }),
        small(history, "Throughput", "tokens / second", |record| {
            record.time.tokens_per_sec
        }),
    ]
}

fn loss(history: &History) -> Figure {
    let raw = curve(history, |record| record.loss);
    let span = (raw.len() / 40).max(4);
    let smoothed = smooth(&raw, span);
    let mut lines = vec![
        line("training", raw, (BLUE, Style::Faint)),
        line("training, smoothed", smoothed, (BLUE, Style::Solid)),
    ];
    if !history.validation.is_empty() {
        let validation = points(
            history
                .validation
                .iter()
                .map(|record| (record.step, record.loss)),
        );
        lines.push(line("validation", validation, (RED, Style::Dotted)));
        lines.push(unigram(history));
    }
    Figure {
        chart: large("Training and validation loss", lines),
        caption: format!(
            "Cross-entropy over all tokens. Smoothed: mean over {span} records around each."
        ),
    }
}

fn by_kind(history: &History) -> Figure {
    let mut lines = Vec::new();
    for kind in history.kinds() {
        let values = history
            .validation
            .iter()
            .filter_map(|record| Some((record.step, record.by_kind.get(kind)?)));
        let curve = points(values);
        lines.push(line(kind, curve, (kind_colour(kind), Style::Dotted)));
    }
    lines.push(unigram(history));
    Figure {
        chart: large("Validation loss by token kind", lines),
        caption: "Kinds differ in how predictable they are: compare each with its own baseline in the table below."
            .to_string(),
    }
}

/// The baseline of all tokens, across the whole figure.
fn unigram(history: &History) -> Line {
    let ends = [
        (0, history.run.unigram.loss),
        (history.last().step, history.run.unigram.loss),
    ];
    line(
        "unigram, all tokens",
        points(ends.into_iter()),
        (GREY, Style::Dashed),
    )
}

fn large(title: &'static str, lines: Vec<Line>) -> Chart {
    Chart {
        title,
        y_label: "nats / token",
        lines,
        from_zero: false,
        size: LARGE,
    }
}

fn small(
    history: &History,
    title: &'static str,
    y_label: &'static str,
    value: fn(&TrainRecord) -> f64,
) -> Figure {
    let curve = curve(history, value);
    let chart = Chart {
        title,
        y_label,
        lines: vec![line(title, curve, (VIOLET, Style::Solid))],
        from_zero: true,
        size: SMALL,
    };
    Figure {
        chart,
        caption: String::new(),
    }
}

fn curve(history: &History, value: fn(&TrainRecord) -> f64) -> Points {
    points(
        history
            .train
            .iter()
            .map(|record| (record.step, value(record))),
    )
}

fn line(name: &str, points: Points, (colour, style): (Colour, Style)) -> Line {
    Line {
        name: name.to_string(),
        points,
        colour,
        style,
    }
}
