//! What can stop a tokenizing job, and what to do about it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::worker::Worker;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A job, or a look at its output, that cannot go on. Bad records are no such errors: see [`crate::skipped`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {action} {}: {cause}{}", path.display(), advice(cause))]
    Io {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// A backend that is not there.
    #[error(transparent)]
    Backend(#[from] encodec_rs::Missing),
    /// A name that is not UTF-8 cannot become a document id.
    #[error("{}: the file name is not UTF-8; rename the file", path.display())]
    FileName {
        /// The file.
        path: PathBuf,
    },
    /// Nothing to do.
    #[error("no audio found in {}; looked for files named *.{} in it and its folders", dir.display(), extensions.join(", *."))]
    NoAudio {
        /// The folder.
        dir: PathBuf,
        /// The extensions looked for.
        extensions: &'static [&'static str],
    },
    /// The input lies in the output folder.
    #[error("the input {} lies inside the output folder {}; choose an output folder elsewhere", dir.display(), out.display())]
    InputInsideOutput {
        /// The input.
        dir: PathBuf,
        /// The output.
        out: PathBuf,
    },
    /// Two inputs would become documents of one id.
    #[error(
        "document id {id:?} is claimed by both {first} and {second}; rename or remove one of them"
    )]
    DuplicateId {
        /// The id.
        id: String,
        /// A file or manifest row.
        first: String,
        /// Another.
        second: String,
    },
    /// A row of a manifest that cannot be used.
    #[error("{}, row {row}: {problem}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Row, counted from 1 as a text editor counts lines.
        row: u64,
        /// What is wrong and what to do.
        problem: String,
    },
    /// `--require-text` was given and transcripts are missing.
    #[error(
        "{missing} of {total} recordings have no transcript, the first being {first}; add them, or drop --require-text to make audio-only documents"
    )]
    MissingText {
        /// Recordings without a transcript.
        missing: usize,
        /// All recordings.
        total: usize,
        /// The first one without.
        first: String,
    },
    /// Codec and tokenizer do not fit.
    #[error(
        "codec {codec} has {codec_codebooks} codebooks of {codec_size} codes, but the tokenizer {} has ids for {codebooks} of {size}; \
         make a fitting one with `tokenize vocab --codebooks {codec_codebooks} --codebook-size {codec_size}`",
        tokenizer.display()
    )]
    CodecVocabulary {
        /// Name of the codec.
        codec: String,
        /// Its codebooks.
        codec_codebooks: usize,
        /// Codes in each.
        codec_size: usize,
        /// The tokenizer's folder.
        tokenizer: PathBuf,
        /// Codebooks it has ids for.
        codebooks: usize,
        /// Ids of each.
        size: usize,
    },
    /// An option that this codec does not have.
    #[error("codec {codec} only knows {option} {only}; drop {option}")]
    FixedOption {
        /// The codec.
        codec: String,
        /// The option.
        option: String,
        /// Its only value.
        only: String,
    },
    /// The output folder holds something else.
    #[error("{} is not empty and holds no tokenizing job ({found}); choose a new or empty folder", dir.display())]
    OtherData {
        /// The folder.
        dir: PathBuf,
        /// Some of what is in it.
        found: String,
    },
    /// The output folder holds another job.
    #[error("{} holds another job:\n{}\nrepeat that job's arguments to continue it, choose a new folder, or replace what differs with --overwrite", dir.display(), differences.join("\n"))]
    OtherJob {
        /// The folder.
        dir: PathBuf,
        /// One line for each thing that differs.
        differences: Vec<String>,
    },
    /// Another process is at work.
    #[error("another process is writing {} as worker {worker}; wait for it or stop it", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The number of both.
        worker: Worker,
    },
    /// The record of a finished unit cannot be read.
    #[error("{}: {problem}; remove the file and run again, which redoes this unit", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The input is not that of the source asked for.
    #[error("{location}: {problem}")]
    Layout {
        /// Where the input is.
        location: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Datasets that cannot become one.
    #[error(
        "{} and {} cannot be merged: their {what} differ ({first_has} and {second_has}); merge datasets that were made alike",
        first.display(), second.display()
    )]
    Unlike {
        /// A dataset.
        first: PathBuf,
        /// Another.
        second: PathBuf,
        /// What is not the same.
        what: &'static str,
        /// What the first has.
        first_has: String,
        /// What the second has.
        second_has: String,
    },
    /// Documents of one id in datasets that were to become one.
    #[error(
        "{n} ids occur more than once: {}; ids of a dataset must differ, so merge without one of these", shown.join("; ")
    )]
    RepeatedIds {
        /// How many there are.
        n: usize,
        /// Some of them, each with its files.
        shown: Vec<String>,
    },
    /// More documents than `--max-bad` allows cannot be spelled as text.
    #[error(
        "{bad} of {total} documents cannot be written as text, more than --max-bad {max_bad} allows: {}; they are listed in {}. \
         Export token ids with --to parquet or --to jsonl, or rerun with a larger --max-bad to go without them",
        list(reasons), list_file.display()
    )]
    Unspellable {
        /// Documents left out.
        bad: u64,
        /// All documents.
        total: u64,
        /// The fraction allowed.
        max_bad: f64,
        /// Documents by reason.
        reasons: BTreeMap<String, u64>,
        /// Where they are listed.
        list_file: PathBuf,
    },
    /// The parquet library could not write an export.
    #[error("cannot write {}: {cause}; check the disk's free space and run again", path.display())]
    WriteExport {
        /// The file.
        path: PathBuf,
        /// Its reason.
        cause: parquet::errors::ParquetError,
    },
    /// Reading of the input was stopped by those it was read for.
    #[error("stopped")]
    Stopped,
    /// More bad records than `--max-bad` allows.
    #[error(
        "{bad} of {total} utterances are bad, more than --max-bad {max_bad} allows: {}; they are listed in {}. \
         Repair them and tokenize into a new folder, or rerun with a larger --max-bad to finish without them",
        list(reasons), list_file.display()
    )]
    TooManyBad {
        /// Bad utterances.
        bad: u64,
        /// All utterances.
        total: u64,
        /// The fraction allowed.
        max_bad: f64,
        /// Bad utterances by reason.
        reasons: BTreeMap<String, u64>,
        /// Where they are listed.
        list_file: PathBuf,
    },
    /// Something else was given in place of a shard.
    #[error("{} is not a shard: it is no parquet file; give one of the files part-*.parquet that `tokenize` wrote", path.display())]
    NotAShard {
        /// The file.
        path: PathBuf,
    },
    /// A document asked for by id does not exist.
    #[error("{} has no document {id:?}; its first ids are {}", shard.display(), first.join(", "))]
    UnknownId {
        /// The shard.
        shard: PathBuf,
        /// The id asked for.
        id: String,
        /// Some ids it has.
        first: Vec<String>,
    },
    /// A document or shard without audio cannot be decoded.
    #[error("{}: {what} has no audio, so there is nothing to decode; choose another", shard.display())]
    NoCodes {
        /// The shard.
        shard: PathBuf,
        /// The document or the shard itself.
        what: String,
    },
    /// The codec at hand did not make the codes.
    #[error(
        "{} was made with codec {name} of weights {expected:.12}…, but {given} has weights {found:.12}…; give the right file with --codec",
        shard.display()
    )]
    OtherCodec {
        /// The shard.
        shard: PathBuf,
        /// Name of its codec.
        name: String,
        /// SHA-256 of that codec's weights.
        expected: String,
        /// The codec opened.
        given: String,
        /// SHA-256 of its weights.
        found: String,
    },
    /// The codec named in a shard cannot be opened.
    #[error(
        "{} was made with codec {name}, which cannot be opened from here: {cause}. \
         If it lies elsewhere, say where with --codec",
        shard.display()
    )]
    ShardCodec {
        /// The shard.
        shard: PathBuf,
        /// The codec as it was named when the shard was made.
        name: String,
        /// What is in the way.
        cause: Box<encodec_rs::Error>,
    },
    /// A file would be overwritten by what is made of it.
    #[error("the output {} is one of the inputs; choose another folder", path.display())]
    OverInput {
        /// The file.
        path: PathBuf,
    },
    /// A recording that a codec refuses.
    #[error("{}: {cause}", path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Box<encodec_rs::Error>,
    },
    /// An audio file, where it is not merely a bad record.
    #[error(transparent)]
    Audio(#[from] audio::Error),
    /// Inputs and outputs.
    #[error(transparent)]
    Stores(#[from] stores::Error),
    /// Shards, vocabulary or dataset.
    #[error(transparent)]
    Shards(#[from] shards::Error),
    /// Codec.
    #[error(transparent)]
    Codec(#[from] encodec_rs::Error),
}

impl Error {
    /// For `map_err`: the operating system refused `action` on `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Error::Io {
            action,
            path,
            cause,
        }
    }
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => "; check its permissions",
        io::ErrorKind::IsADirectory => "; give a file, not a folder",
        io::ErrorKind::StorageFull => "; free some disk space and run again to continue",
        _ => "",
    }
}

fn list(reasons: &BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = reasons
        .iter()
        .map(|(reason, n)| format!("{n} {reason}"))
        .collect();
    parts.join(", ")
}
