//! The training loop: batches in, checkpoints and metrics out; any instant is a safe one to die at.

mod allocator;
mod batch;
mod diverged;
mod losses;
mod peak;
mod prepare;
mod progress;
mod ranks;
mod run;
mod step;
mod stop;
mod unigram;

pub use batch::Objective;
pub use diverged::{Replay, SequenceReplay, replay};
pub use losses::Losses;
pub use peak::{matmul_flops, peak_memory};
pub use prepare::{adopt_initial_config, open_loader, run};
pub use progress::Progress;
pub use step::{Cut, Phases, StepOutput, Trainer};
pub use stop::Stop;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::metrics::{Unigram, ValidationRecord};
use crate::world::World;

/// Where a run reads and writes, and what it runs on.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The processes that run it.
    pub world: World,
    /// Location of the mixture's components: a folder, or one of an object store.
    pub data: String,
    /// The run's folder.
    pub out: PathBuf,
    /// Location that checkpoints, metrics and report are copied to, and taken from where `out` has them not.
    pub mirror: Option<String>,
    /// Continue the run in `out`, if there is one.
    pub resume: bool,
    /// Sequences that pass through a process's model at a time; as before if the run goes on, else its whole share of the batch.
    pub micro_batch: Option<usize>,
    /// Compute activations again in the backward pass; as before if the run goes on, else not.
    pub recompute: Option<bool>,
    /// Memory that the run may take, in bytes; none if it is not known.
    pub memory: Option<u64>,
    /// FLOPs a second of the device; measured if not stated.
    pub peak_flops: Option<f64>,
}

/// What a finished run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunSummary {
    /// Trained parameters.
    pub parameters: u64,
    /// Rows of the vocabulary.
    pub vocab_size: usize,
    /// Steps and tokens of the whole run, without those before it.
    pub steps: u64,
    /// See `steps`.
    pub tokens: u64,
    /// Losses on the validation sequences after the last step.
    pub validation: ValidationRecord,
    /// The baseline on the same sequences.
    pub unigram: Unigram,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The report.
    pub report: PathBuf,
}

#[cfg(test)]
mod tests;
