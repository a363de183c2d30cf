//! A finished dataset on this machine, wherever it lies.
//!
//! Shards are read here and there, in parallel, and by some commands twice, so one that lies in an object store is copied
//! before anything else is done with it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use shards::{Job, Manifest};
use stores::{Object, Store};
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::heartbeat;
use crate::summary::thousands;

/// A dataset's folder, or a temporary copy of it, which is removed with this.
pub struct Nearby {
    location: String,
    dir: PathBuf,
    _copy: Option<TempDir>,
}

impl Nearby {
    /// The dataset at a location, with all that belongs to it.
    ///
    /// # Errors
    /// Those of the store; of one that has to be copied also if it is none, or not finished.
    pub fn open(location: &str) -> Result<Self> {
        let is_needed = |path: &str| !path.starts_with(heartbeat::FOLDER);
        Nearby::of(&Store::open(location)?, is_needed)
    }

    /// The dataset in `store`, of which only the files that are needed have to be here.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of(store: &Store, is_needed: impl Fn(&str) -> bool) -> Result<Self> {
        let location = store.location().to_owned();
        if let Some(dir) = store.local() {
            return Ok(Nearby {
                dir: dir.to_owned(),
                location,
                _copy: None,
            });
        }
        refuse_unfinished(store)?;
        let mut objects = store.list("")?;
        objects.retain(|object| is_needed(&object.path));
        let temp = std::env::temp_dir();
        let copy = tempfile::tempdir().map_err(Error::io("create a folder in", &temp))?;
        let bytes = objects.iter().map(|object| object.size).sum();
        eprintln!(
            "note: {location} is copied to {}, {} bytes",
            copy.path().display(),
            thousands(bytes)
        );
        objects
            .par_iter()
            .try_for_each(|object| fetch(store, object, &copy.path().join(&object.path)))?;
        Ok(Nearby {
            location,
            dir: copy.path().to_owned(),
            _copy: Some(copy),
        })
    }

    /// Where it is, for messages.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The folder on this machine.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// In the words for a folder.
fn refuse_unfinished(store: &Store) -> Result<()> {
    if store.head(Manifest::FILE)?.is_some() {
        return Ok(());
    }
    let path = store.location().into();
    Err(match store.head(Job::FILE)? {
        Some(_) => shards::Error::Unfinished { path },
        None => shards::Error::NotADataset { path },
    }
    .into())
}

fn fetch(store: &Store, object: &Object, path: &Path) -> Result<()> {
    let folder = path.parent().expect("a file is in a folder");
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    let copied = io::copy(&mut store.reader(object)?, &mut file);
    copied.map_err(|error| match error.downcast::<stores::Error>() {
        Ok(error) => error.into(),
        Err(error) => Error::io("write", path)(error),
    })?;
    Ok(())
}
