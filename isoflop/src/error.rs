//! What can be wrong with a scaling study.

use std::path::{Path, PathBuf};

use crate::Convention;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A study that cannot be planned, run or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A study's index that is none.
    #[error("{}: {source}; `isoflop sweep --run` writes it anew", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A number that no grid can be derived by.
    #[error("{flag} is {found}, but must be {wanted}")]
    Rule {
        /// The flag that gives it.
        flag: &'static str,
        /// The number.
        found: String,
        /// What it may be.
        wanted: String,
    },
    /// A budget that is no number of operations.
    #[error(
        "budget {budget} is not a positive, finite number of FLOPs; give one like 1e19 (forward FLOPs of the whole run)"
    )]
    Budget {
        /// The number given, in FLOPs.
        budget: f64,
    },
    /// A budget that leaves no model of the grid to run.
    #[error(
        "budget {budget:e} ({convention}) leaves none of {widths} widths, {narrowest} to {widest}: {counts}"
    )]
    NoCandidate {
        /// The budget, in FLOPs.
        budget: f64,
        /// What it counts.
        convention: Convention,
        /// Widths tried.
        widths: usize,
        /// Smallest width tried.
        narrowest: usize,
        /// Largest width that was allowed.
        widest: usize,
        /// How many widths each rule left out.
        counts: String,
    },
    /// The recipe's experiment with a candidate's numbers, and what was set, is no plan.
    #[error(transparent)]
    Plan(Box<experiments::Error>),
    /// A plan that does not spend the budget on the candidate.
    #[error(
        "with what is set, {name} is not what was derived: name, shape of the model, batch, steps and length of sequences \
         are given by the grid; change them by its flags, such as --seq-len"
    )]
    OffBudget {
        /// The run.
        name: String,
    },
    /// The trainer, or what it left behind.
    #[error(transparent)]
    Train(Box<pretrain::Error>),
    /// A folder with runs that this study has not, or has otherwise.
    #[error(
        "{} holds another study: {difference}; repeat its arguments, to which budgets may be added, or choose another --out",
        dir.display()
    )]
    OtherStudy {
        /// The folder.
        dir: PathBuf,
        /// What differs.
        difference: String,
    },
    /// A run that the study has not.
    #[error("no run `{given}`; give a number from 0 to {last}, or a name: {names}")]
    NoRun {
        /// What was asked for.
        given: String,
        /// The largest number.
        last: usize,
        /// All names.
        names: String,
    },
    /// The study was asked to stop.
    #[error("stopped by {signal}; what was trained is saved, and the same command goes on")]
    Stopped {
        /// Name of the signal.
        signal: &'static str,
    },
}

impl Error {
    /// For `map_err` of an I/O operation on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path: path.clone(),
            source,
        }
    }
}

impl From<pretrain::Error> for Error {
    fn from(error: pretrain::Error) -> Self {
        Self::Train(Box::new(error))
    }
}
