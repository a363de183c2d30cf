//! A run in progress.

mod checkpoints;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::backend::AutodiffBackend;
use experiments::Plan;
use kernels::{Kernels, OptimizerKernels};
use mixes::{Batches, ComponentSummary, Loader, Sequence, Share};

use super::losses::Losses;
use super::peak::peak_memory;
use super::progress::Progress;
use super::ranks::Ranks;
use super::stop::Stop;
use super::{Phases, RunSummary, StepOutput, Trainer, unigram};
use crate::checkpoint::Writer;
use crate::error::{Error, Result};
use crate::metrics::{
    ComponentRecord, Record, RunRecord, StepTime, TrainRecord, Unigram, ValidationRecord,
};
use crate::run_dir::RunDir;
use crate::world::{STEP_PATIENCE, World};

/// A run, from its present step to its last.
pub(super) struct Run<'a, B: AutodiffBackend> {
    pub plan: &'a Plan,
    pub loader: Arc<Loader>,
    pub batches: Batches,
    /// The sequences of a batch that this process takes.
    pub share: Share,
    pub components: Vec<ComponentSummary>,
    pub validation: Vec<Sequence>,
    /// Number of the component of each validation sequence.
    pub validation_of: Vec<usize>,
    /// The run's folder.
    pub path: PathBuf,
    /// What is written to it once, by the first process.
    pub dir: Option<RunDir>,
    pub world: World,
    pub ranks: Ranks,
    pub trainer: Trainer<B>,
    pub writer: Writer,
    pub progress: Progress,
    pub stop: Stop,
    pub meter: Meter,
    /// When the last checkpoint was begun.
    pub written: Instant,
    /// Part of the device's peak that one token a second takes.
    pub flops_share: f64,
    /// Whether the last record could not be written.
    pub unrecorded: bool,
}

/// Time since the last training record.
#[derive(Default)]
pub(super) struct Meter {
    steps: u64,
    phases: Phases,
    checkpoint: Duration,
    /// Time that no step shows: reading ahead, records, signals.
    total: Duration,
}

impl<B> Run<'_, B>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels + OptimizerKernels,
{
    pub fn run(mut self) -> Result<RunSummary> {
        let plan = self.plan;
        let unigram = self.start()?;
        while self.trainer.step() < plan.last_step() {
            self.train_step()?;
            let step = self.trainer.step();
            let last = step == plan.last_step();
            if last || step.is_multiple_of(plan.validate_every) {
                self.validate()?;
            }
            let (asked, is_due) = self.decide(step);
            if last || asked.is_some() || is_due {
                self.checkpoint(last || asked.is_some())?;
            }
            let written = self.writer.poll();
            self.tell(written);
            if let Some(signal) = asked.filter(|_| !last) {
                self.finish_writing()?;
                self.progress.finish();
                return Err(Error::Stopped { signal, step });
            }
        }
        self.finish_writing()?;
        self.progress.finish();
        self.summary(unigram)
    }

    /// The signal that some process got, and whether a checkpoint is due by the first one's clock.
    fn decide(&self, step: u64) -> (Option<&'static str>, bool) {
        let (asked, is_due) = (self.stop.asked(), self.is_checkpoint_due(step));
        if self.world.size() == 1 {
            return (asked, is_due);
        }
        let mine = Stop::SIGNALS.map(|name| f64::from(u8::from(asked == Some(name))));
        let due = f64::from(u8::from(is_due && self.world.is_first()));
        let all = self.world.sum(&[mine.as_slice(), &[due]].concat());
        let asked = Stop::SIGNALS
            .into_iter()
            .zip(&all)
            .find(|(_, count)| **count > 0.0);
        (asked.map(|(name, _)| name), all[mine.len()] > 0.0)
    }

    /// The first process's, on all of them.
    fn summary(&self, unigram: Unigram) -> Result<RunSummary> {
        let summary = match self.world.is_first() {
            true => Some(self.summarize(unigram)?),
            false => None,
        };
        let json = self
            .world
            .from_first(|| serde_json::to_vec(&summary).expect("a summary serialises"));
        let found = serde_json::from_slice::<Option<RunSummary>>(&json).ok();
        Ok(found.flatten().expect("the first process sends one"))
    }

