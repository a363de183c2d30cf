//! The candidates of a budget: one model for each width, with the batch, steps and learning rate that spend the budget.
//!
//! The derivation is that of the SODA sweep (arXiv 2602.16687, marin `experiments/audio`). Its budgets count forward FLOPs
//! only; the FLOPs of training, which the paper quotes, are three times as many ([`Convention`]).

mod candidate;
mod left_out;
mod rules;

pub use candidate::Candidate;
pub use left_out::{LeftOut, Rule};
pub use rules::Rules;

use experiments::flops::Flops;
use serde::Serialize;

use crate::{Convention, Error, Result};

/// The candidates of one budget, what they were derived for, and which widths have no run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// What the budget counts.
    pub convention: Convention,
    /// FLOPs each candidate spends.
    pub budget: f64,
    /// Rows of the vocabulary.
    pub vocab: usize,
    /// Tokens a sequence.
    pub seq_len: usize,
    /// In the order of the widths: from the narrowest to the widest, in a sweep. Those of too many steps are among them.
    pub candidates: Vec<Candidate>,
    /// The widths that have no run, those of too many steps among them.
    pub left_out: Vec<LeftOut>,
    /// Sums over the candidates that are run.
    pub kept: Totals,
    #[serde(skip)]
    rules: Rules,
}

/// Sums over candidates that are run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// How many.
    pub candidates: usize,
    /// Their tokens.
    pub tokens: u64,
    /// Their FLOPs by each convention.
    pub flops: Flops,
}

impl Grid {
    /// The candidates that are run.
    pub fn kept(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| candidate.kept)
    }

    /// What it was derived by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}

/// Derives the candidates of a budget, in FLOPs of the rules' convention, for the rules' widths.
///
/// # Errors
/// Budgets and rules that are none, and budgets that leave no candidate to run.
pub fn sweep(rules: &Rules, budget: f64) -> Result<Grid> {
    rules.check()?;
    let grid = target(rules, budget, &rules.widths(budget))?;
    match grid.kept.candidates {
        0 => Err(Error::NoCandidate {
            budget,
            convention: rules.convention,
            widths: grid.left_out.len(),
            narrowest: *rules.hidden.start(),
            widest: *rules.hidden.end(),
            counts: left_out::Counts::new(&grid.left_out, rules).to_string(),
        }),
        _ => Ok(grid),
    }
}

/// Derives the candidates of a budget for given widths. Those that a rule refuses are left out.
///
/// # Errors
/// Budgets and rules that are none.
pub fn target(rules: &Rules, budget: f64, widths: &[usize]) -> Result<Grid> {
    rules.check()?;
    if !(budget > 0.0 && budget.is_finite()) {
        return Err(Error::Budget { budget });
    }
    let (mut candidates, mut left_out) = (Vec::new(), Vec::new());
    for &hidden in widths {
        let rule = match Candidate::derive(rules, budget, hidden) {
            Ok(candidate) => {
                let steps = candidate.steps;
                let kept = candidate.kept;
                candidates.push(candidate);
                (!kept).then_some(Rule::ManySteps { steps })
            }
            Err(rule) => Some(rule),
        };
        left_out.extend(rule.map(|rule| LeftOut {
            hidden,
            reason: rule.reason(rules),
            rule,
        }));
    }
    Ok(Grid {
        convention: rules.convention,
        budget,
        vocab: rules.vocab,
        seq_len: rules.seq_len,
        kept: totals(rules, &candidates),
        candidates,
        left_out,
        rules: rules.clone(),
    })
}

fn totals(rules: &Rules, candidates: &[Candidate]) -> Totals {
    let mut totals = Totals {
        candidates: 0,
        tokens: 0,
        flops: Flops {
            forward: 0.0,
            training: 0.0,
            six_nd: 0.0,
        },
    };
    for candidate in candidates.iter().filter(|candidate| candidate.kept) {
        let flops = candidate.flops(rules);
        totals.candidates += 1;
        totals.tokens += candidate.tokens;
        totals.flops.forward += flops.forward;
        totals.flops.training += flops.training;
        totals.flops.six_nd += flops.six_nd;
    }
    totals
}

#[cfg(test)]
mod tests;
