//! A run's folder: `config.toml`, `metrics.jsonl`, `report.html`, `checkpoints/`, `tensorboard/`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use experiments::Plan;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::metrics::Record;
use crate::trackers::tensorboard::TensorBoard;
use crate::train::Cut;

/// `config.toml`: the resolved plan and the data it is run on; with them a run can be reproduced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The resolved experiment.
    #[serde(flatten)]
    pub plan: Plan,
    /// What it is run on.
    pub data: DataConfig,
    /// How its steps are cut to fit the device.
    pub cut: Cut,
}

/// The data of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Location of the mixture's components.
    pub path: String,
    /// Hash of its shards, as the loader gives it.
    pub sha256: String,
    /// Rows of the vocabulary.
    pub vocab_size: usize,
}

/// A run folder that no other process can open at the same time, and into which nothing of this run was written yet.
pub struct Claim {
    path: PathBuf,
    config: RunConfig,
    lock: File,
}

impl Claim {
    /// Takes a new folder, or one to continue when `resume` is set and it holds this run.
    ///
    /// # Errors
    /// A folder with another run or other data, or in use; I/O errors.
    pub fn open(path: &Path, config: RunConfig, resume: bool) -> Result<Self> {
        let config_path = path.join("config.toml");
        let exists = config_path.exists();
        if exists && !resume {
            return Err(Error::RunExists { dir: path.into() });
        }
        if !exists && holds_other_files(path)? {
            return Err(Error::NotARun { dir: path.into() });
        }
        let checkpoints = path.join("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(Error::io("create", &checkpoints))?;
        let lock = lock(path)?;
        if exists {
            check_same(&config_path, &config)?;
        }
        Ok(Self {
            path: path.into(),
            config,
            lock,
        })
    }

    /// Folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Writes the configuration, and drops the records after `step`, which the run will make again; without a step, all of
    /// them. Those that follow also go to TensorBoard, for which a new event file begins.
    ///
    /// # Errors
    /// I/O errors, and metrics that are not records.
    pub fn begin(self, step: Option<u64>) -> Result<RunDir> {
        let path = self.path.join("config.toml");
        // Also of a run that goes on: what may change is then as it is now.
        let text = toml::to_string(&self.config).expect("a configuration serialises");
        shards::write_atomic(&path, text.as_bytes()).map_err(Error::io("write", &path))?;
        let path = self.path.join("metrics.jsonl");
        rewind(&path, step)?;
        let metrics = open_append(&path)?;
        let length = metrics.metadata().map_err(Error::io("read", &path))?.len();
        let first_step = step.map_or(0, |step| step + 1);
        let tensorboard = TensorBoard::start(&self.path, first_step)
            .map_err(Error::io("write an event file below", &self.path))?;
        Ok(RunDir {
            path: self.path,
            metrics,
            length,
            pending: Vec::new(),
            tensorboard,
            _lock: self.lock,
        })
    }
}

/// The folder of a run that is going on.
pub struct RunDir {
    path: PathBuf,
    metrics: File,
    /// Of the whole lines in `metrics`.
    length: u64,
    /// Lines that could not be written yet.
    pending: Vec<u8>,
    tensorboard: TensorBoard,
    _lock: File,
}

impl RunDir {
    /// How the steps of the run in a folder were cut, if there is one.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub fn cut(path: &Path) -> Result<Option<Cut>> {
        let path = path.join("config.toml");
        if !path.exists() {
            return Ok(None);
        }
        let table = read_table(&path)?;
        let cut = table.get("cut").cloned();
        let cut = cut.map(|cut| cut.try_into().map_err(|e| damaged(&path)(e)));
        cut.transpose()
    }

