//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::hub::KNOWN;

/// Errors of every codec.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to encode.
    #[error("the audio has no samples; leave empty recordings out")]
    EmptyAudio,
    /// A sample is NaN or infinite.
    #[error("sample {index} is {value}, not a finite number; repair or leave out this recording")]
    NotFinite {
        /// Position in the audio, counted from 0.
        index: usize,
        /// The sample.
        value: f32,
    },
    /// A precision that only the processor has.
    #[error("codecs compute in f32 on a GPU; drop --precision bf16, or take --backend cpu")]
    DevicePrecision,
    /// A code lies outside its codebook.
    #[error(
        "frame {frame}, codebook {codebook}: code {code} is out of range, codes go from 0 to {}; \
         were these codes made by another codec?", size - 1
    )]
    CodeOutOfRange {
        /// Frame, counted from 0.
        frame: usize,
        /// Codebook, counted from 0.
        codebook: usize,
        /// The value found.
        code: u16,
        /// Entries of the codebook.
        size: usize,
    },
    /// The number of codes does not divide into frames.
    #[error(
        "{len} codes do not divide into frames of {codebooks} codebooks; the last frame is cut off"
    )]
    RaggedCodes {
        /// Codes found.
        len: usize,
        /// Codes of a frame.
        codebooks: usize,
    },
    /// Loudness that does not belong to the codes.
    #[error(
        "the codes have the loudness of {found} chunks and are {chunks}; give all that encoding gave, or none"
    )]
    ScaleCount {
        /// Scales found.
        found: usize,
        /// Chunks of the codes.
        chunks: usize,
    },
    /// Interleaved samples that do not divide into channels.
    #[error(
        "{len} samples do not divide into {channels} channels; give them interleaved, all channels of a time together"
    )]
    RaggedSamples {
        /// Samples found.
        len: usize,
        /// Channels of the codec.
        channels: usize,
    },
    /// Codes with a number of codebooks that the codec cannot decode.
    #[error("the codes have {found} codebooks; this codec decodes 1 to {limit}")]
    CodebookCount {
        /// Codebooks of the codes.
        found: usize,
        /// Codebooks of the codec.
        limit: usize,
    },
    /// More codebooks asked for than the model has.
    #[error(
        "`{name}` has {available} codebooks; {asked} were asked for, choose from 1 to {available}"
    )]
    TooManyCodebooks {
        /// The codec.
        name: String,
        /// Codebooks asked for.
        asked: usize,
        /// Codebooks the model has.
        available: usize,
    },
    /// No codec has this name.
    #[error(
        "unknown codec `{name}`; known: `mel-rvq` (embedded), {}, any other `OWNER/NAME` of the Hugging Face hub, the folder \
         of a `config.json` and `model.safetensors`, or the path of a mel-RVQ `.safetensors` file",
        known()
    )]
    UnknownCodec {
        /// The name asked for.
        name: String,
    },
    /// A codec or model can be had neither from the cache nor from the hub.
    #[error("`{file}` of `{repo}` is not in the cache {} and cannot be downloaded ({advice}): {reason}", cache.display())]
    Download {
        /// The repository, `OWNER/NAME`.
        repo: String,
        /// The file wanted.
        file: String,
        /// The cache looked in.
        cache: PathBuf,
        /// What can be done without it.
        advice: &'static str,
        /// What stands in the way, and what to do about it.
        reason: String,
    },
    /// A codec file cannot be used.
    #[error("{}: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Too little audio to fit the codebooks.
    #[error(
        "training found {found} frames of audio ({:.0} s) and needs at least {needed} ({:.0} s); add recordings",
        *found as f64 * frame_secs, *needed as f64 * frame_secs
    )]
    TooLittleAudio {
        /// Frames found.
        found: usize,
        /// Frames needed.
        needed: usize,
        /// Seconds of a frame.
        frame_secs: f64,
    },
    /// A training recording cannot be used.
    #[error("training recording {index} (counted from 0): {source}")]
    Recording {
        /// Position in the list given.
        index: usize,
        /// What is wrong with it.
        source: Box<Error>,
    },
}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

fn known() -> String {
    let names: Vec<_> = KNOWN.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
