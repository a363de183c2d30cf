//! Analysis: samples to log-mel patches, and the spectral envelope.

use std::f64::consts::{PI, TAU};
use std::sync::Arc;

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex, num_complex::Complex32};

use super::{MELS, SAMPLE_RATE_HZ};

/// Samples between spectra: 10 ms.
pub(crate) const HOP_SAMPLES: usize = 240;
/// Samples of the analysis window: 40 ms, short enough for plosives and long enough to resolve harmonics.
pub(super) const WINDOW_SAMPLES: usize = 960;
/// Frequencies of a spectrum, 25 Hz apart.
pub(crate) const BINS: usize = WINDOW_SAMPLES / 2 + 1;
/// The first window starts this long before sample 0, so that spectrum t is centred on the middle of hop t.
pub(super) const LEAD_SAMPLES: usize = (WINDOW_SAMPLES - HOP_SAMPLES) / 2;
/// Sum of the Hann window: the magnitude of a bin per unit of amplitude.
pub(super) const WINDOW_SUM: f32 = WINDOW_SAMPLES as f32 / 2.0;

/// Power added before the logarithm. Noise that a 14-bit converter would not carry costs no codes.
const FLOOR: f32 = 1e-8;
/// Samples are limited to this: 12 dB over full scale, so that the power of any finite input is finite.
const SAMPLE_LIMIT: f32 = 4.0;

/// Short-time Fourier transform: Hann window of 40 ms every 10 ms.
pub(crate) struct Stft {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    window: Vec<f32>,
}

impl Stft {
    pub(crate) fn new() -> Self {
        let mut planner = RealFftPlanner::new();
        let hann = |i| 0.5 - 0.5 * (TAU * i as f64 / WINDOW_SAMPLES as f64).cos();
        Self {
            forward: planner.plan_fft_forward(WINDOW_SAMPLES),
            inverse: planner.plan_fft_inverse(WINDOW_SAMPLES),
            window: (0..WINDOW_SAMPLES).map(|i| hann(i) as f32).collect(),
        }
    }

    /// Complex spectra.
    ///
    /// # Shapes
    /// - padded: `[LEAD + spectra * HOP + LEAD]`
    /// - spectra: `[spectra, BINS]`
    pub(super) fn forward(&self, padded: &[f32], spectra: &mut [Complex32]) {
        let mut frame = self.forward.make_input_vec();
        let mut scratch = self.forward.make_scratch_vec();
        for (t, spectrum) in spectra.chunks_exact_mut(BINS).enumerate() {
            let samples = &padded[t * HOP_SAMPLES..][..WINDOW_SAMPLES];
            for ((value, sample), weight) in frame.iter_mut().zip(samples).zip(&self.window) {
                *value = sample * weight;
            }
            self.forward
                .process_with_scratch(&mut frame, spectrum, &mut scratch)
                .expect("buffers come from the plan");
        }
    }

    /// Least-squares inverse of [`Stft::forward`] (Griffin and Lim 1984): windowed overlap-add over the sum of squared
    /// windows. Destroys `spectra`.
    pub(super) fn inverse(&self, spectra: &mut [Complex32], padded: &mut [f32]) {
        let mut frame = self.inverse.make_output_vec();
        let mut scratch = self.inverse.make_scratch_vec();
        padded.fill(0.0);
        for (t, spectrum) in spectra.chunks_exact_mut(BINS).enumerate() {
            // the transform of a real signal is real at both ends; realfft insists
            spectrum[0].im = 0.0;
            spectrum[BINS - 1].im = 0.0;
            self.inverse
                .process_with_scratch(spectrum, &mut frame, &mut scratch)
                .expect("buffers come from the plan");
            let samples = &mut padded[t * HOP_SAMPLES..][..WINDOW_SAMPLES];
            for ((sample, value), weight) in samples.iter_mut().zip(&frame).zip(&self.window) {
                *sample += value * weight;
            }
        }
        self.divide_by_window_power(padded);
    }

