//! What can go wrong with shards, vocabularies and datasets, in words that say what to do.

use crate::TokenKind;
use std::io;
use std::path::{Path, PathBuf};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "write", …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A shard could not be written.
    #[error("cannot write {}: {source}; check the disk's free space and run again", path.display())]
    Write {
        /// The shard.
        path: PathBuf,
        /// The parquet library's reason.
        source: parquet::errors::ParquetError,
    },
    /// A shard is unreadable or contradicts itself.
    #[error("{} is truncated or damaged: {problem}; delete the file and run `tokenize` again with the same arguments, which redoes only this shard", path.display())]
    Damaged {
        /// The shard.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// A parquet file of someone else, or of another version of Timbre.
    #[error("{} cannot be read: {problem}; tokenize the corpus with this version", path.display())]
    NotAShard {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// A row group that does not exist was asked for.
    #[error("{} has {row_groups} row groups, numbered from 0; there is no number {asked}", path.display())]
    NoRowGroup {
        /// The shard.
        path: PathBuf,
        /// How many it has.
        row_groups: usize,
        /// The number asked for.
        asked: usize,
    },
    /// Shards made with another vocabulary.
    #[error("{} was made with tokenizer {} (sha256 {}), not with {} (sha256 {}): {problem}; use the tokenizer folder beside the shards, or tokenize again", path.display(), shard.name, short(&shard.sha256), given.name, short(&given.sha256))]
    WrongVocabulary {
        /// The shard.
        path: PathBuf,
        /// What differs.
        problem: &'static str,
        /// The tokenizer named in the shard.
        shard: Box<crate::TokenizerInfo>,
        /// The tokenizer in use.
        given: Box<crate::TokenizerInfo>,
    },
    /// A description that shards cannot have.
    #[error("cannot create {}: {problem}", path.display())]
    BadMeta {
        /// The shard.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A document without an identifier.
    #[error(
        "a document from {origin:?} has an empty id; every document needs an id that is unique in its shard"
    )]
    EmptyId {
        /// Where it came from.
        origin: String,
    },
    /// Two documents of one shard share an identifier.
    #[error("document {id:?} occurs twice in {}; ids must be unique in a shard", path.display())]
    DuplicateId {
        /// The identifier.
        id: String,
        /// The shard.
        path: PathBuf,
    },
    /// A document with more of something than a row can hold.
    #[error(
        "document {id:?} has {n} {what}; a document holds at most {}; split it",
        i32::MAX
    )]
    DocumentTooLarge {
        /// The document.
        id: String,
        /// Of what.
        what: &'static str,
        /// How many.
        n: usize,
    },
    /// A segment with neither text nor audio.
    #[error(
        "document {id:?}, segment {segment} has neither text nor audio; leave such segments out"
    )]
    EmptySegment {
        /// The document.
        id: String,
        /// Number of the segment, from 0.
        segment: usize,
    },
    /// Text ids without their text.
    #[error(
        "document {id:?}, segment {segment} has {n} text ids but no text; keep the transcript beside its ids"
    )]
    IdsWithoutText {
        /// The document.
        id: String,
        /// Number of the segment, from 0.
        segment: usize,
        /// Number of text ids.
        n: usize,
    },
    /// A text id that is not text.
    #[error(
        "document {id:?}, segment {segment}, text token {position} is {token}, which is {found}; text ids must be below {audio_base} and not markers: encode transcripts with `Vocab::encode_text`"
    )]
    NotText {
        /// The document.
        id: String,
        /// Number of the segment, from 0.
        segment: usize,
        /// Number of the token in the segment, from 0.
        position: usize,
        /// The id.
        token: u32,
        /// What the id stands for.
        found: String,
        /// First id that is not text.
        audio_base: u32,
    },
    /// Codes that do not fill their last frame.
    #[error(
        "document {id:?}, segment {segment} has {values} codes, not a multiple of the {codebooks} codebooks"
    )]
    PartialFrame {
        /// The document.
        id: String,
        /// Number of the segment, from 0.
        segment: usize,
        /// Number of codes.
        values: usize,
        /// Codes a frame.
        codebooks: usize,
    },
    /// A code outside its codebook.
    #[error(
        "document {id:?}, segment {segment}, frame {frame}, codebook {codebook}: code {code} is not below the codebook size {codebook_size}"
    )]
    CodeOutOfRange {
        /// The document.
        id: String,
        /// Number of the segment, from 0.
        segment: usize,
        /// Number of the frame in the segment, from 0.
        frame: usize,
        /// The codebook, from 0.
        codebook: usize,
        /// The code.
        code: u16,
        /// Codes a codebook has.
        codebook_size: usize,
    },
    /// Audio in a shard of texts.
    #[error(
        "document {id:?}, segment {segment} has {values} codes, but the shard is described as text without a codec"
    )]
    NoCodec {
        /// The document.
        id: String,
        /// Number of the segment, from 0.
        segment: usize,
        /// Number of codes.
        values: usize,
    },
    /// A JSON file that does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What was found, with line and column where known.
        problem: String,
    },
    /// A tokenizer that cannot be used or extended.
    #[error("{}: {problem}", path.display())]
    Tokenizer {
        /// The tokenizer file.
        path: PathBuf,
        /// What was found and what to do.
        problem: String,
    },
    /// A text that the tokenizer refuses.
    #[error("the tokenizer cannot encode {text:?}: {problem}")]
    Encode {
        /// The beginning of the text.
        text: String,
        /// Why.
        problem: String,
    },
    /// Ids that the tokenizer cannot turn into text.
    #[error(
        "cannot decode token {position}, id {id}, which is {found}: only text tokens have a text; cut the sequence at markers"
    )]
    DecodeNotText {
        /// Number of the token, from 0.
        position: usize,
        /// The id.
        id: u32,
        /// What it stands for.
        found: String,
    },
    /// The tokenizer failed to decode.
    #[error("the tokenizer cannot decode {n} tokens: {problem}")]
    Decode {
        /// Number of tokens.
        n: usize,
        /// Why.
        problem: String,
    },
    /// A dataset directory whose tokenizing has not finished.
    #[error("{} has no manifest.json, so tokenizing it has not finished; run the same `tokenize` command again, which continues where it stopped", path.display())]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that is no dataset.
    #[error("{} is not a dataset: it has neither job.json nor manifest.json; give the --out directory of `tokenize`", path.display())]
    NotADataset {
        /// The directory.
        path: PathBuf,
    },
}

impl Error {
    /// Wraps an I/O error with what was tried on which path: `.map_err(Error::io("read", path))`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}

/// "text", "a marker", "audio of codebook 3" or "past the end of the vocabulary".
pub(crate) fn describe(layout: &crate::VocabLayout, id: u32) -> String {
    if id >= layout.vocab_size {
        return format!("past the vocabulary of {} ids", layout.vocab_size);
    }
    match layout.kind(id) {
        TokenKind::Text => "text".into(),
        TokenKind::Marker => "a marker".into(),
        TokenKind::Audio(codebook) => format!("audio of codebook {codebook}"),
    }
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
