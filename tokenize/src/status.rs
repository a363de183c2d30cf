//! How far a dataset is, from what its workers leave in its folder.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use indicatif::HumanDuration;
use rayon::prelude::*;
use serde::Serialize;
use shards::{Dataset, Job, Manifest};
use stores::Store;

use crate::error::{Error, Result};
use crate::heartbeat::{self, Heartbeat};
use crate::output::{self, UnitRecord};
use crate::summary::{Summary, table, thousands};

/// A dataset, finished or not.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Where it is.
    pub location: String,
    /// Kind of its source, e.g. `yodas`.
    pub source: String,
    /// How it stands.
    pub state: State,
    /// Its units, of which each becomes a shard.
    pub units: Units,
    /// Documents in the finished shards.
    pub documents: u64,
    /// Audio in them.
    pub audio_hours: f64,
    /// Text tokens in them.
    pub text_tokens: u64,
    /// Audio tokens in them.
    pub audio_tokens: u64,
    /// Bad records, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Utterances that filters left out, by filter.
    pub filtered: BTreeMap<String, u64>,
    /// Audio over time, of all live workers together; absent if there is none.
    pub times_real_time: Option<f64>,
    /// Input read, of all live workers together; absent if there is none.
    pub megabytes_per_sec: Option<f64>,
    /// Input of unfinished units that has not been read.
    pub bytes_left: Option<u64>,
    /// Time in which the live workers will have read it.
    pub secs_left: Option<f64>,
    /// What each worker last said, unless it ended well.
    pub workers: Vec<WorkerStatus>,
}

/// How a dataset stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is complete.
    Finished,
    /// Workers are at it.
    Running,
    /// Nobody is.
    Stopped,
}

/// Numbers of units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Units {
    /// All.
    pub all: usize,
    /// Finished.
    pub done: usize,
    /// A live worker is at it.
    pub running: usize,
    /// A worker that failed or fell silent was at it.
    pub failed: usize,
    /// Nobody was at it yet.
    pub remaining: usize,
}

/// A worker that runs, failed or fell silent.
#[derive(Debug, Serialize)]
pub struct WorkerStatus {
    /// Whether it spoke lately.
    pub is_alive: bool,
    /// Seconds since it last spoke.
    pub age_secs: u64,
    /// What it said.
    #[serde(flatten)]
    pub said: Heartbeat,
}

/// The status of the dataset at a location, or of all datasets in folders of it.
pub fn read_all(store: &Store) -> Result<Vec<Status>> {
    if let Some(job) = output::read_job(store)? {
        return Ok(vec![read(store, &job)?]);
    }
    let objects = store.list("")?;
    let folders = objects
        .iter()
        .filter_map(|object| object.path.strip_suffix(&format!("/{}", Job::FILE)));
    let mut all = Vec::new();
    for folder in folders {
        let store = Store::open(&format!(
            "{}/{folder}",
            store.location().trim_end_matches('/')
        ))?;
        if let Some(job) = output::read_job(&store)? {
            all.push(read(&store, &job)?);
        }
    }
    match all.is_empty() {
        false => Ok(all),
        true => Err(Error::Layout {
            location: store.location().to_owned(),
            problem: "no job.json here or in a folder of it; give the --out of `tokenize`"
                .to_owned(),
        }),
    }
}

