//! Audio files to mono samples at a codec's rate, and back.
//!
//! [`load`] is what most callers want: it decodes a file, checks every sample and resamples to the rate asked for.
//! Its parts are [`decode_file`] (any container symphonia knows, mixed down to mono) and [`resample`] (linear phase,
//! no delay). [`write_wav`] writes 16-bit PCM.
//!
//! A file is whole or it is an error: truncated, corrupt, empty and non-finite audio is never passed on, and each
//! [`Error`] has a short [`Error::reason`] under which skipped files are counted.

mod decode;
mod error;
mod resample;
mod wav;

use std::path::Path;

pub use decode::{Audio, Decoded, RATE_RANGE_HZ, decode_file};
pub use error::{Error, Result};
pub use resample::resample;
pub use wav::write_wav;

/// Decodes `path` to mono, checks that it has samples and that all are finite, and resamples it to `rate_hz`.
pub fn load(path: &Path, rate_hz: u32) -> Result<Decoded> {
    let mut decoded = decode_file(path)?;
    if let Some(index) = decoded.audio.samples.iter().position(|x| !x.is_finite()) {
        return Err(Error::NotFinite {
            path: path.to_owned(),
            index,
            value: decoded.audio.samples[index],
        });
    }
    if decoded.audio.sample_rate_hz != rate_hz {
        decoded.audio = Audio {
            samples: resample(
                &decoded.audio.samples,
                decoded.audio.sample_rate_hz,
                rate_hz,
            )?,
            sample_rate_hz: rate_hz,
        };
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float_wav(path: &Path, samples: &[f32]) {
        let spec = hound::WavSpec {
            channels: 1,
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
        float_wav(&path, &vec![0.25; 16_001]);
        let decoded = load(&path, 24_000).unwrap();
        assert_eq!(decoded.source_rate_hz, 16_000);
        assert_eq!(decoded.audio.sample_rate_hz, 24_000);
        assert_eq!(decoded.audio.samples.len(), 24_002);
        assert_eq!(load(&path, 16_000).unwrap().audio.samples.len(), 16_001);
    }

    #[test]
    fn non_finite_samples_are_an_error_with_their_index() {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in [("nan.wav", f32::NAN), ("inf.wav", f32::INFINITY)] {
            let path = dir.path().join(name);
            let mut samples = vec![0.0; 500];
            samples[321] = value;
            float_wav(&path, &samples);
            let error = load(&path, 24_000).unwrap_err();
            assert_eq!(error.reason(), "nan");
            let text = error.to_string();
            assert!(text.contains("sample 321") && text.contains(name), "{text}");
        }
    }
}
