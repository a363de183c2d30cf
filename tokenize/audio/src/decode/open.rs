//! A file to a reader of its packets, and how long its header says it is.

use std::fs::{self, File};
use std::io::{self, Cursor};
use std::path::Path;

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::FORMAT_ID_MP3;
use symphonia::core::formats::{FormatReader, Track};
use symphonia::core::io::MediaSourceStream;
use symphonia::default::formats::MpaReader;

use super::mpeg::{self, Problem};
use crate::error::{Error, Result};

/// An open file.
pub struct Source {
    /// Its packets.
    pub format: Box<dyn FormatReader>,
    /// Sample periods in the frames of an MP3 file.
    pub mpeg_samples: Option<u64>,
}

/// Finds out the container. An MP3 file is checked for gaps, and its reader sees only its frames.
pub fn open(path: &Path) -> Result<Source> {
    let file = open_file(path)?;
    let mut hint = Hint::new();
    if let Some(extension) = path.extension().and_then(|e| e.to_str()) {
        hint.with_extension(&extension.to_ascii_lowercase());
    }
    let source = MediaSourceStream::new(Box::new(file), Default::default());
    let format = symphonia::default::get_probe()
        .probe(&hint, source, Default::default(), Default::default())
        .map_err(|error| probe_error(path, error))?;
    if format.format_info().format == FORMAT_ID_MP3 {
        return open_mp3(path);
    }
    Ok(Source {
        format,
        mpeg_samples: None,
    })
}

fn open_mp3(path: &Path) -> Result<Source> {
    let mut file = fs::read(path).map_err(|e| Error::io(path, e))?;
    let frames = mpeg::frames(&file).map_err(|fault| match fault.problem {
        Problem::CutOff => Error::Truncated {
            path: path.to_owned(),
            decoded_secs: fault.secs,
            expected_secs: None,
        },
        Problem::Gap(detail) => Error::Corrupt {
            path: path.to_owned(),
            decoded_secs: fault.secs,
            detail,
        },
    })?;
    file.truncate(frames.bytes.end);
    file.drain(..frames.bytes.start);
    let source = MediaSourceStream::new(Box::new(Cursor::new(file)), Default::default());
    let format =
        MpaReader::try_new(source, Default::default()).map_err(|e| probe_error(path, e))?;
    Ok(Source {
        format: Box::new(format),
        mpeg_samples: Some(frames.samples),
    })
}

/// Refuses an MP3 that goes on after the end its header gives: symphonia would drop the rest.
pub fn check_mpeg_length(
    path: &Path,
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
        path: path.to_owned(),
        decoded_secs: secs(whole),
        detail: format!(
            "{:.2} s of audio follow the end that the header gives: several files are joined in one, split them",
            secs(samples - whole)
        ),
    })
}

/// MP3 headers may leave out the frame they stand in, and the last.
const MAX_UNCOUNTED_SAMPLES: u64 = 2 * 1152;

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
pub fn is_length_exact(track: &Track, is_mp3: bool) -> bool {
    !is_mp3 || track.delay.is_some()
}

pub fn expected_secs(track: &Track, parameters: &AudioCodecParameters) -> Option<f64> {
    let frames = track.num_frames?;
    let rate_hz = parameters.sample_rate.filter(|&rate| rate > 0)?;
    Some(frames as f64 / f64::from(rate_hz))
}
