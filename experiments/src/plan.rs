//! A resolved experiment: everything that determines a run, but for the data and its vocabulary.

use serde::{Deserialize, Serialize};

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
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Weight of logsumexp² in the loss.
    pub z_loss_weight: f64,
    /// Shape of the model.
    pub model: ModelConfig,
    /// AdamW and gradient clipping.
    pub optimizer: OptimizerConfig,
    /// Learning rate over the run.
    pub schedule: ScheduleConfig,
}

impl Plan {
    /// Tokens read in one optimizer step.
    pub fn tokens_per_step(&self) -> u64 {
        (self.batch_size * self.seq_len) as u64
    }
}

/// Shape of a Qwen3-architecture model, with the field names of transformers' `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the SwiGLU layer.
    pub intermediate_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads (GQA).
    pub num_key_value_heads: usize,
    /// Channels a head.
    pub head_dim: usize,
    /// Whether the output head is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Added to the mean square in RMSNorm.
    #[serde(default = "default_rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Standard deviation of the initial embeddings.
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    /// Rotary position embedding.
    #[serde(default)]
    pub rope: RopeConfig,
}

fn default_rms_norm_eps() -> f64 {
    1e-5
}

fn default_initializer_range() -> f64 {
    0.02
}

impl ModelConfig {
    /// Trainable parameters with a vocabulary of `vocab_size` rows.
    pub fn parameters(&self, vocab_size: usize) -> u64 {
        let (hidden, head_dim) = (self.hidden_size, self.head_dim);
        let query = self.num_attention_heads * head_dim;
        let key_value = self.num_key_value_heads * head_dim;
        let attention = 2 * hidden * query + 2 * hidden * key_value + 2 * head_dim;
        let mlp = 3 * hidden * self.intermediate_size;
        let layer = attention + mlp + 2 * hidden;
        let matrices = if self.tie_word_embeddings { 1 } else { 2 };
        (self.num_hidden_layers * layer + hidden + matrices * vocab_size * hidden) as u64
    }
}

/// Rotary position embedding (Su et al., arXiv 2104.09864); by default that of the recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeConfig {
    /// Base of the geometric sequence of wavelengths.
    pub theta: f64,
    /// Llama-3 scaling of the long wavelengths; none for plain RoPE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<RopeScaling>,
}

impl Default for RopeConfig {
    fn default() -> Self {
        let scaling = RopeScaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        Self {
            theta: 500_000.0,
            scaling: Some(scaling),
        }
    }
}

/// Llama-3's RoPE scaling: wavelengths over `original / low_freq_factor` are stretched by `factor`,
/// those under `original / high_freq_factor` kept, and those between interpolated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeScaling {
    /// Stretch of the longest wavelengths.
    pub factor: f64,
    /// See [`RopeScaling`].
    pub low_freq_factor: f64,
    /// See [`RopeScaling`].
    pub high_freq_factor: f64,
    /// Context length before scaling, in tokens.
    pub original_max_position_embeddings: usize,
}

/// AdamW (Loshchilov & Hutter, arXiv 1711.05101) after clipping to a global gradient norm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Peak learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay of the matrices of linear layers; norms and embeddings have none.
    pub weight_decay: f64,
    /// Gradients of a larger global norm are scaled down to it.
    pub max_grad_norm: f64,
}

/// Warm-up, stable, decay (WSD): linear from 0 to the peak, constant, linear to the final rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Fraction of the steps spent warming up.
    pub warmup: f64,
    /// Fraction of the steps spent decaying.
    pub decay: f64,
    /// Final learning rate over the peak.
    pub min_lr_ratio: f64,
}
