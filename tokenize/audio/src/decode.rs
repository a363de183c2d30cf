//! Any audio file to mono or stereo samples at the file's own rate.
//!
//! symphonia reads packet by packet and leaves it to the caller what to make of a bad one. Here a fault is an error:
//! a stream that ends early, a packet that does not decode, a FLAC frame that fails its checksum or an MD5 that differs,
//! an MP3 whose frames do not follow one another ([`mpeg`]). The exception is the start of an MP3, whose first frames
//! may lean on some that an editor cut away. A FLAC whose last frame is damaged counts as truncated, and so does an Ogg
//! Opus without its last page.
//!
//! Encoder delay and padding are removed where the file gives them: MP3 with a LAME tag, Vorbis, Ogg Opus, MP4 with an
//! edit list ([`edit_list`]). Matroska and WebM: the delay only, so that up to a packet of padding stays.

mod edit_list;
mod mix;
mod mpeg;
mod open;
mod opus;

use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia::core::codecs::audio::well_known::{CODEC_ID_FLAC, CODEC_ID_MP3, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::well_known::{FORMAT_ID_FLAC, FORMAT_ID_ISOMP4, FORMAT_ID_OGG};
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::packet::Packet;

use crate::error::{Error, Result};
use crate::input::Input;
use mix::Mix;
use open::Source;
use opus::OpusDecoder;

/// Sample rates accepted, in Hz. Below and above lie broken headers rather than speech.
pub const RATE_RANGE_HZ: RangeInclusive<u32> = 4_000..=384_000;

/// Samples in [-1, 1], their channels and their rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    /// `[n, channels]`: all channels of a sample period, then of the next.
    pub samples: Vec<f32>,
    /// Values of a sample period.
    pub channels: usize,
    /// Sample periods a second.
    pub sample_rate_hz: u32,
}

/// A decoded file.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Its samples, in the channels asked for.
    pub audio: Audio,
    /// Channels in the file.
    pub source_channels: usize,
    /// The file's own rate, before any resampling.
    pub source_rate_hz: u32,
}

/// Decodes any container symphonia knows to `channels` channels (at least one) at the file's own rate: those of the file if
/// it has as many, else the mean of all it has in each.
///
/// Float files may hold values beyond ±1, NaN or infinities; [`crate::load`] checks for the latter two.
pub fn decode_file(path: &Path, channels: usize) -> Result<Decoded> {
    let mut stream = Stream::open(Input::from(path), channels)?;
    let mut samples = Vec::new();
    while let Some(block) = stream.next_block()? {
        samples.extend_from_slice(block);
    }
    Ok(Decoded {
        audio: Audio {
            samples,
            channels,
            sample_rate_hz: stream.rate_hz(),
        },
        source_channels: stream.channels(),
        source_rate_hz: stream.rate_hz(),
    })
}

/// One audio track of an open recording, decoded packet by packet.
pub(crate) struct Stream {
    name: String,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track_id: u32,
    is_mp3: bool,
    /// Whether the container knows the delay and padding.
    is_exact: bool,
    /// Where the next packet must start, in samples, if the reader leaves out damaged ones and numbers the others.
    next_ts: Option<i64>,
    /// Where the last packet must end, in samples, if packets are numbered and the container says it.
    end_ts: Option<i64>,
    /// Seconds of audio the container promises, where it is exact.
    expected_secs: Option<f64>,
    /// Of the last packet, which nothing has followed yet.
    fault: Option<SymphoniaError>,
    mix: Mix,
}

impl Stream {
    /// Opens the first audio track of `input`.
    pub fn open(input: Input, channels: usize) -> Result<Self> {
        catch_unwind(AssertUnwindSafe(|| Stream::try_open(&input, channels)))
            .unwrap_or_else(|_| Err(panicked(&input.name(), 0.0)))
    }

    /// Samples of the next packet that has any: `[n, channels]`. `None` is the end of a recording that is whole.
    pub fn next_block(&mut self) -> Result<Option<&[f32]>> {
        let more = catch_unwind(AssertUnwindSafe(|| self.advance()))
            .unwrap_or_else(|_| Err(panicked(&self.name, self.mix.secs())))?;
        Ok(more.then_some(self.mix.block.as_slice()))
    }

