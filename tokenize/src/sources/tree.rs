//! Recordings that are files of their own, in folders.

use std::io::Read;
use std::sync::atomic::Ordering::Relaxed;

use stores::{Object, Store};

use super::archive;
use crate::error::{Error, Result};
use crate::source::{Counted, Emit, Unit};

/// Input of a unit, in bytes: as much as makes a shard of some megabytes.
pub const UNIT_BYTES: u64 = 256 << 20;

/// A recording: left where it is on this machine, else read whole, with a request of its own.
pub fn recording(store: &Store, object: &Object, emit: &dyn Emit) -> Result<audio::Input> {
    if let Some(dir) = store.local() {
        emit.counter().fetch_add(object.size, Relaxed);
        return Ok(audio::Input::File(dir.join(&object.path)));
    }
    let mut data = Vec::new();
    let mut reader = Counted::new(store.reader(object)?, emit.counter());
    match reader.read_to_end(&mut data) {
        Ok(_) => Ok(archive::in_memory(&object.path, data)),
        Err(error) => Err(match error.downcast::<stores::Error>() {
            Ok(error) => error.into(),
            Err(error) => Error::io("read", object.path.as_ref())(error),
        }),
    }
}

/// A unit of several files; they count by name and version.
pub fn unit<'a>(name: &str, objects: impl Iterator<Item = &'a Object>) -> Unit {
    let (mut listing, mut files, mut bytes) = (String::new(), 0u64, 0);
    for object in objects {
        listing += &Unit::from(object).label;
        listing.push('\n');
        files += 1;
        bytes += object.size;
    }
    let hash = shards::sha256_hex(listing.as_bytes());
    Unit {
        label: format!("{name}, {files} files, {bytes} bytes, sha256 of the list {hash:.12}"),
        bytes,
    }
}
