//! What a plan comes to, in numbers.

use std::fmt;

use serde::Serialize;

use crate::Plan;
use crate::flops::Flops;

/// The numbers of a plan that a paper's table has. It prints as one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the run.
    pub name: String,
    /// Mixture.
    pub mix: String,
    /// Trainable parameters.
    pub parameters: u64,
    /// Those without embedding and output head.
    pub non_embedding_parameters: u64,
    /// Tokens of the run.
    pub tokens: u64,
    /// Tokens a parameter sees.
    pub tokens_per_parameter: f64,
    /// Sequences a step.
    pub batch_size: usize,
    /// Tokens a sequence.
    pub seq_len: usize,
    /// Steps of the run.
    pub steps: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Steps of the warm-up.
    pub warmup_steps: u64,
    /// Steps in which the learning rate falls.
    pub decay_steps: u64,
    /// Operations of the run.
    pub flops: Flops,
}

impl Summary {
    /// Of a plan, with a vocabulary of `vocab_size` rows.
    pub fn new(plan: &Plan, vocab_size: usize) -> Self {
        let parameters = plan.model.parameters(vocab_size);
        let tokens = plan.tokens();
        Self {
            name: plan.name.clone(),
            mix: plan.mix.clone(),
            parameters,
            non_embedding_parameters: plan.model.parameters(0),
            tokens,
            tokens_per_parameter: tokens as f64 / parameters as f64,
            batch_size: plan.batch_size,
            seq_len: plan.seq_len,
            steps: plan.steps,
            lr: plan.optimizer.lr,
            warmup_steps: plan.schedule.warmup_steps(plan.steps),
            decay_steps: plan.schedule.decay_steps(plan.steps),
            flops: Flops::of(plan, vocab_size),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            batch_size,
            seq_len,
            ..
        } = self;
        let Flops {
            forward,
            training,
            six_nd,
        } = self.flops;
        let (warmup, decay) = (grouped(self.warmup_steps), grouped(self.decay_steps));
        let inner = grouped(self.non_embedding_parameters);
        let rows = [
            ("run", self.name.clone()),
            ("mix", self.mix.clone()),
            (
                "parameters",
                format!("{}, {inner} without embeddings", grouped(self.parameters)),
            ),
            (
                "tokens",
                format!(
                    "{}, {:.1} a parameter",
                    grouped(self.tokens),
                    self.tokens_per_parameter
                ),
            ),
            (
                "steps",
                format!("{} of {batch_size} x {seq_len} tokens", grouped(self.steps)),
            ),
            (
                "lr",
                format!("{:e}, warm-up {warmup} steps, decay {decay} steps", self.lr),
            ),
            (
                "FLOPs",
                format!("forward {forward:.3e}, training {training:.3e}, 6ND {six_nd:.3e}"),
            ),
        ];
        lines(f, &rows)
    }
}

/// Rows of a name and a value, the values in a column.
pub(crate) fn lines(f: &mut fmt::Formatter<'_>, rows: &[(&str, String)]) -> fmt::Result {
    for (name, value) in rows {
        writeln!(f, "{name:<12}{value}")?;
    }
    Ok(())
}

/// `1,234,567`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Vocabulary, load};

    #[test]
    fn digits_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1234567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn it_prints_what_a_table_has() {
        let plan = load("exp2.1")
            .unwrap()
            .resolve(&["600m".into()], &[])
            .unwrap()
            .plan;
        let printed = Summary::new(&plan, Vocabulary::Marin.size()).to_string();
        for expected in [
            "exp2.1-600m",
            "238,419 of 512 x 4096",
            "warm-up 23,841 steps, decay 47,683",
        ] {
            assert!(
                printed.contains(expected),
                "{expected} is not in\n{printed}"
            );
        }
    }
}
