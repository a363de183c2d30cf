//! The numbers that a grid is derived by. Their defaults are the recipe's.

use std::ops::RangeInclusive;

use crate::{Convention, Error, Result};

/// Widest model that is derived; it keeps mistyped ranges from taking forever.
const WIDEST: usize = 65_536;
/// Distance of the widths, up to [`COARSE_ABOVE_FLOPS`] and over it.
const FINE_STEP: usize = 128;
const COARSE_STEP: usize = 256;
/// In forward FLOPs.
const COARSE_ABOVE_FLOPS: f64 = 9e18;

/// What candidates are derived by, and for.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// What budgets count.
    pub convention: Convention,
    /// Rows of the vocabulary.
    pub vocab: usize,
    /// Tokens a sequence.
    pub seq_len: usize,
    /// Narrowest and widest residual stream of a sweep.
    pub hidden: RangeInclusive<usize>,
    /// Distance of a sweep's widths; by the budget if there is none.
    pub step: Option<usize>,
    /// Channels of a head, where the width has so many.
    pub head_dim: usize,
    /// Steps that the first guess of the batch size aims at.
    pub aimed_steps: u64,
    /// Batches under this are too noisy to train with, in sequences.
    pub min_batch: u64,
    /// Candidates of as many steps or more take too long and are not run.
    pub max_steps: u64,
    /// Learning rate of width 1 and batch 1.
    pub lr_constant: f64,
    /// The batch is halved while the learning rate is over this.
    pub max_lr: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            convention: Convention::Forward,
            // Llama 3's text, six markers, eight codebooks of 2,048 codes
            vocab: 144_644,
            seq_len: 4_096,
            hidden: 128..=2_048,
            step: None,
            head_dim: 128,
            aimed_steps: 65_536,
            min_batch: 8,
            max_steps: 400_000,
            lr_constant: 0.33,
            max_lr: 0.01,
        }
    }
}

impl Rules {
    /// Refuses numbers that no grid can be derived by.
    ///
    /// # Errors
    /// [`Error::Rule`], which names the flag.
    pub fn check(&self) -> Result<()> {
        let whole = |flag, value: u64, least: u64, most: u64| match (least..=most).contains(&value)
        {
            true => Ok(()),
            false => Err(Error::Rule {
                flag,
                found: value.to_string(),
                wanted: format!("from {least} to {most}"),
            }),
        };
        let above_zero = |flag, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(Error::Rule {
                flag,
                found: value.to_string(),
                wanted: "positive and finite".into(),
            }),
        };
        let widest = WIDEST as u64;
        whole("--vocab", self.vocab as u64, 1, u32::MAX.into())?;
        whole("--seq-len", self.seq_len as u64, 16, 1 << 24)?;
        whole("--hidden", *self.hidden.end() as u64, 1, widest)?;
        let narrowest = *self.hidden.start() as u64;
        whole("--hidden", narrowest, 1, *self.hidden.end() as u64)?;
        whole("--step", self.step.unwrap_or(1) as u64, 1, widest)?;
        whole("--head-dim", self.head_dim as u64, 2, widest)?;
        whole("--aimed-steps", self.aimed_steps, 1, 1 << 40)?;
        whole("--min-batch", self.min_batch, 1, 1 << 24)?;
        whole("--max-steps", self.max_steps, 1, 1 << 40)?;
        above_zero("--lr-constant", self.lr_constant)?;
        above_zero("--max-lr", self.max_lr)
    }

    /// The widths that a budget's sweep tries.
    pub fn widths(&self, budget: f64) -> Vec<usize> {
        let coarse = budget / self.convention.per_forward_flop() > COARSE_ABOVE_FLOPS;
        let by_budget = if coarse { COARSE_STEP } else { FINE_STEP };
        let step = self.step.unwrap_or(by_budget);
        self.hidden.clone().step_by(step).collect()
    }
}