    fn divide_by_window_power(&self, padded: &mut [f32]) {
        let overlap = WINDOW_SAMPLES / HOP_SAMPLES;
        let spectra = (padded.len() - 2 * LEAD_SAMPLES) / HOP_SAMPLES;
        for (hop, samples) in padded.chunks_mut(HOP_SAMPLES).enumerate() {
            // windows that start at hops first..=last cover this hop
            let (first, last) = (
                hop.saturating_sub(overlap - 1),
                hop.min(spectra.saturating_sub(1)),
            );
            for (i, sample) in samples.iter_mut().enumerate() {
                let power: f32 = (first..=last)
                    .map(|start| self.window[(hop - start) * HOP_SAMPLES + i].powi(2))
                    .sum();
                // realfft's transforms are unnormalised, hence the length; the edges are cut off by the caller
                *sample /= power.max(1e-3) * WINDOW_SAMPLES as f32;
            }
        }
    }

    /// Calls `visit` with each power spectrum `[BINS]` in turn; a sine of amplitude 1 has power 0.25.
    ///
    /// # Shapes
    /// - samples: `[n]`, followed by silence up to `spectra * HOP` samples, `n <= spectra * HOP`
    pub(crate) fn power(&self, samples: &[f32], spectra: usize, mut visit: impl FnMut(&[f32])) {
        let mut padded = vec![0.0; spectra * HOP_SAMPLES + 2 * LEAD_SAMPLES];
        for (to, from) in padded[LEAD_SAMPLES..].iter_mut().zip(samples) {
            *to = from.clamp(-SAMPLE_LIMIT, SAMPLE_LIMIT);
        }
        let mut spectrum = [Complex32::default(); BINS];
        let mut power = [0.0; BINS];
        for t in 0..spectra {
            self.forward(&padded[t * HOP_SAMPLES..], &mut spectrum);
            for (power, bin) in power.iter_mut().zip(&spectrum) {
                *power = bin.norm_sqr() * (1.0 / (WINDOW_SUM * WINDOW_SUM));
            }
            visit(&power);
        }
    }
}

/// Triangular filters, evenly spaced on the Slaney mel scale from 0 to 12 kHz; each takes a weighted mean of power.
pub(super) struct MelBank {
    /// For each filter, its first bin and its weights, which sum to 1.
    filters: Vec<(usize, Vec<f32>)>,
}

impl MelBank {
    pub(super) fn new() -> Self {
        let top = hz_to_mel(f64::from(SAMPLE_RATE_HZ) / 2.0);
        let edge_hz = |i: usize| mel_to_hz(top * i as f64 / (MELS + 1) as f64);
        let bin_hz = f64::from(SAMPLE_RATE_HZ) / WINDOW_SAMPLES as f64;
        let filter = |m: usize| {
            let (low, centre, high) = (edge_hz(m), edge_hz(m + 1), edge_hz(m + 2));
            let weight = |bin: usize| {
                let hz = bin as f64 * bin_hz;
                ((hz - low) / (centre - low))
                    .min((high - hz) / (high - centre))
                    .max(0.0)
            };
            let first = (0..BINS)
                .find(|&bin| weight(bin) > 0.0)
                .expect("filters are wider than a bin");
            let weights: Vec<f64> = (first..BINS)
                .map(weight)
                .take_while(|&weight| weight > 0.0)
                .collect();
            let sum: f64 = weights.iter().sum();
            (
                first,
                weights.iter().map(|weight| (weight / sum) as f32).collect(),
            )
        };
        Self {
            filters: (0..MELS).map(filter).collect(),
        }
    }

    /// Mean power in each band: power `[BINS]` to mel `[MELS]`.
    pub(super) fn apply(&self, power: &[f32], mel: &mut [f32]) {
        for ((first, weights), band) in self.filters.iter().zip(mel) {
            *band = weights
                .iter()
                .zip(&power[*first..])
                .map(|(weight, power)| weight * power)
                .sum();
        }
    }

