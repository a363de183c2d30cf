//! What can be wrong with an experiment.

use std::path::PathBuf;

/// Result of resolving an experiment.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an experiment cannot be resolved to a plan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a built-in experiment nor a file.
    #[error("no experiment `{name}`; {hint}; or give the path of a .toml file")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest, or all.
        hint: String,
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
    #[error("experiment {place}: {message}")]
    Parse {
        /// File and line, or argument.
        place: String,
        /// Key and reason.
        message: String,
    },
    /// A variant that there is not.
    #[error("experiment {experiment} has no {wanted}; {hint}")]
    Variant {
        /// The experiment.
        experiment: String,
        /// What was asked for.
        wanted: String,
        /// The nearest, or all.
        hint: String,
    },
    /// A run that begins with a checkpoint, asked for as one that begins from scratch.
    #[error(
        "{name} begins with step {step} of the run {run}, so it cannot be trained from scratch; run it with `{program}`"
    )]
    Continues {
        /// The run.
        name: String,
        /// The run whose checkpoint it begins with.
        run: String,
        /// That checkpoint.
        step: u64,
        /// The program for it.
        program: &'static str,
    },
    /// Hardware that is not known.
    #[error("hardware `{given}`: {reason}; write it as h100x8, a device and how many")]
    Hardware {
        /// The argument.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A number of processes that a plan or its hardware does not go with.
    #[error("--world {ranks} {reason}")]
    World {
        /// Processes.
        ranks: u64,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A bandwidth that is not one.
    #[error(
        "network `{given}`: {reason}; write it as 400Gb (gigabits a second of each device), 50GB (gigabytes) or 100Gb/node"
    )]
    Network {
        /// The argument.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
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
    #[error("experiment {place}: {key} is {found}, but must be {wanted}")]
    Value {
        /// File and line, or argument.
        place: String,
        /// Dotted key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it must satisfy.
        wanted: &'static str,
    },
    /// The mixture it names.
    #[error("experiment {place}: {source}")]
    Mixture {
        /// File and line, or argument.
        place: String,
        /// What is wrong with it.
        source: Box<mixes::Error>,
    },
}

/// Which of `known` was probably meant; all of them, if none is near.
pub(crate) fn suggestion<S: AsRef<str>>(given: &str, known: &[S]) -> String {
    let distance = |known: &str| strsim::damerau_levenshtein(given, known);
    let known = || known.iter().map(AsRef::as_ref);
    let nearest = known().min_by_key(|known| distance(known));
    match nearest.filter(|near| distance(near) <= near.len().div_ceil(3)) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known: {}", known().collect::<Vec<_>>().join(", ")),
    }
}
