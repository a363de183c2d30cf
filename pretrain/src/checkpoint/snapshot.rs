//! A run's state in host memory, and its way to the disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{CONFIG, EMA, MODEL, OPTIMIZER, STATE, State, TOKENIZER};
use crate::error::{Error, Result};
use crate::hf;
use crate::model::Part;
use crate::weights::{FloatType, PartFiles};
use crate::world::World;

/// All that a checkpoint is made of, or one process's share of it. Nothing in it is shared with the training that goes on.
pub struct Snapshot {
    /// The processes that write it together.
    pub world: World,
    /// Where the run stands; the hashes of files are filled in while they are written.
    pub state: State,
    /// Parameters.
    pub model: Vec<Part>,
    /// Moments of the optimizer.
    pub optimizer: Vec<Part>,
    /// Moving average of the parameters, where there is one.
    pub ema: Option<Vec<Part>>,
    /// The dataset's tokenizer folder, which is copied.
    pub tokenizer_dir: PathBuf,
}

impl Snapshot {
    /// Writes `step-N` into `folder`, replacing one that is there. It is written under another name, synced, and renamed, so
    /// that it is complete or absent at any instant. All processes call this; the first returns when it is there.
    ///
    /// # Errors
    /// [`Error`], on this process or another: what was written is removed then, and what was there before is untouched.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let dir = folder.join(format!("step-{}", self.state.step));
        let partial = folder.join(format!(".step-{}.partial", self.state.step));
        let first = self.world.is_first();
        let written = self.write_into(&partial).and_then(|()| {
            if first {
                self.finish(&partial)?;
                super::remove_dir(&dir)?;
                fs::rename(&partial, &dir).map_err(Error::io("write", &dir))?;
                sync(folder)?;
            }
            Ok(())
        });
        if let Err(error) = written {
            if first {
                // so that a full disk has room again for metrics
                let _ = fs::remove_dir_all(&partial);
            }
            return Err(error);
        }
        Ok(dir)
    }

    /// The tensors: the first process makes the files, then each writes its parts.
    fn write_into(&self, dir: &Path) -> Result<()> {
        let sets = [
            (MODEL, Some(&self.model)),
            (OPTIMIZER, Some(&self.optimizer)),
            (EMA, self.ema.as_ref()),
        ];
        let sets = sets
            .into_iter()
            .filter_map(|(stem, parts)| Some((stem, parts?)));
        let files: Vec<_> = sets
            .map(|(stem, parts)| (PartFiles::of(dir, stem, parts), parts))
            .collect();
        self.all(|| {
            if !self.world.is_first() {
                return Ok(());
            }
            super::remove_dir(dir)?;
            fs::create_dir_all(dir).map_err(Error::io("write", dir))?;
            Ok(files.iter().try_for_each(|(files, _)| files.create())?)
        })?;
        self.all(|| {
            Ok(files
                .iter()
                .try_for_each(|(files, parts)| files.write(parts))?)
        })
    }

    /// Does a part of the work, and waits until all processes have: it fails on all of them if it does on one.
    fn all(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let mine = work();
        let all = self.world.agree(mine.is_ok());
        mine?;
        match all {
            true => Ok(()),
            false => Err(Error::World(
                "another rank could not write its part; it says why".into(),
            )),
        }
    }

    /// All but the tensors.
    fn finish(&self, dir: &Path) -> Result<()> {
        let io = |path: &Path| Error::io("write", path);
        for name in TOKENIZER {
            let to = dir.join(name);
            fs::copy(self.tokenizer_dir.join(name), &to).map_err(io(&to))?;
        }
        let config = hf::config_json(
            &self.state.plan.model,
            self.state.vocab_size,
            FloatType::F32,
        );
        write_json(&dir.join(CONFIG), &config)?;
        let mut state = self.state.clone();
        state.files = hashes(dir)?;
        write_json(&dir.join(STATE), &state)?;
        for path in files(dir)? {
            sync(&path)?;
        }
        sync(dir)
    }
}

/// SHA-256 of each file of a folder.
fn hashes(dir: &Path) -> Result<std::collections::BTreeMap<String, String>> {
    let hash = |path: &PathBuf| {
        let name = path.file_name().expect("a file of a folder has a name");
        let hash = shards::sha256_file(path).map_err(Error::io("read", path))?;
        Ok((name.to_string_lossy().into_owned(), hash))
    };
    files(dir)?.par_iter().map(hash).collect()
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    let path = |entry: std::io::Result<fs::DirEntry>| entry.map(|entry| entry.path());
    entries
        .map(path)
        .collect::<std::io::Result<_>>()
        .map_err(Error::io("read", dir))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("plain data serialises") + "\n";
    fs::write(path, text).map_err(Error::io("write", path))
}

fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("sync", path))
}
