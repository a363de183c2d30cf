//! The table of runs, in the width of a terminal.

use super::standing::{Standing, State};
use crate::report::format::{loss, si, tick};

/// Characters of a curve.
const CURVE: usize = 12;
/// Between two columns.
const GAP: &str = "  ";

/// A column of the table.
struct Column {
    head: &'static str,
    /// Where the width does not suffice, columns of a higher number go first.
    rank: u8,
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| chars(cell));
        cells.fold(chars(self.head), usize::max)
    }
}

/// Which of several values is marked.
enum Best {
    Lowest,
    Highest,
}

/// The runs as a table of at most `width` columns, with its notes; every line ends in a newline.
pub fn table(runs: &[Standing], width: usize) -> String {
    let columns = fitting(columns(runs, width), width);
    let mut lines = vec![line(&columns, |column| column.head)];
    lines.extend((0..runs.len()).map(|row| line(&columns, |column| &column.cells[row])));
    let shown = |mark: char| {
        let mut cells = columns.iter().skip(1).flat_map(|column| &column.cells);
        cells.any(|cell| cell.ends_with(mark))
    };
    let mut notes = Vec::new();
    if shown('*') {
        notes.push("* best of these runs");
    }
    if shown('!') {
        notes.push("! has written nothing for long");
    }
    if !notes.is_empty() {
        lines.push(notes.join(GAP));
    }
    lines.join("\n") + "\n"
}

/// All columns, in order.
fn columns(runs: &[Standing], width: usize) -> Vec<Column> {
    let validation = |value: fn(&super::Losses) -> Option<f64>| {
        let values = runs
            .iter()
            .map(move |run| run.validation.as_ref().and_then(value));
        marked(values.collect(), Best::Lowest, |value| loss(Some(value)))
    };
    let each = |cell: fn(&Standing) -> String| runs.iter().map(cell).collect::<Vec<_>>();
    let numbers = |value: fn(&Standing) -> Option<f64>, best, show: fn(f64) -> String| {
        marked(runs.iter().map(value).collect(), best, show)
    };
    let column = |head, rank, cells| Column { head, rank, cells };
    vec![
        column("run", 0, labels(runs, (width / 5).clamp(8, 32))),
        column("step", 1, each(steps)),
        column("tokens", 11, each(|run| si(run.tokens as f64))),
        column(
            "train",
            3,
            numbers(|run| run.train_loss, Best::Lowest, |x| loss(Some(x))),
        ),
        column("val", 2, validation(|losses| Some(losses.all))),
        column("text", 10, validation(|losses| losses.text)),
        column("sem", 8, validation(|losses| losses.semantic)),
        column("acoust", 9, validation(|losses| losses.acoustic)),
        column("lr", 13, each(|run| run.lr.map_or(dash(), tick))),
        column("|g|", 12, each(|run| run.grad_norm.map_or(dash(), si))),
        column(
            "tok/s",
            7,
            numbers(|run| run.tokens_per_sec, Best::Highest, si),
        ),
        column(
            "MFU",
            14,
            numbers(
                |run| run.mfu,
                Best::Highest,
                |mfu| format!("{:.0}%", 100.0 * mfu),
            ),
        ),
        column("ETA", 4, each(eta)),
        column("age", 5, each(age)),
        column("loss", 6, each(|run| curve(&run.losses))),
    ]
}

/// Leaves columns out until the others fit; the first two stay.
fn fitting(mut columns: Vec<Column>, width: usize) -> Vec<Column> {
    let total = |columns: &[Column]| {
        let widths: usize = columns.iter().map(Column::width).sum();
        widths + GAP.len() * (columns.len() - 1)
    };
    while total(&columns) > width && columns.len() > 2 {
        let last = columns.iter().map(|column| column.rank).max();
        columns.retain(|column| Some(column.rank) != last);
    }
    columns
}

/// A row: the first column to the left, numbers to the right.
fn line<'a>(columns: &'a [Column], cell: impl Fn(&'a Column) -> &'a str) -> String {
    let pad = |(index, column): (usize, &'a Column)| {
        let (text, width) = (cell(column), column.width());
        match index {
            0 => format!("{text:<width$}"),
            _ => format!("{text:>width$}"),
        }
    };
    let cells: Vec<String> = columns.iter().enumerate().map(pad).collect();
    cells.join(GAP).trim_end().to_string()
}

