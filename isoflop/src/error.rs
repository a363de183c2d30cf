//! What can be wrong with a scaling study.

use std::path::PathBuf;

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
    /// A budget that is no number of operations.
    #[error(
        "budget {budget} is not a positive, finite number of FLOPs; give one like 1e19 (forward FLOPs of the whole run)"
    )]
    Budget {
        /// The number given, in FLOPs.
        budget: f64,
    },
    /// A budget that fits no model of the grid.
    #[error(
        "budget {budget:e} gives no candidate: none of the widths {narrowest} to {widest} can spend it within 1 % in whole steps of at least {min_batch} sequences; the recipe's budgets are 1e18 to 1e20"
    )]
    NoCandidate {
        /// The budget, in FLOPs.
        budget: f64,
        /// Smallest width tried.
        narrowest: usize,
        /// Largest width tried.
        widest: usize,
        /// Smallest batch allowed, in sequences.
        min_batch: u64,
    },
}
