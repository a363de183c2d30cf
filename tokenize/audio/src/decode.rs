//! Any audio file to mono samples at the file's own rate.
//!
//! symphonia reads packet by packet and leaves it to the caller what to make of a bad one. Here a fault is an error:
//! a stream that ends early, a packet that does not decode, a FLAC whose MD5 differs. The exception is MP3, whose files
//! commonly start or end in a partial frame: faults before the first or after the last good frame are tolerated.
//!
//! Encoder delay and padding are removed where the decoder can (MP3 with a LAME tag, Vorbis). AAC keeps its priming
//! samples (about 20 to 50 ms of near-silence at the start), for symphonia does not read MP4 edit lists.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_FLAC, CODEC_ID_MP3};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, Track, TrackType};
use symphonia::core::io::MediaSourceStream;

use crate::error::{Error, Result};

/// Sample rates accepted, in Hz. Below and above lie broken headers rather than speech.
pub const RATE_RANGE_HZ: RangeInclusive<u32> = 4_000..=384_000;

/// Mono samples in [-1, 1] and their rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    /// One value a sample period.
    pub samples: Vec<f32>,
    /// Sample periods a second.
    pub sample_rate_hz: u32,
}

/// A decoded file.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The mean of the file's channels.
    pub audio: Audio,
    /// Channels in the file.
    pub channels: usize,
    /// The file's own rate, before any resampling.
    pub source_rate_hz: u32,
}

/// Decodes any container symphonia knows to mono, the mean of its channels, at the file's own rate.
///
/// Float files may hold values beyond ±1, NaN or infinities; [`crate::load`] checks for the latter two.
pub fn decode_file(path: &Path) -> Result<Decoded> {
    let decoded = catch_unwind(AssertUnwindSafe(|| Stream::open(path)?.decode()));
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
    /// Seconds of audio the container promises, where it is exact.
    expected_secs: Option<f64>,
    mono: Mono,
}

impl<'a> Stream<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = open_file(path)?;
        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|e| e.to_str()) {
            hint.with_extension(&extension.to_ascii_lowercase());
        }
        let source = MediaSourceStream::new(Box::new(file), Default::default());
        let format = symphonia::default::get_probe()
            .probe(&hint, source, Default::default(), Default::default())
            .map_err(|error| probe_error(path, error))?;
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
        let exact = is_length_exact(track, is_mp3);
        let options = AudioDecoderOptions::default()
            .gapless(exact)
            .verify(parameters.codec == CODEC_ID_FLAC);
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &options)
            .map_err(|error| not_audio(&error.to_string()))?;
        let expected_secs = expected_secs(track, parameters).filter(|_| exact);
        let mono = Mono::with_capacity(track.num_frames);
        Ok(Stream {
            path,
            track_id: track.id,
            is_mp3,
            expected_secs,
            mono,
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
            match self.decoder.decode(&packet) {
                Ok(buffer) => {
                    if let Some(fault) = fault.take() {
                        return Err(self.stream_error(fault));
                    }
                    self.mono
                        .push(&buffer)
                        .map_err(|fault| fault.at(self.path, &self.mono))?;
                }
                Err(_) if self.is_mp3 && self.mono.samples.is_empty() => {}
                Err(error) => fault = Some(error),
            }
        }
        if let Some(fault) = fault.filter(|_| !self.is_mp3 && !ended_early) {
            return Err(self.stream_error(fault));
        }
        self.check_whole(ended_early)?;
        let (channels, rate_hz) = (self.mono.channels, self.mono.rate_hz);
        Ok(Decoded {
            audio: Audio {
                samples: self.mono.samples,
                sample_rate_hz: rate_hz,
            },
            channels,
            source_rate_hz: rate_hz,
        })
    }

    /// Refuses a stream without samples, one that ended before its container says, and one whose checksum differs.
    fn check_whole(&mut self, ended_early: bool) -> Result<()> {
        let decoded_secs = self.mono.secs();
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
        if self.mono.samples.is_empty() {
            return Err(Error::Empty {
                path: self.path.to_owned(),
            });
        }
        if self.decoder.finalize().verify_ok == Some(false) {
            return Err(Error::Corrupt {
                path: self.path.to_owned(),
                decoded_secs,
                detail: "the MD5 of the samples differs from the one in the header".to_owned(),
            });
        }
        Ok(())
    }

    /// MP3 headers may count the tag frame itself, or a last frame that encoders leave out: two frames.
    fn slack_secs(&self) -> f64 {
        if self.is_mp3 {
            2.0 * 1152.0 / f64::from(self.mono.rate_hz.max(1))
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
        Error::Corrupt {
            path: self.path.to_owned(),
            decoded_secs: self.mono.secs(),
            detail,
        }
    }
}

fn open_file(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let metadata = file.metadata().map_err(|e| Error::io(path, e))?;
    if metadata.is_dir() {
        return Err(Error::io(path, io::ErrorKind::IsADirectory.into()));
    }
    if metadata.len() == 0 {
        return Err(Error::Empty {
            path: path.to_owned(),
        });
    }
    Ok(file)
}

fn probe_error(path: &Path, error: SymphoniaError) -> Error {
    match error {
        SymphoniaError::IoError(source) if source.raw_os_error().is_some() => {
            Error::io(path, source)
        }
        SymphoniaError::IoError(_) => Error::NotAudio {
            path: path.to_owned(),
            detail: "the file ends inside its header".to_owned(),
        },
        SymphoniaError::DecodeError(detail) => Error::Corrupt {
            path: path.to_owned(),
            decoded_secs: 0.0,
            detail: detail.to_owned(),
        },
        other => Error::NotAudio {
            path: path.to_owned(),
            detail: other.to_string(),
        },
    }
}

/// Whether the container's sample count can be relied on. For an MP3 without a LAME tag symphonia estimates it from the
/// first frames' bit rate, which must neither trim nor condemn the file.
fn is_length_exact(track: &Track, is_mp3: bool) -> bool {
    !is_mp3 || track.delay.is_some()
}

fn expected_secs(track: &Track, parameters: &AudioCodecParameters) -> Option<f64> {
    let frames = track.num_frames?;
    let rate_hz = parameters.sample_rate.filter(|&rate| rate > 0)?;
    Some(frames as f64 / f64::from(rate_hz))
}

/// Whether more than 100 ms, or more than 2 % beyond the slack, is missing.
fn is_short(expected_secs: f64, decoded_secs: f64, slack_secs: f64) -> bool {
    expected_secs - decoded_secs > (0.02 * expected_secs).max(slack_secs).min(0.1)
}

/// Grows by one packet at a time; all packets must agree in rate and channels.
struct Mono {
    samples: Vec<f32>,
    channels: usize,
    rate_hz: u32,
    interleaved: Vec<f32>,
}

/// Why a decoded packet cannot be appended.
enum Misfit {
    Rate(u32),
    Change { channels: usize, rate_hz: u32 },
}

impl Mono {
    fn with_capacity(frames: Option<u64>) -> Self {
        // the header is not to be trusted with an allocation beyond 64 MiB
        let capacity = frames.unwrap_or(0).min(16 << 20) as usize;
        Mono {
            samples: Vec::with_capacity(capacity),
            channels: 0,
            rate_hz: 0,
            interleaved: Vec::new(),
        }
    }

    fn push(&mut self, buffer: &GenericAudioBufferRef<'_>) -> std::result::Result<(), Misfit> {
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

    fn secs(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate_hz.max(1))
    }
}

impl Misfit {
    fn at(self, path: &Path, mono: &Mono) -> Error {
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

#[cfg(test)]
mod tests;