    /// The recording's own rate; 0 before the first block.
    pub fn rate_hz(&self) -> u32 {
        self.mix.rate_hz
    }

    /// The recording's own channels; 0 before the first block.
    pub fn channels(&self) -> usize {
        self.mix.channels
    }

    /// See [`Blocks::untold_secs`](crate::Blocks::untold_secs); 0 before the first block.
    ///
    /// LAME puts 576 samples before the recording, and behind it at least 576, then as many as fill the last frame. Told
    /// nothing (what is written to a pipe has no tag, as that goes to the start of the file at the end), nobody can take
    /// them away.
    pub fn untold_secs(&self) -> f64 {
        const DELAY_AND_LEAST_PADDING: u32 = 2 * 576;
        match self.rate_hz() {
            rate_hz if rate_hz > 0 && !self.is_exact => {
                let frame = mpeg::frame_samples(rate_hz);
                f64::from(DELAY_AND_LEAST_PADDING + frame) / f64::from(rate_hz)
            }
            _ => 0.0,
        }
    }

    fn try_open(input: &Input, channels: usize) -> Result<Self> {
        let Source {
            format,
            mpeg_samples,
        } = open::open(input)?;
        let name = input.name();
        let not_audio = |detail: &str| Error::NotAudio {
            name: name.clone(),
            detail: detail.to_owned(),
        };
        let track = format
            .default_track(TrackType::Audio)
            .ok_or_else(|| not_audio("the container has no audio track"))?;
        let parameters = track
            .codec_params
            .as_ref()
            .and_then(|p| p.audio())
            .ok_or_else(|| not_audio("the container does not name the codec"))?;
        let is_mp3 = parameters.codec == CODEC_ID_MP3;
        let exact = open::is_length_exact(track, is_mp3);
        if let Some(samples) = mpeg_samples.filter(|_| exact) {
            open::check_mpeg_length(&name, track, parameters, samples)?;
        }
        let decoder =
            make_decoder(parameters, exact).map_err(|error| not_audio(&error.to_string()))?;
        let container = format.format_info().format;
        let is_ogg_opus = container == FORMAT_ID_OGG && parameters.codec == CODEC_ID_OPUS;
        let edit = match container {
            FORMAT_ID_ISOMP4 => {
                edit_list::read(&mut input.reader()?, track.id).map_err(|cause| Error::Io {
                    name: name.clone(),
                    cause,
                })?
            }
            _ => None,
        };
        Ok(Stream {
            track_id: track.id,
            is_mp3,
            is_exact: exact,
            next_ts: (container == FORMAT_ID_FLAC || is_ogg_opus).then_some(0),
            // without a last page that can be found no position is the end
            end_ts: is_ogg_opus.then(|| track.num_frames.map_or(i64::MAX, |end| end as i64)),
            expected_secs: open::expected_secs(&*format, track, parameters).filter(|_| exact),
            fault: None,
            mix: Mix::new(channels, edit),
            name,
            format,
            decoder,
        })
    }

