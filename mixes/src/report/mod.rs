//! What a mixture amounts to: how a run's sequences are divided, how often data come round, and what packing loses.
//!
//! A [`Report`] counts a run, with data or without. [`Shares`] are the weights and how blocks round them, [`stacked_area`] is
//! their picture, [`Duplicates`] are documents that occur more than once, and a [`Sample`] is a sequence in readable form.

mod duplicates;
mod number;
mod plot;
mod readable;
mod shares;
mod tables;
mod truncation;

pub use duplicates::{Duplicates, Repeats, Shared};
pub use plot::stacked_area;
pub use readable::{Sample, SampleDocument};
pub use shares::{Share, Shares, StageShares};
pub use truncation::Truncation;

use crate::error::{Error, Result};
use crate::loader::{Loader, MAX_INDEX, check_option};
use crate::mixture::{Mixture, Stage};
use crate::schedule::Schedule;
use crate::summary::ComponentSummary;
use serde::Serialize;
use std::ops::Range;

/// A run over a mixture, counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The mixture.
    pub mixture: String,
    /// Tokens a sequence.
    pub seq_len: usize,
    /// Sequences of a block.
    pub block_size: u64,
    /// Its first sequence: 0, unless the run goes on from another.
    pub first_sequence: u64,
    /// Sequences of the run.
    pub sequences: u64,
    /// Their tokens, padding included.
    pub tokens: u64,
    /// The stages that the run reaches.
    pub stages: Vec<StageReport>,
    /// The components, in the mixture's order.
    pub components: Vec<ComponentReport>,
}

/// The part of a run that lies in one stage of its mixture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageReport {
    /// Its number, from 1 on.
    pub stage: usize,
    /// Its first sequence.
    pub first_sequence: u64,
    /// Its sequences, up to the end of the run.
    pub sequences: u64,
    /// What each component gives it, in the mixture's order.
    pub portions: Vec<Portion>,
}

/// What a component gives to a part of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Portion {
    /// The component.
    pub component: String,
    /// Tokens by its weights.
    pub expected_tokens: f64,
    /// Sequences that it gives.
    pub sequences: u64,
    /// Their tokens, padding included.
    pub tokens: u64,
    /// How often it is read for them; absent without data.
    pub epochs: Option<f64>,
}

/// A component over a whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComponentReport {
    /// What it gives.
    #[serde(flatten)]
    pub portion: Portion,
    /// Its datasets; absent without data.
    pub data: Option<ComponentData>,
}

/// What a component has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComponentData {
    /// Documents, tokens and sequences.
    #[serde(flatten)]
    pub counts: ComponentSummary,
    /// What packing cuts and leaves out.
    pub truncation: Truncation,
}

impl Report {
    /// Counts a run of these sequences of `loader`.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn new(loader: &Loader, run: Range<u64>) -> Result<Self> {
        if let Some(last) = run.end.checked_sub(1) {
            loader.locate(last)?;
        }
        let lengths = loader.sequences_per_epoch();
        let mixture = loader.mixture();
        let counting = Counting {
            mixture,
            schedule: loader.schedule(),
            seq_len: loader.seq_len(),
            lengths: Some(&lengths),
        };
        let mut report = counting.report(run)?;
        let data = loader.summary().components.into_iter();
        let corpora = data.zip(loader.corpora());
        for (component, (counts, corpus)) in report.components.iter_mut().zip(corpora) {
            component.data = Some(ComponentData {
                counts,
                truncation: Truncation::of(corpus),
            });
        }
        Ok(report)
    }

    /// Counts a run of these sequences of a mixture whose data are not there.
    ///
    /// # Errors
    /// If the mixture cannot be scheduled.
    pub fn planned(mixture: &Mixture, seq_len: usize, run: Range<u64>) -> Result<Self> {
        if run.end > MAX_INDEX {
            return Err(Error::IndexTooLarge { index: run.end - 1 });
        }
        let counting = Counting {
            mixture,
            schedule: &unseeded(mixture, seq_len)?,
            seq_len,
            lengths: None,
        };
        counting.report(run)
    }
}

/// A schedule for questions that no seed changes the answers to: those about whole blocks, and about how many rather than which.
fn unseeded(mixture: &Mixture, seq_len: usize) -> Result<Schedule> {
    Schedule::new(mixture, seq_len, 0)
}

/// What a run is counted with.
struct Counting<'a> {
    mixture: &'a Mixture,
    schedule: &'a Schedule,
    seq_len: usize,
    /// Sequences of an epoch over each component.
    lengths: Option<&'a [u64]>,
}

impl Counting<'_> {
    fn report(&self, run: Range<u64>) -> Result<Report> {
        let sequences = run.end.saturating_sub(run.start);
        check_option("the number of sequences", sequences as usize, 1)?;
        let starts: Vec<u64> = self.schedule.stages().collect();
        let mut stages = Vec::new();
        for (number, &start) in starts.iter().enumerate() {
            let next = starts.get(number + 1).copied();
            let first = start.max(run.start);
            let end = next.unwrap_or(run.end).min(run.end);
            if first < end {
                let length = next.map(|next| next - start);
                let part = first - start..end - start;
                let expected = expected(&self.mixture.stages[number], part, length);
                stages.push(StageReport {
                    stage: number + 1,
                    first_sequence: first,
                    sequences: end - first,
                    portions: self.portions(&expected, first, end),
                });
            }
        }
        let expected = |component: usize| {
            let stages = stages.iter();
            stages
                .map(|stage| stage.portions[component].expected_tokens)
                .sum::<f64>()
                / self.seq_len as f64
        };
        let expected: Vec<f64> = (0..self.mixture.components.len()).map(expected).collect();
        let whole = self.portions(&expected, run.start, run.end).into_iter();
        Ok(Report {
            mixture: self.mixture.name.clone(),
            seq_len: self.seq_len,
            block_size: self.schedule.block_size(),
            first_sequence: run.start,
            sequences,
            tokens: sequences * self.seq_len as u64,
            stages,
            components: whole
                .map(|portion| ComponentReport {
                    portion,
                    data: None,
                })
                .collect(),
        })
    }

    /// What each component gives to the sequences from `first` to `end`, of which it should give `expected`.
    fn portions(&self, expected: &[f64], first: u64, end: u64) -> Vec<Portion> {
        let (before, behind) = (self.schedule.consumed(first), self.schedule.consumed(end));
        let portion = |(number, expected): (usize, &f64)| {
            let sequences = behind[number] - before[number];
            let epochs = |lengths: &[u64]| sequences as f64 / lengths[number] as f64;
            Portion {
                component: self.mixture.components[number].name.clone(),
                expected_tokens: expected * self.seq_len as f64,
                sequences,
                tokens: sequences * self.seq_len as u64,
                epochs: self.lengths.map(epochs),
            }
        };
        expected.iter().enumerate().map(portion).collect()
    }
}

/// Sequences of each component by the weights of a stage in a part of it, counted from its beginning; `length` is that of the
/// stage, if it ends.
fn expected(stage: &Stage, part: Range<u64>, length: Option<u64>) -> Vec<f64> {
    let sequences = (part.end - part.start) as f64;
    let until = stage.until.as_ref().unwrap_or(&stage.weights);
    // in a straight line the mean is the value in the middle
    let middle = (part.start + part.end) as f64 / 2.0;
    let way = length.map_or(0.0, |length| middle / length as f64);
    let pairs = stage.weights.iter().zip(until);
    pairs
        .map(|(from, to)| sequences * (from * (1.0 - way) + to * way))
        .collect()
}
