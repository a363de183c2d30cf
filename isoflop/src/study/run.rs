//! The runs of a study, one after the other, in this process.

use std::path::Path;
use std::time::Instant;

use experiments::Plan;
use pretrain::backend::{BackendChoice, BackendKind, free_memory};
use pretrain::metrics::{Record, ValidationRecord};
use pretrain::train::{RunOptions, Stop, run};
use pretrain::with_backend;
use pretrain::world::World;
use serde::Serialize;

use super::{Entry, Study};
use crate::table::short;
use crate::{Error, Result};

/// Where and on what the runs are made.
#[derive(Clone, Debug)]
pub struct How {
    /// Location of the mixture's components.
    pub data: String,
    /// Where tensors live.
    pub backend: BackendChoice,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// How it ended.
    #[serde(flatten)]
    pub state: State,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// At its last step, now or before.
    Finished {
        /// Final validation loss, in nats a token.
        loss: f64,
    },
    /// With an error, now or before.
    Failed {
        /// Which.
        error: String,
    },
}

impl Study {
    /// Trains the runs of these numbers. What is finished is not done again, what is not goes on. A run that fails does
    /// not keep the others from theirs.
    ///
    /// # Errors
    /// A backend that is not here; a signal that asks to stop: the run at work is saved then.
    pub fn run(&self, numbers: &[usize], how: &How) -> Result<Vec<Outcome>> {
        let stop = Stop::listen().map_err(Error::io("listen to signals of", &self.dir))?;
        let backend = how.backend.resolve().map_err(pretrain::Error::from)?;
        let options = |entry: &Entry| RunOptions {
            world: World::single(),
            data: how.data.clone(),
            out: self.dir.join(&entry.run),
            mirror: None,
            resume: true,
            micro_batch: None,
            recompute: None,
            memory: free_memory(backend),
            peak_flops: None,
        };
        let mut outcomes = Vec::new();
        for (place, &number) in (1..).zip(numbers) {
            if let Some(signal) = stop.asked() {
                return Err(Error::Stopped { signal });
            }
            let (entry, plan) = (&self.index.runs[number], &self.plans[number]);
            eprintln!(
                "{}: {place} of {}, {} layers, {} parameters, {} tokens in {} steps",
                entry.name,
                numbers.len(),
                entry.layers,
                short(entry.params as f64),
                short(entry.tokens as f64),
                entry.steps
            );
            let start = Instant::now();
            let state = match before(&self.dir.join(&entry.run), plan.steps)? {
                Some(state) => state,
                None => train(plan, &options(entry), backend)?,
            };
            eprintln!(
                "{}: {} after {:.0} s",
                entry.name,
                words(&state),
                start.elapsed().as_secs_f64()
            );
            outcomes.push(Outcome {
                name: entry.name.clone(),
                state,
            });
        }
        Ok(outcomes)
    }
}

fn train(plan: &Plan, options: &RunOptions, backend: BackendKind) -> Result<State> {
    match with_backend!(backend, run(plan, options)) {
        Ok(summary) => Ok(finished(&summary.validation)),
        Err(pretrain::Error::Stopped { signal, .. }) => Err(Error::Stopped { signal }),
        Err(error) => Ok(State::Failed {
            error: error.to_string(),
        }),
    }
}

/// How a run ended, if it did before: with its last checkpoint, or at a loss that was not finite, which it would meet again.
fn before(dir: &Path, steps: u64) -> Result<Option<State>> {
    if dir.join("diverged").exists() {
        return Ok(Some(State::Failed {
            error: format!("diverged before; to try again, remove {}", dir.display()),
        }));
    }
    if !dir.join(format!("checkpoints/step-{steps}")).exists() {
        return Ok(None);
    }
    let records = Record::read_all(&dir.join("metrics.jsonl")).map_err(pretrain::Error::from)?;
    let last = records.iter().rev().find_map(|record| match record {
        Record::Validation(validation) if validation.step == steps => Some(validation),
        _ => None,
    });
    Ok(last.map(finished))
}

/// A loss that is none is a failure, whatever the steps were.
fn finished(validation: &ValidationRecord) -> State {
    match validation.loss.is_finite() {
        true => State::Finished {
            loss: validation.loss,
        },
        false => State::Failed {
            error: format!("the final validation loss is {}", validation.loss),
        },
    }
}

fn words(state: &State) -> String {
    match state {
        State::Finished { loss } => format!("validation loss {loss:.4}"),
        State::Failed { error } => format!("failed: {error}"),
    }
}
