//! Synthesis: log-mel spectra to samples, by the fast Griffin-Lim algorithm.
//!
//! A mel spectrum has no phases. Griffin and Lim (1984) alternate between the spectra that have the wanted magnitudes
//! and the spectra that some signal has; Perraudin, Balazs and Søndergaard (2013) add a momentum.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use realfft::num_complex::Complex32;

use super::MELS;
use super::mel::{BINS, HOP_SAMPLES, LEAD_SAMPLES, MelBank, Stft, WINDOW_SUM, exp_power};

/// Rounds of Griffin-Lim; more are hardly audible.
const ROUNDS: usize = 32;
/// Perraudin's momentum.
const MOMENTUM: f32 = 0.99;
/// Seed of the first phases: decoding is a pure function of the codes.
const PHASE_SEED: u64 = 0x7469_6d62_7265;
/// Rounds of the multiplicative mel inversion. Few, so that its smooth start survives between the harmonics.
const MEL_ROUNDS: usize = 8;

/// Samples of log-mel spectra.
///
/// # Shapes
/// - log_mel: `[spectra * MELS]`
/// - output: `[spectra * HOP_SAMPLES]`
pub(super) fn synthesize(stft: &Stft, bank: &MelBank, log_mel: &[f32]) -> Vec<f32> {
    let magnitudes = magnitudes(bank, log_mel);
    let spectra = log_mel.len() / MELS;
    let mut padded = vec![0.0; spectra * HOP_SAMPLES + 2 * LEAD_SAMPLES];
    let mut phases = random_phases(magnitudes.len());
    let mut guess = vec![Complex32::default(); magnitudes.len()];
    let mut rebuilt = vec![Complex32::default(); magnitudes.len()];
    let mut previous = vec![Complex32::default(); magnitudes.len()];
    for round in 0..=ROUNDS {
        for ((guess, phase), magnitude) in guess.iter_mut().zip(&phases).zip(&magnitudes) {
            *guess = phase * magnitude;
        }
        stft.inverse(&mut guess, &mut padded);
        silence_margins(&mut padded);
        if round == ROUNDS {
            break;
        }
        stft.forward(&padded, &mut rebuilt);
        for ((phase, rebuilt), previous) in phases.iter_mut().zip(&rebuilt).zip(&mut previous) {
            let ahead = rebuilt - *previous * (MOMENTUM / (1.0 + MOMENTUM));
            *phase = ahead / ahead.norm().max(f32::MIN_POSITIVE);
            *previous = *rebuilt;
        }
    }
    padded[LEAD_SAMPLES..][..spectra * HOP_SAMPLES].to_vec()
}

/// The analysis saw silence before the first sample and after the last.
fn silence_margins(padded: &mut [f32]) {
    let end = padded.len() - LEAD_SAMPLES;
    padded[..LEAD_SAMPLES].fill(0.0);
    padded[end..].fill(0.0);
}

fn random_phases(count: usize) -> Vec<Complex32> {
    let mut rng = ChaCha8Rng::seed_from_u64(PHASE_SEED);
    let mut angle = || rng.next_u32() as f32 / u32::MAX as f32 * std::f32::consts::TAU;
    (0..count)
        .map(|_| Complex32::from_polar(1.0, angle()))
        .collect()
}

/// Magnitudes of spectra with the given mel power: `[spectra * MELS]` to `[spectra * BINS]`.
///
/// Non-negative by Richardson and Lucy's multiplicative updates, which keep zero and smooth parts so.
fn magnitudes(bank: &MelBank, log_mel: &[f32]) -> Vec<f32> {
    let mut weights = [0.0; BINS];
    bank.transpose(&[1.0; MELS], &mut weights);
    let mut all = vec![0.0; log_mel.len() / MELS * BINS];
    let (mut mel, mut ratio, mut update) = ([0.0; MELS], [0.0; MELS], [0.0; BINS]);
    for (log_mel, power) in log_mel.chunks_exact(MELS).zip(all.chunks_exact_mut(BINS)) {
        let target: [f32; MELS] = std::array::from_fn(|m| exp_power(log_mel[m]));
        bank.transpose(&target, power);
        power
            .iter_mut()
            .zip(&weights)
            .for_each(|(power, weight)| *power /= weight.max(f32::MIN_POSITIVE));
        for _ in 0..MEL_ROUNDS {
            bank.apply(power, &mut mel);
            for m in 0..MELS {
                ratio[m] = target[m] / mel[m].max(1e-20);
            }
            bank.transpose(&ratio, &mut update);
            for bin in 0..BINS {
                power[bin] *= update[bin] / weights[bin].max(f32::MIN_POSITIVE);
            }
        }
        power
            .iter_mut()
            .for_each(|power| *power = power.sqrt() * WINDOW_SUM);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::mel::log_power;
    use super::*;

    #[test]
    fn magnitudes_have_the_mel_power_asked_for() {
        let bank = MelBank::new();
        let wanted: [f32; MELS] = std::array::from_fn(|m| 1e-3 * (1.5 + (m as f32 * 0.2).sin()));
        let magnitudes = magnitudes(&bank, &wanted.map(log_power));
        let power: Vec<f32> = magnitudes
            .iter()
            .map(|m| (m / WINDOW_SUM).powi(2))
            .collect();
        let mut found = [0.0; MELS];
        bank.apply(&power, &mut found);
        for (wanted, found) in wanted.iter().zip(found) {
            assert!((wanted / found).ln().abs() < 0.1, "{wanted} {found}");
        }
    }

    #[test]
    fn silence_is_silent() {
        let samples = synthesize(&Stft::new(), &MelBank::new(), &[log_power(0.0); 8 * MELS]);
        assert_eq!(samples.len(), 8 * HOP_SAMPLES);
        assert!(samples.iter().all(|sample| sample.abs() < 1e-6));
    }
}
