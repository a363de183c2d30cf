//! How the processes of a run compare: their times in the metrics, a log of each, and a warning of one that lags.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::metrics::{RankTimes, StepTime};
use crate::world::World;

/// A process that is busy for so many times the median of all lags.
const LAGS: f64 = 1.3;
/// Records in a row in which the same process has to lag before it is told.
const IN_A_ROW: u32 = 3;

/// One process's view of those of its run.
pub(super) struct Ranks {
    world: World,
    log: Option<File>,
    /// The process that lagged last, and in how many records in a row.
    lags: (usize, u32),
}

/// A line of a process's log.
#[derive(Serialize)]
struct Line<'a> {
    step: u64,
    busy_secs: f64,
    #[serde(flatten)]
    time: &'a StepTime,
}

impl Ranks {
    /// Of a run in a folder, in which each of several processes keeps `logs/rank-N.jsonl`.
    ///
    /// # Errors
    /// A log that cannot be opened.
    pub fn new(world: &World, run: &Path) -> Result<Self> {
        let log = match world.size() {
            1 => None,
            _ => {
                let folder = run.join("logs");
                fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
                let path = folder.join(format!("rank-{}.jsonl", world.rank()));
                let file = OpenOptions::new().create(true).append(true).open(&path);
                Some(file.map_err(Error::io("open", &path))?)
            }
        };
        Ok(Self {
            world: world.clone(),
            log,
            lags: (0, 0),
        })
    }

    /// Completes the time of a record, of so many steps, which all processes do at the same step. Says which of them lags, when it is to be told.
    pub fn complete(&mut self, step: u64, steps: u64, time: &mut StepTime) -> Option<String> {
        if self.world.size() == 1 {
            return None;
        }
        let busy_secs = (time.secs - self.world.take_waited().as_secs_f64()).max(0.0);
        if let Some(log) = &mut self.log {
            let line = Line {
                step,
                busy_secs,
                time,
            };
            let line = serde_json::to_string(&line).expect("numbers serialise") + "\n";
            // A log that cannot be written is no reason to stop.
            let _ = log.write_all(line.as_bytes());
        }
        let gathered = self.world.gather_numbers(&[busy_secs]);
        let busy: Vec<f64> = gathered.into_iter().map(|values| values[0]).collect();
        let (slowest, max) = (0..).zip(&busy).max_by(|a, b| a.1.total_cmp(b.1))?;
        time.ranks = Some(RankTimes {
            ranks: busy.len(),
            busy_min_secs: busy.iter().copied().fold(f64::INFINITY, f64::min),
            busy_mean_secs: busy.iter().sum::<f64>() / busy.len() as f64,
            busy_max_secs: *max,
            slowest,
            sent_bytes: self.world.take_sent() / steps.max(1),
        });
        self.lagging(slowest, &busy)
    }

    fn lagging(&mut self, slowest: usize, busy: &[f64]) -> Option<String> {
        let mut sorted = busy.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = sorted[(sorted.len() - 1) / 2];
        if busy[slowest] <= LAGS * median {
            self.lags = (slowest, 0);
            return None;
        }
        let before = if self.lags.0 == slowest {
            self.lags.1
        } else {
            0
        };
        self.lags = (slowest, before + 1);
        (self.lags.1 == IN_A_ROW).then(|| {
            format!(
                "rank {slowest} lags: it is busy for {:.2} s where the median is {median:.2} s, and all others wait for it; look \
                 at its node (clocks, other jobs, disk)",
                busy[slowest]
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lags_three_times_in_a_row_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut ranks = Ranks::new(&World::single(), folder.path()).unwrap();
        let mut told = |busy: [f64; 4]| {
            let slowest = (0..4).max_by(|&a, &b| busy[a].total_cmp(&busy[b])).unwrap();
            ranks.lagging(slowest, &busy)
        };
        let (even, late) = ([1.0, 1.1, 0.9, 1.0], [1.0, 1.0, 1.5, 1.0]);
        assert!(told(late).is_none() && told(even).is_none());
        assert!(told(late).is_none() && told(late).is_none());
        let message = told(late).unwrap();
        assert!(
            message.contains("rank 2 lags: it is busy for 1.50 s where the median is 1.00 s"),
            "{message}"
        );
        assert!(told(late).is_none());
    }
}
