//! A report as tables.

use super::number::{NONE, percent, table, thousands};
use super::{ComponentData, Portion, Report};
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} sequences of {} tokens, {} in all, in blocks of {}",
            self.mixture,
            thousands(self.sequences),
            thousands(self.seq_len as u64),
            thousands(self.tokens),
            thousands(self.block_size)
        )?;
        if self.stages.len() > 1 {
            for stage in &self.stages {
                writeln!(
                    f,
                    "\nstage {}: {} sequences from {} on",
                    stage.stage,
                    thousands(stage.sequences),
                    thousands(stage.first_sequence)
                )?;
                writeln!(f, "{}", portions(&stage.portions, stage.sequences))?;
            }
            writeln!(f, "\nall stages")?;
        } else {
            writeln!(f)?;
        }
        let whole: Vec<Portion> = self.components.iter().map(|c| c.portion.clone()).collect();
        write!(f, "{}", portions(&whole, self.sequences))?;
        let data: Vec<&ComponentData> = self
            .components
            .iter()
            .filter_map(|c| c.data.as_ref())
            .collect();
        match data.is_empty() {
            true => Ok(()),
            false => write!(
                f,
                "\n\ndata\n{}\n\npacking, of an epoch\n{}",
                holdings(&data),
                losses(&data)
            ),
        }
    }
}

/// What components give to `sequences` sequences.
fn portions(portions: &[Portion], sequences: u64) -> String {
    let header = [
        "component",
        "expected tokens",
        "tokens",
        "share",
        "sequences",
        "epochs",
    ];
    let row = |portion: &Portion| {
        [
            portion.component.clone(),
            thousands(portion.expected_tokens.round() as u64),
            thousands(portion.tokens),
            percent(portion.sequences as f64 / sequences as f64),
            thousands(portion.sequences),
            portion
                .epochs
                .map_or(NONE.into(), |epochs| format!("{epochs:.3}")),
        ]
    };
    table(header, portions.iter().map(row))
}

/// What components have.
fn holdings(data: &[&ComponentData]) -> String {
    let header = [
        "component",
        "view",
        "codebooks",
        "documents",
        "tokens",
        "sequences",
        "validation documents",
        "validation tokens",
    ];
    let row = |data: &&ComponentData| {
        let counts = &data.counts;
        [
            counts.name.clone(),
            counts.view.to_string(),
            counts.codebooks.to_string(),
            thousands(counts.train_documents),
            thousands(counts.train_tokens),
            thousands(counts.sequences_per_epoch),
            thousands(counts.validation_documents),
            thousands(counts.validation_tokens),
        ]
    };
    table(header, data.iter().map(row))
}

/// What packing cuts and leaves out.
fn losses(data: &[&ComponentData]) -> String {
    let header = [
        "component",
        "renderings",
        "longer",
        "than",
        "share",
        "lost tokens",
        "share",
        "padding",
    ];
    let row = |data: &&ComponentData| {
        let found = &data.truncation;
        let share = |part: u64, whole: u64| percent(part as f64 / whole.max(1) as f64);
        [
            data.counts.name.clone(),
            thousands(found.renderings),
            thousands(found.long_renderings),
            thousands(found.long_over_tokens),
            share(found.long_renderings, found.renderings),
            thousands(found.lost_tokens),
            share(found.lost_tokens, data.counts.train_tokens),
            thousands(found.padding_tokens),
        ]
    };
    table(header, data.iter().map(row))
}
