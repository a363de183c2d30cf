//! Floating-point operations of a model, counted once for the trainer and the scaling studies.

use serde::{Deserialize, Serialize};

use crate::{ModelConfig, Plan};

/// Floating-point operations of a run, by the three conventions that papers have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flops {
    /// Of all forward passes, attention included: [`forward_flops_per_token`]. The recipe's IsoFLOP budgets are these.
    pub forward: f64,
    /// Of forward and backward passes, three times as many. MFU is of these.
    pub training: f64,
    /// 6 · parameters · tokens (Kaplan et al., arXiv 2001.08361), here with both embeddings counted.
    #[serde(rename = "6nd")]
    pub six_nd: f64,
}

impl Flops {
    /// Of a plan, with a vocabulary of `vocab_size` rows.
    pub fn of(plan: &Plan, vocab_size: usize) -> Self {
        let tokens = plan.tokens() as f64;
        Self {
            forward: forward_flops_per_token(&plan.model, vocab_size, plan.seq_len) * tokens,
            training: training_flops_per_token(&plan.model, vocab_size, plan.seq_len) * tokens,
            six_nd: 6.0 * plan.model.parameters(vocab_size) as f64 * tokens,
        }
    }
}

/// Forward FLOPs a token, as Levanter counts them (`lm_flops_per_token`):
/// `L·(6·h·i + 2h(H·d + 2·K·d) + 2h² + T·(4·H·d + 3·H)) + 2·h·V` with `d = h / H`.
///
/// The whole sequence length enters the attention term: causality is not subtracted.
pub fn forward_flops_per_token(model: &ModelConfig, vocab_size: usize, seq_len: usize) -> f64 {
    let [hidden, inner, layers] = [
        model.hidden_size,
        model.intermediate_size,
        model.num_hidden_layers,
    ]
    .map(|x| x as f64);
    let [heads, kv_heads] =
        [model.num_attention_heads, model.num_key_value_heads].map(|x| x as f64);
    let head_dim = hidden / heads;
    let mlp = 6.0 * hidden * inner;
    let projections =
        2.0 * hidden * (heads * head_dim + 2.0 * kv_heads * head_dim) + 2.0 * hidden * hidden;
    let attention = seq_len as f64 * (4.0 * heads * head_dim + 3.0 * heads);
    layers * (mlp + projections + attention) + 2.0 * hidden * vocab_size as f64
}

/// Training FLOPs a token: a backward pass costs twice the forward.
pub fn training_flops_per_token(model: &ModelConfig, vocab_size: usize, seq_len: usize) -> f64 {
    3.0 * forward_flops_per_token(model, vocab_size, seq_len)
}
