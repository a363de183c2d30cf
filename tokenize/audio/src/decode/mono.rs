//! The mean of the channels, gathered packet by packet.

use std::path::Path;

use symphonia::core::audio::GenericAudioBufferRef;

use super::RATE_RANGE_HZ;
use crate::error::Error;

/// Grows by one packet at a time; all packets must agree in rate and channels.
pub(super) struct Mono {
    pub samples: Vec<f32>,
    pub channels: usize,
    pub rate_hz: u32,
    interleaved: Vec<f32>,
}

/// Why a decoded packet cannot be appended.
pub(super) enum Misfit {
    Rate(u32),
    Change { channels: usize, rate_hz: u32 },
}

impl Mono {
    pub fn with_capacity(frames: Option<u64>) -> Self {
        // the header is not to be trusted with an allocation beyond 64 MiB
        let capacity = frames.unwrap_or(0).min(16 << 20) as usize;
        Mono {
            samples: Vec::with_capacity(capacity),
            channels: 0,
            rate_hz: 0,
            interleaved: Vec::new(),
        }
    }

    pub fn push(&mut self, buffer: &GenericAudioBufferRef<'_>) -> std::result::Result<(), Misfit> {
        let (channels, rate_hz) = (buffer.spec().channels().count(), buffer.spec().rate());
        if self.channels == 0 {
            if !RATE_RANGE_HZ.contains(&rate_hz) {
                return Err(Misfit::Rate(rate_hz));
            }
            (self.channels, self.rate_hz) = (channels, rate_hz);
        } else if (channels, rate_hz) != (self.channels, self.rate_hz) {
            return Err(Misfit::Change { channels, rate_hz });
        }
        buffer.copy_to_vec_interleaved(&mut self.interleaved);
        if channels == 1 {
            self.samples.extend_from_slice(&self.interleaved);
        } else {
            let mean = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
            self.samples
                .extend(self.interleaved.chunks_exact(channels).map(mean));
        }
        Ok(())
    }

    /// Keeps what starts at `start_secs` and is `length_secs` long, or up to the end.
    pub fn keep(&mut self, start_secs: f64, length_secs: Option<f64>) {
        let rate_hz = f64::from(self.rate_hz);
        if let Some(length_secs) = length_secs {
            let end = ((start_secs + length_secs) * rate_hz).round() as usize;
            self.samples.truncate(end);
        }
        let start = ((start_secs * rate_hz).round() as usize).min(self.samples.len());
        self.samples.drain(..start);
    }

    pub fn secs(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate_hz.max(1))
    }
}

impl Misfit {
    pub fn at(self, path: &Path, mono: &Mono) -> Error {
        match self {
            Misfit::Rate(rate_hz) => Error::Rate {
                path: path.to_owned(),
                rate_hz,
            },
            Misfit::Change { channels, rate_hz } => Error::Corrupt {
                path: path.to_owned(),
                decoded_secs: mono.secs(),
                detail: format!(
                    "the format changes from {} channels at {} Hz to {channels} at {rate_hz} Hz",
                    mono.channels, mono.rate_hz
                ),
            },
        }
    }
}
