//! A copy of a run in another place, such as an object store, from which it goes on when its machine is gone.

use std::fs::{self, File};
use std::path::Path;

use stores::{Object, Store};

use super::{Checkpoint, STATE, remove_dir, step_of, steps};
use crate::error::{Error, Result};

/// Files of a run besides its checkpoints.
const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const REPORT: &str = "report.html";

/// The copy of one run: its configuration, metrics, report and checkpoints, under the same names.
///
/// A checkpoint is there when its `state.json` is, which is uploaded last and deleted first.
#[derive(Clone)]
pub struct Mirror {
    store: Store,
}

impl Mirror {
    /// Opens a location; see [`stores`] for its forms.
    ///
    /// # Errors
    /// A location that cannot be.
    pub fn open(location: &str) -> Result<Self> {
        Ok(Self {
            store: Store::open(location)?,
        })
    }

    /// Copies a checkpoint, and the metrics first, so that no checkpoint is ahead of them.
    ///
    /// # Errors
    /// Those of the store.
    pub fn push(&self, run_dir: &Path, step: u64) -> Result<()> {
        for name in [CONFIG, METRICS, REPORT] {
            let path = run_dir.join(name);
            if path.exists() {
                let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
                self.store.write(name, &bytes)?;
            }
        }
        let folder = format!("checkpoints/step-{step}");
        let local = run_dir.join(&folder);
        let state = fs::read(local.join(STATE)).map_err(Error::io("read", &local))?;
        let files = Checkpoint::open(&local)?.state.files;
        for name in files.keys() {
            let place = format!("{folder}/{name}");
            self.store.upload(&place, &local.join(name))?;
        }
        self.store.write(&format!("{folder}/{STATE}"), &state)?;
        Ok(())
    }

    /// Steps of the complete checkpoints, in order.
    ///
    /// # Errors
    /// Those of the store.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let objects = self.store.list("checkpoints")?;
        let step = |object: &Object| {
            let mut parts = object.path.rsplit('/');
            (parts.next() == Some(STATE)).then(|| step_of(parts.next()?))?
        };
        let mut steps: Vec<u64> = objects.iter().filter_map(step).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Removes a checkpoint.
    ///
    /// # Errors
    /// Those of the store.
    pub fn remove(&self, step: u64) -> Result<()> {
        let folder = format!("checkpoints/step-{step}");
        self.store.delete(&format!("{folder}/{STATE}"))?;
        for object in self.store.list(&folder)? {
            self.store.delete(&object.path)?;
        }
        Ok(())
    }

    /// Brings the newest usable checkpoint into a run's folder, unless that has one as new: with the metrics, and the
    /// configuration if the folder has none. What is wrong with damaged ones is told.
    ///
    /// # Errors
    /// Those of the store and of the disk.
    pub fn fetch(&self, run_dir: &Path) -> Result<Vec<String>> {
        let folder = run_dir.join("checkpoints");
        let here = steps(&folder)?.last().copied();
        let mut damaged = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            if Some(step) <= here {
                break;
            }
            let partial = folder.join(format!(".step-{step}.partial"));
            self.download(step, &partial)?;
            match Checkpoint::open(&partial).and_then(Checkpoint::verified) {
                Ok(_) => {
                    if !run_dir.join(CONFIG).exists() {
                        self.copy(CONFIG, run_dir)?;
                    }
                    self.copy(METRICS, run_dir)?;
                    let dir = folder.join(format!("step-{step}"));
                    fs::rename(&partial, &dir).map_err(Error::io("write", &dir))?;
                    break;
                }
                Err(error) => {
                    let place = self.store.location();
                    damaged.push(format!("step {step} of {place}: {error}"));
                    remove_dir(&partial)?;
                }
            }
        }
        Ok(damaged)
    }

    fn download(&self, step: u64, to: &Path) -> Result<()> {
        remove_dir(to)?;
        fs::create_dir_all(to).map_err(Error::io("create", to))?;
        for object in self.store.list(&format!("checkpoints/step-{step}"))? {
            let name = object
                .path
                .rsplit('/')
                .next()
                .expect("a path has a last part");
            let path = to.join(name);
            let mut file = File::create(&path).map_err(Error::io("create", &path))?;
            std::io::copy(&mut self.store.reader(&object)?, &mut file)
                .map_err(Error::io("download to", &path))?;
            file.sync_all().map_err(Error::io("sync", &path))?;
        }
        Ok(())
    }

    fn copy(&self, name: &str, run_dir: &Path) -> Result<()> {
        if let Some(bytes) = self.store.read(name)? {
            let path = run_dir.join(name);
            shards::write_atomic(&path, &bytes).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }
}
