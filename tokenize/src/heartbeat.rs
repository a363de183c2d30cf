//! What each worker is doing, for `tokenize status`: a small file that it renews while it runs.

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use stores::Store;

use crate::error::Result;
use crate::worker::Worker;

/// How often a worker says what it does.
const EVERY: Duration = Duration::from_secs(10);
/// A worker silent for so many seconds is taken for dead.
pub const SILENT_SECS: u64 = 90;
/// The folder of the files.
pub(crate) const FOLDER: &str = "workers";

/// What a worker last said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Its number and that of all, e.g. `0/4`.
    pub worker: String,
    /// The machine it runs on.
    pub host: String,
    /// Its process.
    pub process: u32,
    /// When it said so, in seconds since 1970.
    pub time_unix: u64,
    /// Seconds since it began.
    pub elapsed_secs: f64,
    /// The unit it writes.
    pub unit: Option<usize>,
    /// Bytes of input it has read.
    pub bytes: u64,
    /// Those of them that it read since it began the unit.
    pub unit_bytes: u64,
    /// Seconds of audio it has encoded.
    pub audio_secs: f64,
    /// What stopped it.
    pub error: Option<String>,
}

impl Heartbeat {
    /// Whether it spoke lately, by a clock at `now_unix`.
    pub fn is_alive(&self, now_unix: u64) -> bool {
        self.error.is_none() && now_unix.saturating_sub(self.time_unix) <= SILENT_SECS
    }
}

/// Writes the heartbeats of this process.
pub struct Pulse {
    store: Store,
    file: String,
    started: Instant,
    last: Instant,
    /// Bytes it had read when it began the unit.
    before_unit: u64,
    beat: Heartbeat,
}

impl Pulse {
    /// Says that the worker has begun.
    pub fn start(store: &Store, worker: Worker) -> Result<Self> {
        let now = Instant::now();
        let mut pulse = Pulse {
            store: store.clone(),
            file: format!("{FOLDER}/{}", file_name(worker)),
            started: now,
            last: now,
            before_unit: 0,
            beat: Heartbeat {
                worker: worker.to_string(),
                host: host(),
                process: std::process::id(),
                ..Heartbeat::default()
            },
        };
        pulse.write()?;
        Ok(pulse)
    }

    /// Says what is done by now, if it is time to.
    pub fn beat(&mut self, unit: Option<usize>, bytes: u64, audio_secs: f64) -> Result<()> {
        let is_new = unit != self.beat.unit;
        if is_new {
            self.before_unit = bytes;
        }
        let is_due = self.last.elapsed() >= EVERY || is_new;
        self.beat.unit_bytes = bytes - self.before_unit;
        (self.beat.unit, self.beat.bytes, self.beat.audio_secs) = (unit, bytes, audio_secs);
        match is_due {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Says what stopped the worker.
    pub fn fail(mut self, error: &crate::Error) {
        self.beat.error = Some(error.to_string());
        // the error itself is more useful than that it could not be noted
        let _ = self.write();
    }

    /// The worker is done and its file not needed any more.
    pub fn finish(self) -> Result<()> {
        Ok(self.store.delete(&self.file)?)
    }

    fn write(&mut self) -> Result<()> {
        self.last = Instant::now();
        self.beat.time_unix = now_unix();
        self.beat.elapsed_secs = self.started.elapsed().as_secs_f64();
        let json = serde_json::to_vec_pretty(&self.beat).expect("plain data has a JSON form");
        Ok(self.store.write(&self.file, &json)?)
    }
}

/// What all workers of an output folder said last. Files that cannot be read are left out: they are being replaced.
pub fn read_all(store: &Store) -> Result<Vec<Heartbeat>> {
    let mut beats = Vec::new();
    for object in store.list(FOLDER)? {
        let bytes = store.read(&object.path)?;
        beats.extend(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()));
    }
    Ok(beats)
}

/// The name of a worker's file.
pub fn file_name(worker: Worker) -> String {
    format!("{}-of-{}.json", worker.index, worker.count)
}

/// Seconds since 1970.
pub fn now_unix() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    name.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_seen_while_it_runs_and_after_it_failed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_str().unwrap()).unwrap();
        let worker = Worker { index: 1, count: 3 };
        let mut pulse = Pulse::start(&store, worker).unwrap();
        pulse.beat(Some(4), 100, 2.5).unwrap();
        pulse.last = Instant::now().checked_sub(EVERY).unwrap();
        pulse.beat(Some(4), 130, 2.5).unwrap();
        let seen = read_all(&store).unwrap().remove(0);
        assert_eq!(
            (seen.worker.as_str(), seen.unit, seen.bytes, seen.unit_bytes),
            ("1/3", Some(4), 130, 30)
        );
        assert!(seen.is_alive(seen.time_unix + SILENT_SECS));
        assert!(!seen.is_alive(seen.time_unix + SILENT_SECS + 1));
        pulse.fail(&crate::Error::Stopped);
        let seen = read_all(&store).unwrap().remove(0);
        assert!(seen.error.is_some() && !seen.is_alive(seen.time_unix));
        Pulse::start(&store, worker).unwrap().finish().unwrap();
        assert!(read_all(&store).unwrap().is_empty());
    }
}