fn read(store: &Store, job: &Job) -> Result<Status> {
    let workers = workers(store)?;
    let records = finished(store, job)?;
    let (units, bytes_left) = units(job, &records, &workers);
    let live = || workers.iter().filter(|worker| worker.is_alive);
    let rate = |of: fn(&Heartbeat) -> f64| {
        let rates = live().map(|worker| of(&worker.said) / worker.said.elapsed_secs.max(1.0));
        Some(rates.sum::<f64>()).filter(|rate| *rate > 0.0)
    };
    let bytes_per_sec = rate(|said| said.bytes as f64);
    let state = match live().next() {
        Some(_) => State::Running,
        None if store.head(Manifest::FILE)?.is_some() => State::Finished,
        None => State::Stopped,
    };
    let summary = Summary::new(
        &records.into_values().collect::<Vec<_>>(),
        job.codec.as_ref(),
    );
    Ok(Status {
        location: store.location().to_owned(),
        source: job.source.clone(),
        state,
        units,
        documents: summary.documents,
        audio_hours: summary.audio_hours,
        text_tokens: summary.text_tokens,
        audio_tokens: summary.audio_tokens,
        skipped: summary.skipped,
        filtered: summary.filtered,
        times_real_time: rate(|said| said.audio_secs),
        megabytes_per_sec: bytes_per_sec.map(|rate| rate / 1e6),
        bytes_left,
        secs_left: bytes_left.and_then(|bytes| Some(bytes as f64 / bytes_per_sec?)),
        workers,
    })
}

fn workers(store: &Store) -> Result<Vec<WorkerStatus>> {
    let now = heartbeat::now_unix();
    let status = |said: Heartbeat| WorkerStatus {
        is_alive: said.is_alive(now),
        age_secs: now.saturating_sub(said.time_unix),
        said,
    };
    Ok(heartbeat::read_all(store)?
        .into_iter()
        .map(status)
        .collect())
}

/// Records of the job's finished units, by number.
fn finished(store: &Store, job: &Job) -> Result<BTreeMap<usize, UnitRecord>> {
    let sizes: BTreeMap<String, u64> = store
        .list("")?
        .into_iter()
        .map(|object| (object.path, object.size))
        .collect();
    let arguments = job.arguments_sha256();
    let units: Vec<usize> = (0..job.units.len())
        .filter(|&unit| sizes.contains_key(&output::record_file(unit)))
        .collect();
    let read = |unit: usize| {
        let record = output::read_record(store, unit)?.filter(|record| {
            let shard = sizes.get(&Dataset::shard_file_name(unit));
            record.input == job.units[unit]
                && record.arguments_sha256 == arguments
                && shard == Some(&record.shard.bytes)
        });
        Ok(record.map(|record| (unit, record)))
    };
    let records: Vec<Option<_>> = units.into_par_iter().map(read).collect::<Result<_>>()?;
    Ok(records.into_iter().flatten().collect())
}

/// How many units are in which state, and the bytes that are still to be read, if sizes are known.
fn units(
    job: &Job,
    done: &BTreeMap<usize, UnitRecord>,
    workers: &[WorkerStatus],
) -> (Units, Option<u64>) {
    // what a unit has of its bytes already, for those that workers are or were at
    let mut at: BTreeMap<usize, Option<u64>> = BTreeMap::new();
    for worker in workers {
        let unit = worker.said.unit.filter(|unit| !done.contains_key(unit));
        if let Some(unit) = unit.filter(|&unit| unit < job.units.len()) {
            let read = at.entry(unit).or_default();
            *read = (*read).max(worker.is_alive.then_some(worker.said.unit_bytes));
        }
    }
    let running = at.values().flatten().count();
    let units = Units {
        all: job.units.len(),
        done: done.len(),
        running,
        failed: at.len() - running,
        remaining: job.units.len() - done.len() - at.len(),
    };
    let left = |(unit, bytes): (usize, &u64)| match done.contains_key(&unit) {
        true => 0,
        false => bytes.saturating_sub(at.get(&unit).copied().flatten().unwrap_or(0)),
    };
    let are_known = job.unit_bytes.len() == job.units.len();
    let bytes = are_known.then(|| job.unit_bytes.iter().enumerate().map(left).sum());
    (units, bytes)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Finished => "finished",
            State::Running => "running",
            State::Stopped => "stopped; run the same `tokenize` command again to go on",
        };
        writeln!(f, "{} ({}): {state}", self.location, self.source)?;
        let Units {
            all,
            done,
            running,
            failed,
            remaining,
        } = self.units;
        let mut rows = vec![
            (
                "units".to_owned(),
                format!(
                    "{done} of {all} done, {running} running, {failed} failed, {remaining} remaining"
                ),
            ),
            ("documents".to_owned(), thousands(self.documents)),
            ("audio hours".to_owned(), format!("{:.3}", self.audio_hours)),
            ("text tokens".to_owned(), thousands(self.text_tokens)),
            ("audio tokens".to_owned(), thousands(self.audio_tokens)),
        ];
        let mut add = |name: &str, value: Option<String>| {
            rows.extend(value.map(|value| (name.to_owned(), value)));
        };
        add(
            "x real time",
            self.times_real_time.map(|x| format!("{x:.1}")),
        );
        add(
            "MB/s read",
            self.megabytes_per_sec.map(|x| format!("{x:.1}")),
        );
        add("time left", self.secs_left.map(time_text));
        for (title, counts) in [("skipped", &self.skipped), ("filtered", &self.filtered)] {
            for (key, n) in counts {
                add(&format!("{title}, {key}"), Some(thousands(*n)));
            }
        }
        let rows = rows.into_iter().map(|(name, value)| vec![name, value]);
        f.write_str(&table(None, rows))?;
        if self.workers.is_empty() {
            return Ok(());
        }
        let header = ["worker", "state", "host", "process", "unit", "last sign"];
        let rows = self.workers.iter().map(WorkerStatus::row);
        let header = header.map(str::to_owned).to_vec();
        write!(f, "\n\n{}", table(Some(header), rows))?;
        for worker in &self.workers {
            if let Some(error) = &worker.said.error {
                write!(f, "\nworker {} failed: {error}", worker.said.worker)?;
            }
        }
        Ok(())
    }
}

