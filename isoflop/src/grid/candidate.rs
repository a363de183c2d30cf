//! One model of a grid: its shape, batch, steps and learning rate.

use experiments::ModelConfig;
use experiments::flops::{Flops, forward_flops_per_token, training_flops_per_token};
use serde::{Deserialize, Serialize};

use super::{Rule, Rules};

/// Width of the MLP over that of the residual stream.
const MLP_RATIO: usize = 4;
/// Decay of the second moment at batch [`BETA2_BATCH`]; scaled so that it forgets over the same number of sequences.
const BETA2: f64 = 0.98;
const BETA2_BATCH: f64 = 128.0;
/// Rounding to whole steps may miss the budget by this fraction.
const MAX_BUDGET_ERROR: f64 = 0.01;

/// One model of the grid and how to train it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// FLOPs to spend, in the convention of the grid.
    pub budget: f64,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the SwiGLU layer.
    pub intermediate: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Sequences a step.
    pub batch: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Parameters, both embeddings counted, norms but for those of the layers not.
    pub params: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Whether it is run: fewer steps than [`Rules::max_steps`].
    pub kept: bool,
}

impl Candidate {
    /// Derives the candidate of one width, or tells the rule that it breaks.
    pub fn derive(rules: &Rules, budget: f64, hidden: usize) -> Result<Self, Rule> {
        let model = shape(rules, hidden)?;
        let per_token = flops(rules, &model, 1.0);
        let per_sequence = rules.convention.count(&per_token) * rules.seq_len as f64;
        let wanted = budget / (per_sequence * rules.aimed_steps as f64);
        let (batch, lr) = batch_and_lr(rules, wanted, hidden)?;
        let per_step = per_sequence * batch as f64;
        let steps = (budget / per_step).round_ties_even();
        let by = (steps * per_step - budget).abs() / budget;
        if by > MAX_BUDGET_ERROR {
            return Err(Rule::OffBudget { by });
        }
        let steps = steps as u64;
        Ok(Self {
            budget,
            hidden,
            intermediate: model.intermediate_size,
            layers: model.num_hidden_layers,
            heads: model.num_attention_heads,
            kv_heads: model.num_key_value_heads,
            batch,
            steps,
            lr,
            beta2: BETA2.powf(batch as f64 / BETA2_BATCH),
            params: parameters(&model, rules.vocab),
            tokens: (batch * rules.seq_len as u64).saturating_mul(steps),
            kept: steps < rules.max_steps,
        })
    }

    /// Tokens a parameter sees.
    pub fn tokens_per_param(&self) -> f64 {
        self.tokens as f64 / self.params as f64
    }

    /// FLOPs of the run by each convention.
    pub fn flops(&self, rules: &Rules) -> Flops {
        let model = model(rules, self.hidden, self.layers, self.heads);
        flops(rules, &model, self.tokens as f64)
    }
}

/// The shape of a model of this width: depth grows a little slower than width.
fn shape(rules: &Rules, hidden: usize) -> Result<ModelConfig, Rule> {
    let width = hidden as f64;
    let aspect = 64.0 + 4.0 * width.log2() - 7.0;
    // at least one, as of heads: the recipe's widths are far from it
    let layers = ((width / aspect).round_ties_even() as usize).max(1);
    let heads = (hidden / rules.head_dim).max(1);
    // rotary embeddings turn pairs of channels
    if !hidden.is_multiple_of(2 * heads) {
        return Err(Rule::Heads { heads });
    }
    Ok(model(rules, hidden, layers, heads))
}

fn model(rules: &Rules, hidden: usize, layers: usize, heads: usize) -> ModelConfig {
    ModelConfig {
        hidden_size: hidden,
        intermediate_size: MLP_RATIO * hidden,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: heads,
        head_dim: hidden / heads,
        tie_word_embeddings: false,
        max_position_embeddings: rules.seq_len,
        rms_norm_eps: 1e-5,
        initializer_range: 0.02,
        rope: Default::default(),
    }
}

