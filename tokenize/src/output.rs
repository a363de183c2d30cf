//! The output folder: who may write it, what is finished in it, and what a killed run left behind.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use shards::{Dataset, Job, ShardReader, ShardSummary};

use crate::error::{Error, Result};

const LOCK: &str = ".lock";
const TOKENIZER_FILES: [&str; 3] = [
    "tokenizer.json",
    "audio_vocab.json",
    "tokenizer_config.json",
];

/// An output folder, locked against other processes for as long as this lives.
pub struct OutputDir {
    dir: PathBuf,
    // the operating system releases the lock when the file is closed, however the process ends
    _lock: File,
}

/// A finished unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitSummary {
    /// Its shard.
    pub shard: ShardSummary,
    /// Documents without any text.
    pub audio_only: u64,
}

impl OutputDir {
    /// Creates or continues the folder for `job`: refuses other data, another job and a folder in use, removes unfinished
    /// files and writes `job.json`.
    pub fn open(dir: &Path, job: &Job) -> Result<Self> {
        check(dir, job)?;
        fs::create_dir_all(dir.join("skipped")).map_err(Error::io("create", dir))?;
        let path = dir.join(LOCK);
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked {
                    dir: dir.to_owned(),
                });
            }
            Err(TryLockError::Error(cause)) => return Err(Error::io("lock", &path)(cause)),
        }
        // once more under the lock, for another process may have started meanwhile
        check(dir, job)?;
        for folder in [dir.to_owned(), dir.join("skipped"), dir.join("tokenizer")] {
            remove_partial(&folder)?;
        }
        if Job::read(dir)?.is_none() {
            job.write(dir)?;
        }
        Ok(OutputDir {
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// The file of unit `index`'s shard.
    pub fn shard(&self, index: usize) -> PathBuf {
        self.dir.join(Dataset::shard_file_name(index))
    }

    /// The list of unit `index`'s bad records, there only if there are any.
    pub fn skipped(&self, index: usize) -> PathBuf {
        self.dir
            .join("skipped")
            .join(Dataset::shard_file_name(index))
            .with_extension("jsonl")
    }

    /// The list of all bad records.
    pub fn all_skipped(&self) -> PathBuf {
        self.dir.join("skipped.jsonl")
    }

    /// The summary of unit `index`'s shard if it is finished, read from the shard itself.
    pub fn finished(&self, index: usize) -> Result<Option<UnitSummary>> {
        let path = self.shard(index);
        if !path.exists() {
            return Ok(None);
        }
        let reader = ShardReader::open(&path)?;
        let mut summary = UnitSummary::default();
        let shard = &mut summary.shard;
        for row_group in 0..reader.row_groups() {
            for counts in reader.counts(row_group)? {
                shard.documents += 1;
                shard.segments += u64::from(counts.n_segments);
                shard.text_tokens += u64::from(counts.n_text);
                shard.frames += u64::from(counts.n_frames);
                summary.audio_only += u64::from(counts.n_text_segments == 0);
            }
        }
        shard.row_groups = reader.row_groups() as u64;
        shard.bytes = fs::metadata(&path)
            .map_err(Error::io("look at", &path))?
            .len();
        shard.sha256 = shards::sha256_file(&path).map_err(Error::io("read", &path))?;
        Ok(Some(summary))
    }

    /// Copies the tokenizer, so that the dataset needs nothing else.
    pub fn copy_tokenizer(&self, from: &Path) -> Result<()> {
        let to = self.dir.join("tokenizer");
        fs::create_dir_all(&to).map_err(Error::io("create", &to))?;
        for name in TOKENIZER_FILES {
            let (source, target) = (from.join(name), to.join(name));
            if source.exists() {
                let bytes = fs::read(&source).map_err(Error::io("read", &source))?;
                shards::write_atomic(&target, &bytes).map_err(Error::io("write", &target))?;
            }
        }
        Ok(())
    }
}

/// Refuses a folder with other data or another job. An absent or empty folder is fine.
pub fn check(dir: &Path, job: &Job) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    match Job::read(dir)? {
        Some(found) => {
            let differences = differences(&found, job);
            match differences.is_empty() {
                true => Ok(()),
                false => Err(Error::OtherJob {
                    dir: dir.to_owned(),
                    differences,
                }),
            }
        }
        None => refuse_other_data(dir),
    }
}

fn refuse_other_data(dir: &Path) -> Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read the folder", dir))? {
        let entry = entry.map_err(Error::io("read the folder", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // what a run killed before it wrote job.json leaves
        let empty = || fs::read_dir(entry.path()).is_ok_and(|mut entries| entries.next().is_none());
        if name != LOCK && name != ".job.json.partial" && !(name == "skipped" && empty()) {
            found.push(name);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    found.sort();
    found.truncate(5);
    Err(Error::OtherData {
        dir: dir.to_owned(),
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
    if lines.is_empty() && found != wanted {
        lines.push(format!(
            "  units: {} there, {} now, or of other content",
            found.units.len(),
            wanted.units.len()
        ));
    }
    lines
}

/// Removes files that were being written when a run was killed.
fn remove_partial(dir: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.map_err(Error::io("read the folder", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(".partial") {
            fs::remove_file(&path).map_err(Error::io("remove the unfinished", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use shards::TokenizerInfo;

    fn job(lang: &str) -> Job {
        let tokenizer = TokenizerInfo {
            name: "t".into(),
            sha256: "0".repeat(64),
        };
        let arguments = BTreeMap::from([("lang".to_owned(), lang.to_owned())]);
        Job::new("folder", arguments, None, tokenizer, vec!["one".into()])
    }

    fn refusal(dir: &Path, job: &Job) -> String {
        OutputDir::open(dir, job)
            .err()
            .expect("must be refused")
            .to_string()
    }

    #[test]
    fn the_same_job_continues_and_unfinished_files_go() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("deep/out");
        drop(OutputDir::open(&dir, &job("en")).unwrap());
        let stale = dir.join(".part-00000.parquet.partial");
        fs::write(&stale, b"half").unwrap();
        drop(OutputDir::open(&dir, &job("en")).unwrap());
        assert!(!stale.exists());
    }

    #[test]
    fn another_job_is_refused_by_what_differs() {
        let dir = tempfile::tempdir().unwrap();
        drop(OutputDir::open(dir.path(), &job("en")).unwrap());
        let text = refusal(dir.path(), &job("de"));
        assert!(text.contains("lang: \"en\" there, \"de\" now"), "{text}");
        let mut other = job("en");
        other.units.push("two".into());
        assert!(refusal(dir.path(), &other).contains("units: 1 there, 2 now"));
    }

    #[test]
    fn other_data_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), b"").unwrap();
        let text = refusal(dir.path(), &job("en"));
        assert!(
            text.contains("thesis.tex") && text.contains("new or empty folder"),
            "{text}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_processes_cannot_write_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let held = OutputDir::open(dir.path(), &job("en")).unwrap();
        assert!(refusal(dir.path(), &job("en")).contains("another process is writing"));
        drop(held);
        OutputDir::open(dir.path(), &job("en")).unwrap();
    }
}