impl WorkerStatus {
    fn row(&self) -> Vec<String> {
        let state = match (self.is_alive, &self.said.error) {
            (true, _) => "running",
            (false, Some(_)) => "failed",
            (false, None) => "silent",
        };
        vec![
            self.said.worker.clone(),
            state.to_owned(),
            self.said.host.clone(),
            self.said.process.to_string(),
            self.said
                .unit
                .map_or("-".to_owned(), |unit| unit.to_string()),
            format!("{} ago", time_text(self.age_secs as f64)),
        ]
    }
}

fn time_text(secs: f64) -> String {
    HumanDuration(Duration::from_secs_f64(secs)).to_string()
}

#[cfg(test)]
mod tests {
    use shards::TokenizerInfo;

    use super::*;

    fn job(bytes: &[u64]) -> Job {
        let tokenizer = TokenizerInfo {
            name: String::new(),
            sha256: String::new(),
        };
        let units = bytes.iter().map(u64::to_string).collect();
        Job::new("test", BTreeMap::new(), None, tokenizer, units).with_unit_bytes(bytes.to_vec())
    }

    fn worker(unit: Option<usize>, is_alive: bool, unit_bytes: u64) -> WorkerStatus {
        WorkerStatus {
            is_alive,
            age_secs: 0,
            said: Heartbeat {
                unit,
                unit_bytes,
                ..Heartbeat::default()
            },
        }
    }

    #[test]
    fn each_unit_has_one_state() {
        let done = BTreeMap::from([(0, UnitRecord::default()), (3, UnitRecord::default())]);
        let workers = [
            worker(Some(1), true, 40),
            worker(Some(2), false, 30),
            // finished by another since
            worker(Some(3), false, 5),
            // its turn again, after the first one died
            worker(Some(5), false, 7),
            worker(Some(5), true, 500),
            worker(None, true, 0),
        ];
        let (found, left) = units(&job(&[1, 100, 100, 100, 1000, 200]), &done, &workers);
        let expected = Units {
            all: 6,
            done: 2,
            running: 2,
            failed: 1,
            remaining: 1,
        };
        // a unit may share its input with others, of which more was read
        assert_eq!((found, left), (expected, Some(60 + 100 + 1000)));
    }

    #[test]
    fn without_sizes_nothing_is_said_of_what_is_left() {
        let mut job = job(&[1, 2]);
        job.unit_bytes.clear();
        assert_eq!(units(&job, &BTreeMap::new(), &[]).1, None);
    }
}
