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
    /// Reading from a store failed.
    #[error(transparent)]
    Store(#[from] stores::Error),
    /// A component without its folder.
    #[error(
        "component {component:?} of the mixture needs the dataset {source_name:?}, and {data} has {found}; tokenize the corpus into \
         it, or give another data folder"
    )]
    MissingComponent {
        /// The component.
        component: String,
        /// The folder that is missing.
        source_name: String,
        /// The data folder.
        data: String,
        /// What the data folder has instead.
        found: String,
    },
    /// A folder without a manifest.
    #[error(
        "{} is not a finished dataset: it has no manifest.json; run the `tokenize` command that makes it again, it goes on where it \
         stopped", path.display()
    )]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// A shard that is not what it was.
    #[error(
        "{}: {problem}; the shards of a run must not change: put back what was there, or start a new run", path.display()
    )]
    Changed {
        /// The shard.
        path: PathBuf,
        /// What is different.
        problem: String,
    },
    /// A document that a view cannot show.
    #[error(
        "document {id:?} in {}: {problem}; give the component another view, or leave such documents out when tokenizing",
        path.display()
    )]
    Misfit {
        /// The document.
        id: String,
        /// Its shard.
        path: PathBuf,
        /// What it lacks.
        problem: &'static str,
    },
    /// Components whose ids mean different things.
    #[error(
        "components {first:?} and {second:?} were made with different tokenizers; make one of them anew with `tokenize retext`, \
         which leaves the audio as it is"
    )]
    OtherVocabulary {
        /// A component.
        first: String,
        /// The other one.
        second: String,
    },
    /// Components whose codes mean different things.
    #[error(
        "components {first:?} ({first_codec}) and {second:?} ({second_codec}) were made with different codecs; tokenize one of them \
         again"
    )]
    OtherCodec {
        /// A component.
        first: String,
        /// Its codec.
        first_codec: String,
        /// The other one.
        second: String,
        /// Its codec.
        second_codec: String,
    },
    /// The folder for copies of small files cannot be used.
    #[error("cannot write {}: {source}; set TIMBRE_CACHE to a folder that can be written", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A sequence past the end of the data.
    #[error(
        "mixture {mixture:?} ends after {len} sequences (stop = {strategy:?}), and sequence {index} is asked for; train for fewer \
         steps, or let components restart"
    )]
    Exhausted {
        /// The mixture.
        mixture: String,
        /// Its stop strategy.
        strategy: &'static str,
        /// Sequences it has.
        len: u64,
        /// The one asked for.
        index: u64,
    },
    /// More codebooks asked for than the shards have.
    #[error(
        "component {component:?} asks for {asked} codebooks, and {} has {found}; lower `codebooks` in the mixture, or tokenize the \
         corpus again with more", path.display()
    )]
    TooManyCodebooks {
        /// The component.
        component: String,
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
        "component {component:?} in {} gives no sequence of {seq_len} tokens: its {documents} training documents have {tokens} \
         tokens as {view}; lower the sequence length, or tokenize more data ({validation_documents} documents are kept for \
         validation)", path.display()
    )]
    NoSequence {
        /// The component.
        component: String,
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
        /// Documents kept for validation.
        validation_documents: u64,
    },
    /// A picture that cannot be drawn.
    #[error("cannot draw mixture {mixture:?}: {problem}")]
    Plot {
        /// The mixture.
        mixture: String,
        /// What the drawing library says.
        problem: String,
    },
    /// A sequence number past the supported range.
    #[error("sequence number {index} is not below 2^40")]
    IndexTooLarge {
        /// The number.
        index: u64,
    },
}
