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
    /// The checkpoint whose training goes on, with its optimizer state; none if the optimizer begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anneal: Option<AnnealConfig>,
    /// Shape of the model.
    pub model: ModelConfig,
    /// Low-rank updates that are trained instead of the model; none if all of it is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
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

    /// Parameters that are trained, with a vocabulary of `vocab_size` rows.
    pub fn trained_parameters(&self, vocab_size: usize) -> u64 {
        match &self.lora {
            Some(lora) => lora.parameters(&self.model),
            None => self.model.parameters(vocab_size),
        }
    }

    /// Tokens read in the whole run.
    pub fn tokens(&self) -> u64 {
        self.steps * self.tokens_per_step()
    }

    /// Steps before the first of this run: those of the checkpoint that it anneals.
    pub fn first_step(&self) -> u64 {
        self.anneal.as_ref().map_or(0, |anneal| anneal.step)
    }

    /// Steps after the last of this run, with those before its first.
    pub fn last_step(&self) -> u64 {
        self.first_step() + self.steps
    }

    /// Tokens read up to a step, with those before the run.
    pub fn tokens_at(&self, step: u64) -> u64 {
        let before = self.anneal.as_ref().map_or(0, |anneal| anneal.tokens);
        before + (step - self.first_step()) * self.tokens_per_step()
    }

    /// Number of the first sequence after a step. An anneal goes on in the order of its data where the checkpoint stood, as
    /// Levanter's does: with the same mixture it sees what was not seen yet.
    pub fn sequence_at(&self, step: u64) -> u64 {
        self.tokens_at(step) / self.seq_len as u64
    }
}

/// A checkpoint that a run goes on from: weights, optimizer state, and its place in the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnealConfig {
    /// Folder of the checkpoint.
    pub from: String,
    /// Steps behind it.
    pub step: u64,
    /// Tokens behind it.
    pub tokens: u64,
    /// Hash of its `state.json`, which has the hashes of all its files.
    pub sha256: String,
}

/// Low-rank adaptation (Hu et al., arXiv 2106.09685): `W + alpha / rank · B A` instead of `W`, of which `A` (`[rank, in]`) and
/// `B` (`[out, rank]`) are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of the updates.
    pub rank: usize,
    /// Weight of the updates, times the rank.
    pub alpha: f64,
    /// Which matrices of each layer have one.
    #[serde(default = "LoraConfig::all_targets")]
    pub targets: Vec<String>,
}

impl LoraConfig {
    /// Matrices that can have an update.
    pub const TARGETS: [&str; 7] = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ];

    /// All of [`TARGETS`](Self::TARGETS).
    pub fn all_targets() -> Vec<String> {
        Self::TARGETS.map(String::from).into()
    }

    /// Factor of `B A`.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// Parameters of all updates to a model.
    pub fn parameters(&self, model: &ModelConfig) -> u64 {
        let hidden = model.hidden_size;
        let query = model.num_attention_heads * model.head_dim;
        let key_value = model.num_key_value_heads * model.head_dim;
        let other = |target: &String| match target.as_str() {
            "q_proj" | "o_proj" => query,
            "k_proj" | "v_proj" => key_value,
            _ => model.intermediate_size,
        };
        let of_layer = self
            .targets
            .iter()
            .map(|target| self.rank * (hidden + other(target)));
        (model.num_hidden_layers * of_layer.sum::<usize>()) as u64
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
