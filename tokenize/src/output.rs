//! The output folder of a job: who may write it, what is finished in it, and what a killed run left behind.
//!
//! A unit is finished once its record `units/part-….json` is there, which is written after its shard and its list of bad
//! records. A shard is written beside its final name and renamed; on an object store it is written to a temporary folder
//! and uploaded whole. So workers need no locks between them: the worst that two of them can do is the same work twice.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shards::{Dataset, Job, Manifest, ShardEntry, ShardSummary};
use stores::Store;
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::heartbeat;
use crate::skipped::{self, BadRecord};
use crate::worker::Worker;

const TOKENIZER_FILES: [&str; 3] = [
    "tokenizer.json",
    "audio_vocab.json",
    "tokenizer_config.json",
];
/// The name of the list of all bad records.
pub const ALL_SKIPPED: &str = "skipped.jsonl";

/// An output folder. A local one is locked against another process of the same number for as long as this lives.
pub struct OutputDir {
    store: Store,
    job: Job,
    /// Where shards are written: the folder itself, or a temporary one for an object store.
    writable: Writable,
    // the operating system releases the lock when the file is closed, however the process ends
    _lock: Option<File>,
}

enum Writable {
    Folder(PathBuf),
    Scratch(TempDir),
}

/// What a finished unit holds: the content of its record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitRecord {
    /// Its input, with what tells versions of it apart.
    pub input: String,
    /// The arguments it was made with.
    pub arguments_sha256: String,
    /// Its shard.
    pub shard: ShardSummary,
    /// Documents without any text.
    pub audio_only: u64,
    /// Seconds of recordings decoded, in good utterances.
    pub audio_secs: f64,
    /// Bad records, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Utterances that filters left out, by filter.
    pub filtered: BTreeMap<String, u64>,
}

impl OutputDir {
    /// Creates or continues the folder for `job`: refuses other data, another job and a folder in use, removes unfinished
    /// files of the worker's `units` and writes `job.json`. With `overwrite`, what another job made is replaced.
    pub fn open(
        store: &Store,
        job: &Job,
        worker: Worker,
        units: &[usize],
        overwrite: bool,
    ) -> Result<Self> {
        let found = check(store, job, overwrite)?;
        let lock = store.local().map(|dir| lock(dir, worker)).transpose()?;
        let output = OutputDir {
            job: job.clone(),
            writable: match store.local() {
                Some(dir) => Writable::Folder(dir.to_owned()),
                None => Writable::Scratch(
                    tempfile::tempdir()
                        .map_err(Error::io("create a folder in", &std::env::temp_dir()))?,
                ),
            },
            store: store.clone(),
            _lock: lock,
        };
        if let Writable::Folder(dir) = &output.writable {
            for folder in ["", "units", "skipped", "tokenizer", "workers"] {
                remove_partial(&dir.join(folder), |name| {
                    worker == Worker::ALONE
                        || name.starts_with(&format!(".{}.", heartbeat::file_name(worker)))
                        || units.iter().any(|&unit| is_of_unit(name, unit))
                })?;
            }
        }
        if found != Found::ThisJob {
            output.store.delete(Manifest::FILE)?;
            output.remove_surplus()?;
            output.store.write(Job::FILE, &job.to_json())?;
        }
        Ok(output)
    }

    /// Where to write unit `index`'s shard.
    pub fn shard(&self, index: usize) -> PathBuf {
        let dir = match &self.writable {
            Writable::Folder(dir) => dir.as_path(),
            Writable::Scratch(dir) => dir.path(),
        };
        dir.join(Dataset::shard_file_name(index))
    }

