//! A recording, block by block, at the rate and in the channels asked for.

use crate::check_finite;
use crate::decode::{Audio, Decoded, Stream};
use crate::error::Result;
use crate::input::Input;
use crate::resample::Converter;

/// Sample periods that a block has at least, unless it is the last: a third of a second to two seconds of speech.
const BLOCK_PERIODS: usize = 16_384;

/// Opens `input`, decodes its beginning and gives it in `channels` channels (at least one) at `rate_hz`.
///
/// What the blocks hold, one behind the other, is what [`crate::load`] gives, bit for bit. Memory: the compressed bytes of
/// an input in memory and of an MP3, whose frames are checked first; else some packets, and the index that an MP4 has.
pub fn open(input: &Input, rate_hz: u32, channels: usize) -> Result<Blocks> {
    let mut stream = Stream::open(input.clone(), channels)?;
    // the rate that decodes is the one that counts, not the one in a header
    let first = stream.next_block()?.map(<[f32]>::to_vec);
    let converter = Converter::new(stream.rate_hz(), rate_hz, channels)?;
    Ok(Blocks {
        name: input.name(),
        stream,
        first,
        converter,
        rate_hz,
        channels,
        checked: 0,
        is_done: false,
    })
}

/// The blocks of a recording: `[n, channels]`, none of them empty. An error is the last item; it may follow blocks whose
/// samples are right, as a file that ends too early is known only by its end.
pub struct Blocks {
    name: String,
    stream: Stream,
    /// Samples decoded when the recording was opened.
    first: Option<Vec<f32>>,
    converter: Converter,
    rate_hz: u32,
    channels: usize,
    /// Sample periods before the resampler.
    checked: u64,
    is_done: bool,
}

impl Blocks {
    /// The recording's own rate.
    pub fn source_rate_hz(&self) -> u32 {
        self.stream.rate_hz()
    }

    /// The recording's own channels.
    pub fn source_channels(&self) -> usize {
        self.stream.channels()
    }

    /// Seconds by which an encoder may have lengthened the recording without saying so, if it did not say: 0 but for an MP3
    /// without a LAME tag.
    pub fn untold_secs(&self) -> f64 {
        self.stream.untold_secs()
    }

    /// All that is left, in one piece.
    pub fn read_all(mut self) -> Result<Decoded> {
        let mut samples = Vec::new();
        while !self.is_done {
            self.gather(&mut samples, usize::MAX)?;
        }
        Ok(Decoded {
            audio: Audio {
                samples,
                channels: self.channels,
                sample_rate_hz: self.rate_hz,
            },
            source_channels: self.source_channels(),
            source_rate_hz: self.source_rate_hz(),
        })
    }

    /// Appends at least `periods` sample periods to `output`, or all up to the end.
    fn gather(&mut self, output: &mut Vec<f32>, periods: usize) -> Result<()> {
        while output.len() / self.channels < periods {
            let first = self.first.take();
            let samples = match &first {
                Some(samples) => Some(samples.as_slice()),
                None => self.stream.next_block()?,
            };
            let Some(samples) = samples else {
                self.converter.finish(output);
                self.is_done = true;
                break;
            };
            check_finite(&self.name, samples, self.channels, self.checked)?;
            self.checked += (samples.len() / self.channels) as u64;
            self.converter.push(samples, output);
        }
        Ok(())
    }
}

impl Iterator for Blocks {
    type Item = Result<Vec<f32>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let mut block = Vec::new();
        if let Err(error) = self.gather(&mut block, BLOCK_PERIODS) {
            self.is_done = true;
            return Some(Err(error));
        }
        (!block.is_empty()).then_some(Ok(block))
    }
}