/// FLOPs of so many tokens.
fn flops(rules: &Rules, model: &ModelConfig, tokens: f64) -> Flops {
    let (vocab, seq_len) = (rules.vocab, rules.seq_len);
    Flops {
        forward: forward_flops_per_token(model, vocab, seq_len) * tokens,
        training: training_flops_per_token(model, vocab, seq_len) * tokens,
        six_nd: 6.0 * parameters(model, vocab) as f64 * tokens,
    }
}

/// The smallest power of two that is at least `wanted` sequences, halved until its learning rate is not over the largest.
fn batch_and_lr(rules: &Rules, wanted: f64, hidden: usize) -> Result<(u64, f64), Rule> {
    let lr = |batch: f64| rules.lr_constant * batch.sqrt() / hidden as f64;
    let mut before_halving = 1.0;
    while before_halving < wanted {
        before_halving *= 2.0;
    }
    let mut batch = before_halving;
    while lr(batch) > rules.max_lr {
        batch /= 2.0;
    }
    match batch < rules.min_batch as f64 {
        true => Err(Rule::SmallBatch {
            batch,
            before_halving,
        }),
        false => Ok((batch as u64, lr(batch))),
    }
}

/// Parameters as the recipe counts them: without the query and key norms and the final norm, which
/// [`ModelConfig::parameters`] has, so that the sizes agree with the published ones.
fn parameters(model: &ModelConfig, vocab: usize) -> u64 {
    let hidden = model.hidden_size;
    let query = model.num_attention_heads * model.head_dim;
    let key_value = model.num_key_value_heads * model.head_dim;
    let attention = 2 * query * hidden + 2 * key_value * hidden;
    let mlp = 3 * hidden * model.intermediate_size;
    let layers = model.num_hidden_layers * (attention + mlp + 2 * hidden);
    (layers + 2 * vocab * hidden) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Convention;

    #[test]
    fn counts_what_the_model_counts_but_for_some_norms() {
        let rules = Rules::default();
        let model = shape(&rules, 512).unwrap();
        let norms = model.num_hidden_layers * 2 * model.head_dim + model.hidden_size;
        assert_eq!(
            parameters(&model, rules.vocab) + norms as u64,
            model.parameters(rules.vocab)
        );
    }

    #[test]
    fn each_rule_refuses_with_what_it_found() {
        let rules = Rules::default();
        let found = |rules: &Rules, budget, hidden| {
            let rule = Candidate::derive(rules, budget, hidden).unwrap_err();
            rule.reason(rules)
        };
        assert_eq!(
            found(&rules, 1e18, 385),
            "not 3 heads of an even number of channels"
        );
        assert_eq!(found(&rules, 1e18, 2048), "batch 1 < 8");
        let fast = Rules {
            lr_constant: 3.3,
            ..rules.clone()
        };
        assert_eq!(
            found(&fast, 1e18, 512),
            "batch 2 < 8 (16 halved until lr <= 0.01)"
        );
        let short = Rules {
            aimed_steps: 4,
            ..rules
        };
        let reason = found(&short, 1e15, 512);
        assert!(reason.ends_with("% off the budget"), "{reason}");
    }

    #[test]
    fn a_budget_is_spent_by_its_convention() {
        for convention in [Convention::Forward, Convention::Training, Convention::SixNd] {
            let rules = Rules {
                convention,
                ..Rules::default()
            };
            let candidate = Candidate::derive(&rules, 1e19, 512).unwrap();
            let flops = candidate.flops(&rules);
            let spent = match convention {
                Convention::Forward => flops.forward,
                Convention::Training => flops.training,
                Convention::SixNd => flops.six_nd,
            };
            assert!((spent / 1e19 - 1.0).abs() <= MAX_BUDGET_ERROR);
            assert_eq!(flops.training, 3.0 * flops.forward);
            let six_nd = 6.0 * candidate.params as f64 * candidate.tokens as f64;
            assert!((flops.six_nd / six_nd - 1.0).abs() < 1e-12);
        }
    }
}