    /// Decodes up to the next packet that leaves samples, or checks that the recording is whole.
    fn advance(&mut self) -> Result<bool> {
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track_id => packet,
                Ok(Some(_)) => continue,
                Ok(None) => return self.end(false),
                Err(SymphoniaError::IoError(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return self.end(true);
                }
                Err(error) => return Err(self.stream_error(error)),
            };
            self.check_follows(&packet)?;
            match self.decoder.decode(&packet) {
                Ok(buffer) => {
                    if let Some(fault) = self.fault.take() {
                        return Err(self.stream_error(fault));
                    }
                    self.mix
                        .push(&buffer)
                        .map_err(|misfit| misfit.at(&self.name, &self.mix))?;
                    if !self.mix.block.is_empty() {
                        return Ok(true);
                    }
                }
                Err(_) if self.is_mp3 && self.mix.decoded == 0 => {}
                Err(error) => self.fault = Some(error),
            }
        }
    }

    fn end(&mut self, ended_early: bool) -> Result<bool> {
        if let Some(fault) = self.fault.take().filter(|_| !ended_early) {
            return Err(self.stream_error(fault));
        }
        self.check_whole(ended_early)?;
        Ok(false)
    }

    /// Refuses a packet before which others are missing: the FLAC reader drops frames that fail their checksum.
    fn check_follows(&mut self, packet: &Packet) -> Result<()> {
        let Some(expected) = self.next_ts.filter(|_| packet.dur.get() > 0) else {
            // packets without samples lie in the padding behind the end
            return Ok(());
        };
        if packet.pts.get() != expected {
            return Err(self.corrupt(format!(
                "the frame at sample {expected} is missing or fails its checksum"
            )));
        }
        self.next_ts = Some(expected.saturating_add_unsigned(packet.dur.get()));
        Ok(())
    }

    /// Refuses a stream without samples, one that ended before its container says, and one whose checksum differs.
    fn check_whole(&mut self, ended_early: bool) -> Result<()> {
        let decoded_secs = self.mix.secs();
        let truncated = match self.expected_secs {
            Some(expected) => is_short(expected, decoded_secs, self.slack_secs()),
            None => ended_early,
        };
        if truncated || self.end_ts.is_some_and(|end| self.next_ts != Some(end)) {
            return Err(Error::Truncated {
                name: self.name.clone(),
                decoded_secs,
                expected_secs: self.expected_secs,
            });
        }
        if self.mix.kept == 0 {
            return Err(Error::Empty {
                name: self.name.clone(),
            });
        }
        if self.decoder.finalize().verify_ok == Some(false) {
            let detail = "the MD5 of the samples differs from the one in the header";
            return Err(self.corrupt(detail.to_owned()));
        }
        Ok(())
    }

    /// MP3 headers may count the tag frame itself, or a last frame that encoders leave out: two frames.
    fn slack_secs(&self) -> f64 {
        if self.is_mp3 {
            2.0 * 1152.0 / f64::from(self.mix.rate_hz.max(1))
        } else {
            0.0
        }
    }

    fn stream_error(&self, error: SymphoniaError) -> Error {
        let detail = match error {
            SymphoniaError::IoError(cause) if cause.raw_os_error().is_some() => {
                return Error::Io {
                    name: self.name.clone(),
                    cause,
                };
            }
            SymphoniaError::ResetRequired => {
                "several streams are chained in one file: split them".to_owned()
            }
            other => other.to_string(),
        };
        self.corrupt(detail)
    }

    fn corrupt(&self, detail: String) -> Error {
        Error::Corrupt {
            name: self.name.clone(),
            decoded_secs: self.mix.secs(),
            detail,
        }
    }
}

/// symphonia's decoder, or that of Opus. `exact` says that the container knows what to trim.
fn make_decoder(
    parameters: &AudioCodecParameters,
    exact: bool,
) -> symphonia::core::errors::Result<Box<dyn AudioDecoder>> {
    if parameters.codec == CODEC_ID_OPUS {
        return Ok(Box::new(OpusDecoder::try_new(parameters)?));
    }
    let options = AudioDecoderOptions::default()
        .gapless(exact)
        .verify(parameters.codec == CODEC_ID_FLAC);
    symphonia::default::get_codecs().make_audio_decoder(parameters, &options)
}

/// A panic inside a third-party decoder is one more way for a file to be corrupt.
fn panicked(name: &str, decoded_secs: f64) -> Error {
    Error::Corrupt {
        name: name.to_owned(),
        decoded_secs,
        detail: "the decoder panicked".to_owned(),
    }
}

/// Whether more than 100 ms, or more than 2 % beyond the slack, is missing.
fn is_short(expected_secs: f64, decoded_secs: f64, slack_secs: f64) -> bool {
    expected_secs - decoded_secs > (0.02 * expected_secs).max(slack_secs).min(0.1)
}

#[cfg(test)]
mod tests;
