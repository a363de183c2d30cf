//! A resolved experiment: everything that determines a run, but for the data and its vocabulary.

use serde::{Deserialize, Serialize};

use crate::{LossConfig, ModelConfig, OptimizerConfig, ScheduleConfig, SkipStepConfig};

/// Everything that determines a run besides the data. Serialised, it is the run's `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the experiment, and of its run folder unless another is given.
    pub name: String,
    /// Mixture: a built-in name or the path of a TOML file.
    pub mix: String,
    /// Seed of the initial weights and of the data order.
    pub seed: u64,
    /// Tokens a sequence.
    pub seq_len: usize,
    /// Sequences a step.
    pub batch_size: usize,
    /// Optimizer steps of the run.
    pub steps: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Sequences of each component that are validated on, at most.
    #[serde(default = "default_validation_sequences")]
    pub validation_sequences: usize,
    /// Steps between records in `metrics.jsonl`.
    #[serde(default = "default_log_every")]
    pub log_every: u64,
    /// What the layers compute in; parameters, optimizer state, softmax and loss are f32.
    pub precision: Precision,
    /// Weights to begin with: a folder in Hugging Face's form, or a checkpoint of a run. None draws them from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<String>,
    /// Decay of an exponential moving average of the weights, which is then what is validated; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// Shape of the model.
    pub model: ModelConfig,
    /// What is minimised.
    pub loss: LossConfig,
    /// The optimizer and gradient clipping.
    pub optimizer: OptimizerConfig,
    /// Learning rate over the run.
    pub schedule: ScheduleConfig,
    /// When checkpoints are written, and which are kept.
    pub checkpoint: CheckpointConfig,
    /// Which steps are left out; none are if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_step: Option<SkipStepConfig>,
}

fn default_validation_sequences() -> usize {
    256
}

fn default_log_every() -> u64 {
    1
}

impl Plan {
    /// Tokens read in one optimizer step.
    pub fn tokens_per_step(&self) -> u64 {
        (self.batch_size * self.seq_len) as u64
    }

    /// Tokens read in the whole run.
    pub fn tokens(&self) -> u64 {
        self.steps * self.tokens_per_step()
    }
}

/// Number format of the layers' computations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits, of which 8 are the exponent.
    Bf16,
}

/// When checkpoints are written, besides at the last step and when the run is told to stop; and which stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between checkpoints.
    pub every_steps: u64,
    /// Minutes after which one is written anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_minutes: Option<f64>,
    /// How many of the last are kept.
    #[serde(default = "default_keep_last")]
    pub keep_last: usize,
    /// Those of each multiple of so many steps are kept for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_every: Option<u64>,
}

fn default_keep_last() -> usize {
    2
}
