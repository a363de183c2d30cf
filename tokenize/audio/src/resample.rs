//! Sample-rate conversion: linear phase, no delay, exact length, in blocks of any size.
//!
//! rubato's FFT resampler filters and changes rate in one overlap-add pass. Its filter is a windowed sinc as long as
//! its block. Blocks of at least [`MIN_BLOCK`] samples on the slower side keep the passband flat to 0.9 of the lower
//! Nyquist frequency and aliases and images under -90 dB; the tests measure both.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use crate::error::{Error, Result};

/// Samples a block has at least, at the lower of the two rates.
const MIN_BLOCK: usize = 1024;

/// Pairs of rates whose idle plans are kept. A corpus has a handful of rates; an odd one can need several megabytes.
const MAX_CACHED: usize = 8;

/// Idle plans of a pair of rates that are kept: more than there are threads at work.
const MAX_IDLE: usize = 256;

/// By the rates before and after.
type Plans = BTreeMap<(u32, u32), Vec<Fft<f32>>>;

/// Plans at rest: to make one takes longer than to resample a short recording.
static IDLE: Mutex<Plans> = Mutex::new(BTreeMap::new());

/// Converts `samples` from `from_hz` to `to_hz`: `ceil(n * to / from)` samples, time-aligned with the input.
///
/// The signal is taken to be silent before its first and after its last sample.
pub fn resample(samples: &[f32], from_hz: u32, to_hz: u32) -> Result<Vec<f32>> {
    let mut converter = Converter::new(from_hz, to_hz, 1)?;
    let mut output = Vec::with_capacity(converter.length_of(samples.len() as u64) as usize);
    converter.push(samples, &mut output);
    converter.finish(&mut output);
    Ok(output)
}

/// Resamples a recording that comes in pieces: the output does not depend on where it is cut.
pub(crate) struct Converter {
    from_hz: u32,
    to_hz: u32,
    /// One for each channel; none if the rates are equal.
    lanes: Vec<Lane>,
    channels: usize,
    /// Sample periods taken.
    taken: u64,
    /// Output periods still to be dropped: the filter's delay.
    skip: usize,
    /// Output periods given.
    given: u64,
}

/// One channel.
struct Lane {
    plan: Fft<f32>,
    /// Up to a block of it.
    input: Vec<f32>,
    /// A block.
    output: Vec<f32>,
}

impl Converter {
    pub fn new(from_hz: u32, to_hz: u32, channels: usize) -> Result<Self> {
        let lanes = if from_hz == to_hz { 0 } else { channels };
        let lanes: Vec<Lane> = (0..lanes)
            .map(|_| Lane::new(from_hz, to_hz))
            .collect::<Result<_>>()?;
        Ok(Converter {
            skip: lanes.first().map_or(0, |lane| lane.plan.output_delay()),
            from_hz,
            to_hz,
            lanes,
            channels,
            taken: 0,
            given: 0,
        })
    }

    /// Takes `[n, channels]` and appends what is ready to `output`.
    pub fn push(&mut self, samples: &[f32], output: &mut Vec<f32>) {
        self.taken += (samples.len() / self.channels) as u64;
        if self.lanes.is_empty() {
            output.extend_from_slice(samples);
            return;
        }
        let mut rest = samples;
        while !rest.is_empty() {
            let room = self.lanes[0].room() * self.channels;
            let (now, later) = rest.split_at(room.min(rest.len()));
            rest = later;
            for (channel, lane) in self.lanes.iter_mut().enumerate() {
                let one = now.iter().skip(channel).step_by(self.channels);
                lane.input.extend(one);
            }
            if self.lanes[0].room() == 0 {
                self.convert_block(u64::MAX, output);
            }
        }
    }

    /// Appends what remains, up to the exact length.
    pub fn finish(&mut self, output: &mut Vec<f32>) {
        let length = self.length_of(self.taken);
        while !self.lanes.is_empty() && self.given < length {
            self.convert_block(length, output);
        }
    }

    fn length_of(&self, periods: u64) -> u64 {
        (periods * u64::from(self.to_hz)).div_ceil(u64::from(self.from_hz))
    }

    /// Converts a block, filled up with silence; at most `length` periods are given in all.
    fn convert_block(&mut self, length: u64, output: &mut Vec<f32>) {
        for lane in &mut self.lanes {
            lane.convert();
        }
        let periods = self.lanes[0].output.len();
        let first = self.skip.min(periods);
        self.skip -= first;
        let wanted = (length - self.given).min((periods - first) as u64) as usize;
        if let [lane] = self.lanes.as_slice() {
            output.extend_from_slice(&lane.output[first..first + wanted]);
        } else {
            for period in first..first + wanted {
                output.extend(self.lanes.iter().map(|lane| lane.output[period]));
            }
        }
        self.given += wanted as u64;
    }
}

impl Drop for Converter {
    fn drop(&mut self) {
        if self.lanes.is_empty() {
            return;
        }
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let rates = (self.from_hz, self.to_hz);
        if idle.len() >= MAX_CACHED && !idle.contains_key(&rates) {
            idle.clear();
        }
        let plans = idle.entry(rates).or_default();
        let room = MAX_IDLE.saturating_sub(plans.len());
        let lanes = mem::take(&mut self.lanes).into_iter();
        plans.extend(lanes.take(room).map(|lane| lane.plan));
    }
}

impl Lane {
    fn new(from_hz: u32, to_hz: u32) -> Result<Self> {
        let idle = IDLE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(&(from_hz, to_hz))
            .and_then(Vec::pop);
        let plan = match idle {
            Some(mut plan) => {
                plan.reset();
                plan
            }
            None => plan(from_hz, to_hz).map_err(|detail| Error::Resample {
                from_hz,
                to_hz,
                detail,
            })?,
        };
        Ok(Lane {
            input: Vec::with_capacity(plan.input_frames_max()),
            output: vec![0.0; plan.output_frames_max()],
            plan,
        })
    }

    /// Samples that fill the block up.
    fn room(&self) -> usize {
        self.plan.input_frames_max() - self.input.len()
    }

    fn convert(&mut self) {
        let (block_in, block_out) = (self.plan.input_frames_max(), self.output.len());
        self.input.resize(block_in, 0.0);
        let source = InterleavedSlice::new(&self.input, 1, block_in);
        let target = InterleavedSlice::new_mut(&mut self.output, 1, block_out);
        let (source, mut target) = source.and_then(|s| Ok((s, target?))).expect("sizes agree");
        self.plan
            .process_into_buffer(&source, &mut target, None)
            .expect("both buffers are as long as the plan says");
        self.input.clear();
    }
}

/// A resampler whose blocks are even on both sides, so that its delay, half a block, is a whole number of samples.
fn plan(from_hz: u32, to_hz: u32) -> std::result::Result<Fft<f32>, String> {
    if from_hz == 0 || to_hz == 0 {
        return Err("a sample rate must be above zero".to_owned());
    }
    let divisor = gcd(from_hz, to_hz);
    let slower = (from_hz.min(to_hz) / divisor) as usize;
    let repeats = MIN_BLOCK.div_ceil(slower).next_multiple_of(2);
    let block_in = repeats * (from_hz / divisor) as usize;
    Fft::new_custom(
        from_hz as usize,
        to_hz as usize,
        block_in,
        1,
        1,
        WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    )
    .map_err(|e| e.to_string())
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
