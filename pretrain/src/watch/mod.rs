//! `pretrain watch RUN…`: how runs stand, side by side in a terminal.
//!
//! `tail` reads what a run's `metrics.jsonl` has gained since the last look, `standing` folds it into the few numbers
//! that tell how the run does, `table` lays them out in the width that there is, and this file repeats that.

mod standing;
mod table;
mod tail;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use standing::Progress;
pub use standing::{Losses, Standing, State};
pub use table::table;
use tail::Tail;

use crate::metrics::MetricsError;

/// Columns where there is no terminal to ask.
const WIDTH: usize = 80;
/// Clears a terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Why runs cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Folders without a run.
    #[error(
        "{} {}: no config.toml and no metrics.jsonl there; name folders that `pretrain EXPERIMENT --out` has made",
        list(dirs),
        if dirs.len() == 1 { "is no run" } else { "are no runs" }
    )]
    NotRuns {
        /// The folders.
        dirs: Vec<PathBuf>,
    },
    /// A run's metrics are unreadable.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Standard output is closed.
    #[error("cannot write to the standard output: {0}")]
    Output(#[from] io::Error),
}

fn list(dirs: &[PathBuf]) -> String {
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    dirs.join(", ")
}

/// Runs that are looked at again and again.
pub struct Watch {
    runs: Vec<Run>,
}

struct Run {
    dir: PathBuf,
    tail: Tail,
    progress: Progress,
}

impl Watch {
    /// Begins to watch the runs in `dirs`.
    ///
    /// # Errors
    /// [`WatchError::NotRuns`] with all folders that hold no run.
    pub fn open(dirs: &[PathBuf]) -> Result<Self, WatchError> {
        let is_run =
            |dir: &Path| dir.join("config.toml").is_file() || dir.join("metrics.jsonl").is_file();
        let others: Vec<PathBuf> = dirs.iter().filter(|dir| !is_run(dir)).cloned().collect();
        if !others.is_empty() {
            return Err(WatchError::NotRuns { dirs: others });
        }
        let run = |dir: &PathBuf| Run {
            dir: dir.clone(),
            tail: Tail::new(dir.join("metrics.jsonl")),
            progress: Progress::default(),
        };
        Ok(Self {
            runs: dirs.iter().map(run).collect(),
        })
    }

    /// How the runs stand at the time `now`, in the order in which they were named.
    ///
    /// # Errors
    /// Metrics that are unreadable or not records.
    pub fn look(&mut self, now: SystemTime) -> Result<Vec<Standing>, WatchError> {
        let look = |run: &mut Run| {
            run.tail.read(&mut run.progress, Progress::add)?;
            Ok(run.progress.standing(&run.dir, run.tail.age(now)))
        };
        self.runs.iter_mut().map(look).collect()
    }

    /// Prints the table: on a terminal every so often in the same place until all runs are finished, elsewhere and with
    /// `once` a single time.
    ///
    /// # Errors
    /// Those of [`Self::look`], and a standard output that is closed.
    pub fn show(&mut self, every: Duration, once: bool) -> Result<(), WatchError> {
        let mut out = io::stdout().lock();
        let live = out.is_terminal() && !once;
        loop {
            let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| width.0.into());
            let standings = self.look(SystemTime::now())?;
            let clear = if live { CLEAR } else { "" };
            write!(out, "{clear}{}", table(&standings, width))?;
            out.flush()?;
            let done = standings.iter().all(|run| run.state == State::Finished);
            if !live || done {
                return Ok(());
            }
            std::thread::sleep(every);
        }
    }
}

#[cfg(test)]
mod tests;