    /// Declares unit `index` finished, whose shard has been written.
    pub fn finish(&self, index: usize, record: &UnitRecord, bad: &[BadRecord]) -> Result<()> {
        if let Writable::Scratch(_) = self.writable {
            let path = self.shard(index);
            self.store.upload(&Dataset::shard_file_name(index), &path)?;
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        // without bad records there is no list, not even a stale one of another job
        match bad {
            [] => self.store.delete(&skipped_file(index))?,
            bad => self
                .store
                .write(&skipped_file(index), &skipped::to_json_lines(bad))?,
        }
        let mut json = serde_json::to_vec_pretty(record).expect("plain data has a JSON form");
        json.push(b'\n');
        Ok(self.store.write(&record_file(index), &json)?)
    }

    /// The record of unit `index` if it is finished: made from this input with these arguments, and its shard there with
    /// its size.
    pub fn finished(&self, index: usize) -> Result<Option<UnitRecord>> {
        let Some(record) = read_record(&self.store, index)? else {
            return Ok(None);
        };
        let is_ours = record.input == self.job.units[index]
            && record.arguments_sha256 == self.job.arguments_sha256();
        if !is_ours {
            return Ok(None);
        }
        let shard = self.store.head(&Dataset::shard_file_name(index))?;
        let is_whole = shard.is_some_and(|shard| shard.size == record.shard.bytes);
        Ok(is_whole.then_some(record))
    }

    /// Merges the lists of bad records into one, from all units with any. Returns its name for messages.
    pub fn merge_skipped(&self, records: &[UnitRecord]) -> Result<PathBuf> {
        let mut all = Vec::new();
        for (index, _) in records
            .iter()
            .enumerate()
            .filter(|(_, record)| !record.skipped.is_empty())
        {
            all.extend(self.store.read(&skipped_file(index))?.unwrap_or_default());
        }
        match all.is_empty() {
            true => self.store.delete(ALL_SKIPPED)?,
            false => self.store.write(ALL_SKIPPED, &all)?,
        }
        Ok(Path::new(self.store.location()).join(ALL_SKIPPED))
    }

    /// Copies the tokenizer, so that the dataset needs nothing else, and declares the dataset finished.
    pub fn complete(&self, tokenizer_dir: &Path, records: &[UnitRecord]) -> Result<()> {
        for name in TOKENIZER_FILES {
            let path = tokenizer_dir.join(name);
            if path.exists() {
                let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
                self.store.write(&format!("tokenizer/{name}"), &bytes)?;
            }
        }
        let entry = |(index, record): (usize, &UnitRecord)| ShardEntry {
            file: Dataset::shard_file_name(index),
            summary: record.shard.clone(),
        };
        let entries = records.iter().enumerate().map(entry).collect();
        let skipped = sum(records.iter().map(|record| &record.skipped));
        let filtered = sum(records.iter().map(|record| &record.filtered));
        let manifest = Manifest::new(entries, skipped, filtered);
        Ok(self.store.write(Manifest::FILE, &manifest.to_json())?)
    }

    /// Where heartbeats and other notes of workers go.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Removes what another job made of units that this one does not have.
    fn remove_surplus(&self) -> Result<()> {
        for object in self.store.list("")? {
            let number = object
                .path
                .strip_prefix("part-")
                .and_then(|rest| rest.strip_suffix(".parquet"));
            let is_surplus = number
                .and_then(|number| number.parse().ok())
                .is_some_and(|index: usize| index >= self.job.units.len());
            if is_surplus {
                self.store.delete(&object.path)?;
            }
        }
        Ok(())
    }
}

/// The record of unit `index` of the job in a folder, whatever job that is.
pub fn read_record(store: &Store, index: usize) -> Result<Option<UnitRecord>> {
    let name = record_file(index);
    let Some(bytes) = store.read(&name)? else {
        return Ok(None);
    };
    let record = serde_json::from_slice(&bytes);
    record.map(Some).map_err(|cause| Error::Record {
        path: Path::new(store.location()).join(name),
        problem: cause.to_string(),
    })
}

/// The job in a folder, if there is one.
pub fn read_job(store: &Store) -> Result<Option<Job>> {
    let path = Path::new(store.location()).join(Job::FILE);
    let bytes = store.read(Job::FILE)?;
    Ok(bytes.map(|bytes| Job::parse(&bytes, &path)).transpose()?)
}

/// The folder and the job of a dataset that must be there.
pub fn open_job(dir: &Path) -> Result<(Store, Job)> {
    let store = Store::open(&dir.to_string_lossy())?;
    match read_job(&store)? {
        Some(job) => Ok((store, job)),
        None => Err(shards::Error::NotADataset { path: dir.into() }.into()),
    }
}

/// The bad records of unit `index`.
pub fn read_skipped(store: &Store, index: usize) -> Result<Vec<BadRecord>> {
    read_bad_records(store, &skipped_file(index))
}

/// The bad records of all units, as they were merged.
pub fn read_all_skipped(store: &Store) -> Result<Vec<BadRecord>> {
    read_bad_records(store, ALL_SKIPPED)
}

fn read_bad_records(store: &Store, name: &str) -> Result<Vec<BadRecord>> {
    let lines = store.read(name)?.unwrap_or_default();
    skipped::from_json_lines(&lines).map_err(|problem| Error::Record {
        path: Path::new(store.location()).join(name),
        problem,
    })
}

/// Counts by key, added up.
pub fn sum<'a>(counts: impl Iterator<Item = &'a BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    let mut total = BTreeMap::new();
    for (key, n) in counts.flatten() {
        *total.entry(key.clone()).or_insert(0) += n;
    }
    total
}

