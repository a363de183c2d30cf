//! The channels asked for, gathered packet by packet.

use std::path::Path;

use symphonia::core::audio::GenericAudioBufferRef;

use super::RATE_RANGE_HZ;
use crate::error::Error;

/// Grows by one packet at a time; all packets must agree in rate and channels.
pub(super) struct Mix {
    /// `[n, wanted]`
    pub samples: Vec<f32>,
    /// Channels of the result.
    pub wanted: usize,
    /// Channels of the file; 0 before the first packet.
    pub channels: usize,
    pub rate_hz: u32,
    interleaved: Vec<f32>,
}

/// Why a decoded packet cannot be appended.
pub(super) enum Misfit {
    Rate(u32),
    Change { channels: usize, rate_hz: u32 },
}

impl Mix {
    /// Room for `periods` sample periods of `wanted` channels.
    pub fn new(wanted: usize, periods: Option<u64>) -> Self {
        // the header is not to be trusted with an allocation beyond 64 MiB
        let capacity = periods
            .unwrap_or(0)
            .saturating_mul(wanted as u64)
            .min(16 << 20);
        Mix {
            samples: Vec::with_capacity(capacity as usize),
            wanted,
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
        if channels == self.wanted {
            self.samples.extend_from_slice(&self.interleaved);
        } else {
            for period in self.interleaved.chunks_exact(channels) {
                let mean = period.iter().sum::<f32>() / channels as f32;
                self.samples.extend(std::iter::repeat_n(mean, self.wanted));
            }
        }
        Ok(())
    }

    /// Keeps what starts at `start_secs` and is `length_secs` long, or up to the end.
    pub fn keep(&mut self, start_secs: f64, length_secs: Option<f64>) {
        let rate_hz = f64::from(self.rate_hz);
        if let Some(length_secs) = length_secs {
            let end = ((start_secs + length_secs) * rate_hz).round() as usize;
            self.samples.truncate(end.saturating_mul(self.wanted));
        }
        let start = ((start_secs * rate_hz).round() as usize).saturating_mul(self.wanted);
        self.samples.drain(..start.min(self.samples.len()));
    }

    pub fn secs(&self) -> f64 {
        (self.samples.len() / self.wanted) as f64 / f64::from(self.rate_hz.max(1))
    }
}

impl Misfit {
    pub fn at(self, path: &Path, mix: &Mix) -> Error {
        match self {
            Misfit::Rate(rate_hz) => Error::Rate {
                path: path.to_owned(),
                rate_hz,
            },
            Misfit::Change { channels, rate_hz } => Error::Corrupt {
                path: path.to_owned(),
                decoded_secs: mix.secs(),
                detail: format!(
                    "the format changes from {} channels at {} Hz to {channels} at {rate_hz} Hz",
                    mix.channels, mix.rate_hz
                ),
            },
        }
    }
}
