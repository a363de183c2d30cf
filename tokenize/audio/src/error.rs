//! What can be wrong with an audio file, and what to do about it.

use std::io;
use std::path::Path;

use crate::decode::RATE_RANGE_HZ;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A file that cannot be read, decoded, resampled or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to open, read or write the file.
    #[error("{name}: {cause}; {}", io_advice(cause))]
    Io {
        /// Path of the file, or name of the bytes.
        name: String,
        /// The operating system's error.
        cause: io::Error,
    },
    /// No known container or codec.
    #[error(
        "{name}: not audio symphonia knows ({detail}); convert it to wav, flac, mp3, ogg/vorbis, opus or m4a/aac, or leave it out"
    )]
    NotAudio {
        /// Path of the file, or name of the bytes.
        name: String,
        /// What the reader said.
        detail: String,
    },
    /// A known container whose contents do not decode.
    #[error(
        "{name}: corrupt audio after {decoded_secs:.2} s ({detail}); fetch the file again or leave it out"
    )]
    Corrupt {
        /// Path of the file, or name of the bytes.
        name: String,
        /// Seconds that decoded before the fault.
        decoded_secs: f64,
        /// What the decoder said.
        detail: String,
    },
    /// The file ends before its container says so.
    #[error("{name}: truncated: {decoded_secs:.2} s decoded{}; fetch the file again or leave it out", promised(*expected_secs))]
    Truncated {
        /// Path of the file, or name of the bytes.
        name: String,
        /// Seconds that decoded.
        decoded_secs: f64,
        /// Seconds the container promises, where it does.
        expected_secs: Option<f64>,
    },
    /// No samples at all.
    #[error("{name}: no audio samples in the file; leave it out")]
    Empty {
        /// Path of the file, or name of the bytes.
        name: String,
    },
    /// A sample rate outside [`RATE_RANGE_HZ`].
    #[error(
        "{name}: sample rate {rate_hz} Hz is outside {}..={} Hz; convert the file to a rate in that range, or correct its header",
        RATE_RANGE_HZ.start(), RATE_RANGE_HZ.end()
    )]
    Rate {
        /// Path of the file, or name of the bytes.
        name: String,
        /// The rate its header gives.
        rate_hz: u32,
    },
    /// A sample that is NaN or infinite.
    #[error(
        "{name}: sample {index} is {value}; rewrite the file with finite samples or leave it out"
    )]
    NotFinite {
        /// Path of the file, or name of the bytes.
        name: String,
        /// Index of the first such sample, at the file's own rate.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A rate that cannot be converted.
    #[error("cannot resample {from_hz} Hz to {to_hz} Hz: {detail}")]
    Resample {
        /// Input rate.
        from_hz: u32,
        /// Output rate.
        to_hz: u32,
        /// Why.
        detail: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, cause: io::Error) -> Self {
        Error::Io {
            name: path.display().to_string(),
            cause,
        }
    }

    /// Short key under which files with this error are counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::Io { .. } => "io",
            Error::NotAudio { .. } => "not-audio",
            Error::Corrupt { .. } => "corrupt",
            Error::Truncated { .. } => "truncated",
            Error::Empty { .. } => "empty",
            Error::Rate { .. } | Error::Resample { .. } => "rate",
            Error::NotFinite { .. } => "nan",
        }
    }
}

fn io_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give yourself read permission (chmod u+r) or run as a user who has it"
        }
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::IsADirectory => {
            "a directory has the name of an audio file: rename or move it"
        }
        io::ErrorKind::StorageFull => "free some disk space and run again",
        _ => "check the disk and the file, then run again",
    }
}

fn promised(expected_secs: Option<f64>) -> String {
    match expected_secs {
        Some(secs) => format!(" of the {secs:.2} s its header gives"),
        None => ", then the file ends in the middle of its stream".to_owned(),
    }
}
