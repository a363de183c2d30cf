//! Writes checkpoints while training goes on, and removes those that are not to be kept.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use experiments::CheckpointConfig;

use super::{Mirror, Snapshot, remove_dir, steps};
use crate::error::{Error, Result};

/// Writes one checkpoint at a time, on a thread of its own.
pub struct Writer {
    run_dir: PathBuf,
    config: CheckpointConfig,
    mirror: Option<Mirror>,
    busy: Option<JoinHandle<Written>>,
}

/// How the writing of a checkpoint ended.
pub struct Written {
    /// Its step.
    pub step: u64,
    /// Its folder, or why there is none.
    pub folder: Result<PathBuf>,
    /// What went wrong besides, after it was safely there.
    pub problems: Vec<Error>,
}

impl Writer {
    /// Nothing is written yet.
    pub fn new(run_dir: &Path, config: &CheckpointConfig, mirror: Option<Mirror>) -> Self {
        Self {
            run_dir: run_dir.into(),
            config: config.clone(),
            mirror,
            busy: None,
        }
    }

    /// Begins to write; waits first for the one that is still being written, and says how that ended.
    pub fn write(&mut self, snapshot: Snapshot) -> Option<Written> {
        let before = self.wait();
        let job = Job {
            run_dir: self.run_dir.clone(),
            config: self.config.clone(),
            mirror: self.mirror.clone(),
        };
        self.busy = Some(std::thread::spawn(move || job.run(snapshot)));
        before
    }

    /// Waits until nothing is being written. The last checkpoint's end, if it was not told yet.
    pub fn wait(&mut self) -> Option<Written> {
        let busy = self.busy.take()?;
        Some(
            busy.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    }

    /// The end of the last checkpoint, if it came meanwhile.
    pub fn poll(&mut self) -> Option<Written> {
        match &self.busy {
            Some(busy) if busy.is_finished() => self.wait(),
            _ => None,
        }
    }
}

struct Job {
    run_dir: PathBuf,
    config: CheckpointConfig,
    mirror: Option<Mirror>,
}

impl Job {
    fn run(&self, snapshot: Snapshot) -> Written {
        let (step, first) = (snapshot.state.step, snapshot.world.is_first());
        let folder = snapshot.write(&self.run_dir.join("checkpoints"));
        drop(snapshot);
        let mut problems = Vec::new();
        if folder.is_ok() && first {
            let report = crate::report::write_report(&self.run_dir);
            problems.extend(report.err().map(Error::from));
            problems.extend(self.copy_and_prune(step).err());
        }
        Written {
            step,
            folder,
            problems,
        }
    }

    fn copy_and_prune(&self, step: u64) -> Result<()> {
        if let Some(mirror) = &self.mirror {
            mirror.push(&self.run_dir, step)?;
            for step in leaving(mirror.steps()?, &self.config) {
                mirror.remove(step)?;
            }
        }
        let folder = self.run_dir.join("checkpoints");
        for step in leaving(steps(&folder)?, &self.config) {
            remove_dir(&folder.join(format!("step-{step}")))?;
        }
        Ok(())
    }
}

/// Which of some checkpoints are not kept; `steps` are in order.
fn leaving(steps: Vec<u64>, config: &CheckpointConfig) -> Vec<u64> {
    let last = steps.len().saturating_sub(config.keep_last);
    let for_good = |step: &u64| {
        config
            .keep_every
            .is_some_and(|every| step.is_multiple_of(every))
    };
    let mut leaving = steps;
    leaving.truncate(last);
    leaving.retain(|step| !for_good(step));
    leaving
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_and_the_multiples_stay() {
        let config = |keep_last, keep_every| CheckpointConfig {
            every_steps: 10,
            every_minutes: None,
            keep_last,
            keep_every,
        };
        let steps = || vec![10, 15, 20, 30, 40];
        assert_eq!(leaving(steps(), &config(2, None)), [10, 15, 20]);
        assert_eq!(leaving(steps(), &config(2, Some(20))), [10, 15]);
        assert_eq!(leaving(steps(), &config(9, None)), [0; 0]);
    }
}