/// The name of the record of unit `index`.
pub fn record_file(index: usize) -> String {
    format!("units/part-{index:05}.json")
}

/// The name of the list of bad records of unit `index`.
pub fn skipped_file(index: usize) -> String {
    format!("skipped/part-{index:05}.jsonl")
}

fn lock(dir: &Path, worker: Worker) -> Result<File> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let path = dir.join(format!(".lock-{}-of-{}", worker.index, worker.count));
    let lock = File::create(&path).map_err(Error::io("create", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            dir: dir.to_owned(),
            worker,
        }),
        Err(TryLockError::Error(cause)) => Err(Error::io("lock", &path)(cause)),
    }
}

/// What is in an output folder.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// This job.
    ThisJob,
    /// Another one, which may be replaced.
    OtherJob,
}

/// Refuses a folder with other data, and one with another job unless it may be overwritten.
pub fn check(store: &Store, job: &Job, overwrite: bool) -> Result<Found> {
    match read_job(store)? {
        Some(found) if found == *job => Ok(Found::ThisJob),
        Some(_) if overwrite => Ok(Found::OtherJob),
        Some(found) => Err(Error::OtherJob {
            dir: store.location().into(),
            differences: differences(&found, job),
        }),
        None => match refuse_other_data(store) {
            // another worker may have begun since the job was looked for
            Err(_) if read_job(store)?.is_some() => check(store, job, overwrite),
            refused => refused.map(|()| Found::Nothing),
        },
    }
}

/// `list` leaves out hidden files, such as locks and what a killed run was writing.
fn refuse_other_data(store: &Store) -> Result<()> {
    let objects = match store.local() {
        Some(dir) if !dir.exists() => return Ok(()),
        _ => store.list("")?,
    };
    if objects.is_empty() {
        return Ok(());
    }
    let found: Vec<_> = objects
        .into_iter()
        .take(5)
        .map(|object| object.path)
        .collect();
    Err(Error::OtherData {
        dir: store.location().into(),
        found: found.join(", "),
    })
}

/// One line for each part of the identity that differs.
fn differences(found: &Job, wanted: &Job) -> Vec<String> {
    let mut lines = Vec::new();
    let mut compare = |what: &str, found: String, wanted: String| {
        if found != wanted {
            lines.push(format!("  {what}: {found} there, {wanted} now"));
        }
    };
    let or_none =
        |value: Option<&String>| value.map_or("none".to_owned(), |value| format!("{value:?}"));
    let codec = |job: &Job| match &job.codec {
        None => "none".to_owned(),
        Some(codec) => format!("{} {:.12}…", codec.name, codec.sha256),
    };
    compare("source", found.source.clone(), wanted.source.clone());
    compare("codec", codec(found), codec(wanted));
    let tokenizer = |job: &Job| format!("{} {:.12}…", job.tokenizer.name, job.tokenizer.sha256);
    compare("tokenizer", tokenizer(found), tokenizer(wanted));
    let names: std::collections::BTreeSet<_> = found
        .arguments
        .keys()
        .chain(wanted.arguments.keys())
        .collect();
    for name in names {
        compare(
            name,
            or_none(found.arguments.get(name)),
            or_none(wanted.arguments.get(name)),
        );
    }
    let (there, now) = (found.units.len(), wanted.units.len());
    if there != now {
        compare("units", there.to_string(), now.to_string());
    }
    let changed = found.units.iter().zip(&wanted.units).enumerate();
    if let Some((index, (old, new))) = changed.into_iter().find(|(_, (old, new))| old != new) {
        compare(&format!("unit {index}"), old.clone(), new.clone());
    }
    lines
}

/// Whether a file, or what was to become one, is a unit's: shard, record or list.
fn is_of_unit(name: &str, unit: usize) -> bool {
    name.starts_with(&format!(".part-{unit:05}."))
}

