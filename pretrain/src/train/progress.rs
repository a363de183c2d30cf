//! What a run shows while it goes on: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use experiments::Plan;
use indicatif::{ProgressBar, ProgressStyle};

use crate::metrics::{TrainRecord, ValidationRecord};

/// Between two lines when there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The live view of a run, on the standard error stream.
pub struct Progress {
    /// The step after which the run ends.
    steps: u64,
    /// The process's number; all but the first only warn.
    rank: usize,
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl Progress {
    /// The view that a process has of a run that stands at `step`.
    pub fn new(plan: &Plan, step: u64, rank: usize) -> Self {
        let steps = plan.last_step();
        let bar = (rank == 0 && std::io::stderr().is_terminal()).then(|| {
            let style =
                ProgressStyle::with_template("{bar:24} {pos}/{len} steps  {msg}  ETA {eta}")
                    .expect("the template is valid");
            ProgressBar::new(steps)
                .with_style(style)
                .with_position(step)
        });
        if let Some(bar) = &bar {
            bar.reset_eta();
        }
        Self {
            steps,
            rank,
            bar,
            last_line: None,
        }
    }

    /// After a training step.
    pub fn step(&mut self, record: &TrainRecord) {
        if self.rank > 0 {
            return;
        }
        let message = format!(
            "loss {:.3}  lr {:.2e}  |g| {:.2}  {:.0} tokens/s",
            record.loss, record.lr, record.grad_norm, record.time.tokens_per_sec
        );
        match &self.bar {
            Some(bar) => {
                bar.set_message(message);
                bar.set_position(record.step);
            }
            None if self
                .last_line
                .is_none_or(|last| last.elapsed() >= LINE_EVERY) =>
            {
                eprintln!("step {}/{}  {message}", record.step, self.steps);
                self.last_line = Some(Instant::now());
            }
            None => {}
        }
    }

    /// After a validation.
    pub fn validation(&self, record: &ValidationRecord) {
        if self.rank > 0 {
            return;
        }
        let kinds: Vec<String> = record
            .by_kind
            .iter()
            .map(|(kind, loss)| format!("{kind} {loss:.2}"))
            .collect();
        let line = format!(
            "step {}/{}  validation {:.3}  ({})",
            record.step,
            self.steps,
            record.loss,
            kinds.join(", ")
        );
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Something that the user should know.
    pub fn warn(&self, message: &str) {
        let line = match self.rank {
            0 => format!("pretrain: {message}"),
            rank => format!("pretrain: rank {rank}: {message}"),
        };
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
