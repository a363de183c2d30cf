//! Warm-up, stable, decay (WSD; MiniCPM, arXiv 2404.06395).

use experiments::ScheduleConfig;

/// Learning rate of step `step` (from 0) of `steps`, for a peak rate `peak`.
///
/// Optax's conventions: linear from 0 at step 0, so that the first step only gathers moments; the
/// rate reaches `min_lr_ratio · peak` at `step = steps`, one past the last.
pub fn learning_rate(config: &ScheduleConfig, peak: f64, steps: u64, step: u64) -> f64 {
    let count = |fraction: f64| (fraction * steps as f64).round();
    let (warmup, decay) = (count(config.warmup), count(config.decay));
    let step = step as f64;
    let left = steps as f64 - step;
    if step < warmup {
        peak * step / warmup
    } else if left < decay {
        peak * (config.min_lr_ratio + (1.0 - config.min_lr_ratio) * left / decay)
    } else {
        peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_stays_and_decays() {
        let config = ScheduleConfig {
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
        let config = ScheduleConfig {
            warmup: 0.0,
            decay: 0.0,
            min_lr_ratio: 0.0,
        };
        assert_eq!(learning_rate(&config, 2.0, 10, 0), 2.0);
        assert_eq!(learning_rate(&config, 2.0, 10, 9), 2.0);
    }
}
