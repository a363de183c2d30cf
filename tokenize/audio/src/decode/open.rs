//! A recording to a reader of its packets, and how long its header says it is.

use std::io::Cursor;

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{FORMAT_ID_MKV, FORMAT_ID_MP3};
use symphonia::core::formats::{FormatReader, Track};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::units::Timestamp;
use symphonia::default::formats::MpaReader;

use super::mpeg::{self, Problem};
use crate::error::{Error, Result};
use crate::input::Input;

/// An open recording.
pub struct Source {
    /// Its packets.
    pub format: Box<dyn FormatReader>,
    /// Sample periods in the frames of an MP3.
    pub mpeg_samples: Option<u64>,
}

/// Finds out the container by its content. An MP3 is checked for gaps, and its reader sees only its frames.
pub fn open(input: &Input) -> Result<Source> {
    let mut hint = Hint::new();
    if let Some(extension) = input.extension() {
        hint.with_extension(&extension);
    }
    let source = MediaSourceStream::new(input.reader()?, Default::default());
    let format = symphonia::default::get_probe()
        .probe(&hint, source, Default::default(), Default::default())
        .map_err(|error| probe_error(input, error))?;
    if format.format_info().format == FORMAT_ID_MP3 {
        return open_mp3(input);
    }
    Ok(Source {
        format,
        mpeg_samples: None,
    })
}

fn open_mp3(input: &Input) -> Result<Source> {
    let bytes = input.bytes()?;
    let frames = mpeg::frames(&bytes).map_err(|fault| match fault.problem {
        Problem::CutOff => Error::Truncated {
            name: input.name(),
            decoded_secs: fault.secs,
            expected_secs: None,
        },
        Problem::Gap(detail) => Error::Corrupt {
            name: input.name(),
            decoded_secs: fault.secs,
            detail,
        },
    })?;
    let frames_only = Cursor::new(bytes.slice(frames.bytes));
    let source = MediaSourceStream::new(Box::new(frames_only), Default::default());
    let format =
        MpaReader::try_new(source, Default::default()).map_err(|e| probe_error(input, e))?;
    Ok(Source {
        format: Box::new(format),
        mpeg_samples: Some(frames.samples),
    })
}

/// Refuses an MP3 that goes on after the end its header gives: symphonia would drop the rest.
pub fn check_mpeg_length(
    name: &str,
    track: &Track,
    parameters: &AudioCodecParameters,
    samples: u64,
) -> Result<()> {
    let (Some(expected), Some(rate_hz)) = (track.num_frames, parameters.sample_rate) else {
        return Ok(());
    };
    let silent = track.delay.unwrap_or(0) + track.padding.unwrap_or(0);
    let whole = expected + u64::from(silent);
    if samples <= whole + MAX_UNCOUNTED_SAMPLES {
        return Ok(());
    }
    let secs = |samples: u64| samples as f64 / f64::from(rate_hz);
    Err(Error::Corrupt {
        name: name.to_owned(),
        decoded_secs: secs(whole),
        detail: format!(
            "{:.2} s of audio follow the end that the header gives: several files are joined in one, split them",
            secs(samples - whole)
        ),
    })
}

/// MP3 headers may leave out the frame they stand in, and the last.
const MAX_UNCOUNTED_SAMPLES: u64 = 2 * 1152;

fn probe_error(input: &Input, error: SymphoniaError) -> Error {
    let name = input.name();
    match error {
        SymphoniaError::IoError(cause) if cause.raw_os_error().is_some() => {
            Error::Io { name, cause }
        }
        SymphoniaError::IoError(_) => Error::NotAudio {
            name,
            detail: "the file ends inside its header".to_owned(),
        },
        SymphoniaError::DecodeError(detail) => Error::Corrupt {
            name,
            decoded_secs: 0.0,
            detail: detail.to_owned(),
        },
        other => Error::NotAudio {
            name,
            detail: other.to_string(),
        },
    }
}

/// Whether the container's sample count can be relied on. For an MP3 without a LAME tag symphonia estimates it from the
/// first frames' bit rate, which must neither trim nor condemn the file.
pub fn is_length_exact(track: &Track, is_mp3: bool) -> bool {
    !is_mp3 || track.delay.is_some()
}

/// Seconds that decode if the recording is whole. Matroska gives the length of the file, not that of a track.
pub fn expected_secs(
    format: &dyn FormatReader,
    track: &Track,
    parameters: &AudioCodecParameters,
) -> Option<f64> {
    if format.format_info().format == FORMAT_ID_MKV {
        let media = format.media_info();
        let ticks = i64::try_from(media.duration?.get()).ok()?;
        let time = media.time_base?.calc_time(Timestamp::new(ticks))?;
        return Some(time.as_secs_f64());
    }
    let mut frames = track.num_frames?;
    if parameters.codec == CODEC_ID_OPUS {
        // a granule position counts what the decoder needs to settle
        frames = frames.saturating_sub(track.delay.unwrap_or(0).into());
    }
    let rate_hz = parameters.sample_rate.filter(|&rate| rate > 0)?;
    Some(frames as f64 / f64::from(rate_hz))
}
