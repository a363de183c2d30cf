//! Sample-rate conversion: linear phase, no delay, exact length.
//!
//! rubato's FFT resampler filters and changes rate in one overlap-add pass. Its filter is a windowed sinc as long as
//! its block. Blocks of at least [`MIN_BLOCK`] samples on the slower side keep the passband flat to 0.9 of the lower
//! Nyquist frequency and aliases and images under -90 dB; the tests measure both.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler, WindowFunction};

use crate::error::{Error, Result};

/// Samples a block has at least, at the lower of the two rates.
const MIN_BLOCK: usize = 1024;

/// Plans kept by a thread. A corpus has a handful of rates; an odd one can need several megabytes.
const MAX_CACHED: usize = 8;

thread_local! {
    static PLANS: RefCell<BTreeMap<(u32, u32), Fft<f32>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Converts `samples` from `from_hz` to `to_hz`: `ceil(n * to / from)` samples, time-aligned with the input.
///
/// The signal is taken to be silent before its first and after its last sample.
pub fn resample(samples: &[f32], from_hz: u32, to_hz: u32) -> Result<Vec<f32>> {
    if from_hz == to_hz || samples.is_empty() {
        return Ok(samples.to_vec());
    }
    let fault = |detail: String| Error::Resample {
        from_hz,
        to_hz,
        detail,
    };
    PLANS.with_borrow_mut(|plans| {
        if !plans.contains_key(&(from_hz, to_hz)) {
            if plans.len() >= MAX_CACHED {
                plans.clear();
            }
            let plan = plan(from_hz, to_hz).map_err(fault)?;
            plans.insert((from_hz, to_hz), plan);
        }
        let plan = plans
            .get_mut(&(from_hz, to_hz))
            .expect("the plan was just made");
        plan.reset();
        let length = (samples.len() as u64 * u64::from(to_hz)).div_ceil(u64::from(from_hz));
        run(plan, samples, length as usize).map_err(|e| fault(e.to_string()))
    })
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

/// Feeds `samples` and then silence block by block, drops the filter's delay and keeps `length` samples.
fn run(
    plan: &mut Fft<f32>,
    samples: &[f32],
    length: usize,
) -> std::result::Result<Vec<f32>, Box<dyn std::error::Error>> {
    let (block_in, block_out) = (plan.input_frames_max(), plan.output_frames_max());
    let delay = plan.output_delay();
    let blocks = (length + delay).div_ceil(block_out);
    let mut output = vec![0.0; blocks * block_out];
    for (index, block) in output.chunks_exact_mut(block_out).enumerate() {
        let start = (index * block_in).min(samples.len());
        let input = &samples[start..(start + block_in).min(samples.len())];
        let indexing = Indexing::new().partial_len(input.len());
        let source = InterleavedSlice::new(input, 1, input.len())?;
        let mut target = InterleavedSlice::new_mut(block, 1, block_out)?;
        plan.process_into_buffer(&source, &mut target, Some(&indexing))?;
    }
    output.drain(..delay);
    output.truncate(length);
    Ok(output)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