    fn summarize(&self, unigram: Unigram) -> Result<RunSummary> {
        // Also when nothing was left to do: the last validation of the run is its result.
        let records = Record::read_all(&self.path.join("metrics.jsonl"))?;
        let validation = records.into_iter().rev().find_map(|record| match record {
            Record::Validation(validation) => Some(validation),
            _ => None,
        });
        let last = self.plan.last_step();
        Ok(RunSummary {
            parameters: self.parameters(),
            vocab_size: self.vocab_size(),
            steps: self.plan.steps,
            tokens: self.plan.tokens(),
            validation: validation.expect("a run validates at its first and at its last step"),
            unigram,
            checkpoint: self.path.join(format!("checkpoints/step-{last}")),
            report: crate::report::write_report(&self.path)?,
        })
    }

    /// The records a run begins with, written or read back; returns the baseline.
    fn start(&mut self) -> Result<Unigram> {
        let known = match self.world.is_first() {
            true => self.begin()?,
            false => None,
        };
        let json = self
            .world
            .from_first(|| serde_json::to_vec(&known).expect("a baseline serialises"));
        let known: Option<(Unigram, bool)> = serde_json::from_slice(&json).ok().flatten();
        let (unigram, is_new) = known.expect("the first process sends one");
        if is_new {
            self.validate()?;
        }
        Ok(unigram)
    }

    /// On the first process: the baseline, and whether the run begins with it.
    fn begin(&mut self) -> Result<Option<(Unigram, bool)>> {
        let records = Record::read_all(&self.path.join("metrics.jsonl"))?;
        if let Some(Record::Run(run)) = records.into_iter().next() {
            return Ok(Some((run.unigram, false)));
        }
        let vocab = self.loader.vocab().layout();
        let unigram = unigram::unigram(&self.loader, &self.validation, self.plan.seq_len, vocab)?;
        let component = |component: &ComponentSummary| ComponentRecord {
            source: component.name.clone(),
            view: component.view.to_string(),
            documents: component.train_documents,
            tokens: component.train_tokens,
            sequences: component.sequences_per_epoch,
            validation_documents: component.validation_documents,
            validation_tokens: component.validation_tokens,
        };
        let record = Record::Run(RunRecord {
            name: self.plan.name.clone(),
            parameters: self.parameters(),
            first_step: self.plan.first_step(),
            steps: self.plan.last_step(),
            batch: self.plan.batch_size as u64,
            seq_len: self.plan.seq_len as u64,
            components: self.components.iter().map(component).collect(),
            unigram: unigram.clone(),
        });
        if let Some(dir) = &mut self.dir {
            dir.record(&record)?;
        }
        Ok(Some((unigram, true)))
    }

    fn vocab_size(&self) -> usize {
        self.loader.vocab().layout().vocab_size as usize
    }

    fn parameters(&self) -> u64 {
        self.plan.trained_parameters(self.vocab_size())
    }

    fn tokens(&self) -> u64 {
        self.plan.tokens_at(self.trainer.step())
    }

