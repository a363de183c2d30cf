//! Where a run stands, folded from its records one by one.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::metrics::{Breakdown, Record, RunRecord, TrainRecord, ValidationRecord};

/// Training records over which loss and speed are averaged.
const RECENT: usize = 50;
/// A run that wrote nothing for so long may have died, unless its records are known to be further apart.
const SILENT_SECS: f64 = 60.0;
/// … by this factor, since a step may wait for a checkpoint or for data.
const SILENT_RECORDS: f64 = 10.0;

/// What is known of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Its folder.
    pub dir: PathBuf,
    /// Its name; none as long as it has not recorded it.
    pub name: Option<String>,
    /// Whether it goes on.
    pub state: State,
    /// Steps finished.
    pub step: u64,
    /// Steps planned.
    pub steps: Option<u64>,
    /// Tokens trained on.
    pub tokens: u64,
    /// Training loss, in nats a token: mean of the last 50 records.
    pub train_loss: Option<f64>,
    /// Losses of the last validation, in nats a token.
    pub validation: Option<Losses>,
    /// Learning rate of the last step.
    pub lr: Option<f64>,
    /// Gradient norm of the last step, before clipping.
    pub grad_norm: Option<f64>,
    /// Tokens a second over the last 50 records.
    pub tokens_per_sec: Option<f64>,
    /// Model FLOPs utilisation of the last step, where the machine's peak is known.
    pub mfu: Option<f64>,
    /// Seconds to the last step, if it goes on as now and is validated as often.
    pub eta_secs: Option<f64>,
    /// Seconds since it wrote its last record.
    pub age_secs: Option<f64>,
    /// The training loss of each record.
    #[serde(skip)]
    pub losses: Vec<f32>,
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No step is finished.
    Starting,
    /// It wrote a record not long ago.
    Running,
    /// It should have written one.
    Silent,
    /// All steps are done.
    Finished,
}

/// Validation losses, in nats a token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Losses {
    /// Steps finished before the validation.
    pub step: u64,
    /// Over all tokens.
    pub all: f64,
    /// Over text.
    pub text: Option<f64>,
    /// Over the first codebook.
    pub semantic: Option<f64>,
    /// Mean of the further codebooks' losses.
    pub acoustic: Option<f64>,
}

/// The records of a run so far.
#[derive(Default)]
pub struct Progress {
    run: Option<RunRecord>,
    last: Option<TrainRecord>,
    validation: Option<ValidationRecord>,
    validation_secs: f64,
    losses: Vec<f32>,
    /// The last training records, and before them the one at which their time begins.
    recent: VecDeque<Pace>,
}

/// Steps and tokens so far, and the seconds of this record.
#[derive(Clone, Copy, Default)]
struct Pace {
    step: u64,
    tokens: u64,
    secs: f64,
}

impl Progress {
    /// Takes in the next record.
    pub fn add(&mut self, record: Record) {
        match record {
            Record::Run(run) => self.run = Some(run),
            Record::Validation(validation) => {
                self.validation_secs += validation.secs;
                self.validation = Some(validation);
            }
            Record::Train(train) => {
                if self.recent.is_empty() {
                    self.recent.push_back(Pace::default());
                }
                self.recent.push_back(Pace {
                    step: train.step,
                    tokens: train.tokens,
                    secs: train.time.secs,
                });
                if self.recent.len() > RECENT + 1 {
                    self.recent.pop_front();
                }
                self.losses.push(train.loss as f32);
                self.last = Some(train);
            }
        }
    }

    /// Where the run in `dir` stands whose last record is `age` old.
    pub fn standing(&self, dir: &Path, age: Option<Duration>) -> Standing {
        let last = self.last.as_ref();
        let step = last.map_or(0, |last| last.step);
        let age_secs = age.map(|age| age.as_secs_f64());
        let steps = self.run.as_ref().map(|run| run.steps);
        Standing {
            dir: dir.to_owned(),
            name: self.run.as_ref().map(|run| run.name.clone()),
            state: self.state(step, steps, age_secs),
            step,
            steps,
            tokens: last.map_or(0, |last| last.tokens),
            train_loss: self.train_loss(),
            validation: self.validation.as_ref().map(losses),
            lr: last.map(|last| last.lr),
            grad_norm: last.map(|last| last.grad_norm),
            tokens_per_sec: self.pace().map(|pace| pace.tokens as f64 / pace.secs),
            mfu: last.and_then(|last| last.time.mfu),
            eta_secs: self.eta_secs(step, steps),
            age_secs,
            losses: self.losses.clone(),
        }
    }

    fn state(&self, step: u64, steps: Option<u64>, age_secs: Option<f64>) -> State {
        let validation = self.validation.as_ref().map(|validation| validation.secs);
        let slowest = self.recent.iter().map(|pace| pace.secs).chain(validation);
        let patience = SILENT_SECS.max(SILENT_RECORDS * slowest.fold(0.0, f64::max));
        if steps == Some(step) {
            State::Finished
        } else if age_secs.is_some_and(|age| age > patience) {
            State::Silent
        } else if step == 0 {
            State::Starting
        } else {
            State::Running
        }
    }

    fn train_loss(&self) -> Option<f64> {
        let recent = &self.losses[self.losses.len().saturating_sub(RECENT)..];
        let sum: f64 = recent.iter().map(|&loss| f64::from(loss)).sum();
        (!recent.is_empty()).then(|| sum / recent.len() as f64)
    }

    /// Steps, tokens and seconds of the recent records together.
    fn pace(&self) -> Option<Pace> {
        let (first, last) = (self.recent.front()?, self.recent.back()?);
        let secs: f64 = self.recent.iter().skip(1).map(|pace| pace.secs).sum();
        (secs > 0.0).then(|| Pace {
            step: last.step - first.step,
            tokens: last.tokens - first.tokens,
            secs,
        })
    }

    fn eta_secs(&self, step: u64, steps: Option<u64>) -> Option<f64> {
        let (left, pace) = (steps?.checked_sub(step)?, self.pace()?);
        let training = pace.secs / pace.step as f64;
        let validation = self.validation_secs / step as f64;
        Some(left as f64 * (training + validation))
    }
}

fn losses(record: &ValidationRecord) -> Losses {
    Losses {
        step: record.step,
        all: record.loss,
        text: record.by_kind.get("text"),
        semantic: record.by_kind.get("semantic"),
        acoustic: acoustic(&record.by_kind),
    }
}

fn acoustic(by_kind: &Breakdown) -> Option<f64> {
    let acoustic = by_kind
        .iter()
        .filter(|(kind, _)| kind.starts_with("acoustic-"));
    let values: Vec<f64> = acoustic.map(|(_, loss)| loss).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