    /// The plan of the run in a folder.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub fn plan(path: &Path) -> Result<Plan> {
        let path = path.join("config.toml");
        let config: RunConfig = read_table(&path)?.try_into().map_err(damaged(&path))?;
        Ok(config.plan)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Waits until the records are on the disk, so that no checkpoint is ahead of them.
    ///
    /// # Errors
    /// I/O errors.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        let path = self.path.join("metrics.jsonl");
        self.metrics.sync_data().map_err(Error::io("sync", &path))
    }

    /// Appends a record in one write, and to TensorBoard's event file in another.
    ///
    /// # Errors
    /// I/O errors. The record is kept, and written with the next one.
    pub fn record(&mut self, record: &Record) -> Result<()> {
        let line = record.to_line().expect("a record serialises");
        self.pending.extend_from_slice(line.as_bytes());
        self.flush()?;
        self.tensorboard
            .record(record)
            .map_err(Error::io("write", self.tensorboard.path()))
    }

    fn flush(&mut self) -> Result<()> {
        if let Err(error) = self.metrics.write_all(&self.pending) {
            // A part of a line may have been written; without it the file is whole.
            let _ = self.metrics.set_len(self.length);
            return Err(Error::io("write", &self.path.join("metrics.jsonl"))(error));
        }
        self.length += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

/// Keeps the records up to a step; without one, none.
fn rewind(path: &Path, step: Option<u64>) -> Result<()> {
    let keep = |record: &Record| match (record, step) {
        (_, None) => false,
        (Record::Run(_), Some(_)) => true,
        (Record::Train(train), Some(step)) => train.step <= step,
        (Record::Validation(validation), Some(step)) => validation.step <= step,
    };
    let mut kept = String::new();
    if path.exists() {
        // The lines themselves are kept: a number parsed and printed again may differ in its last digit.
        let records = Record::read_all(path)?;
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        for (line, _) in text
            .lines()
            .zip(&records)
            .filter(|(_, record)| keep(record))
        {
            kept += line;
            kept += "\n";
        }
    }
    shards::write_atomic(path, kept.as_bytes()).map_err(Error::io("write", path))
}

fn open_append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::io("open", path))
}

/// Data that were made for the run alone lie in this folder of it.
pub const OWN_DATA: &str = "data";

/// Whether a folder holds anything but what a run killed at its start leaves.
fn holds_other_files(path: &Path) -> Result<bool> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    for entry in entries {
        let name = entry.map_err(Error::io("read", path))?.file_name();
        let name = name.to_string_lossy();
        let expected = ["checkpoints", "run.lock", OWN_DATA].contains(&&*name);
        if !expected && !name.contains("config.toml") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Held until the process ends, however it ends.
fn lock(path: &Path) -> Result<File> {
    let lock_path = path.join("run.lock");
    let file = File::create(&lock_path).map_err(Error::io("create", &lock_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Locked { dir: path.into() }),
        Err(fs::TryLockError::Error(e)) => Err(Error::io("lock", &lock_path)(e)),
    }
}

fn read_table(path: &Path) -> Result<toml::Table> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    toml::from_str(&text).map_err(damaged(path))
}

fn damaged(path: &Path) -> impl Fn(toml::de::Error) -> Error {
    move |e| Error::Damaged {
        path: path.into(),
        message: e.to_string(),
    }
}

/// What may change when a run goes on: where its data are, how it is cut, rounded and watched; not what it learns from what.
const MAY_CHANGE: [&str; 6] = [
    "data.path",
    "cut.",
    "precision",
    "log_every",
    "checkpoint.",
    "anneal.from",
];

fn check_same(path: &Path, config: &RunConfig) -> Result<()> {
    let there = read_table(path)?;
    let now: toml::Table =
        toml::from_str(&toml::to_string(config).expect("a configuration serialises"))
            .map_err(damaged(path))?;
    let mut differences = Vec::new();
    compare("", &there, &now, &mut differences);
    match differences.is_empty() {
        true => Ok(()),
        false => Err(Error::OtherRun {
            config: path.into(),
            differences: differences.join(", "),
        }),
    }
}

/// Lists `key there → now`, except for what may change.
fn compare(prefix: &str, there: &toml::Table, now: &toml::Table, out: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<&String> = there.keys().chain(now.keys()).collect();
    for key in keys {
        let name = format!("{prefix}{key}");
        match (there.get(key), now.get(key)) {
            (Some(toml::Value::Table(a)), Some(toml::Value::Table(b))) => {
                compare(&format!("{name}."), a, b, out)
            }
            (a, b) if a != b && !MAY_CHANGE.iter().any(|key| name.starts_with(key)) => {
                let show = |value: Option<&toml::Value>| {
                    value.map_or("absent".to_string(), |value| value.to_string())
                };
                out.push(format!("{name} {} → {}", show(a), show(b)));
            }
            _ => {}
        }
    }
}
