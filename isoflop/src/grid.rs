//! The candidates of a budget: one model for each width, with the batch, steps and learning rate that spend the budget.
//!
//! The derivation is that of the SODA sweep (arXiv 2602.16687, marin `experiments/audio`). Its budget counts forward FLOPs
//! only; the FLOPs of training, which papers quote, are three times as many.

use std::ops::RangeInclusive;

use experiments::ModelConfig;
use experiments::flops::forward_flops_per_token;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Rows of the vocabulary: Llama-3 text, six markers, eight codebooks of 2,048 codes.
pub const VOCAB_SIZE: usize = 144_644;
/// Tokens a sequence.
pub const SEQ_LEN: usize = 4_096;

/// Widths of the residual stream that are tried.
const HIDDEN_SIZES: RangeInclusive<usize> = 128..=2_048;
/// Distance of the widths, up to [`COARSE_ABOVE_FLOPS`] and over it.
const FINE_STEP: usize = 128;
const COARSE_STEP: usize = 256;
const COARSE_ABOVE_FLOPS: f64 = 9e18;

/// Width of the MLP over that of the residual stream.
const MLP_RATIO: usize = 4;
/// Channels a head.
const HEAD_DIM: usize = 128;
/// Steps that the first guess of the batch size aims at.
const AIMED_STEPS: f64 = 65_536.0;
/// Batches under this are too noisy to train with, in sequences.
const MIN_BATCH: u64 = 8;
/// Candidates of as many steps or more take too long and are not run.
const MAX_STEPS: u64 = 400_000;
/// Learning rate of width 1 and batch 1.
const LR_SCALE: f64 = 0.33;
const MAX_LR: f64 = 0.01;
/// Decay of the second moment at batch [`BETA2_BATCH`]; scaled so that it forgets over the same number of sequences.
const BETA2: f64 = 0.98;
const BETA2_BATCH: f64 = 128.0;
/// Rounding to whole steps may miss the budget by this fraction.
const MAX_BUDGET_ERROR: f64 = 0.01;

/// One model of the grid and how to train it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Forward FLOPs to spend.
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
    /// Whether it is run: fewer than 400,000 steps.
    pub kept: bool,
}

impl Candidate {
    /// Tokens a parameter sees.
    pub fn tokens_per_param(&self) -> f64 {
        self.tokens as f64 / self.params as f64
    }
}

/// The candidates of one budget, and what they were derived for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// Forward FLOPs each candidate spends.
    pub budget: f64,
    /// Rows of the vocabulary.
    pub vocab: usize,
    /// Tokens a sequence.
    pub seq_len: usize,
    /// From the narrowest to the widest.
    pub candidates: Vec<Candidate>,
}

/// Derives the candidates of `budget` forward FLOPs.
pub fn sweep(budget: f64) -> Result<Grid> {
    if !(budget > 0.0 && budget.is_finite()) {
        return Err(Error::Budget { budget });
    }
    let coarse = budget > COARSE_ABOVE_FLOPS;
    let step = if coarse { COARSE_STEP } else { FINE_STEP };
    let widths = HIDDEN_SIZES.step_by(step);
    let candidates: Vec<_> = widths
        .filter_map(|hidden| candidate(budget, hidden))
        .collect();
    if candidates.is_empty() {
        return Err(Error::NoCandidate {
            budget,
            narrowest: *HIDDEN_SIZES.start(),
            widest: *HIDDEN_SIZES.end(),
            min_batch: MIN_BATCH,
        });
    }
    Ok(Grid {
        budget,
        vocab: VOCAB_SIZE,
        seq_len: SEQ_LEN,
        candidates,
    })
}

/// The candidate of one width; `None` if its batch is too small or whole steps miss the budget.
fn candidate(budget: f64, hidden: usize) -> Option<Candidate> {
    let model = shape(hidden);
    let flops_per_sequence = forward_flops_per_token(&model, VOCAB_SIZE, SEQ_LEN) * SEQ_LEN as f64;
    let (batch, lr) = batch_and_lr(budget / (flops_per_sequence * AIMED_STEPS), hidden);
    if batch < MIN_BATCH {
        return None;
    }
    let flops_per_step = flops_per_sequence * batch as f64;
    let steps = (budget / flops_per_step).round_ties_even();
    if (steps * flops_per_step - budget).abs() / budget > MAX_BUDGET_ERROR {
        return None;
    }
    let steps = steps as u64;
    Some(Candidate {
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
        params: parameters(&model),
        tokens: (batch * SEQ_LEN as u64).saturating_mul(steps),
        kept: steps < MAX_STEPS,
    })
}

/// The shape of a model of this width: depth grows a little slower than width.
fn shape(hidden: usize) -> ModelConfig {
    let width = hidden as f64;
    let aspect = 64.0 + 4.0 * width.log2() - 7.0;
    let heads = (hidden / HEAD_DIM).max(1);
    ModelConfig {
        hidden_size: hidden,
        intermediate_size: MLP_RATIO * hidden,
        num_hidden_layers: (width / aspect).round_ties_even() as usize,
        num_attention_heads: heads,
        num_key_value_heads: heads,
        head_dim: hidden / heads,
        tie_word_embeddings: false,
        max_position_embeddings: SEQ_LEN,
        rms_norm_eps: 1e-5,
        initializer_range: 0.02,
        rope: Default::default(),
    }
}

