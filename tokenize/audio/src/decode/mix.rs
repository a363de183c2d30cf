//! Packets to the channels asked for, cut to the part that is to be played.

use symphonia::core::audio::GenericAudioBufferRef;

use super::RATE_RANGE_HZ;
use super::edit_list::Span;
use crate::error::Error;

/// Takes one packet after another; all must agree in rate and channels.
pub(super) struct Mix {
    /// Of the last packet: `[n, wanted]`.
    pub block: Vec<f32>,
    /// Channels of the result.
    pub wanted: usize,
    /// Channels of the file; 0 before the first packet.
    pub channels: usize,
    pub rate_hz: u32,
    /// Sample periods decoded so far.
    pub decoded: u64,
    /// Sample periods handed on so far.
    pub kept: u64,
    /// The part to be played, if it is not all.
    span: Option<Span>,
    interleaved: Vec<f32>,
}

/// Why a decoded packet cannot be appended.
pub(super) enum Misfit {
    Rate(u32),
    Change { channels: usize, rate_hz: u32 },
}

impl Mix {
    pub fn new(wanted: usize, span: Option<Span>) -> Self {
        Mix {
            block: Vec::new(),
            wanted,
            channels: 0,
            rate_hz: 0,
            decoded: 0,
            kept: 0,
            span,
            interleaved: Vec::new(),
        }
    }

    /// Replaces the block with what is to be played of `buffer`.
    pub fn push(&mut self, buffer: &GenericAudioBufferRef<'_>) -> Result<(), Misfit> {
        let (channels, rate_hz) = (buffer.spec().channels().count(), buffer.spec().rate());
        if self.channels == 0 {
            if !RATE_RANGE_HZ.contains(&rate_hz) {
                return Err(Misfit::Rate(rate_hz));
            }
            (self.channels, self.rate_hz) = (channels, rate_hz);
        } else if (channels, rate_hz) != (self.channels, self.rate_hz) {
            return Err(Misfit::Change { channels, rate_hz });
        }
        self.block.clear();
        if channels == self.wanted {
            buffer.copy_to_vec_interleaved(&mut self.block);
        } else {
            buffer.copy_to_vec_interleaved(&mut self.interleaved);
            for period in self.interleaved.chunks_exact(channels) {
                let mean = period.iter().sum::<f32>() / channels as f32;
                self.block.extend(std::iter::repeat_n(mean, self.wanted));
            }
        }
        self.cut();
        Ok(())
    }

    /// Removes from the block what lies outside the span, and counts.
    fn cut(&mut self) {
        let start = self.decoded;
        self.decoded += (self.block.len() / self.wanted) as u64;
        if let Some(span) = self.span {
            let periods = |secs: f64| (secs * f64::from(self.rate_hz)).round() as u64;
            // from the start of this packet, in sample periods
            let after = |end: u64| end.clamp(start, self.decoded) - start;
            let first = after(periods(span.start_secs)) as usize;
            if let Some(length_secs) = span.length_secs {
                let end = after(periods(span.start_secs + length_secs)) as usize;
                self.block.truncate(end * self.wanted);
            }
            let first = (first * self.wanted).min(self.block.len());
            self.block.drain(..first);
        }
        self.kept += (self.block.len() / self.wanted) as u64;
    }

    /// Seconds decoded so far.
    pub fn secs(&self) -> f64 {
        self.decoded as f64 / f64::from(self.rate_hz.max(1))
    }
}

impl Misfit {
    pub fn at(self, name: &str, mix: &Mix) -> Error {
        let name = name.to_owned();
        match self {
            Misfit::Rate(rate_hz) => Error::Rate { name, rate_hz },
            Misfit::Change { channels, rate_hz } => Error::Corrupt {
                name,
                decoded_secs: mix.secs(),
                detail: format!(
                    "the format changes from {} channels at {} Hz to {channels} at {rate_hz} Hz",
                    mix.channels, mix.rate_hz
                ),
            },
        }
    }
}
