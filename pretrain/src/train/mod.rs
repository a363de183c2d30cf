//! The training loop: batches in, checkpoints and metrics out; any instant is a safe one to die at.

mod batch;
mod progress;
mod step;
mod unigram;

pub use batch::{Batch, Losses};
pub use progress::Progress;
pub use step::{StepOutput, Trainer};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::backend::AutodiffBackend;
use experiments::Plan;
use kernels::Kernels;
use mixes::{Batches, Loader, LoaderOptions, Mixture, Sequence, Share};

use crate::checkpoint::{Checkpoint, Parts, STATE_FORMAT, State};
use crate::error::{Error, Result};
use crate::metrics::{
    ComponentRecord, Record, RunRecord, StepTime, TrainRecord, Unigram, ValidationRecord,
};
use crate::run_dir::{DataConfig, RunConfig, RunDir};

/// Batches kept ready.
const BATCHES_AHEAD: usize = 2;

/// Where a run reads and writes.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Location of the mixture's components: a folder, or one of an object store.
    pub data: String,
    /// The run's folder.
    pub out: PathBuf,
    /// Continue the run in `out`, if there is one.
    pub resume: bool,
}

/// What a finished run came to.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Trained parameters.
    pub parameters: u64,
    /// Rows of the vocabulary.
    pub vocab_size: usize,
    /// Steps and tokens of the whole run.
    pub steps: u64,
    /// See `steps`.
    pub tokens: u64,
    /// Losses on the validation sequences after the last step.
    pub validation: ValidationRecord,
    /// The baseline on the same sequences.
    pub unigram: Unigram,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The report.
    pub report: PathBuf,
}

/// Runs a plan to its end, from its start or from the newest checkpoint.
///
/// # Errors
/// [`Error`]: the run folder keeps what was reached, and `resume` continues it.
pub fn run<B>(plan: &Plan, options: &RunOptions) -> Result<RunSummary>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels,
{
    let loader = open_loader(plan, &options.data)?;
    let config = RunConfig {
        plan: plan.clone(),
        data: DataConfig {
            path: options.data.clone(),
            sha256: loader.summary().data_sha256,
            vocab_size: loader.vocab().layout().vocab_size as usize,
        },
    };
    let mut dir = RunDir::open(&options.out, &config, options.resume)?;
    let checkpoint = Checkpoint::newest(&dir.checkpoints())?;
    let trainer = match &checkpoint {
        Some(checkpoint) => Trainer::<B>::from_checkpoint(checkpoint, config.data.vocab_size)?,
        None => Trainer::new(plan, config.data.vocab_size),
    };
    dir.rewind(checkpoint.map(|checkpoint| checkpoint.state.step))?;
    // Too little data is better known now than at the last step.
    loader.component(plan.steps * plan.batch_size as u64 - 1)?;
    let sets = loader.validation(plan.validation_sequences)?;
    let validation: Vec<Sequence> = sets.into_iter().flat_map(|(_, set)| set).collect();
    if validation.is_empty() {
        let fraction = Mixture::open(&plan.mix)?.validation_fraction;
        return Err(Error::NoValidation { fraction });
    }
    let progress = Progress::new(plan.steps, trainer.step());
    let share = Share::whole(plan.batch_size as u64);
    let mut run = Run {
        plan,
        loader: &loader,
        batches: Batches::start(loader.clone(), share, trainer.step(), BATCHES_AHEAD),
        validation,
        dir,
        trainer,
        progress,
        since: Instant::now(),
    };
    run.run()
}

/// Opens the data of a plan, below the location `data`.
pub fn open_loader(plan: &Plan, data: &str) -> Result<Arc<Loader>> {
    let options = LoaderOptions {
        seq_len: plan.seq_len,
        seed: plan.seed,
        window_groups: LoaderOptions::WINDOW_GROUPS,
        simulated_epoching: None,
        cache: None,
    };
    let loader = Loader::open(&Mixture::open(&plan.mix)?, data, &options)?;
    Ok(Arc::new(loader))
}

/// A run in progress.
struct Run<'a, B: AutodiffBackend> {
    plan: &'a Plan,
    loader: &'a Loader,
    batches: Batches,
    validation: Vec<Sequence>,
    dir: RunDir,
    trainer: Trainer<B>,
    progress: Progress,
    /// End of the previous step, or of the validation or checkpoint after it.
    since: Instant,
}

impl<B> Run<'_, B>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels,
{
    fn run(&mut self) -> Result<RunSummary> {
        let plan = self.plan;
        let unigram = self.start()?;
        while self.trainer.step() < plan.steps {
            self.train_step()?;
            let step = self.trainer.step();
            let last = step == plan.steps;
            if last || step.is_multiple_of(plan.validate_every) {
                self.validate()?;
            }
            if last || step.is_multiple_of(plan.checkpoint.every_steps) {
                self.checkpoint()?;
            }
        }
        self.progress.finish();
        // Also when nothing was left to do: the last validation of the run is its result.
        let records = Record::read_all(&self.dir.path().join("metrics.jsonl"))?;
        let validation = records.into_iter().rev().find_map(|record| match record {
            Record::Validation(validation) => Some(validation),
            _ => None,
        });
        Ok(RunSummary {
            parameters: self.parameters(),
            vocab_size: self.vocab_size(),
            steps: plan.steps,
            tokens: plan.steps * plan.tokens_per_step(),
            validation: validation.expect("a run validates at its first and at its last step"),
            unigram,
            checkpoint: self.dir.checkpoints().join(format!("step-{}", plan.steps)),
            report: crate::report::write_report(self.dir.path())?,
        })
    }

