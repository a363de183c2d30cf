//! What the runs of a study came to, as a table for people.

use comfy_table::{CellAlignment, Table, presets};

use super::{Index, Outcome, State};
use crate::table::short;

/// A row a run that was made, with its final validation loss in nats a token.
pub fn render(index: &Index, outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "run",
        "params",
        "tokens",
        "lr",
        "validation loss",
    ]);
    for outcome in outcomes {
        let entry = index.runs.iter().find(|run| run.name == outcome.name);
        let entry = entry.expect("outcomes are of the index's runs");
        table.add_row([
            entry.name.clone(),
            short(entry.params as f64),
            short(entry.tokens as f64),
            format!("{:.3e}", entry.lr),
            match &outcome.state {
                State::Finished { loss } => format!("{loss:.4}"),
                State::Failed { .. } => "failed".into(),
            },
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
