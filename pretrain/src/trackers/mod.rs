//! A run's records in the formats of other programs.
//!
//! `metrics.jsonl` is the run's own account; a tracker is a copy of it that some viewer reads. [`scalars`] says under
//! which tag each number of a record goes, [`tensorboard`] writes them as event files.

mod scalars;
pub mod tensorboard;

pub use scalars::{Scalar, scalars};
