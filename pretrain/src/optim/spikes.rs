//! Which steps are left out because their loss or gradient norm is far above the recent ones (as OLMo and Levanter do).

use std::collections::VecDeque;

use experiments::SkipStepConfig;
use serde::{Deserialize, Serialize};

/// Least standard deviation: the window of a loss that hardly moves must not make a spike of every step.
const LEAST_DEVIATION: f64 = 1e-6;

/// Losses and gradient norms of the last steps, and how many steps were left out.
///
/// A checkpoint holds it, and a resumed run must judge as one that was not interrupted. So the history is in f32: the
/// shortest decimals of f32 come back from JSON as the same numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spikes {
    config: SkipStepConfig,
    losses: VecDeque<f32>,
    grad_norms: VecDeque<f32>,
    skipped: u64,
}

impl Spikes {
    /// No steps known.
    pub fn new(config: SkipStepConfig) -> Self {
        Self {
            config,
            losses: VecDeque::new(),
            grad_norms: VecDeque::new(),
            skipped: 0,
        }
    }

    /// Remembers what another one knows, as far as its own window goes.
    pub fn take_over(&mut self, known: &Self) {
        *self = Self {
            config: self.config.clone(),
            ..known.clone()
        };
        for history in [&mut self.losses, &mut self.grad_norms] {
            let surplus = history.len().saturating_sub(self.config.window);
            history.drain(..surplus);
        }
    }

    /// Steps left out.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether a step is to be left out, by those before it.
    ///
    /// It is remembered in either case, so that a level that stays high becomes the normal one. What is not finite is left
    /// out and not remembered: no mean would be finite for a whole window after it.
    pub fn judge(&mut self, loss: f64, grad_norm: f64) -> bool {
        let (loss, grad_norm) = (loss as f32, grad_norm as f32);
        let finite = loss.is_finite() && grad_norm.is_finite();
        let spike = !finite
            || self.exceeds(&self.losses, loss)
            || self.exceeds(&self.grad_norms, grad_norm);
        if finite {
            for (history, value) in [(&mut self.losses, loss), (&mut self.grad_norms, grad_norm)] {
                history.push_back(value);
                let surplus = history.len().saturating_sub(self.config.window);
                history.drain(..surplus);
            }
        }
        self.skipped += u64::from(spike);
        spike
    }

    /// Whether a value is more than `sigma` standard deviations above the mean, once half a window is known.
    fn exceeds(&self, history: &VecDeque<f32>, value: f32) -> bool {
        if history.len() < (self.config.window / 2).max(2) {
            return false;
        }
        let known = history.iter().map(|&value| f64::from(value));
        let count = history.len() as f64;
        let mean = known.clone().sum::<f64>() / count;
        let variance = known.map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let deviation = variance.sqrt().max(LEAST_DEVIATION);
        f64::from(value) > mean + self.config.sigma * deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spikes(window: usize, sigma: f64) -> Spikes {
        Spikes::new(SkipStepConfig { window, sigma })
    }

    /// `scripts/make_optimizer_fixtures.py` decides by NumPy's mean and deviation.
    #[test]
    fn the_steps_left_out_are_the_fixtures_also_after_a_resume() {
        #[derive(Deserialize)]
        struct Fixture {
            skip_step: SkipStepConfig,
            losses: Vec<f64>,
            grad_norms: Vec<f64>,
            skipped: Vec<usize>,
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/optimizer/");
        let text = std::fs::read_to_string(format!("{folder}spikes.json")).unwrap();
        let fixture: Fixture = serde_json::from_str(&text).unwrap();
        let mut spikes = Spikes::new(fixture.skip_step);
        let mut skipped = Vec::new();
        for (step, (loss, norm)) in fixture.losses.iter().zip(&fixture.grad_norms).enumerate() {
            if spikes.judge(*loss, *norm) {
                skipped.push(step);
            }
            let saved = serde_json::to_string(&spikes).unwrap();
            let resumed: Spikes = serde_json::from_str(&saved).unwrap();
            assert_eq!(resumed, spikes);
            spikes = resumed;
        }
        assert_eq!(skipped, fixture.skipped);
        assert_eq!(spikes.skipped(), 5);
    }

    #[test]
    fn the_first_half_of_a_window_is_never_left_out() {
        let mut spikes = spikes(8, 2.0);
        let judged = [1.0, 1.0, 100.0, 1.0, 1000.0].map(|loss| spikes.judge(loss, 1.0));
        assert_eq!(judged, [false, false, false, false, true]);
    }

    #[test]
    fn a_constant_has_a_least_deviation() {
        let mut spikes = spikes(4, 10.0);
        (0..4).for_each(|_| assert!(!spikes.judge(0.5, 0.5)));
        // Ten deviations of 1e-6 above 0.5.
        assert!(!spikes.judge(0.500_009, 0.5));
        let mut spikes = Spikes::new(spikes.config);
        (0..4).for_each(|_| assert!(!spikes.judge(0.5, 0.5)));
        assert!(spikes.judge(0.500_011, 0.5));
    }

    #[test]
    fn what_is_not_finite_is_left_out_and_forgotten() {
        let mut spikes = spikes(4, 6.0);
        for step in 0..4 {
            assert!(!spikes.judge(f64::from(step % 2), 1.0));
        }
        let before = spikes.clone();
        assert!(spikes.judge(f64::NAN, 1.0) && spikes.judge(1.0, f64::INFINITY));
        assert_eq!(spikes.losses, before.losses);
        assert_eq!(spikes.skipped(), 2);
        assert!(!spikes.judge(1.0, 1.0));
    }
}
