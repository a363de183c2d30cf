//! A run's state in host memory, and its way to the disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{CONFIG, EMA, MODEL, OPTIMIZER, STATE, State, TOKENIZER};
use crate::error::{Error, Result};
use crate::hf;
use crate::model::NamedTensor;
use crate::weights::{FloatType, MAX_SHARD_BYTES, write_weights};

/// All that a checkpoint is made of. Nothing in it is shared with the training that goes on.
pub struct Snapshot {
    /// Where the run stands; the hashes of files are filled in while they are written.
    pub state: State,
    /// Parameters.
    pub model: Vec<NamedTensor>,
    /// Moments of the optimizer.
    pub optimizer: Vec<NamedTensor>,
    /// Moving average of the parameters, where there is one.
    pub ema: Option<Vec<NamedTensor>>,
    /// The dataset's tokenizer folder, which is copied.
    pub tokenizer_dir: PathBuf,
}

impl Snapshot {
    /// Writes `step-N` into `folder`, replacing one that is there. It is written under another name, synced, and renamed, so
    /// that it is complete or absent at any instant.
    ///
    /// # Errors
    /// [`Error::Io`]: what was written is removed then, and what was there before is untouched.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let dir = folder.join(format!("step-{}", self.state.step));
        let partial = folder.join(format!(".step-{}.partial", self.state.step));
        let written = self.write_into(&partial).and_then(|()| {
            super::remove_dir(&dir)?;
            fs::rename(&partial, &dir).map_err(Error::io("write", &dir))?;
            sync(folder)
        });
        if let Err(error) = written {
            // so that a full disk has room again for metrics
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        Ok(dir)
    }

    fn write_into(&self, dir: &Path) -> Result<()> {
        let io = |path: &Path| Error::io("write", path);
        super::remove_dir(dir)?;
        fs::create_dir_all(dir).map_err(io(dir))?;
        let weights = |stem: &str, tensors: &[NamedTensor]| {
            let tensors = tensors.iter().map(Into::into);
            write_weights(dir, stem, tensors, FloatType::F32, MAX_SHARD_BYTES)
        };
        weights(MODEL, &self.model)?;
        weights(OPTIMIZER, &self.optimizer)?;
        if let Some(ema) = &self.ema {
            weights(EMA, ema)?;
        }
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
