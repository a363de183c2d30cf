//! A grid as a table for people.

use comfy_table::{CellAlignment, Table, presets};

use crate::grid::{Candidate, Grid};

const HEADER: [&str; 11] = [
    "hidden",
    "layers",
    "heads",
    "batch",
    "steps",
    "lr",
    "beta2",
    "params",
    "tokens",
    "tokens/param",
    "kept",
];

/// One line on the budget, then a row a candidate.
pub fn render(grid: &Grid) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(HEADER);
    for candidate in &grid.candidates {
        table.add_row(row(candidate));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let kept = grid.candidates.iter().filter(|c| c.kept).count();
    format!(
        "{:.2e} forward FLOPs ({:.2e} in training), sequences of {} tokens, {} vocabulary rows: {} candidates, {kept} kept\n{table}",
        grid.budget,
        3.0 * grid.budget,
        grid.seq_len,
        grid.vocab,
        grid.candidates.len(),
    )
}

fn row(c: &Candidate) -> [String; 11] {
    let kept = if c.kept { "yes" } else { "no" };
    [
        c.hidden.to_string(),
        c.layers.to_string(),
        c.heads.to_string(),
        c.batch.to_string(),
        c.steps.to_string(),
        format!("{:.3e}", c.lr),
        format!("{:.5}", c.beta2),
        format!("{:.1}M", c.params as f64 / 1e6),
        format!("{:.2}B", c.tokens as f64 / 1e9),
        format!("{:.1}", c.tokens_per_param()),
        kept.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use crate::grid::sweep;

    #[test]
    fn shows_every_candidate() {
        let grid = sweep(3e18).unwrap();
        let text = super::render(&grid);
        assert!(
            text.starts_with("3.00e18 forward FLOPs (9.00e18 in training)"),
            "{text}"
        );
        let words = |line: &str| {
            let cells = line.split(['│', '┆', ' ']).filter(|cell| !cell.is_empty());
            cells.collect::<Vec<_>>().join(" ")
        };
        let row = |hidden: &str| {
            let mut lines = text.lines().map(words);
            let found = lines.find(|line| line.split(' ').next() == Some(hidden));
            found.unwrap_or_default()
        };
        assert_eq!(
            row("512"),
            "512 6 4 64 45947 5.156e-3 0.98995 173.3M 12.04B 69.5 yes"
        );
        assert!(row("128").ends_with(" no"), "{text}");
        assert!(
            grid.candidates
                .iter()
                .all(|c| !row(&c.hidden.to_string()).is_empty())
        );
    }
}
