//! A grid as a table for people.

use comfy_table::{CellAlignment, Table, presets};
use experiments::flops::Flops;

use crate::grid::{Candidate, Grid, Rules};

const HEADER: [&str; 14] = [
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
    "forward",
    "training",
    "6ND",
    "run",
];

/// One line on the budget, a row a width, and one line on the candidates that are run.
pub fn render(grid: &Grid) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(HEADER);
    for row in rows(grid) {
        table.add_row(row);
    }
    for column in table.column_iter_mut().take(HEADER.len() - 1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let kept = &grid.kept;
    format!(
        "{:e} {}, sequences of {} tokens, {} vocabulary rows\n{table}\n{} run of {} widths: {} tokens, FLOPs {}",
        grid.budget,
        grid.convention,
        grid.seq_len,
        grid.vocab,
        kept.candidates,
        kept.candidates + grid.left_out.len(),
        short(kept.tokens as f64),
        Counted(&kept.flops),
    )
}

/// One line on the candidates of several grids that are run.
pub fn totals(grids: &[Grid]) -> String {
    let kept = grids.iter().map(|grid| &grid.kept);
    let sum = |of: fn(&Flops) -> f64| kept.clone().map(|kept| of(&kept.flops)).sum();
    format!(
        "in all {} runs: {} tokens, FLOPs {}",
        kept.clone().map(|kept| kept.candidates).sum::<usize>(),
        short(kept.clone().map(|kept| kept.tokens as f64).sum()),
        Counted(&Flops {
            forward: sum(|flops| flops.forward),
            training: sum(|flops| flops.training),
            six_nd: sum(|flops| flops.six_nd),
        })
    )
}

/// The widths in their order: those that are candidates, and between them those that are not.
fn rows(grid: &Grid) -> Vec<Vec<String>> {
    let reason = |hidden: usize| {
        let left = grid.left_out.iter().find(|left| left.hidden == hidden);
        left.map(|left| left.reason.clone())
    };
    let is_candidate = |hidden| grid.candidates.iter().any(|c| c.hidden == hidden);
    let candidates = grid.candidates.iter().map(|candidate| {
        let mut cells = row(candidate, grid.rules());
        cells.push(reason(candidate.hidden).unwrap_or_else(|| "yes".into()));
        (candidate.hidden, cells)
    });
    let others = grid
        .left_out
        .iter()
        .filter(|left| !is_candidate(left.hidden));
    let others = others.map(|left| {
        let mut cells = vec![String::new(); HEADER.len()];
        cells[0] = left.hidden.to_string();
        cells[HEADER.len() - 1] = left.reason.clone();
        (left.hidden, cells)
    });
    let mut rows: Vec<_> = candidates.chain(others).collect();
    rows.sort_by_key(|(hidden, _)| *hidden);
    rows.into_iter().map(|(_, cells)| cells).collect()
}

fn row(c: &Candidate, rules: &Rules) -> Vec<String> {
    let flops = c.flops(rules);
    vec![
        c.hidden.to_string(),
        c.layers.to_string(),
        c.heads.to_string(),
        c.batch.to_string(),
        c.steps.to_string(),
        format!("{:.3e}", c.lr),
        format!("{:.5}", c.beta2),
        short(c.params as f64),
        short(c.tokens as f64),
        format!("{:.1}", c.tokens_per_param()),
        format!("{:.2e}", flops.forward),
        format!("{:.2e}", flops.training),
        format!("{:.2e}", flops.six_nd),
    ]
}

/// `12.04B`
pub fn short(number: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "B"), (1e6, "M"), (1e3, "k")];
    match UNITS.iter().find(|(unit, _)| number >= *unit) {
        Some((unit, name)) => format!("{:.2}{name}", number / unit),
        None => number.to_string(),
    }
}

struct Counted<'a>(&'a Flops);

impl std::fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Flops {
            forward,
            training,
            six_nd,
        } = self.0;
        write!(
            f,
            "forward {forward:.2e}, training {training:.2e}, 6ND {six_nd:.2e}"
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::grid::{Rules, sweep};

    #[test]
    fn shows_every_width_with_its_flops_or_its_reason() {
        let grid = sweep(&Rules::default(), 3e18).unwrap();
        let text = super::render(&grid);
        assert!(text.starts_with("3e18 forward FLOPs, "), "{text}");
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
            "512 6 4 64 45947 5.156e-3 0.98995 173.29M 12.04B 69.5 3.00e18 9.00e18 1.25e19 yes"
        );
        assert!(row("128").ends_with(" 2164556 steps >= 400000"), "{text}");
        assert_eq!(row("1920"), "1920 batch 4 < 8");
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("12 run of 16 widths: "), "{last}");
    }
}
