//! Optimizer and learning-rate schedule of a plan.

use serde::{Deserialize, Serialize};

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
    /// Updates only where the step agrees in sign with the gradient (Liang et al., arXiv 2411.16085).
    #[serde(default)]
    pub cautious: bool,
    /// Decay in proportion to the learning rate over its peak (AdamC; Defazio, arXiv 2506.02285).
    #[serde(default)]
    pub adamc: bool,
    /// Muon for the matrices of the layers; embeddings, head and norms keep AdamW.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muon: Option<MuonConfig>,
}

/// Momentum orthogonalised by Newton and Schulz's iteration (Jordan et al. 2024, github.com/KellerJordan/Muon).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuonConfig {
    /// Peak learning rate of the matrices; it follows the schedule as the other does.
    pub lr: f64,
    /// Decay of the momentum.
    #[serde(default = "default_momentum")]
    pub momentum: f64,
    /// Looks one step of the momentum ahead.
    #[serde(default = "default_nesterov")]
    pub nesterov: bool,
    /// Steps of the iteration.
    #[serde(default = "default_iterations")]
    pub iterations: usize,
    /// Added to the norm by which a matrix is divided before the iteration.
    #[serde(default = "default_muon_epsilon")]
    pub epsilon: f64,
}

fn default_momentum() -> f64 {
    0.95
}

fn default_nesterov() -> bool {
    true
}

fn default_iterations() -> usize {
    5
}

fn default_muon_epsilon() -> f64 {
    1e-8
}

/// Learning rate over the run. Values of `warmup` and `decay` up to 1 are fractions of the steps, larger ones are steps.
///
/// Warm-up is linear from 0. What follows is constant, or falls to `min_lr_ratio` of the peak at the end of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// Warm-up, stable, decay (MiniCPM, arXiv 2404.06395): constant, then linear over the last `decay` steps.
    Wsd {
        /// Steps spent warming up.
        warmup: f64,
        /// Steps spent decaying.
        decay: f64,
        /// Final learning rate over the peak.
        min_lr_ratio: f64,
    },
    /// Linear from the end of the warm-up.
    Linear {
        /// Steps spent warming up.
        warmup: f64,
        /// Final learning rate over the peak.
        min_lr_ratio: f64,
    },
    /// Half a cosine from the end of the warm-up (Loshchilov & Hutter, arXiv 1608.03983).
    Cosine {
        /// Steps spent warming up.
        warmup: f64,
        /// Final learning rate over the peak.
        min_lr_ratio: f64,
    },
    /// The peak, for ever.
    Constant {
        /// Steps spent warming up.
        warmup: f64,
    },
    /// `√(timescale / step)` of the peak, once `step` exceeds `timescale`.
    InverseSqrt {
        /// Steps spent warming up.
        warmup: f64,
        /// Least learning rate over the peak.
        min_lr_ratio: f64,
        /// Steps at the peak, warm-up included.
        #[serde(default = "default_timescale")]
        timescale: f64,
    },
}

impl ScheduleConfig {
    /// Steps of the warm-up, in a run of `steps`. A fraction of a step is left out, as in Levanter.
    pub fn warmup_steps(&self, steps: u64) -> u64 {
        match *self {
            Self::Wsd { warmup, .. }
            | Self::Linear { warmup, .. }
            | Self::Cosine { warmup, .. }
            | Self::Constant { warmup }
            | Self::InverseSqrt { warmup, .. } => count(warmup, steps),
        }
    }

    /// Steps in which the rate falls, in a run of `steps`: the last ones, except of an inverse root, which falls from its
    /// timescale on.
    pub fn decay_steps(&self, steps: u64) -> u64 {
        match *self {
            Self::Wsd { decay, .. } => count(decay, steps),
            Self::Linear { .. } | Self::Cosine { .. } => steps - self.warmup_steps(steps),
            Self::Constant { .. } => 0,
            Self::InverseSqrt { timescale, .. } => steps.saturating_sub(timescale as u64),
        }
    }
}

fn count(fraction_or_steps: f64, steps: u64) -> u64 {
    match fraction_or_steps <= 1.0 {
        true => (fraction_or_steps * steps as f64) as u64,
        false => fraction_or_steps as u64,
    }
}

fn default_timescale() -> f64 {
    10_000.0
}

/// Leaves out a step whose loss or gradient norm is more than `sigma` standard deviations above the mean of the last
/// `window` steps (as OLMo and Levanter do). A step is never left out while fewer than half as many are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkipStepConfig {
    /// Steps remembered.
    #[serde(default = "default_window")]
    pub window: usize,
    /// Standard deviations.
    #[serde(default = "default_sigma")]
    pub sigma: f64,
}

fn default_window() -> usize {
    128
}

fn default_sigma() -> f64 {
    6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_and_numbers_of_steps() {
        let steps = |toml: &str| {
            let schedule: ScheduleConfig = toml::from_str(toml).unwrap();
            (schedule.warmup_steps(1005), schedule.decay_steps(1005))
        };
        let wsd = "kind = 'wsd'\nwarmup = 0.1\ndecay = 200\nmin_lr_ratio = 0";
        assert_eq!(steps(wsd), (100, 200));
        let linear = "kind = 'linear'\nwarmup = 5\nmin_lr_ratio = 0";
        assert_eq!(steps(linear), (5, 1000));
        assert_eq!(steps("kind = 'constant'\nwarmup = 0"), (0, 0));
        let root = "kind = 'inverse-sqrt'\nwarmup = 0\nmin_lr_ratio = 0\ntimescale = 5";
        assert_eq!(steps(root), (0, 1000));
    }
}
