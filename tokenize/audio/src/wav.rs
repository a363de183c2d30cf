//! Writing 16-bit PCM wav files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::{Audio, check_finite};

/// Writes 16-bit PCM. Samples beyond ±1 are clipped. The file appears under its name only when complete.
pub fn write_wav(path: &Path, audio: &Audio) -> Result<()> {
    check_finite(
        &path.display().to_string(),
        &audio.samples,
        audio.channels,
        0,
    )?;
    let mut name = path
        .file_name()
        .ok_or_else(|| Error::io(path, io::Error::other("the path names no file")))?
        .to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let written = write_to(&beside, audio).and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // best effort: the error that matters is the first one
        let _ = fs::remove_file(&beside);
        Error::io(path, source)
    })
}

fn write_to(path: &Path, audio: &Audio) -> io::Result<()> {
    let spec = hound::WavSpec {
        channels: u16::try_from(audio.channels).map_err(io::Error::other)?,
        sample_rate: audio.sample_rate_hz,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = BufWriter::new(File::create(path)?);
    let mut writer = hound::WavWriter::new(&mut file, spec).map_err(into_io)?;
    for &sample in &audio.samples {
        let level = (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0);
        writer.write_sample(level as i16).map_err(into_io)?;
    }
    writer.finalize().map_err(into_io)?;
    file.flush()?;
    file.get_ref().sync_all()
}

fn into_io(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode_file;

    fn audio(channels: usize, samples: &[f32]) -> Audio {
        Audio {
            samples: samples.to_vec(),
            channels,
            sample_rate_hz: 24_000,
        }
    }

    #[test]
    fn what_is_written_decodes_to_the_same_16_bit_levels() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.wav");
        let levels = [0.0, 0.5, -0.5, 1.0, -1.0, 7.0, -7.0, 0.25];
        let top = 32_767.0 / 32_768.0;
        for channels in [1, 2] {
            write_wav(&path, &audio(channels, &levels)).unwrap();
            let decoded = decode_file(&path, channels).unwrap();
            let expected = [0.0, 0.5, -0.5, top, -1.0, top, -1.0, 0.25];
            assert_eq!(decoded.audio, audio(channels, &expected));
            assert_eq!(decoded.source_channels, channels);
        }
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file stays behind");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.wav");
        write_wav(&path, &audio(1, &[0.5; 10])).unwrap();
        let error = write_wav(&path, &audio(1, &[0.5, f32::NAN])).unwrap_err();
        assert_eq!(error.reason(), "nan");
        assert_eq!(decode_file(&path, 1).unwrap().audio.samples.len(), 10);

        let missing = dir.path().join("no/such/dir/out.wav");
        let error = write_wav(&missing, &audio(1, &[0.5])).unwrap_err();
        assert!(error.to_string().contains("no/such/dir"), "{error}");
    }
}
