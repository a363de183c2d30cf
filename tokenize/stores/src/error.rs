//! What is told to the caller.

use std::io;
use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A location that cannot be opened.
    #[error("{location}: {reason}")]
    Location {
        /// As it was given.
        location: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A path that names no object of any location.
    #[error(
        "{location}: `{path}` is no path of an object; give names joined by `/`, without `.`, `..` or empty ones"
    )]
    Path {
        /// The store's location.
        location: String,
        /// As it was given.
        path: String,
    },
    /// A local file or folder that cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Disk {
        /// What was tried: `read`, `list`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A local name that no object path can hold.
    #[error("{}: the name is not UTF-8; rename the file", path.display())]
    Name {
        /// The file or folder.
        path: PathBuf,
    },
    /// An object that is no longer the one listed.
    #[error(
        "{location}: {path} changed while it was read, at byte {offset} of {size}: {cause}; start again with what is there now"
    )]
    Changed {
        /// The store's location.
        location: String,
        /// The object, relative to the location.
        path: String,
        /// Bytes read of it.
        offset: u64,
        /// Bytes it had when it was listed.
        size: u64,
        /// How the change was seen.
        cause: String,
    },
    /// A request that failed, after as many attempts as make sense.
    #[error("{location}: {path}{}: {cause} ({}); {advice}", at(*offset), attempts_text(*attempts))]
    Request {
        /// The store's location.
        location: String,
        /// The object or folder, relative to the location; empty for the location itself.
        path: String,
        /// Where in the object, if it was being read.
        offset: Option<u64>,
        /// What happened at the last attempt.
        cause: String,
        /// Attempts in a row, none of which brought a byte.
        attempts: u32,
        /// What to do.
        advice: String,
    },
    /// A location that is only read from.
    #[error(
        "{location}: {path} cannot be written, because {scheme} locations are only read; write to a folder, s3://, gs:// or az://"
    )]
    ReadOnly {
        /// The store's location.
        location: String,
        /// The object, relative to the location.
        path: String,
        /// `http` or `hf`.
        scheme: &'static str,
    },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Disk { ref source, .. } => Self::new(source.kind(), error),
            _ => Self::other(error),
        }
    }
}

fn at(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" at byte {offset}"))
}

fn attempts_text(attempts: u32) -> String {
    match attempts {
        1 => "1 attempt".to_owned(),
        n => format!("{n} attempts"),
    }
}
