//! How far decoded audio is from its original, and how evenly codes are used.

use std::f64::consts::TAU;

use realfft::RealFftPlanner;

/// Power added before the logarithm: 80 dB under a full-scale sine's squared amplitude.
const FLOOR: f32 = 1e-8;

/// Samples are limited to this: 12 dB over full scale, so that the power of any finite input is finite.
const SAMPLE_LIMIT: f32 = 4.0;

/// Frames more than this far below the loudest frame are pauses and do not count.
const ACTIVE_RANGE_DB: f32 = 40.0;

/// Analysis windows a second apart from each other: one every 10 ms, four times as long.
const HOPS_PER_SEC: u32 = 100;
const HOPS_PER_WINDOW: usize = 4;

/// Log-spectral distance in dB between two signals of one channel, over the frames where `original` is active.
///
/// LSD = mean over frames of √(mean over bins of (10·log₁₀(P + ε) − 10·log₁₀(P̂ + ε))²), with P the power spectrum of a
/// 40 ms Hann window every 10 ms and ε = 1e-8 of a full-scale sine's squared amplitude. A frame is active when its
/// mean power is within 40 dB of the loudest frame's. `None` where there is no frame to compare. The longer signal
/// is cut to the length of the shorter.
pub fn log_spectral_distance(original: &[f32], decoded: &[f32], rate_hz: u32) -> Option<f64> {
    let spectrum = Spectrum::new(rate_hz);
    let length = original.len().min(decoded.len());
    let (original, decoded) = (
        spectrum.power(&original[..length]),
        spectrum.power(&decoded[..length]),
    );
    let level = |frame: &[f32]| frame.iter().sum::<f32>();
    let loudest = original
        .chunks_exact(spectrum.bins())
        .map(level)
        .fold(0.0, f32::max);
    let threshold = loudest * 10f32.powf(-ACTIVE_RANGE_DB / 10.0);
    let frames = original
        .chunks_exact(spectrum.bins())
        .zip(decoded.chunks_exact(spectrum.bins()));
    let distances: Vec<f64> = frames
        .filter(|(original, _)| level(original) >= threshold)
        .map(|(original, decoded)| frame_distance(original, decoded))
        .collect();
    let mean = distances.iter().sum::<f64>() / distances.len() as f64;
    mean.is_finite().then_some(mean)
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

/// Power spectra of a Hann window.
struct Spectrum {
    hop: usize,
    /// Divided by its sum, so that a sine of amplitude 1 has power 0.25.
    window: Vec<f32>,
}

impl Spectrum {
    fn new(rate_hz: u32) -> Self {
        let hop = (rate_hz / HOPS_PER_SEC).max(1) as usize;
        let length = hop * HOPS_PER_WINDOW;
        let hann = |i: usize| 0.5 - 0.5 * (TAU * i as f64 / length as f64).cos();
        let sum = length as f64 / 2.0;
        let window = (0..length).map(|i| (hann(i) / sum) as f32).collect();
        Self { hop, window }
    }

    fn bins(&self) -> usize {
        self.window.len() / 2 + 1
    }

    /// `[ceil(n / hop), bins]`; spectrum t is centred on the middle of hop t, with silence before and after the samples.
    fn power(&self, samples: &[f32]) -> Vec<f32> {
        let (hop, length) = (self.hop, self.window.len());
        let spectra = samples.len().div_ceil(hop);
        let lead = (length - hop) / 2;
        let mut padded = vec![0.0; spectra * hop + 2 * lead];
        for (to, from) in padded[lead..].iter_mut().zip(samples) {
            *to = from.clamp(-SAMPLE_LIMIT, SAMPLE_LIMIT);
        }
        let forward = RealFftPlanner::<f32>::new().plan_fft_forward(length);
        let (mut frame, mut bins) = (forward.make_input_vec(), forward.make_output_vec());
        let mut power = Vec::with_capacity(spectra * self.bins());
        for t in 0..spectra {
            for ((value, sample), weight) in
                frame.iter_mut().zip(&padded[t * hop..]).zip(&self.window)
            {
                *value = sample * weight;
            }
            forward
                .process(&mut frame, &mut bins)
                .expect("buffers come from the plan");
            power.extend(bins.iter().map(|bin| bin.norm_sqr()));
        }
        power
    }
}

/// Scale-invariant signal-to-distortion ratio in dB, [Le Roux et al. 2019](https://arxiv.org/abs/1811.02508):
/// 10·log₁₀(‖α·s‖² / ‖α·s − ŝ‖²) with s the original, ŝ the decoded signal and α = ŝᵀs / ‖s‖². No mean is subtracted.
///
/// `None` where that is no finite number: one of the signals is silent or empty, they are orthogonal, or one is the other
/// at another volume. The longer signal is cut to the length of the shorter; several channels count as one signal.
pub fn si_sdr(original: &[f32], decoded: &[f32]) -> Option<f64> {
    let pairs = || {
        let pairs = original.iter().zip(decoded);
        pairs.map(|(&s, &decoded)| (f64::from(s), f64::from(decoded)))
    };
    let energy: f64 = pairs().map(|(s, _)| s * s).sum();
    let scale = pairs().map(|(s, decoded)| s * decoded).sum::<f64>() / energy;
    let distortion: f64 = pairs()
        .map(|(s, decoded)| (scale * s - decoded).powi(2))
        .sum();
    let ratio = 10.0 * (scale * scale * energy / distortion).log10();
    ratio.is_finite().then_some(ratio)
}

/// How evenly the entries of a codebook are used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Entries used at least once.
    pub used: usize,
    /// Entropy of the entries' frequencies, 0 (one entry) to log₂ of the number of entries.
    pub entropy_bits: f64,
    /// 2 to the power of the entropy: as many entries in even use would have it.
    pub perplexity: f64,
}

