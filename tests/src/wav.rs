//! Small recordings made on the spot.

use std::path::Path;

use hound::{SampleFormat, WavSpec, WavWriter};

/// How samples are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pcm {
    /// Integers of that many bits.
    Bits(u16),
    /// 32-bit floating point.
    Float,
}

/// A voice-like tone: three harmonics of 200 Hz, `secs` long, within ±0.6.
pub fn tone(secs: f64, rate_hz: u32) -> Vec<f32> {
    let samples = (secs * f64::from(rate_hz)).round() as usize;
    let at = |n: usize| {
        let phase = n as f64 / f64::from(rate_hz) * 200.0 * std::f64::consts::TAU;
        0.3 * phase.sin() + 0.2 * (2.0 * phase).sin() + 0.1 * (3.0 * phase).cos()
    };
    (0..samples).map(|n| at(n) as f32).collect()
}

/// Writes a wav file. `samples` are `[frames * channels]`, frame-major; integers round half away from zero.
pub fn write_wav(path: &Path, samples: &[f32], rate_hz: u32, channels: u16, pcm: Pcm) {
    let (bits_per_sample, sample_format) = match pcm {
        Pcm::Bits(bits) => (bits, SampleFormat::Int),
        Pcm::Float => (32, SampleFormat::Float),
    };
    let spec = WavSpec {
        channels,
        sample_rate: rate_hz,
        bits_per_sample,
        sample_format,
    };
    let mut writer = WavWriter::create(path, spec).unwrap();
    let full_scale = f64::from(1u32 << (bits_per_sample - 1));
    for &sample in samples {
        match pcm {
            Pcm::Float => writer.write_sample(sample).unwrap(),
            Pcm::Bits(_) => writer
                .write_sample((f64::from(sample) * full_scale).round() as i32)
                .unwrap(),
        }
    }
    writer.finalize().unwrap();
}