/// Names, or folders where a name is not known or not the only one of its kind; long ones are cut at the start, since
/// folders differ at the end.
fn labels(runs: &[Standing], limit: usize) -> Vec<String> {
    let label = |run: &Standing| {
        let same = runs.iter().filter(|other| other.name == run.name).count();
        let text = match &run.name {
            Some(name) if same == 1 => name.clone(),
            _ => run.dir.display().to_string(),
        };
        match chars(&text) {
            length if length > limit => {
                let kept: String = text.chars().skip(length - limit + 1).collect();
                format!("…{kept}")
            }
            _ => text,
        }
    };
    runs.iter().map(label).collect()
}

/// Numbers, of which the best has a star, as long as there is a worse one.
fn marked(values: Vec<Option<f64>>, best: Best, show: fn(f64) -> String) -> Vec<String> {
    let known = || values.iter().flatten().filter(|value| value.is_finite());
    let winner = match best {
        Best::Lowest => known().copied().reduce(f64::min),
        Best::Highest => known().copied().reduce(f64::max),
    };
    let compared = known().any(|value| Some(*value) != winner);
    let cell = |value: &Option<f64>| match value {
        None => dash(),
        Some(value) if compared && Some(*value) == winner => show(*value) + "*",
        // so that digits stay below digits
        Some(value) if compared => show(*value) + " ",
        Some(value) => show(*value),
    };
    values.iter().map(cell).collect()
}

fn steps(run: &Standing) -> String {
    let planned = run.steps.map_or(dash(), |steps| si(steps as f64));
    format!("{}/{planned}", si(run.step as f64))
}

fn eta(run: &Standing) -> String {
    match run.state {
        State::Finished => "done".to_string(),
        _ => run.eta_secs.map_or(dash(), span),
    }
}

fn age(run: &Standing) -> String {
    let mark = if run.state == State::Silent { "!" } else { "" };
    run.age_secs.map_or(dash(), |age| span(age) + mark)
}

/// A time span in five characters: `59s`, `12m30`, `3h05`, `2d07h`.
fn span(secs: f64) -> String {
    let whole = secs.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// The losses from first to last, each character the mean of its share of them; × where one is not finite.
fn curve(losses: &[f32]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let chunks = CURVE.min(losses.len());
    let mean = |chunk: usize| {
        let share = &losses[chunk * losses.len() / chunks..(chunk + 1) * losses.len() / chunks];
        share.iter().sum::<f32>() / share.len() as f32
    };
    let means: Vec<f32> = (0..chunks).map(mean).collect();
    let finite = || means.iter().copied().filter(|mean| mean.is_finite());
    let (lowest, highest) = (
        finite().fold(f32::MAX, f32::min),
        finite().fold(f32::MIN, f32::max),
    );
    let level = |mean: &f32| match mean.is_finite() {
        false => '×',
        true => {
            let height = (mean - lowest) / (highest - lowest).max(f32::MIN_POSITIVE);
            LEVELS[(height * (LEVELS.len() - 1) as f32).round() as usize]
        }
    };
    means.iter().map(level).collect()
}

fn dash() -> String {
    "–".to_string()
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let spans = [0.4, 59.0, 725.0, 11_100.0, 198_000.0].map(span);
        assert_eq!(spans, ["0s", "59s", "12m05", "3h05", "2d07h"]);
    }

    #[test]
    fn a_curve_falls_from_the_first_loss_to_the_last() {
        assert_eq!(curve(&[8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]), "█▇▆▅▄▃▂▁");
        assert_eq!(curve(&[2.0, f32::NAN, 1.0]), "█×▁");
        assert_eq!(curve(&[2.0; 3]), "▁▁▁");
        assert_eq!(
            (curve(&[]), chars(&curve(&[1.0; 1000]))),
            (String::new(), CURVE)
        );
    }

    #[test]
    fn the_best_of_several_values_is_marked() {
        let show = |value| format!("{value}");
        let cells = marked(
            vec![Some(2.0), None, Some(1.0), Some(f64::NAN)],
            Best::Lowest,
            show,
        );
        assert_eq!(cells, ["2 ", "–", "1*", "NaN "]);
        assert_eq!(
            marked(vec![Some(2.0), Some(3.0)], Best::Highest, show),
            ["2 ", "3*"]
        );
        for alike in [[Some(2.0), None], [Some(2.0), Some(2.0)]] {
            let cells = marked(alike.to_vec(), Best::Lowest, show);
            assert!(!cells.concat().contains('*'), "{cells:?}");
        }
    }
}
