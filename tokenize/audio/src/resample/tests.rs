//! Measured on tones: gain and delay in the passband, and everything that is not the tone.

use std::f64::consts::TAU;

use super::resample;

const CASES: [(u32, u32); 10] = [
    (8_000, 24_000),
    (11_025, 24_000),
    (16_000, 24_000),
    (22_050, 24_000),
    (32_000, 24_000),
    (44_100, 24_000),
    (48_000, 24_000),
    (96_000, 24_000),
    (384_000, 24_000),
    (24_000, 16_000),
];

fn tone(frequency_hz: f64, rate_hz: u32, length: usize) -> Vec<f32> {
    let step = TAU * frequency_hz / f64::from(rate_hz);
    (0..length)
        .map(|n| (step * n as f64).sin() as f32)
        .collect()
}

fn db(ratio: f64) -> f64 {
    20.0 * ratio.max(1e-12).log10()
}

/// Least-squares amplitude of the sine and cosine at `frequency_hz`, and the RMS of what remains, relative to a full-scale tone.
/// The edges are left out: there the tone starts and stops, which is not a steady state.
fn analyse(output: &[f32], frequency_hz: f64, rate_hz: u32) -> (f64, f64, f64) {
    let margin = output.len() / 4;
    let window = margin..output.len() - margin;
    let step = TAU * frequency_hz / f64::from(rate_hz);
    let (mut ss, mut cc, mut sc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for n in window.clone() {
        let (s, c) = (step * n as f64).sin_cos();
        let y = f64::from(output[n]);
        ss += s * s;
        cc += c * c;
        sc += s * c;
        ys += y * s;
        yc += y * c;
    }
    let determinant = ss * cc - sc * sc;
    let sine = (ys * cc - yc * sc) / determinant;
    let cosine = (yc * ss - ys * sc) / determinant;
    let residual: f64 = window
        .clone()
        .map(|n| {
            let (s, c) = (step * n as f64).sin_cos();
            (f64::from(output[n]) - sine * s - cosine * c).powi(2)
        })
        .sum();
    let rms = (2.0 * residual / window.len() as f64).sqrt();
    (sine, cosine, rms)
}

/// Samples of a test tone: enough blocks of the plan that the middle half is steady.
fn steady_length(from_hz: u32) -> usize {
    (from_hz as usize).max(16_000)
}

#[test]
fn passband_is_flat_without_delay_and_images_stay_under_90_db() {
    for (from_hz, to_hz) in CASES {
        let nyquist = f64::from(from_hz.min(to_hz)) / 2.0;
        let (mut ripple, mut images, mut phase): (f64, f64, f64) = (0.0, -999.0, 0.0);
        for step in 1..=36 {
            // 0.025 to 0.9 of the lower Nyquist frequency, off any round number
            let frequency = nyquist * 0.025 * f64::from(step) - 0.37;
            let output = resample(
                &tone(frequency, from_hz, steady_length(from_hz)),
                from_hz,
                to_hz,
            );
            let (sine, cosine, rest) = analyse(&output.unwrap(), frequency, to_hz);
            ripple = ripple.max(db(sine.hypot(cosine)).abs());
            images = images.max(db(rest));
            phase = phase.max(cosine.atan2(sine).abs());
        }
        println!(
            "{from_hz} -> {to_hz}: ripple {ripple:.5} dB, images {images:.1} dB, phase {phase:.2e}"
        );
        assert!(ripple < 0.1, "{from_hz} -> {to_hz}: ripple {ripple} dB");
        assert!(images <= -90.0, "{from_hz} -> {to_hz}: images {images} dB");
        assert!(phase < 1e-3, "{from_hz} -> {to_hz}: phase {phase} rad");
    }
}

#[test]
fn tones_above_the_output_nyquist_vanish() {
    for (from_hz, to_hz) in CASES.into_iter().filter(|(from, to)| from > to) {
        let (low, high) = (f64::from(to_hz) / 2.0, f64::from(from_hz) / 2.0);
        let mut worst: f64 = -999.0;
        for step in 0..40 {
            let frequency = low * 1.0005 + (high * 0.998 - low * 1.0005) * f64::from(step) / 39.0;
            let output = resample(
                &tone(frequency, from_hz, steady_length(from_hz)),
                from_hz,
                to_hz,
            )
            .unwrap();
            let margin = output.len() / 4;
            let middle = &output[margin..output.len() - margin];
            let energy: f64 = middle.iter().map(|&x| f64::from(x).powi(2)).sum();
            worst = worst.max(db((2.0 * energy / middle.len() as f64).sqrt()));
        }
        println!("{from_hz} -> {to_hz}: aliases {worst:.1} dB");
        assert!(worst <= -90.0, "{from_hz} -> {to_hz}: alias at {worst} dB");
    }
}

#[test]
fn length_is_the_ceiling_of_the_ratio() {
    for (from_hz, to_hz) in CASES.into_iter().chain([(4_001, 24_000), (24_000, 24_000)]) {
        for length in [0usize, 1, 2, 3, 147, 1_023, 1_024, 1_025, 30_011] {
            let expected = (length * to_hz as usize).div_ceil(from_hz as usize);
            let output = resample(&vec![0.5; length], from_hz, to_hz).unwrap();
            assert_eq!(
                output.len(),
                expected,
                "{length} samples {from_hz} -> {to_hz}"
            );
            assert!(output.iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn an_impulse_stays_where_it_was() {
    // 4001 and 22,051 Hz have no common divisor with 24,000: the longest blocks
    for (from_hz, to_hz) in CASES.into_iter().chain([(4_001, 24_000), (22_051, 24_000)]) {
        let position = 600 * from_hz as usize / from_hz.min(to_hz) as usize;
        let mut input = vec![0.0; 2 * position];
        input[position] = 1.0;
        let output = resample(&input, from_hz, to_hz).unwrap();
        // the centre of gravity of the squared response, which is symmetric about the impulse
        let energy: f64 = output.iter().map(|&x| f64::from(x).powi(2)).sum();
        let centre: f64 = output
            .iter()
            .enumerate()
            .map(|(n, &x)| n as f64 * f64::from(x).powi(2))
            .sum::<f64>()
            / energy;
        let expected = position as f64 * f64::from(to_hz) / f64::from(from_hz);
        assert!(
            (centre - expected).abs() < 0.02,
            "{from_hz} -> {to_hz}: impulse at {centre}, expected {expected}"
        );
    }
}

#[test]
fn a_cached_plan_carries_nothing_over() {
    let first = resample(&tone(440.0, 44_100, 5_000), 44_100, 24_000).unwrap();
    resample(&vec![1.0; 3_333], 44_100, 24_000).unwrap();
    let again = resample(&tone(440.0, 44_100, 5_000), 44_100, 24_000).unwrap();
    assert_eq!(first, again);
}

#[test]
fn equal_rates_are_the_identity_and_zero_is_an_error() {
    let input = tone(100.0, 24_000, 333);
    assert_eq!(resample(&input, 24_000, 24_000).unwrap(), input);
    let error = resample(&input, 0, 24_000).unwrap_err();
    assert!(error.to_string().contains("0 Hz to 24000 Hz"), "{error}");
}