/// Removes what a killed run was writing under names that are `ours`.
fn remove_partial(dir: &Path, ours: impl Fn(&str) -> bool) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.map_err(Error::io("read the folder", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(".partial") && ours(&name) {
            fs::remove_file(&path).map_err(Error::io("remove the unfinished", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::TokenizerInfo;

    fn job(lang: &str, units: &[&str]) -> Job {
        let tokenizer = TokenizerInfo {
            name: "t".into(),
            sha256: "0".repeat(64),
        };
        let arguments = BTreeMap::from([("lang".to_owned(), lang.to_owned())]);
        let units = units.iter().map(|unit| unit.to_string()).collect();
        Job::new("folder", arguments, None, tokenizer, units)
    }

    fn store(dir: &Path) -> Store {
        Store::open(dir.to_str().unwrap()).unwrap()
    }

    fn open(dir: &Path, job: &Job) -> Result<OutputDir> {
        let units: Vec<_> = (0..job.units.len()).collect();
        OutputDir::open(&store(dir), job, Worker::ALONE, &units, false)
    }

    fn refusal(dir: &Path, job: &Job) -> String {
        open(dir, job).err().expect("must be refused").to_string()
    }

    /// Finishes a unit with a shard of five bytes.
    fn finish(output: &OutputDir, index: usize) {
        fs::write(output.shard(index), b"12345").unwrap();
        let mut record = UnitRecord {
            input: output.job.units[index].clone(),
            arguments_sha256: output.job.arguments_sha256(),
            ..UnitRecord::default()
        };
        record.shard.bytes = 5;
        output.finish(index, &record, &[]).unwrap();
    }

    #[test]
    fn the_same_job_continues_and_unfinished_files_go() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, job) = (temp.path().join("deep/out"), job("en", &["one"]));
        drop(open(&dir, &job).unwrap());
        let stale = dir.join(".part-00000.parquet.17.partial");
        fs::write(&stale, b"half").unwrap();
        let other = dir.join(".part-00001.parquet.17.partial");
        fs::write(&other, b"of another worker").unwrap();
        let worker = Worker { index: 0, count: 2 };
        drop(OutputDir::open(&store(&dir), &job, worker, &[0], false).unwrap());
        assert!(!stale.exists() && other.exists());
        // who is alone may remove all
        drop(open(&dir, &job).unwrap());
        assert!(!other.exists());
    }

    #[test]
    fn a_unit_is_finished_while_its_shard_is_whole() {
        let temp = tempfile::tempdir().unwrap();
        let output = open(temp.path(), &job("en", &["one", "two"])).unwrap();
        assert_eq!(output.finished(0).unwrap(), None);
        finish(&output, 0);
        assert_eq!(output.finished(0).unwrap().unwrap().shard.bytes, 5);
        assert_eq!(output.finished(1).unwrap(), None);
        fs::write(output.shard(0), b"1234").unwrap();
        assert_eq!(output.finished(0).unwrap(), None);
    }

    #[test]
    fn another_job_is_refused_by_what_differs() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), &job("en", &["one"])).unwrap());
        let text = refusal(dir.path(), &job("de", &["one"]));
        assert!(text.contains("lang: \"en\" there, \"de\" now"), "{text}");
        let text = refusal(dir.path(), &job("en", &["one", "two"]));
        assert!(
            text.contains("units: 1 there, 2 now") && text.contains("--overwrite"),
            "{text}"
        );
        let text = refusal(dir.path(), &job("en", &["one, changed"]));
        assert!(
            text.contains("unit 0: one there, one, changed now"),
            "{text}"
        );
    }

    #[test]
    fn overwriting_keeps_what_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let output = open(dir.path(), &job("en", &["one", "two", "three"])).unwrap();
        (0..3).for_each(|index| finish(&output, index));
        output.complete(dir.path(), &[]).unwrap();
        drop(output);
        let changed = job("en", &["one", "2"]);
        let output =
            OutputDir::open(&store(dir.path()), &changed, Worker::ALONE, &[0, 1], true).unwrap();
        assert!(output.finished(0).unwrap().is_some() && output.finished(1).unwrap().is_none());
        assert!(!dir.path().join("part-00002.parquet").exists());
        assert!(!dir.path().join("manifest.json").exists());
        drop(output);
        let other = job("de", &["one", "2"]);
        let output =
            OutputDir::open(&store(dir.path()), &other, Worker::ALONE, &[0, 1], true).unwrap();
        assert!(output.finished(0).unwrap().is_none());
    }

    #[test]
    fn other_data_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), b"").unwrap();
        let text = refusal(dir.path(), &job("en", &["one"]));
        assert!(
            text.contains("thesis.tex") && text.contains("new or empty folder"),
            "{text}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_worker_is_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let job = job("en", &["one"]);
        let worker = |index| {
            let worker = Worker { index, count: 2 };
            OutputDir::open(&store(dir.path()), &job, worker, &[], false)
        };
        let held = worker(0).unwrap();
        let text = worker(0).err().unwrap().to_string();
        assert!(text.contains("worker 0/2"), "{text}");
        drop(worker(1).unwrap());
        drop(held);
        worker(0).unwrap();
    }
}