impl Usage {
    /// Of one codebook's codes.
    pub fn of(codes: impl IntoIterator<Item = u16>) -> Self {
        let mut counts = vec![0u64; usize::from(u16::MAX) + 1];
        let mut total = 0u64;
        for code in codes {
            counts[usize::from(code)] += 1;
            total += 1;
        }
        counts.retain(|&count| count > 0);
        let information =
            |&count: &u64| count as f64 / total as f64 * (total as f64 / count as f64).log2();
        let entropy_bits: f64 = counts.iter().map(information).sum();
        Self {
            used: counts.len(),
            entropy_bits,
            perplexity: entropy_bits.exp2(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One second.
    fn sine(hz: f32, amplitude: f32, rate_hz: u32) -> Vec<f32> {
        (0..rate_hz)
            .map(|i| amplitude * (std::f32::consts::TAU * hz * i as f32 / rate_hz as f32).sin())
            .collect()
    }

    #[test]
    fn equal_signals_are_at_distance_zero_and_others_are_not() {
        let tone = sine(440.0, 0.5, 24_000);
        let distance = |a: &[f32], b: &[f32]| log_spectral_distance(a, b, 24_000);
        assert_eq!(distance(&tone, &tone), Some(0.0));
        assert!(distance(&tone, &sine(1760.0, 0.5, 24_000)).unwrap() > 5.0);
        assert_eq!(distance(&[], &tone), None);
        assert_eq!(distance(&tone, &vec![f32::NAN; 24_000]), None);
        assert_eq!(distance(&[0.0; 500], &[0.0; 500]), Some(0.0));
    }

    #[test]
    fn an_impulse_of_half_the_height_is_6_decibels_away_at_every_rate() {
        // its spectrum is flat, so that all bins of the frames that see it differ by 20·log₁₀(2) dB
        for rate_hz in [16_000, 24_000, 44_100, 48_000] {
            let impulse = |height: f32| {
                let mut samples = vec![0.0; rate_hz as usize / 10];
                // in the middle of a hop, where one window has its peak and the others do not count
                samples[rate_hz as usize / 200 * 9] = height;
                samples
            };
            let distance = log_spectral_distance(&impulse(4.0), &impulse(2.0), rate_hz).unwrap();
            assert!((distance - 6.02).abs() < 0.05, "{rate_hz} Hz: {distance}");
        }
    }

    #[test]
    fn si_sdr_is_that_of_the_formula() {
        // s = (2, 0, 1), ŝ = (1, 1, 0): α = 2/5, ‖αs‖² = 4/5, αs − ŝ = (−1/5, −1, 2/5), of squared norm 6/5
        let expected = 10.0 * (4.0f64 / 6.0).log10();
        assert!((si_sdr(&[2.0, 0.0, 1.0], &[1.0, 1.0, 0.0]).unwrap() - expected).abs() < 1e-12);
        // the volume of either does not matter, nor does what only one of them has
        let found = si_sdr(&[0.5, 0.0, 0.25, 9.0], &[-8.0, -8.0, 0.0]).unwrap();
        assert!((found - expected).abs() < 1e-12);
        // (3, 4) turned by a right angle and added: 20·log₁₀ of 1 over its share
        let found = si_sdr(&[3.0, 4.0], &[3.0 - 0.4, 4.0 + 0.3]).unwrap();
        assert!((found - 20.0).abs() < 1e-5, "{found}");
    }

    #[test]
    fn si_sdr_is_absent_where_it_is_no_number() {
        let tone = sine(440.0, 0.5, 8_000);
        let silence = vec![0.0; 8_000];
        for (original, decoded) in [
            (&silence, &tone),
            (&tone, &silence),
            (&tone, &tone),
            (&tone, &vec![f32::NAN; 8_000]),
            (&vec![], &tone),
        ] {
            assert_eq!(si_sdr(original, decoded), None);
        }
        let huge = si_sdr(&[f32::MAX, 1.0, f32::MAX], &[f32::MAX, f32::MAX, 0.0]);
        assert!(huge.unwrap().is_finite());
    }

    #[test]
    fn usage_counts_entries_and_their_evenness() {
        let one = Usage::of([7; 9]);
        assert_eq!((one.used, one.entropy_bits, one.perplexity), (1, 0.0, 1.0));
        let even = Usage::of((0..64).chain(0..64));
        assert_eq!(
            (even.used, even.entropy_bits, even.perplexity),
            (64, 6.0, 64.0)
        );
        // halves, quarters and eighths: 1/2·1 + 1/4·2 + 2·1/8·3 bits
        let uneven = Usage::of([0, 0, 0, 0, 9, 9, 5, u16::MAX]);
        assert_eq!((uneven.used, uneven.entropy_bits), (4, 1.75));
        assert_eq!(Usage::of([]).used, 0);
    }
}