    /// The records a run begins with, written or read back; returns the baseline.
    fn start(&mut self) -> Result<Unigram> {
        let records = Record::read_all(&self.dir.path().join("metrics.jsonl"))?;
        if let Some(Record::Run(run)) = records.into_iter().next() {
            return Ok(run.unigram);
        }
        let vocab = self.loader.vocab().layout();
        let unigram = unigram::unigram(self.loader, &self.validation, self.plan.seq_len, vocab)?;
        let components = self
            .loader
            .summary()
            .components
            .into_iter()
            .map(|component| ComponentRecord {
                source: component.name,
                view: component.view.to_string(),
                documents: component.train_documents,
                tokens: component.train_tokens,
                sequences: component.sequences_per_epoch,
                validation_documents: component.validation_documents,
                validation_tokens: component.validation_tokens,
            });
        self.dir.record(&Record::Run(RunRecord {
            name: self.plan.name.clone(),
            parameters: self.parameters(),
            steps: self.plan.steps,
            batch: self.plan.batch_size as u64,
            seq_len: self.plan.seq_len as u64,
            components: components.collect(),
            unigram: unigram.clone(),
        }))?;
        self.validate()?;
        Ok(unigram)
    }

    fn vocab_size(&self) -> usize {
        self.loader.vocab().layout().vocab_size as usize
    }

    fn parameters(&self) -> u64 {
        self.plan.model.parameters(self.vocab_size())
    }

    fn tokens(&self) -> u64 {
        self.trainer.step() * self.plan.tokens_per_step()
    }

    fn train_step(&mut self) -> Result<()> {
        let sequences = self.batches.next().expect("batches end with an error")?;
        let batch = Batch::new(&sequences, self.trainer.device());
        let out = self.trainer.train_step(&batch)?;
        let mut losses = Losses::new(self.loader.vocab().layout());
        batch.score(&out.nll, &mut losses);
        let secs = self.since.elapsed().as_secs_f64();
        let record = TrainRecord {
            step: self.trainer.step(),
            tokens: self.tokens(),
            lr: out.lr,
            loss: losses.mean(),
            objective: out.loss,
            z_loss: out.loss - losses.mean(),
            grad_norm: out.grad_norm,
            update_norm: 0.0,
            param_norm: 0.0,
            logit_rms: 0.0,
            skipped_steps: 0,
            by_kind: losses.by_kind(),
            by_component: Default::default(),
            time: StepTime {
                secs,
                data_secs: 0.0,
                forward_secs: 0.0,
                backward_secs: 0.0,
                optimizer_secs: 0.0,
                checkpoint_secs: 0.0,
                tokens_per_sec: self.plan.tokens_per_step() as f64 / secs,
                mfu: None,
                peak_memory: None,
            },
        };
        self.progress.step(&record);
        self.since = Instant::now();
        self.dir.record(&Record::Train(record))
    }

    fn validate(&mut self) -> Result<()> {
        let start = Instant::now();
        let model = self.trainer.inference_model();
        let mut losses = Losses::new(self.loader.vocab().layout());
        for sequences in self.validation.chunks(self.plan.batch_size) {
            let batch = Batch::new(sequences, self.trainer.device());
            batch.score(&self.trainer.evaluate(&model, &batch), &mut losses);
        }
        let record = ValidationRecord {
            step: self.trainer.step(),
            tokens: self.tokens(),
            loss: losses.mean(),
            by_kind: losses.by_kind(),
            by_component: Default::default(),
            secs: start.elapsed().as_secs_f64(),
        };
        self.progress.validation(&record);
        self.dir.record(&Record::Validation(record))?;
        self.since = Instant::now();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<()> {
        let step = self.trainer.step();
        let parts = Parts {
            model: self.trainer.model(),
            optimizer: self.trainer.optimizer(),
            tokenizer_dir: &self.loader.tokenizer_dir(),
            vocab_size: self.vocab_size(),
        };
        let state = State {
            format: STATE_FORMAT,
            step,
            tokens: self.tokens(),
            next_sequence: step * self.plan.batch_size as u64,
            data_sha256: self.loader.summary().data_sha256,
            codec: self.loader.codec().cloned(),
            codebooks: self.loader.codebooks(),
            plan: self.plan.clone(),
            files: Default::default(),
        };
        self.dir.sync()?;
        Checkpoint::write(&self.dir.checkpoints(), &parts, state)?;
        crate::report::write_report(self.dir.path())?;
        self.since = Instant::now();
        Ok(())
    }
}
