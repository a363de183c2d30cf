//! One dataset of a component, in a folder of the data location: its shards, and the files that say what they are.
//!
//! Shards are read where they are. The small files (manifest, tokenizer) of a dataset in an object store are copied to the cache
//! of this machine, in a folder named by the manifest's hash.

use crate::error::{Error, Result};
use bytes::Bytes;
use shards::{Manifest, ReadAt, ShardEntry, ShardReader};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use stores::{Object, Store};

/// Tries of a read that fails for a reason that may pass.
const TRIES: u32 = 4;
/// Wait before the second try; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// A finished dataset.
pub(crate) struct Source {
    store: Store,
    /// Where messages say it is.
    pub path: PathBuf,
    /// Folder on this machine with `tokenizer/`.
    pub local: PathBuf,
    pub manifest: Manifest,
    /// The shards, in the manifest's order.
    objects: Vec<Object>,
}

impl Source {
    /// Opens the dataset `name` of `data`, and checks that its shards are there with the sizes of the manifest.
    ///
    /// `Ok(None)` if there is no such folder.
    pub(crate) fn open(data: &Store, name: &str, cache: &Path) -> Result<Option<Self>> {
        let listed = data.list(name)?;
        if listed.is_empty() {
            return Ok(None);
        }
        let path = Path::new(data.location()).join(name);
        let by_path: BTreeMap<&str, &Object> =
            listed.iter().map(|o| (o.path.as_str(), o)).collect();
        let manifest_path = format!("{name}/{}", Manifest::FILE);
        let local = match data.local() {
            Some(root) => root.join(name),
            None => copy(data, name, &manifest_path, &listed, cache)?,
        };
        let Some(manifest) = Manifest::read(&local)? else {
            return Err(Error::Unfinished { path });
        };
        let object = |entry: &ShardEntry| {
            let problem = |problem| Error::Changed {
                path: path.join(&entry.file),
                problem,
            };
            let wanted = entry.summary.bytes;
            let found = by_path.get(format!("{name}/{}", entry.file).as_str());
            let found = found.ok_or_else(|| problem("it is gone".to_owned()))?;
            match found.size == wanted {
                true => Ok((*found).clone()),
                false => Err(problem(format!(
                    "it has {} bytes, and {wanted} by {}",
                    found.size,
                    Manifest::FILE
                ))),
            }
        };
        Ok(Some(Self {
            objects: manifest.shards.iter().map(object).collect::<Result<_>>()?,
            store: data.clone(),
            path,
            local,
            manifest,
        }))
    }

    /// The shards, in order.
    pub(crate) fn shards(&self) -> &[ShardEntry] {
        &self.manifest.shards
    }

    /// Opens a shard.
    pub(crate) fn reader(&self, shard: usize) -> Result<ShardReader> {
        let entry = &self.shards()[shard];
        let file = File {
            store: self.store.clone(),
            object: self.objects[shard].clone(),
        };
        let path = self.path.join(&entry.file);
        Ok(ShardReader::open_at(&path, Arc::new(file))?)
    }
}

/// Copies the manifest and the tokenizer of a dataset, which appear when they are complete.
fn copy(
    data: &Store,
    name: &str,
    manifest_path: &str,
    listed: &[Object],
    cache: &Path,
) -> Result<PathBuf> {
    let path = || Path::new(data.location()).join(name);
    let Some(manifest) = data.read(manifest_path)? else {
        return Err(Error::Unfinished { path: path() });
    };
    let folder = cache.join("datasets").join(shards::sha256_hex(&manifest));
    if folder.is_dir() {
        return Ok(folder);
    }
    let failed = |source: io::Error| Error::Cache {
        path: folder.clone(),
        source,
    };
    let parent = folder.parent().expect("it has one");
    fs::create_dir_all(parent).map_err(failed)?;
    let partial = tempfile::tempdir_in(parent).map_err(failed)?;
    fs::write(partial.path().join(Manifest::FILE), &manifest).map_err(failed)?;
    fs::create_dir(partial.path().join("tokenizer")).map_err(failed)?;
    let prefix = format!("{name}/tokenizer/");
    for object in listed {
        if let Some(file) = object
            .path
            .strip_prefix(&prefix)
            .filter(|file| !file.contains('/'))
        {
            let content = data.read(&object.path)?.unwrap_or_default();
            fs::write(partial.path().join("tokenizer").join(file), content).map_err(failed)?;
        }
    }
    match fs::rename(partial.keep(), &folder) {
        // another process was faster
        Err(_) if folder.is_dir() => Ok(folder.clone()),
        renamed => renamed.map(|()| folder.clone()).map_err(failed),
    }
}

/// A shard's file. Reads of a store are tried again by the store itself; those of a disk, which may be a network's, here.
struct File {
    store: Store,
    object: Object,
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.object.size)
    }

    fn read_at(&self, range: Range<u64>) -> io::Result<Bytes> {
        let read = || {
            let bytes = self.store.read_range(&self.object, range.clone())?;
            Ok(Bytes::from(bytes))
        };
        match self.store.local() {
            Some(_) => patiently(FIRST_WAIT, read),
            None => read(),
        }
    }
}

/// Runs `read` again, after a while, if it fails for a reason that may pass.
fn patiently<T>(first_wait: Duration, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut tries = 1;
    loop {
        match read() {
            Err(error) if tries < TRIES && may_pass(error.kind()) => {
                thread::sleep(first_wait * 2u32.pow(tries - 1));
                tries += 1;
            }
            done => return done,
        }
    }
}

fn may_pass(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        InvalidInput, IsADirectory, NotFound, Other, PermissionDenied, UnexpectedEof,
    };
    // `Other` is what the store itself says, such as that the file has changed
    !matches!(
        kind,
        InvalidInput | IsADirectory | NotFound | Other | PermissionDenied | UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        let tries = |kind: io::ErrorKind, failures: u32| {
            let count = Cell::new(0);
            let result = patiently(Duration::ZERO, || {
                count.set(count.get() + 1);
                match count.get() <= failures {
                    true => Err(io::Error::from(kind)),
                    false => Ok(()),
                }
            });
            (count.get(), result.is_ok())
        };
        assert_eq!(tries(io::ErrorKind::TimedOut, 2), (3, true));
        assert_eq!(
            tries(io::ErrorKind::StaleNetworkFileHandle, 9),
            (TRIES, false)
        );
        assert_eq!(tries(io::ErrorKind::NotFound, 1), (1, false));
    }
}
