//! Why a width has no run at a budget.

use std::fmt;

use serde::Serialize;

use super::Rules;

/// A width that has no run, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOut {
    /// Width of the residual stream.
    pub hidden: usize,
    /// The rule that leaves it out, with what it found.
    #[serde(flatten)]
    pub rule: Rule,
    /// The same in words.
    pub reason: String,
}

/// A rule of the derivation, and what it found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum Rule {
    /// Heads that do not divide the width into even numbers of channels.
    Heads {
        /// How many.
        heads: usize,
    },
    /// A batch under the smallest.
    SmallBatch {
        /// Sequences a step.
        batch: f64,
        /// The same before it was halved for the learning rate.
        before_halving: f64,
    },
    /// Whole steps miss the budget.
    OffBudget {
        /// By which fraction of it.
        by: f64,
    },
    /// More steps than are run.
    ManySteps {
        /// How many.
        steps: u64,
    },
}

impl Rule {
    /// What the width is left out for, in words.
    pub(super) fn reason(&self, rules: &Rules) -> String {
        match *self {
            Self::Heads { heads } => format!("not {heads} heads of an even number of channels"),
            Self::SmallBatch {
                batch,
                before_halving,
            } => {
                let halved = match batch < before_halving {
                    true => {
                        format!(" ({before_halving} halved until lr <= {})", rules.max_lr)
                    }
                    false => String::new(),
                };
                format!("batch {batch} < {}{halved}", rules.min_batch)
            }
            Self::OffBudget { by } => format!("whole steps are {:.1} % off the budget", 100.0 * by),
            Self::ManySteps { steps } => format!("{steps} steps >= {}", rules.max_steps),
        }
    }

    /// The rule without what it found, and what would make it apply to fewer widths.
    fn in_general(&self, rules: &Rules) -> (String, &'static str) {
        match self {
            Self::Heads { .. } => (
                "have no heads of an even number of channels".into(),
                "multiples of --head-dim",
            ),
            Self::SmallBatch { .. } => (
                format!("have a batch under {}", rules.min_batch),
                "a larger budget, fewer --aimed-steps, or a smaller --lr-constant where lr halves the batch",
            ),
            Self::OffBudget { .. } => (
                "miss the budget by over 1 % in whole steps".into(),
                "a larger budget, or a smaller --seq-len",
            ),
            Self::ManySteps { .. } => (
                format!("take {} steps or more", rules.max_steps),
                "a smaller budget, or more --max-steps",
            ),
        }
    }
}

/// How many widths each rule left out, and what to do about it.
pub(super) struct Counts(Vec<(String, &'static str, usize)>);

impl Counts {
    pub(super) fn new(left_out: &[LeftOut], rules: &Rules) -> Self {
        let mut counts: Vec<(String, &'static str, usize)> = Vec::new();
        for left in left_out {
            let (rule, cure) = left.rule.in_general(rules);
            match counts.iter_mut().find(|(known, ..)| *known == rule) {
                Some((.., count)) => *count += 1,
                None => counts.push((rule, cure, 1)),
            }
        }
        Self(counts)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (rule, cure, count)) in self.0.iter().enumerate() {
            let comma = if place > 0 { "; " } else { "" };
            write!(f, "{comma}{count} {rule} (try {cure})")?;
        }
        Ok(())
    }
}
