//! Any audio file to mono or stereo samples at the file's own rate.
//!
//! symphonia reads packet by packet and leaves it to the caller what to make of a bad one. Here a fault is an error:
//! a stream that ends early, a packet that does not decode, a FLAC frame that fails its checksum or an MD5 that differs,
//! an MP3 whose frames do not follow one another ([`mpeg`]). The exception is the start of an MP3, whose first frames
//! may lean on some that an editor cut away. A FLAC whose last frame is damaged counts as truncated.
//!
//! Encoder delay and padding are removed where the file gives them: MP3 with a LAME tag, Vorbis, MP4 with an edit list
//! ([`edit_list`]).

mod edit_list;
mod mix;
mod mpeg;
mod open;

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia::core::codecs::audio::well_known::{CODEC_ID_FLAC, CODEC_ID_MP3};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::well_known::{FORMAT_ID_FLAC, FORMAT_ID_ISOMP4};
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::packet::Packet;

use crate::error::{Error, Result};
use mix::Mix;
use open::Source;

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
    let decoded = catch_unwind(AssertUnwindSafe(|| Stream::open(path, channels)?.decode()));
    // a panic inside a third-party decoder is one more way for a file to be corrupt
    decoded.unwrap_or_else(|_| {
        Err(Error::Corrupt {
            path: path.to_owned(),
            decoded_secs: 0.0,
            detail: "the decoder panicked".to_owned(),
        })
    })
}

/// One audio track of an open file, and what has been decoded of it.
struct Stream<'a> {
    path: &'a Path,
    format: Box<dyn FormatReader + 'static>,
    decoder: Box<dyn AudioDecoder>,
    track_id: u32,
    is_mp3: bool,
    /// Where the next packet must start, in samples, if the reader leaves out damaged ones and numbers the others.
    next_ts: Option<i64>,
    /// Seconds of audio the container promises, where it is exact.
    expected_secs: Option<f64>,
    mix: Mix,
}

impl<'a> Stream<'a> {
    fn open(path: &'a Path, channels: usize) -> Result<Self> {
        let Source {
            format,
            mpeg_samples,
        } = open::open(path)?;
        let not_audio = |detail: &str| Error::NotAudio {
            path: path.to_owned(),
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
            open::check_mpeg_length(path, track, parameters, samples)?;
        }
        let options = AudioDecoderOptions::default()
            .gapless(exact)
            .verify(parameters.codec == CODEC_ID_FLAC);
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &options)
            .map_err(|error| not_audio(&error.to_string()))?;
        let is_flac = format.format_info().format == FORMAT_ID_FLAC;
        Ok(Stream {
            path,
            track_id: track.id,
            is_mp3,
            next_ts: is_flac.then_some(0),
            expected_secs: open::expected_secs(track, parameters).filter(|_| exact),
            mix: Mix::new(channels, track.num_frames),
            format,
            decoder,
        })
    }

    fn decode(mut self) -> Result<Decoded> {
        let mut fault: Option<SymphoniaError> = None;
        let mut ended_early = false;
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track_id => packet,
                Ok(Some(_)) => continue,
                Ok(None) => break,
                Err(SymphoniaError::IoError(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    ended_early = true;
                    break;
                }
                Err(error) => return Err(self.stream_error(error)),
            };
            self.check_follows(&packet)?;
            match self.decoder.decode(&packet) {
                Ok(buffer) => {
                    if let Some(fault) = fault.take() {
                        return Err(self.stream_error(fault));
                    }
                    self.mix
                        .push(&buffer)
                        .map_err(|fault| fault.at(self.path, &self.mix))?;
                }
                Err(_) if self.is_mp3 && self.mix.samples.is_empty() => {}
                Err(error) => fault = Some(error),
            }
        }
        if let Some(fault) = fault.filter(|_| !ended_early) {
            return Err(self.stream_error(fault));
        }
        self.check_whole(ended_early)?;
        self.keep_edit()?;
        let (source_channels, rate_hz) = (self.mix.channels, self.mix.rate_hz);
        Ok(Decoded {
            audio: Audio {
                samples: self.mix.samples,
                channels: self.mix.wanted,
                sample_rate_hz: rate_hz,
            },
            source_channels,
            source_rate_hz: rate_hz,
        })
    }

    /// Refuses a packet before which others are missing: the FLAC reader drops frames that fail their checksum.
    fn check_follows(&mut self, packet: &Packet) -> Result<()> {
        let Some(expected) = self.next_ts else {
            return Ok(());
        };
        if packet.pts.get() != expected {
            return Err(self.corrupt(format!(
                "the frame at sample {expected} is missing or fails its checksum"
            )));
        }
        self.next_ts = Some(expected + packet.dur.get() as i64);
        Ok(())
    }

    /// Removes what an MP4 file says is not part of the recording.
    fn keep_edit(&mut self) -> Result<()> {
        if self.format.format_info().format != FORMAT_ID_ISOMP4 {
            return Ok(());
        }
        let edit = File::open(self.path)
            .and_then(|mut file| edit_list::read(&mut file, self.track_id))
            .map_err(|cause| Error::io(self.path, cause))?;
        if let Some(span) = edit {
            self.mix.keep(span.start_secs, span.length_secs);
        }
        if self.mix.samples.is_empty() {
            return Err(Error::Empty {
                path: self.path.to_owned(),
            });
        }
        Ok(())
    }

    /// Refuses a stream without samples, one that ended before its container says, and one whose checksum differs.
    fn check_whole(&mut self, ended_early: bool) -> Result<()> {
        let decoded_secs = self.mix.secs();
        let truncated = match self.expected_secs {
            Some(expected) => is_short(expected, decoded_secs, self.slack_secs()),
            None => ended_early,
        };
        if truncated {
            return Err(Error::Truncated {
                path: self.path.to_owned(),
                decoded_secs,
                expected_secs: self.expected_secs,
            });
        }
        if self.mix.samples.is_empty() {
            return Err(Error::Empty {
                path: self.path.to_owned(),
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
            SymphoniaError::IoError(source) if source.raw_os_error().is_some() => {
                return Error::io(self.path, source);
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
            path: self.path.to_owned(),
            decoded_secs: self.mix.secs(),
            detail,
        }
    }
}

/// Whether more than 100 ms, or more than 2 % beyond the slack, is missing.
fn is_short(expected_secs: f64, decoded_secs: f64, slack_secs: f64) -> bool {
    expected_secs - decoded_secs > (0.02 * expected_secs).max(slack_secs).min(0.1)
}

#[cfg(test)]
mod tests;