/// The smallest power of two that is at least `wanted_batch`, halved until its learning rate is not over [`MAX_LR`].
fn batch_and_lr(wanted_batch: f64, hidden: usize) -> (u64, f64) {
    let lr = |batch: f64| LR_SCALE * batch.sqrt() / hidden as f64;
    let mut batch = 1.0;
    while batch < wanted_batch {
        batch *= 2.0;
    }
    while lr(batch) > MAX_LR {
        batch /= 2.0;
    }
    // at most 2,048 for the widest model; a fraction becomes 0, which is under the smallest batch
    (batch as u64, lr(batch))
}

/// Parameters as the sweep counts them: without the query and key norms and the final norm, which
/// [`ModelConfig::parameters`] has, so that the sizes agree with the published ones.
fn parameters(model: &ModelConfig) -> u64 {
    let hidden = model.hidden_size;
    let query = model.num_attention_heads * model.head_dim;
    let key_value = model.num_key_value_heads * model.head_dim;
    let attention = 2 * query * hidden + 2 * key_value * hidden;
    let mlp = 3 * hidden * model.intermediate_size;
    let layers = model.num_hidden_layers * (attention + mlp + 2 * hidden);
    (layers + 2 * VOCAB_SIZE * hidden) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// `tests/fixtures/isoflop-grid-sample.json`: two budgets, computed with the reference implementation.
    #[derive(Deserialize)]
    struct Sample {
        vocab: usize,
        seq_len: usize,
        budgets: BTreeMap<String, Vec<Candidate>>,
    }

    #[test]
    fn reproduces_the_reference_grid() {
        let sample = include_str!("../../tests/fixtures/isoflop-grid-sample.json");
        let sample: Sample = serde_json::from_str(sample).unwrap();
        assert_eq!((sample.vocab, sample.seq_len), (VOCAB_SIZE, SEQ_LEN));
        assert_eq!(sample.budgets.len(), 2);
        for (budget, expected) in sample.budgets {
            let found = sweep(budget.parse().unwrap()).unwrap().candidates;
            assert_eq!(found.len(), expected.len(), "budget {budget}");
            for (found, expected) in found.iter().zip(&expected) {
                let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs();
                assert!(close(found.lr, expected.lr), "{found:?}\n{expected:?}");
                assert!(
                    close(found.beta2, expected.beta2),
                    "{found:?}\n{expected:?}"
                );
                let [lr, beta2] = [expected.lr, expected.beta2];
                assert_eq!(
                    &Candidate {
                        lr,
                        beta2,
                        ..found.clone()
                    },
                    expected
                );
            }
        }
    }

    #[test]
    fn every_candidate_spends_the_budget_and_keeps_the_limits() {
        for exponent in 0..=60 {
            let budget = 1e17 * 10f64.powf(f64::from(exponent) / 15.0);
            let Ok(grid) = sweep(budget) else { continue };
            for c in &grid.candidates {
                let flops = forward_flops_per_token(&shape(c.hidden), VOCAB_SIZE, SEQ_LEN);
                let spent = flops * c.tokens as f64;
                assert!((spent / budget - 1.0).abs() <= MAX_BUDGET_ERROR, "{c:?}");
                assert!(c.batch >= MIN_BATCH && c.batch.is_power_of_two(), "{c:?}");
                assert!(c.lr <= MAX_LR, "{c:?}");
                assert_eq!(c.tokens, c.steps * c.batch * SEQ_LEN as u64);
            }
        }
    }

    #[test]
    fn large_budgets_try_every_other_width() {
        let widths = |budget| -> Vec<usize> {
            let grid = sweep(budget).unwrap();
            grid.candidates.iter().map(|c| c.hidden).collect()
        };
        assert!(widths(9e18).windows(2).all(|w| w[1] - w[0] == 128));
        assert!(widths(9.1e18).windows(2).all(|w| w[1] - w[0] == 256));
    }

    #[test]
    fn counts_what_the_model_counts_but_for_some_norms() {
        let model = shape(512);
        let norms = model.num_hidden_layers * 2 * model.head_dim + model.hidden_size;
        assert_eq!(
            parameters(&model) + norms as u64,
            model.parameters(VOCAB_SIZE)
        );
    }

    #[test]
    fn refuses_budgets_that_are_none_or_too_small() {
        for budget in [0.0, -1e18, f64::NAN, f64::INFINITY] {
            let message = sweep(budget).unwrap_err().to_string();
            assert!(
                message.contains("not a positive, finite number"),
                "{message}"
            );
        }
        let message = sweep(1e15).unwrap_err().to_string();
        assert!(
            message.contains("budget 1e15 gives no candidate"),
            "{message}"
        );
    }

    #[test]
    fn the_largest_budgets_do_not_overflow() {
        let grid = sweep(f64::MAX).unwrap();
        assert!(grid.candidates.iter().all(|c| !c.kept && c.batch <= 4_096));
    }
}