    /// The transpose of [`MelBank::apply`]: mel `[MELS]` to power `[BINS]`.
    pub(super) fn transpose(&self, mel: &[f32], power: &mut [f32]) {
        power.fill(0.0);
        for ((first, weights), band) in self.filters.iter().zip(mel) {
            for (weight, power) in weights.iter().zip(&mut power[*first..]) {
                *power += weight * band;
            }
        }
    }
}

/// Slaney's mel scale: linear below 1 kHz, logarithmic above.
fn hz_to_mel(hz: f64) -> f64 {
    if hz < 1000.0 {
        hz * 3.0 / 200.0
    } else {
        15.0 + 27.0 * (hz / 1000.0).ln() / 6.4f64.ln()
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < 15.0 {
        mel * 200.0 / 3.0
    } else {
        1000.0 * 6.4f64.powf((mel - 15.0) / 27.0)
    }
}

/// The logarithm of mel power, and back.
pub(super) fn log_power(power: f32) -> f32 {
    (power + FLOOR).ln()
}

/// Inverse of [`log_power`], but that up to 3 dB over the floor is silence: less than that is an error of coding.
pub(super) fn exp_power(log_power: f32) -> f32 {
    // nothing analysed is louder than the limit, so nothing decoded need be
    let power = log_power.min(2.0 * SAMPLE_LIMIT.ln()).exp();
    if power < 2.0 * FLOOR {
        0.0
    } else {
        power - FLOOR
    }
}

/// Rows of the type-II cosine transform over mel bands: `[rows][MELS]`, orthonormal. Row 0 measures level.
pub(super) fn cosines(rows: usize) -> Vec<[f32; MELS]> {
    let value = |row: usize, mel: usize| {
        let scale = if row == 0 { 1.0 } else { 2.0 } / MELS as f64;
        scale.sqrt() * (PI * row as f64 * (mel as f64 + 0.5) / MELS as f64).cos()
    };
    (0..rows)
        .map(|row| std::array::from_fn(|mel| value(row, mel) as f32))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_restores_the_samples() {
        let stft = Stft::new();
        let samples: Vec<f32> = (0..10 * HOP_SAMPLES)
            .map(|i| ((i * i) as f32 * 0.001).sin())
            .collect();
        let mut padded = vec![0.0; samples.len() + 2 * LEAD_SAMPLES];
        padded[LEAD_SAMPLES..][..samples.len()].copy_from_slice(&samples);
        let mut spectra = vec![Complex32::default(); 10 * BINS];
        stft.forward(&padded, &mut spectra);
        stft.inverse(&mut spectra, &mut padded);
        for (a, b) in samples.iter().zip(&padded[LEAD_SAMPLES..]) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn a_full_scale_sine_has_power_a_quarter_in_its_band() {
        let sine: Vec<f32> = (0..2400)
            .map(|i| (TAU as f32 * 1000.0 * i as f32 / 24_000.0).sin())
            .collect();
        let mut spectra = Vec::new();
        Stft::new().power(&sine, 10, |power| spectra.push(power.to_vec()));
        assert!((spectra[5][40] - 0.25).abs() < 1e-3, "{}", spectra[5][40]);
        let mut mel = [0.0; MELS];
        MelBank::new().apply(&spectra[5], &mut mel);
        let loudest = (0..MELS)
            .max_by(|&a, &b| mel[a].total_cmp(&mel[b]))
            .unwrap();
        let top = hz_to_mel(12_000.0);
        assert!((mel_to_hz(top * (loudest + 1) as f64 / 81.0) - 1000.0).abs() < 30.0);
    }

    #[test]
    fn flat_power_stays_flat() {
        let mut mel = [0.0; MELS];
        MelBank::new().apply(&[0.5; BINS], &mut mel);
        assert!(mel.iter().all(|band| (band - 0.5).abs() < 1e-5));
    }
}
