//! Learning rate of each step, by optax's formulas.

use experiments::ScheduleConfig;

/// Learning rate of step `step` (from 0) of `steps`, for a peak rate `peak`.
///
/// Levanter's conventions: linear from 0 at step 0, so that the first step only gathers moments; a fraction of the steps is
/// rounded down; the final rate is reached at `step = steps`, one past the last.
pub fn learning_rate(config: &ScheduleConfig, peak: f64, steps: u64, step: u64) -> f64 {
    let warmup = config.warmup_steps(steps);
    if step < warmup {
        return linear(0.0, peak, warmup, step);
    }
    let (after, left) = (step - warmup, steps - warmup);
    match *config {
        ScheduleConfig::Wsd { min_lr_ratio, .. } => {
            let decay = config.decay_steps(steps);
            match after.checked_sub(left - decay) {
                Some(decayed) => linear(peak, min_lr_ratio * peak, decay, decayed),
                None => peak,
            }
        }
        ScheduleConfig::Linear { min_lr_ratio, .. } => {
            linear(peak, min_lr_ratio * peak, left, after)
        }
        ScheduleConfig::Cosine { min_lr_ratio, .. } => {
            let angle = std::f64::consts::PI * after.min(left) as f64 / left.max(1) as f64;
            let cosine = 0.5 * (1.0 + angle.cos());
            peak * ((1.0 - min_lr_ratio) * cosine + min_lr_ratio)
        }
        ScheduleConfig::Constant { .. } => peak,
        ScheduleConfig::InverseSqrt {
            min_lr_ratio,
            timescale,
            ..
        } => {
            let decay = 1.0 / ((step.max(1) as f64) / timescale).sqrt();
            (peak * decay.min(1.0)).max(min_lr_ratio * peak)
        }
    }
}

/// From `from` to `to` in `steps` steps, and `to` from then on.
fn linear(from: f64, to: f64, steps: u64, step: u64) -> f64 {
    if steps == 0 {
        return from;
    }
    let left = 1.0 - step.min(steps) as f64 / steps as f64;
    (from - to) * left + to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_stays_and_decays() {
        let config = ScheduleConfig::Wsd {
            warmup: 0.1,
            decay: 0.2,
            min_lr_ratio: 0.1,
        };
        let lr = |step| learning_rate(&config, 2.0, 100, step);
        assert_eq!(
            [lr(0), lr(5), lr(10), lr(79), lr(80)],
            [0.0, 1.0, 2.0, 2.0, 2.0]
        );
        assert!((lr(90) - 1.1).abs() < 1e-12 && (lr(100) - 0.2).abs() < 1e-12);
    }

    #[test]
    fn without_warmup_the_first_step_has_the_peak_rate() {
        let config = ScheduleConfig::Wsd {
            warmup: 0.0,
            decay: 0.0,
            min_lr_ratio: 0.0,
        };
        assert_eq!(learning_rate(&config, 2.0, 10, 0), 2.0);
        assert_eq!(learning_rate(&config, 2.0, 10, 9), 2.0);
    }
}
