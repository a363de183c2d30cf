//! What can stop a run.

use std::path::{Path, PathBuf};

use crate::metrics::MetricsError;

/// Result of training and generating.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run cannot start, go on, or be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A backend that is not there.
    #[error(transparent)]
    Backend(#[from] kernels::backend::Missing),
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
    /// The run folder is taken.
    #[error(
        "{} already holds a run; continue it with --resume, or choose another --out",
        dir.display()
    )]
    RunExists {
        /// The folder.
        dir: PathBuf,
    },
    /// The run folder holds something else.
    #[error(
        "{} is not empty and holds no run (no config.toml); choose another --out",
        dir.display()
    )]
    NotARun {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process trains in the run folder.
    #[error("another process is training in {}; wait for it, or stop it", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// `--resume` with another plan or other data.
    #[error(
        "{} was made with other settings: {differences}; repeat those, or choose another --out",
        config.display()
    )]
    OtherRun {
        /// The run's configuration.
        config: PathBuf,
        /// Keys with their value there and now.
        differences: String,
    },
    /// A file of the run is not readable.
    #[error("{}: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A checkpoint that cannot be used.
    #[error("checkpoint {}: {message}; use another checkpoint, or remove this one", dir.display())]
    Checkpoint {
        /// Its directory.
        dir: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Every checkpoint of a run is damaged.
    #[error(
        "no checkpoint in {} can be used: {reasons}. Restore one, or begin anew in another --out",
        folder.display()
    )]
    AllDamaged {
        /// Their folder.
        folder: PathBuf,
        /// What is wrong with each.
        reasons: String,
    },
    /// The loss or a gradient is not finite.
    #[error(
        "step {step}: the loss is {loss} and the gradient norm {grad_norm}. Nothing after it would be usable; the last \
         checkpoint is intact. Try a lower learning rate (--set optimizer.lr=…) in a new --out"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// Its loss.
        loss: f64,
        /// Its gradients' norm.
        grad_norm: f64,
    },
    /// The run was asked to stop, and its state is saved.
    #[error("stopped by {signal} after step {step}, which is saved; go on with --resume")]
    Stopped {
        /// Name of the signal.
        signal: &'static str,
        /// The last step.
        step: u64,
    },
    /// A value of the plan that the data show to be impossible.
    #[error("{0}")]
    Plan(String),
    /// A token that the model has no row for.
    #[error(
        "a sequence holds token {id}, but the vocabulary has {vocab_size} rows: the shards were made with another \
         tokenizer than their manifest says; tokenize them again"
    )]
    Token {
        /// The token.
        id: u32,
        /// Rows.
        vocab_size: u32,
    },
    /// Weights of another vocabulary than the data's.
    #[error(
        "the weights in {} belong to the tokenizer with SHA-256 {theirs}, but the data were tokenized by {ours}: the same id \
         would mean another token. Take data of the same tokenizer, or `tokenize retext` them",
        dir.display()
    )]
    OtherTokenizer {
        /// Folder of the weights.
        dir: PathBuf,
        /// Its tokenizer.
        theirs: String,
        /// The data's.
        ours: String,
    },
    /// Weights that were trained on another codec's tokens.
    #[error(
        "the weights in {} were trained on tokens of the codec {theirs}, but the data were tokenized with {ours}, whose tokens \
         are other sounds (or the same name with other weights); tokenize with the first",
        dir.display()
    )]
    OtherCodec {
        /// Folder of the weights.
        dir: PathBuf,
        /// Its codec.
        theirs: String,
        /// The data's.
        ours: String,
    },
    /// The run does not fit into memory.
    #[error(
        "the run needs {estimate}; there are {limit}. {advice}; --memory SIZE states another limit"
    )]
    Memory {
        /// What is needed for what.
        estimate: String,
        /// What there is.
        limit: String,
        /// What would fit.
        advice: String,
    },
    /// Processes that cannot train together.
    #[error("{0}")]
    World(String),
    /// The place that a run is copied to.
    #[error(transparent)]
    Store(#[from] stores::Error),
    /// No document was held out for validation.
    #[error(
        "no document of the data falls into the validation part ({fraction} of them by hash); \
         raise validation_fraction in the mixture"
    )]
    NoValidation {
        /// Fraction that the mixture holds out.
        fraction: f64,
    },
    /// Instructions that could not be tokenized.
    #[error("{0}")]
    Instructions(String),
    /// Generation was asked for something impossible.
    #[error("{0}")]
    Generate(String),
    /// The experiment.
    #[error(transparent)]
    Experiment(#[from] experiments::Error),
    /// The data.
    #[error(transparent)]
    Data(#[from] mixes::Error),
    /// The vocabulary or a shard.
    #[error(transparent)]
    Shards(#[from] shards::Error),
    /// The codec.
    #[error(transparent)]
    Codec(#[from] encodec_rs::Error),
    /// An audio file.
    #[error(transparent)]
    Audio(#[from] audio::Error),
    /// A folder in Hugging Face's form that no model can be made of, or that can not be written.
    #[error("{}: {message}", path.display())]
    HuggingFace {
        /// The folder, or a file of it.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Tensors on disk.
    #[error(transparent)]
    Weights(#[from] crate::weights::WeightsError),
    /// The metrics of an earlier part of the run.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The report.
    #[error(transparent)]
    Report(#[from] crate::report::ReportError),
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
