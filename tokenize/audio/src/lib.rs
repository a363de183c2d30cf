//! Recordings to mono or stereo samples at a codec's rate, and back.
//!
//! [`load`] is what most callers of files want: it decodes a file, checks every sample and resamples to the rate asked
//! for. [`open`] does the same for any [`Input`], a file or bytes in memory, block by block, so that a recording of any
//! length takes a few megabytes. The parts are [`decode_file`] (any container symphonia knows) and [`resample`] (linear
//! phase, no delay). [`write_wav`] writes 16-bit PCM.
//!
//! A recording is whole or it is an error: truncated, corrupt, empty and non-finite audio is never passed on, and each
//! [`Error`] has a short [`Error::reason`] under which skipped recordings are counted. [`check_duration`] compares what
//! was decoded with what a manifest says.

mod blocks;
mod decode;
mod duration;
mod error;
mod input;
mod resample;
mod wav;

use std::path::Path;

pub use blocks::{Blocks, open};
pub use decode::{Audio, Decoded, RATE_RANGE_HZ, decode_file};
pub use duration::{DurationMismatch, check_duration};
pub use error::{Error, Result};
pub use input::Input;
pub use resample::resample;
pub use wav::write_wav;

/// Decodes `path` to `channels` channels as [`decode_file`] does, checks that it has samples and that all are finite, and
/// resamples it to `rate_hz`.
pub fn load(path: &Path, rate_hz: u32, channels: usize) -> Result<Decoded> {
    open(&Input::from(path), rate_hz, channels)?.read_all()
}

/// Refuses samples that are not finite numbers, `[n, channels]`. `name` is the file they come from or go to, `before` the
/// sample periods before them.
fn check_finite(name: &str, samples: &[f32], channels: usize, before: u64) -> Result<()> {
    match samples.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NotFinite {
            name: name.to_owned(),
            index: before as usize + index / channels,
            value: samples[index],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float_wav(path: &Path, channels: u16, samples: &[f32]) {
        let spec = hound::WavSpec {
            channels,
            sample_rate: 16_000,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        for &sample in samples {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
    }

    #[test]
    fn load_resamples_and_keeps_the_source_rate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tone.wav");
        float_wav(&path, 1, &vec![0.25; 16_001]);
        let decoded = load(&path, 24_000, 1).unwrap();
        assert_eq!(decoded.source_rate_hz, 16_000);
        assert_eq!(decoded.audio.sample_rate_hz, 24_000);
        assert_eq!(decoded.audio.samples.len(), 24_002);
        assert_eq!(load(&path, 16_000, 1).unwrap().audio.samples.len(), 16_001);
    }

    /// `[n, 2]`: 400 Hz on the left, 1 kHz at half the level on the right.
    fn two_tones(rate_hz: f32) -> Vec<f32> {
        let tone = |hz: f32, n: usize| (std::f32::consts::TAU * hz * n as f32 / rate_hz).sin();
        (0..rate_hz as usize)
            .flat_map(|n| [0.4 * tone(400.0, n), 0.2 * tone(1000.0, n)])
            .collect()
    }

    #[test]
    fn two_channels_are_kept_apart_at_any_rate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stereo.wav");
        let samples = two_tones(16_000.0);
        float_wav(&path, 2, &samples);
        let same = load(&path, 16_000, 2).unwrap();
        assert_eq!(
            (same.audio.samples, same.audio.channels),
            (samples.clone(), 2)
        );
        let mono = load(&path, 16_000, 1).unwrap().audio.samples;
        let means: Vec<f32> = samples
            .chunks(2)
            .map(|pair| (pair[0] + pair[1]) / 2.0)
            .collect();
        assert_eq!(mono, means);
        // away from the ends, where the tones start and stop
        let (faster, expected) = (load(&path, 48_000, 2).unwrap(), two_tones(48_000.0));
        assert_eq!(faster.audio.samples.len(), expected.len());
        for (n, (got, want)) in faster.audio.samples.iter().zip(&expected).enumerate() {
            let middle = (6_000..expected.len() - 6_000).contains(&n);
            assert!(
                !middle || (got - want).abs() < 1e-3,
                "sample {n}: {got}, {want}"
            );
        }
    }

    #[test]
    fn other_numbers_of_channels_are_averaged_into_both() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("channels.wav");
        float_wav(&path, 1, &[0.25, -0.5]);
        assert_eq!(
            load(&path, 16_000, 2).unwrap().audio.samples,
            [0.25, 0.25, -0.5, -0.5]
        );
        float_wav(&path, 4, &[0.5, 0.25, 0.25, 0.0, 1.0, 0.0, 0.0, 0.0]);
        let decoded = load(&path, 16_000, 2).unwrap();
        assert_eq!(decoded.audio.samples, [0.25; 4]);
        assert_eq!(decoded.source_channels, 4);
    }

    #[test]
    fn non_finite_samples_are_an_error_with_their_index() {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in [("nan.wav", f32::NAN), ("inf.wav", f32::INFINITY)] {
            let path = dir.path().join(name);
            let mut samples = vec![0.0; 500];
            samples[321] = value;
            float_wav(&path, 1, &samples);
            let error = load(&path, 24_000, 1).unwrap_err();
            assert_eq!(error.reason(), "nan");
            let text = error.to_string();
            assert!(text.contains("sample 321") && text.contains(name), "{text}");
        }
    }
}
