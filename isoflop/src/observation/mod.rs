//! What a study measured: one observation a run, from a table or from a study's folder.

mod error;
mod study;
mod table;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Convention;
pub use error::ObservationError;

/// A run's size, length and final validation losses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Observation {
    /// Name of the run.
    pub name: String,
    /// FLOPs spent, by the study's convention.
    pub budget: f64,
    /// Width of the residual stream, where it is known.
    pub hidden: Option<u64>,
    /// Transformer layers, where they are known.
    pub layers: Option<u64>,
    /// Parameters.
    pub params: f64,
    /// Tokens trained on.
    pub tokens: f64,
    /// Final validation loss, in nats a token; NaN where there is none.
    pub loss: f64,
    /// The same by kind of token, in the order of [`Observations::kinds`]; none where the kind did not occur.
    pub by_kind: Vec<Option<f64>>,
}

/// A run that no fit can use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOut {
    /// What is known of it.
    #[serde(flatten)]
    pub run: Observation,
    /// Why it is left out.
    pub reason: String,
}

/// The runs of a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Observations {
    /// The table or folder that they are from.
    pub source: PathBuf,
    /// What budgets count, where the source says it.
    pub convention: Option<Convention>,
    /// Kinds of token that losses are known of, such as `text` or `acoustic-1`.
    pub kinds: Vec<String>,
    /// Runs with a loss, by budget and then by parameters.
    pub runs: Vec<Observation>,
    /// Runs without.
    pub left_out: Vec<LeftOut>,
    /// Columns of the table that nothing is made of.
    pub unused_columns: Vec<String>,
}

impl Observations {
    /// Reads a study's folder, or a table of runs.
    ///
    /// A table is CSV with the columns `budget`, `params`, `tokens` and `loss`, and where they are known `name`, `hidden`,
    /// `layers` and a `loss_KIND` for each kind of token. Runs whose loss is missing or not finite are kept apart.
    ///
    /// # Errors
    /// A file that cannot be read or lacks a column; a number that is none, or not positive; a run that is there twice.
    pub fn read(path: &Path) -> Result<Self, ObservationError> {
        let mut observations = match path.is_dir() {
            true => study::read(path)?,
            false => table::read(path)?,
        };
        let size = |run: &Observation| (run.budget, run.params);
        observations
            .runs
            .sort_by(|a, b| size(a).partial_cmp(&size(b)).expect("both are finite"));
        Ok(observations)
    }

    /// All runs as the table that [`Observations::read`] reads; those left out have an empty loss.
    pub fn to_csv(&self) -> String {
        table::write(self)
    }

    /// What budgets are counted in, as axes and tables name it.
    pub fn budget_unit(&self) -> String {
        self.convention
            .map_or("FLOPs".into(), |convention| convention.to_string())
    }

    fn add(&mut self, run: Observation) {
        let reason = match run.loss {
            loss if loss.is_nan() => "its loss is missing or not a number",
            loss if loss.is_infinite() => "its loss is infinite",
            _ => return self.runs.push(run),
        };
        self.leave_out(run, reason.into());
    }

    fn leave_out(&mut self, run: Observation, reason: String) {
        self.left_out.push(LeftOut { run, reason });
    }
}
