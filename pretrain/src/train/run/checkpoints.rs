//! Checkpoints of a run in progress, when they are due and when something fails.

use std::path::Path;
use std::time::Instant;

use burn::tensor::backend::AutodiffBackend;
use kernels::{Kernels, OptimizerKernels};
use mixes::Share;

use super::super::diverged;
use super::Run;
use crate::checkpoint::{STATE_FORMAT, Snapshot, State, Written, plan_sha256};
use crate::error::{Error, Result};
use crate::run_dir::RunDir;
use crate::world::LONG_PATIENCE;

impl<B> Run<'_, B>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels + OptimizerKernels,
{
    pub(super) fn is_checkpoint_due(&self, step: u64) -> bool {
        let config = &self.plan.checkpoint;
        let minutes = self.written.elapsed().as_secs_f64() / 60.0;
        step.is_multiple_of(config.every_steps)
            || config.every_minutes.is_some_and(|every| minutes >= every)
    }

    /// Copies the state, and has it written while training goes on. No checkpoint is ahead of the metrics: without them
    /// there is none either.
    pub(super) fn checkpoint(&mut self, must: bool) -> Result<()> {
        let start = Instant::now();
        let step = self.trainer.step();
        // The first may wait for a checkpoint's upload, and the others for it.
        self.world.stands_at(step, LONG_PATIENCE);
        let synced = self.dir.as_mut().map_or(Ok(()), RunDir::sync);
        let failed = self.world.sum(&[f64::from(u8::from(synced.is_err()))])[0] > 0.0;
        if failed {
            match synced {
                Err(error) if must => return Err(error),
                Err(error) => self.tell_failed(step, &error),
                Ok(()) => {}
            }
            self.written = Instant::now();
            return Ok(());
        }
        let snapshot = self.snapshot();
        let before = self.writer.write(snapshot);
        self.tell(before);
        self.written = Instant::now();
        self.meter.checkpoint += start.elapsed();
        self.meter.total += start.elapsed();
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        let step = self.trainer.step();
        Snapshot {
            world: self.world.clone(),
            state: State {
                format: STATE_FORMAT,
                step,
                updates: self.trainer.optimizer().updates(),
                tokens: self.tokens(),
                next_sequence: self.plan.sequence_at(step),
                data_sha256: self.loader.summary().data_sha256,
                tokenizer_sha256: self.loader.vocab().info().sha256.clone(),
                vocab_size: self.vocab_size(),
                codec: self.loader.codec().cloned(),
                codebooks: self.loader.codebooks(),
                spikes: self.trainer.spikes().cloned(),
                plan_sha256: plan_sha256(self.plan),
                plan: self.plan.clone(),
                files: Default::default(),
            },
            model: self.trainer.params(),
            optimizer: self.trainer.moments(),
            ema: self.trainer.ema(),
            tokenizer_dir: self.loader.tokenizer_dir(),
        }
    }

    /// A checkpoint that could not be written is no reason to stop: the one before is intact, and the next may succeed.
    pub(super) fn tell(&self, written: Option<Written>) {
        let Some(written) = written else { return };
        if let Err(error) = &written.folder {
            self.tell_failed(written.step, error);
        }
        for problem in &written.problems {
            let step = written.step;
            self.progress
                .warn(&format!("after the checkpoint of step {step}: {problem}"));
        }
    }

    fn tell_failed(&self, step: u64, error: &Error) {
        self.progress.warn(&format!(
            "the checkpoint of step {step} is not written: {error}; training goes on"
        ));
    }

    /// Waits for the last checkpoint, which must succeed.
    pub(super) fn finish_writing(&mut self) -> Result<()> {
        self.world.stands_at(self.trainer.step(), LONG_PATIENCE);
        match self.writer.wait() {
            Some(Written {
                folder: Err(error), ..
            }) => Err(error),
            written => {
                self.tell(written);
                Ok(())
            }
        }
    }

    /// Keeps what it takes to see a step's failure again, and gives the failure back.
    pub(super) fn dump(&mut self, error: Error) -> Error {
        self.world.stands_at(self.trainer.step(), LONG_PATIENCE);
        let before = self.writer.wait();
        self.tell(before);
        let folder = self.path.join("diverged");
        let written = self
            .snapshot()
            .write(&folder)
            .and_then(|dir| self.write_batch(&dir).map(|()| dir));
        self.world.barrier();
        match written {
            Ok(dir) => self.progress.warn(&format!(
                "the state before the step and its sequences are in {}; look at them with `pretrain replay {0}`",
                dir.display()
            )),
            Err(error) => self
                .progress
                .warn(&format!("the failed step could not be kept: {error}")),
        }
        self.progress.finish();
        error
    }

    /// The sequences of the failed step, those of all processes.
    fn write_batch(&self, dir: &Path) -> Result<()> {
        if !self.world.is_first() {
            return Ok(());
        }
        let first = self.plan.sequence_at(self.trainer.step());
        let numbers = Share::whole(self.plan.batch_size as u64).numbers(first);
        let sequences = numbers.map(|number| self.loader.sequence(number));
        diverged::write_batch(dir, &sequences.collect::<mixes::Result<Vec<_>>>()?)
    }
}
