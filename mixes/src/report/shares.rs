//! The weights of a mixture, and what whole sequences of a block make of them.

use super::number::{percent, table, thousands};
use super::unseeded;
use crate::error::Result;
use crate::mixture::{Component, Mixture, Packing, StopStrategy};
use crate::permutation::PermutationKind;
use serde::Serialize;
use std::fmt;

/// A mixture, resolved, with the shares that its components get.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shares {
    /// The mixture.
    pub mixture: String,
    /// Part of the documents that is kept for validation.
    pub validation_fraction: f64,
    /// How the sequences of a component are permuted.
    pub permutation: PermutationKind,
    /// What happens when a component has no more sequences.
    pub stop: StopStrategy,
    /// How documents are laid into sequences.
    pub packing: Packing,
    /// Sequences of a block.
    pub block_size: u64,
    /// The components.
    pub components: Vec<Component>,
    /// Shares over time.
    pub stages: Vec<StageShares>,
}

/// The shares at the beginning of a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageShares {
    /// Its first sequence.
    pub first_sequence: u64,
    /// Whether they go to those of the next stage in a straight line.
    pub interpolates: bool,
    /// Of each component, in the mixture's order.
    pub shares: Vec<Share>,
}

/// The share of a component in a block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The component.
    pub component: String,
    /// Its weight, of a sum of 1.
    pub asked: f64,
    /// Its sequences of a block.
    pub sequences: u64,
    /// Their share of the block.
    pub realised: f64,
}

impl Shares {
    /// The shares of a mixture whose sequences have `seq_len` tokens.
    ///
    /// # Errors
    /// If it cannot be scheduled.
    pub fn new(mixture: &Mixture, seq_len: usize) -> Result<Self> {
        let schedule = unseeded(mixture, seq_len)?;
        let stage = |(stage, first_sequence): (&crate::Stage, u64)| {
            let counts = schedule.counts(first_sequence / mixture.block_size);
            let share = |((component, asked), sequences): ((&Component, &f64), &u64)| Share {
                component: component.name.clone(),
                asked: *asked,
                sequences: *sequences,
                realised: *sequences as f64 / mixture.block_size as f64,
            };
            let pairs = mixture.components.iter().zip(&stage.weights).zip(counts);
            StageShares {
                first_sequence,
                interpolates: stage.until.is_some(),
                shares: pairs.map(share).collect(),
            }
        };
        Ok(Self {
            mixture: mixture.name.clone(),
            validation_fraction: mixture.validation_fraction,
            permutation: mixture.permutation,
            stop: mixture.stop,
            packing: mixture.packing,
            block_size: mixture.block_size,
            components: mixture.components.clone(),
            stages: mixture
                .stages
                .iter()
                .zip(schedule.stages())
                .map(stage)
                .collect(),
        })
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let component = |component: &Component| {
            [
                component.name.clone(),
                component.sources.join(", "),
                component.view.to_string(),
                component.codebooks.to_string(),
            ]
        };
        let header = ["component", "sources", "view", "codebooks"];
        let components = table(header, self.components.iter().map(component));
        writeln!(f, "{}\n\n{components}", self.mixture)?;
        for stage in &self.stages {
            let from = thousands(stage.first_sequence);
            let block = thousands(self.block_size);
            let way = match stage.interpolates {
                true => ", on the way to those of the next stage",
                false => "",
            };
            writeln!(f, "\nfrom sequence {from} on, in blocks of {block}{way}")?;
            let share = |share: &Share| {
                [
                    share.component.clone(),
                    percent(share.asked),
                    thousands(share.sequences),
                    percent(share.realised),
                ]
            };
            let header = ["component", "asked", "sequences of a block", "realised"];
            writeln!(f, "{}", table(header, stage.shares.iter().map(share)))?;
        }
        let name = |value: serde_json::Result<serde_json::Value>| {
            value
                .ok()
                .and_then(|v| v.as_str().map(String::from))
                .unwrap_or_default()
        };
        write!(
            f,
            "\npermutation {}, stop {}, packing {}, validation fraction {}",
            name(serde_json::to_value(self.permutation)),
            name(serde_json::to_value(self.stop)),
            name(serde_json::to_value(self.packing)),
            self.validation_fraction
        )
    }
}
