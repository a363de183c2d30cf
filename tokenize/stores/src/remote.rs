//! What a place on the network has to offer, and reading from it through all that may go wrong.

use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Object;
use crate::error::{Error, Result};
use crate::retry::{Attempt, Failure, Place, Tries};

/// Size of the pieces in which bytes are passed on.
pub(crate) const PIECE: usize = 1 << 16;

/// Objects on the network. Paths are relative to the location, and have been checked.
pub(crate) trait Remote: Send + Sync {
    fn place(&self) -> &Place;

    /// The commit that all reads are of, where there are commits.
    fn revision(&self) -> Option<&str> {
        None
    }

    /// Everything below the folder `prefix`, in any order.
    fn list(&self, prefix: &str) -> Result<Vec<Object>>;

    fn head(&self, path: &str) -> Result<Option<Object>>;

    /// Asks once for a range of an object, which is not empty.
    fn get(&self, object: &Object, range: Range<u64>) -> Attempt<Download>;

    fn write(&self, path: &str, bytes: Vec<u8>) -> Result<()>;

    fn upload(&self, path: &str, file: &Path) -> Result<()>;

    fn delete(&self, path: &str) -> Result<()>;

    fn read_only(&self, path: &str, scheme: &'static str) -> Error {
        Error::ReadOnly {
            location: self.place().location.clone(),
            path: path.to_owned(),
            scheme,
        }
    }
}

/// The answer to [`Remote::get`].
pub(crate) struct Download {
    /// Where in the object `data` begins: at the range asked for, or at 0 if the server knows no ranges.
    pub start: u64,
    pub data: Box<dyn Read + Send>,
}

/// How [`fetch`] ended, when not with an error.
#[derive(Debug, PartialEq)]
pub(crate) enum Fetched {
    Complete,
    /// The server sends the whole object whatever is asked for.
    RangeIgnored,
    /// The sink wants no more.
    Stopped,
}

/// Passes the bytes of `range` to `sink`, in order and each once, until it returns false.
///
/// A connection that breaks is taken up at the byte where it broke. A server that knows no ranges is read from its first
/// byte if `skip` is set, and given up if not.
pub(crate) fn fetch(
    remote: &dyn Remote,
    object: &Object,
    range: Range<u64>,
    skip: bool,
    transferred: &AtomicU64,
    sink: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Fetched> {
    let mut tries = Tries::default();
    let mut at = range.start;
    while at < range.end {
        let before = at;
        let mut attempt = || {
            let mut download = remote.get(object, at..range.end)?;
            if download.start < at && !skip {
                return Ok(Fetched::RangeIgnored);
            }
            discard(&mut download.data, at - download.start, transferred)?;
            receive(&mut download.data, range.end, &mut at, transferred, sink)
        };
        let failure = match attempt() {
            Ok(Fetched::Complete) => break,
            Ok(early) => return Ok(early),
            Err(failure) => failure,
        };
        if at > before {
            tries.progressed();
        }
        tries.after(
            remote.place(),
            failure,
            &object.path,
            Some((at, object.size)),
        )?;
    }
    Ok(Fetched::Complete)
}

/// Reads up to `end`, moving `at` along.
fn receive(
    data: &mut dyn Read,
    end: u64,
    at: &mut u64,
    transferred: &AtomicU64,
    sink: &mut dyn FnMut(&[u8]) -> bool,
) -> Attempt<Fetched> {
    let mut piece = vec![0; PIECE];
    while *at < end {
        let length = PIECE.min((end - *at).try_into().unwrap_or(PIECE));
        let count = read(data, &mut piece[..length], transferred)?;
        if !sink(&piece[..count]) {
            return Ok(Fetched::Stopped);
        }
        *at += count as u64;
    }
    Ok(Fetched::Complete)
}

fn discard(data: &mut dyn Read, count: u64, transferred: &AtomicU64) -> Attempt<()> {
    let mut piece = vec![0; PIECE];
    let mut left = count;
    while left > 0 {
        let length = PIECE.min(left.try_into().unwrap_or(PIECE));
        left -= read(data, &mut piece[..length], transferred)? as u64;
    }
    Ok(())
}

/// At least one byte.
fn read(data: &mut dyn Read, buffer: &mut [u8], transferred: &AtomicU64) -> Attempt<usize> {
    match data.read(buffer) {
        Ok(0) => Err(Failure::passing("the answer ended too early")),
        Ok(count) => {
            transferred.fetch_add(count as u64, Ordering::Relaxed);
            Ok(count)
        }
        Err(e) => Err(Failure::passing(format!("the connection was cut off: {e}"))),
    }
}
