//! A run's folder: `config.toml`, `metrics.jsonl`, `report.html`, `checkpoints/`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use experiments::Plan;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::metrics::Record;

/// `config.toml`: the resolved plan and the data it is run on; with them a run can be reproduced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The resolved experiment.
    #[serde(flatten)]
    pub plan: Plan,
    /// What it is run on.
    pub data: DataConfig,
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

/// An open run folder; no other process can open it at the same time.
pub struct RunDir {
    path: PathBuf,
    metrics: File,
    _lock: File,
}

impl RunDir {
    /// Creates the folder, or opens it to continue when `resume` is set and it holds this run.
    ///
    /// # Errors
    /// A folder with another run or other data, or in use; I/O errors.
    pub fn open(path: &Path, config: &RunConfig, resume: bool) -> Result<Self> {
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
        match exists {
            true => check_same(&config_path, config)?,
            false => {
                let text = toml::to_string(config).expect("a configuration serialises");
                shards::write_atomic(&config_path, text.as_bytes())
                    .map_err(Error::io("write", &config_path))?;
            }
        }
        let metrics_path = path.join("metrics.jsonl");
        let metrics = open_append(&metrics_path)?;
        Ok(Self {
            path: path.into(),
            metrics,
            _lock: lock,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Drops the records after `step`, which the run will make again; without a step, all of them.
    ///
    /// # Errors
    /// I/O errors, and metrics that are not records.
    pub fn rewind(&mut self, step: Option<u64>) -> Result<()> {
        let path = self.path.join("metrics.jsonl");
        let keep = |record: &Record| match (record, step) {
            (_, None) => false,
            (Record::Run(_), Some(_)) => true,
            (Record::Train(train), Some(step)) => train.step <= step,
            (Record::Validation(validation), Some(step)) => validation.step <= step,
        };
        // The lines themselves are kept: a number parsed and printed again may differ in its last digit.
        let records = Record::read_all(&path)?;
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let lines = text
            .lines()
            .zip(&records)
            .filter(|(_, record)| keep(record));
        let text: String = lines.map(|(line, _)| format!("{line}\n")).collect();
        shards::write_atomic(&path, text.as_bytes()).map_err(Error::io("write", &path))?;
        self.metrics = open_append(&path)?;
        Ok(())
    }

    /// Waits until the records are on the disk, so that no checkpoint is ahead of them.
    ///
    /// # Errors
    /// I/O errors.
    pub fn sync(&self) -> Result<()> {
        let path = self.path.join("metrics.jsonl");
        self.metrics.sync_data().map_err(Error::io("sync", &path))
    }

    /// Appends a record in one write.
    ///
    /// # Errors
    /// I/O errors.
    pub fn record(&mut self, record: &Record) -> Result<()> {
        let path = self.path.join("metrics.jsonl");
        let line = record.to_line().expect("a record serialises");
        self.metrics
            .write_all(line.as_bytes())
            .map_err(Error::io("write", &path))
    }
}

fn open_append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::io("open", path))
}

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
        if name != "checkpoints" && name != "run.lock" && !name.contains("config.toml") {
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

fn check_same(path: &Path, config: &RunConfig) -> Result<()> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let damaged = |e: toml::de::Error| Error::Damaged {
        path: path.into(),
        message: e.to_string(),
    };
    let there: toml::Table = toml::from_str(&text).map_err(damaged)?;
    let now: toml::Table =
        toml::from_str(&toml::to_string(config).expect("a configuration serialises"))
            .map_err(damaged)?;
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

/// Lists `key there → now`, except for the place of the data, whose hash is compared.
fn compare(prefix: &str, there: &toml::Table, now: &toml::Table, out: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<&String> = there.keys().chain(now.keys()).collect();
    for key in keys {
        let name = format!("{prefix}{key}");
        match (there.get(key), now.get(key)) {
            (Some(toml::Value::Table(a)), Some(toml::Value::Table(b))) => {
                compare(&format!("{name}."), a, b, out)
            }
            (a, b) if a != b && name != "data.path" => {
                let show = |value: Option<&toml::Value>| {
                    value.map_or("absent".to_string(), |value| value.to_string())
                };
                out.push(format!("{name} {} → {}", show(a), show(b)));
            }
            _ => {}
        }
    }
}
