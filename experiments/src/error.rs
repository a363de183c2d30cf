//! What can be wrong with an experiment.

use std::path::PathBuf;

/// Result of resolving an experiment.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an experiment cannot be resolved to a plan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a built-in experiment nor a file.
    #[error(
        "no experiment `{name}`: known are {}; or give the path of a .toml file",
        known.join(", ")
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The built-in experiments.
        known: Vec<&'static str>,
    },
    /// The file could not be read.
    #[error("cannot read experiment {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, has unknown or missing keys, or values of the wrong type.
    #[error("experiment {origin}: {message}")]
    Parse {
        /// The file.
        origin: String,
        /// Line, key and reason, as the TOML parser words them.
        message: String,
    },
    /// A `--set` that is not `key=value`.
    #[error("--set `{given}`: {reason}; write it as --set optimizer.lr=1e-3")]
    Override {
        /// The argument.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that no run could use.
    #[error("experiment {origin}: {key} is {found}, but must be {wanted}")]
    Value {
        /// The file.
        origin: String,
        /// Dotted key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it must satisfy.
        wanted: &'static str,
    },
    /// The mixture it names.
    #[error(transparent)]
    Mixture(#[from] mixes::Error),
}
