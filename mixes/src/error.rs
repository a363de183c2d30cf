//! What can go wrong between shards and sequences.

use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading shards or a vocabulary failed.
    #[error(transparent)]
    Shards(#[from] shards::Error),
    /// A mixture file that cannot be read.
    #[error("cannot read mixture {}: {source}", path.display())]
    ReadMixture {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A mixture file that does not hold a mixture.
    #[error("mixture {file}, line {line}: {problem}")]
    BadMixture {
        /// The file, or the name of a mixture that Timbre brings.
        file: String,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong there, and what to do.
        problem: String,
    },
    /// Arguments that a mixture does not take.
    #[error("mixture {call:?}: {problem}")]
    BadCall {
        /// The mixture, as it was named.
        call: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A mixture that cannot be scheduled.
    #[error("mixture {mixture:?}: {problem}")]
    BadSchedule {
        /// The mixture.
        mixture: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A name that is no mixture.
    #[error("there is no mixture {name:?}; {hint}; or give the path of a .toml file")]
    UnknownMixture {
        /// The name.
        name: String,
        /// A similar name, or all.
        hint: String,
    },
    /// More than one component.
    #[error(
        "mixture {name:?} has {components} components ({sources}); mixing several components is not supported yet: give a \
         mixture with exactly one"
    )]
    SeveralComponents {
        /// The mixture.
        name: String,
        /// How many.
        components: usize,
        /// Their sources.
        sources: String,
    },
    /// A component without its folder.
    #[error(
        "component {source_name:?} of mixture {mixture:?} needs the folder {}, which does not exist; {} has {found}; tokenize the corpus \
         into it, or give another data folder", path.display(), data.display()
    )]
    MissingComponent {
        /// The mixture.
        mixture: String,
        /// The component's source.
        source_name: String,
        /// The folder that is missing.
        path: PathBuf,
        /// The data folder.
        data: PathBuf,
        /// What the data folder has instead.
        found: String,
    },
    /// More codebooks asked for than the shards have.
    #[error(
        "component {source_name:?} asks for {asked} codebooks, and {} has {found}; lower `codebooks` in the mixture, or tokenize the \
         corpus again with more", path.display()
    )]
    TooManyCodebooks {
        /// The component's source.
        source_name: String,
        /// Codebooks of the mixture.
        asked: usize,
        /// A shard with fewer.
        path: PathBuf,
        /// Codebooks of the shard.
        found: usize,
    },
    /// An option outside its range.
    #[error("{option} is {found}; it must be at least {least}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// Its value.
        found: usize,
        /// The smallest possible value.
        least: usize,
    },
    /// Not a single training sequence.
    #[error(
        "component {source_name:?} in {} gives no sequence of {seq_len} tokens: its {documents} training documents have {tokens} \
         tokens as {view}, in {row_groups} row groups of which the largest has {largest}; lower the sequence length to at most {largest}, \
         or tokenize more data ({validation_documents} documents are kept for validation)", path.display()
    )]
    NoSequence {
        /// The component's source.
        source_name: String,
        /// Its folder.
        path: PathBuf,
        /// Tokens a sequence.
        seq_len: usize,
        /// Training documents.
        documents: u64,
        /// Their tokens.
        tokens: u64,
        /// The view.
        view: crate::View,
        /// Row groups.
        row_groups: usize,
        /// Training tokens of the largest row group.
        largest: u64,
        /// Documents kept for validation.
        validation_documents: u64,
    },
    /// A sequence number past the supported range.
    #[error("sequence number {index} is not below 2^40")]
    IndexTooLarge {
        /// The number.
        index: u64,
    },
}
