//! Normalisation over all of a stream, which therefore waits for its end.

use crate::network::GroupNorm;

/// A [`GroupNorm`] over channels and time, and the trimming that follows it.
pub struct NormStep {
    norm: GroupNorm,
    trim_left: usize,
    trim_right: usize,
}

impl NormStep {
    /// Drops rows from both ends of what it has normalised.
    pub fn new(norm: GroupNorm, trim_left: usize, trim_right: usize) -> Self {
        Self {
            norm,
            trim_left,
            trim_right,
        }
    }

    /// Normalises `rows`, the whole signals of several streams of `counts` rows each, `[sum of counts, channels]`.
    pub fn run(&self, rows: &mut Vec<f32>, counts: &mut [usize]) {
        let channels = self.norm.weight.len();
        let (mut from, mut to) = (0, 0);
        for count in counts {
            let signal = from..from + *count * channels;
            from = signal.end;
            self.normalize(&mut rows[signal.clone()]);
            let kept = count.saturating_sub(self.trim_left + self.trim_right);
            let start = signal.start + self.trim_left.min(*count) * channels;
            rows.copy_within(start..start + kept * channels, to);
            to += kept * channels;
            *count = kept;
        }
        rows.truncate(to);
    }

    fn normalize(&self, signal: &mut [f32]) {
        let n = signal.len().max(1) as f64;
        let mean = signal.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = signal
            .iter()
            .map(|&x| (f64::from(x) - mean).powi(2))
            .sum::<f64>()
            / n;
        let inverse = (1.0 / (variance + f64::from(self.norm.eps)).sqrt()) as f32;
        let mean = mean as f32;
        for row in signal.chunks_exact_mut(self.norm.weight.len()) {
            for ((x, weight), bias) in row.iter_mut().zip(&self.norm.weight).zip(&self.norm.bias) {
                *x = (*x - mean) * inverse * weight + bias;
            }
        }
    }
}
