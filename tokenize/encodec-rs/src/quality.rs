//! How far decoded audio is from its original.

use crate::mel_rvq::mel::{BINS, HOP_SAMPLES, Stft};

/// Power below which two spectra count as equal: 80 dB under a full-scale bin.
const FLOOR: f32 = 1e-8;

/// Frames more than this far below the loudest frame are pauses and do not count.
const ACTIVE_RANGE_DB: f32 = 40.0;

/// Log-spectral distance in dB between two signals at 24 kHz, over the frames where `original` is active.
///
/// LSD = mean over frames of √(mean over bins of (10·log₁₀(P + ε) − 10·log₁₀(P̂ + ε))²), with P the power spectrum of a
/// 40 ms Hann window every 10 ms and ε = 1e-8 of a full-scale sine's squared amplitude. A frame is active when its
/// mean power is within 40 dB of the loudest frame's. `None` where there is no frame to compare. The longer signal
/// is cut to the length of the shorter.
pub fn log_spectral_distance(original: &[f32], decoded: &[f32]) -> Option<f64> {
    let spectra = original.len().min(decoded.len()).div_ceil(HOP_SAMPLES);
    let original = power(original, spectra);
    let decoded = power(decoded, spectra);
    let level = |frame: &[f32]| frame.iter().sum::<f32>();
    let loudest = original.chunks_exact(BINS).map(level).fold(0.0, f32::max);
    let threshold = loudest * 10f32.powf(-ACTIVE_RANGE_DB / 10.0);
    let (mut sum, mut frames) = (0.0, 0);
    for (a, b) in original.chunks_exact(BINS).zip(decoded.chunks_exact(BINS)) {
        if level(a) >= threshold {
            sum += frame_distance(a, b);
            frames += 1;
        }
    }
    (frames > 0).then(|| sum / f64::from(frames))
}

/// `[spectra, BINS]`
fn power(samples: &[f32], spectra: usize) -> Vec<f32> {
    let mut all = Vec::with_capacity(spectra * BINS);
    let samples = &samples[..samples.len().min(spectra * HOP_SAMPLES)];
    Stft::new().power(samples, spectra, |power| all.extend_from_slice(power));
    all
}

fn frame_distance(a: &[f32], b: &[f32]) -> f64 {
    let decibels = |power: f32| 10.0 * f64::from(power + FLOOR).log10();
    let squares: f64 = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| (decibels(a) - decibels(b)).powi(2))
        .sum();
    (squares / a.len() as f64).sqrt()
}

/// Perplexity of a codebook's use: 2 to the power of the entropy of `codes`, 1 (one entry) to the number of entries.
pub fn perplexity(codes: impl IntoIterator<Item = u16>) -> f64 {
    let mut counts = vec![0u64; usize::from(u16::MAX) + 1];
    let mut total = 0u64;
    for code in codes {
        counts[usize::from(code)] += 1;
        total += 1;
    }
    let entropy: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = count as f64 / total as f64;
            -share * share.log2()
        })
        .sum();
    entropy.exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f32, amplitude: f32) -> Vec<f32> {
        (0..24_000)
            .map(|i| amplitude * (std::f32::consts::TAU * hz * i as f32 / 24_000.0).sin())
            .collect()
    }

    #[test]
    fn equal_signals_are_at_distance_zero_and_others_are_not() {
        let tone = sine(440.0, 0.5);
        assert_eq!(log_spectral_distance(&tone, &tone), Some(0.0));
        assert!(log_spectral_distance(&tone, &sine(1760.0, 0.5)).unwrap() > 5.0);
        assert_eq!(log_spectral_distance(&[], &tone), None);
    }

    #[test]
    fn perplexity_counts_entries_in_even_use() {
        assert_eq!(perplexity([7; 9]), 1.0);
        assert!((perplexity((0..64).chain(0..64)) - 64.0).abs() < 1e-9);
    }
}