    fn losses(&self) -> Losses<'_> {
        let names = self.components.iter().map(|c| c.name.as_str());
        Losses::new(self.loader.vocab().layout(), names)
    }

    fn train_step(&mut self) -> Result<()> {
        let start = Instant::now();
        let step = self.trainer.step() + 1;
        let is_logged = step == self.plan.last_step() || step.is_multiple_of(self.plan.log_every);
        let sequences = self.batches.next().expect("batches end with an error")?;
        let waited = start.elapsed();
        let out = match self.trainer.train_step(&sequences, is_logged) {
            Err(error @ Error::Diverged { .. }) => return Err(self.dump(error)),
            out => out?,
        };
        if out.skipped {
            self.progress.warn(&format!(
                "step {step} is left out: its objective is {:.3} and its gradient norm {:.3}",
                out.objective, out.grad_norm
            ));
        }
        self.meter.add(out.phases, waited, start.elapsed());
        if is_logged {
            let record = self.train_record(&sequences, &out)?;
            self.progress.step(&record);
            self.note(Record::Train(record));
        }
        self.world.stands_at(step, STEP_PATIENCE);
        Ok(())
    }

    /// Records that cannot be written, on a full disk, are kept until they can.
    fn note(&mut self, record: Record) {
        let Some(dir) = &mut self.dir else { return };
        let recorded = dir.record(&record);
        if let Err(error) = &recorded
            && !self.unrecorded
        {
            self.progress.warn(&format!(
                "{error}; metrics are kept until they can be written"
            ));
        }
        self.unrecorded = recorded.is_err();
    }

    fn train_record(&mut self, sequences: &[Sequence], out: &StepOutput) -> Result<TrainRecord> {
        let mut losses = self.losses();
        let first = self.plan.sequence_at(self.trainer.step() - 1);
        let nll = out.nll.chunks(self.plan.seq_len);
        for ((number, sequence), nll) in self.share.numbers(first).zip(sequences).zip(nll) {
            losses.add(self.loader.component(number)?, sequence, nll);
        }
        let losses = losses.over(&self.world);
        let (loss, by_kind, by_component) =
            (losses.mean(), losses.by_kind(), losses.by_component());
        let norms = out.norms.as_ref();
        let steps = self.meter.steps;
        let mut time =
            std::mem::take(&mut self.meter).time(self.plan.tokens_per_step(), self.flops_share);
        let lags = self.ranks.complete(self.trainer.step(), steps, &mut time);
        if let Some(lags) = lags.filter(|_| self.world.is_first()) {
            self.progress.warn(&lags);
        }
        Ok(TrainRecord {
            step: self.trainer.step(),
            tokens: self.tokens(),
            lr: out.lr,
            loss,
            objective: out.objective,
            z_loss: out.z_loss,
            grad_norm: out.grad_norm,
            update_norm: norms.map_or(0.0, |norms| norms.update),
            param_norm: norms.map_or(f64::NAN, |norms| norms.params),
            logit_rms: out.logit_rms,
            skipped_steps: self.trainer.spikes().map_or(0, |spikes| spikes.skipped()),
            by_kind,
            by_component,
            time,
        })
    }

    fn validate(&mut self) -> Result<()> {
        let start = Instant::now();
        let model = self.trainer.inference_model();
        let mut losses = self.losses();
        // Of every so many sequences one, so that each process has its share of all components.
        let share = Share {
            batch_size: self.validation.len() as u64,
            ..self.share
        };
        let mine: Vec<usize> = share.numbers(0).map(|number| number as usize).collect();
        let sequences: Vec<_> = mine.iter().map(|&i| self.validation[i].clone()).collect();
        let nll = self.trainer.evaluate(&model, &sequences)?;
        let sequences = mine.iter().zip(&sequences);
        for ((&number, sequence), nll) in sequences.zip(nll.chunks(self.plan.seq_len)) {
            losses.add(self.validation_of[number], sequence, nll);
        }
        let losses = losses.over(&self.world);
        let record = ValidationRecord {
            step: self.trainer.step(),
            tokens: self.tokens(),
            loss: losses.mean(),
            by_kind: losses.by_kind(),
            by_component: losses.by_component(),
            secs: start.elapsed().as_secs_f64(),
        };
        self.progress.validation(&record);
        self.note(Record::Validation(record));
        Ok(())
    }
}

impl Meter {
    fn add(&mut self, phases: Phases, waited: Duration, total: Duration) {
        self.steps += 1;
        self.phases.data += phases.data + waited;
        self.phases.forward += phases.forward;
        self.phases.backward += phases.backward;
        self.phases.optimizer += phases.optimizer;
        self.total += total;
    }

    fn time(self, tokens_per_step: u64, flops_share: f64) -> StepTime {
        let secs = self.total.as_secs_f64();
        let tokens_per_sec = (self.steps * tokens_per_step) as f64 / secs;
        StepTime {
            secs,
            data_secs: self.phases.data.as_secs_f64(),
            forward_secs: self.phases.forward.as_secs_f64(),
            backward_secs: self.phases.backward.as_secs_f64(),
            optimizer_secs: self.phases.optimizer.as_secs_f64(),
            checkpoint_secs: self.checkpoint.as_secs_f64(),
            tokens_per_sec,
            mfu: Some(tokens_per_sec * flops_share),
            peak_memory: peak_memory(),
            ranks: None,
        }
    }
}
