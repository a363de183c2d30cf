//! Annealing: a run goes on from a checkpoint, weights and optimizer state, on other data, with a learning rate that falls.

use std::path::{Path, PathBuf};

use experiments::{AnnealConfig, Plan};
use mixes::Mixture;

use crate::checkpoint::{Checkpoint, STATE};
use crate::error::{Error, Result};
use crate::optim::Rates;

/// A checkpoint to be annealed.
pub struct Annealed {
    dir: PathBuf,
    checkpoint: Checkpoint,
    sha256: String,
}

impl Annealed {
    /// Opens the folder of a checkpoint.
    ///
    /// # Errors
    /// What is no checkpoint, and one whose optimizer state is that of low-rank updates.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(STATE);
        let sha256 = shards::sha256_file(&path).map_err(Error::io("read", &path))?;
        let checkpoint = Checkpoint::open(dir)?;
        match checkpoint.state.plan.lora {
            None => Ok(Self {
                dir: dir.into(),
                checkpoint,
                sha256,
            }),
            Some(_) => Err(Error::Checkpoint {
                dir: dir.into(),
                message: "it is of a run that trained low-rank updates, whose optimizer state is not the model's; fine-tune \
                          it, or merge it with `convert hf-export`"
                    .into(),
            }),
        }
    }

    /// The plan of the run that the checkpoint is of.
    pub fn plan(&self) -> &Plan {
        &self.checkpoint.state.plan
    }

    /// Name of its anneal on a mixture: `RUN-anneal-cooldown-n2`.
    pub fn name(&self, mix: &Mixture) -> String {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let mut words = mix.name.clone();
        words.retain(|c| letters(c) || c == '(' || c == ',');
        let words: Vec<&str> = words.split(|c| !letters(c)).collect();
        format!("{}-anneal-{}", self.plan().name, words.join("-"))
    }

    /// What a plan says of the checkpoint.
    pub fn config(&self) -> AnnealConfig {
        let state = &self.checkpoint.state;
        AnnealConfig {
            from: self.dir.display().to_string(),
            step: state.step,
            tokens: state.tokens,
            sha256: self.sha256.clone(),
        }
    }

    /// The learning rates of the run's next step, and their peaks. In the stable part of a schedule they are the same.
    pub fn rates(&self) -> [Rates; 2] {
        let plan = self.plan();
        let done = self.checkpoint.state.step - plan.first_step();
        let now = Rates::of(&plan.optimizer, &plan.schedule, plan.steps, done);
        let peak = Rates {
            adamw: plan.optimizer.lr,
            muon: plan.optimizer.muon.as_ref().map_or(0.0, |muon| muon.lr),
        };
        [now, peak]
    }

    /// The mixture, as TOML, that is the run's up to the checkpoint and then goes to `plan`'s in a straight line until its last
    /// step.
    ///
    /// # Errors
    /// Mixtures that cannot be opened.
    pub fn interpolated(&self, plan: &Plan) -> Result<String> {
        let before = &self.plan().mix;
        let after = Mixture::open(&plan.mix)?;
        let first = plan.sequence_at(plan.first_step());
        let stage = |start: u64, mix: &str, interpolate: bool| {
            let mix = toml::Value::from(mix);
            format!(
                "[[stages]]\nstart_sequences = {start}\nmix = {mix}\ninterpolate = {interpolate}\n"
            )
        };
        // Documents that the run was validated on stay unseen, and no others are taken from its training.
        let validation = Mixture::open(before)?.validation_fraction;
        let mut text = format!(
            "name = {}\nvalidation_fraction = {validation:?}\nblock_size = {}\npermutation = {}\nstop = {}\npacking = {}\n",
            toml::Value::from(format!("to {}", after.name)),
            after.block_size,
            toml_word(after.permutation),
            toml_word(after.stop),
            toml_word(after.packing),
        );
        if first > 0 {
            text += &stage(0, before, false);
        }
        text += &stage(first, before, true);
        text += &stage(plan.sequence_at(plan.last_step()), &plan.mix, false);
        Ok(text)
    }
}

fn toml_word(value: impl serde::Serialize) -> toml::Value {
    toml::Value::try_from(value).expect("a word")
}
