//! Formats, channels and every way in which a file can be broken.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

fn wav(
    path: &Path,
    spec: hound::WavSpec,
    write: impl Fn(&mut hound::WavWriter<std::io::BufWriter<fs::File>>),
) {
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    write(&mut writer);
    writer.finalize().unwrap();
}

fn int_spec(channels: u16, rate_hz: u32, bits: u16) -> hound::WavSpec {
    hound::WavSpec {
        channels,
        sample_rate: rate_hz,
        bits_per_sample: bits,
        sample_format: hound::SampleFormat::Int,
    }
}

/// One second of a 16-bit ramp.
fn ramp_wav(dir: &Path, name: &str, rate_hz: u32) -> PathBuf {
    let path = dir.join(name);
    wav(&path, int_spec(1, rate_hz, 16), |writer| {
        (0..rate_hz).for_each(|n| writer.write_sample((n % 999) as i16).unwrap());
    });
    path
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// A copy of `bytes[..]` after `edit`, under a name that keeps the extension.
fn edited(dir: &TempDir, source: &Path, edit: impl Fn(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = fs::read(source).unwrap();
    edit(&mut bytes);
    let path = dir.path().join(format!(
        "edited.{}",
        source.extension().unwrap().to_str().unwrap()
    ));
    fs::write(&path, bytes).unwrap();
    path
}

fn reason(path: &Path) -> &'static str {
    let error = decode_file(path, 1).expect_err("the file is broken");
    let text = error.to_string();
    assert!(
        text.contains(path.file_name().unwrap().to_str().unwrap()),
        "{text}"
    );
    error.reason()
}

#[test]
fn integer_and_float_wavs_of_every_width_keep_their_levels() {
    let dir = tempfile::tempdir().unwrap();
    for bits in [8u16, 16, 24, 32] {
        let path = dir.path().join(format!("{bits}.wav"));
        let half = 1i64 << (bits - 2);
        wav(&path, int_spec(1, 8_000, bits), |writer| {
            for level in [0, half, -half, -2 * half] {
                writer.write_sample(level as i32).unwrap();
            }
        });
        assert_eq!(
            decode_file(&path, 1).unwrap().audio.samples,
            [0.0, 0.5, -0.5, -1.0],
            "{bits} bits"
        );
    }
    let path = dir.path().join("float.wav");
    let spec = hound::WavSpec {
        sample_format: hound::SampleFormat::Float,
        ..int_spec(1, 8_000, 32)
    };
    wav(&path, spec, |writer| {
        [0.0f32, 0.3, -2.5]
            .iter()
            .for_each(|&x| writer.write_sample(x).unwrap());
    });
    assert_eq!(
        decode_file(&path, 1).unwrap().audio.samples,
        [0.0, 0.3, -2.5]
    );
}

#[test]
fn any_channel_count_becomes_the_mean() {
    let dir = tempfile::tempdir().unwrap();
    for channels in [1u16, 2, 3, 6, 8] {
        let path = dir.path().join(format!("{channels}.wav"));
        wav(&path, int_spec(channels, 48_000, 16), |writer| {
            for channel in 0..3 * channels {
                writer
                    .write_sample((channel % channels) as i16 * 1024)
                    .unwrap();
            }
        });
        let decoded = decode_file(&path, 1).unwrap();
        let mean = f32::from(channels - 1) / 2.0 * 1024.0 / 32_768.0;
        assert_eq!(decoded.source_channels, usize::from(channels));
        assert_eq!(decoded.audio.samples.len(), 3);
        for &sample in &decoded.audio.samples {
            assert!(
                (sample - mean).abs() < 1e-6,
                "{channels} channels: {sample}, expected {mean}"
            );
        }
    }
}

#[test]
fn compressed_formats_decode_to_the_tone_they_hold() {
    for name in ["tone.flac", "tone.ogg", "tone.mp3", "tone.m4a"] {
        let decoded = decode_file(&fixture(name), 1).unwrap();
        assert_eq!(
            (decoded.source_channels, decoded.source_rate_hz),
            (1, 22_050),
            "{name}"
        );
        let samples = &decoded.audio.samples;
        assert_eq!(samples.len(), 33_075, "{name}");
        let middle = &samples[8_000..24_000];
        let rms = (middle.iter().map(|x| x * x).sum::<f32>() / middle.len() as f32).sqrt();
        assert!(
            (rms - 0.125 / 2f32.sqrt()).abs() < 0.006,
            "{name}: rms {rms}"
        );
        let crossings = middle
            .windows(2)
            .filter(|w| w[0] < 0.0 && w[1] >= 0.0)
            .count();
        assert!(
            crossings.abs_diff(319) <= 2,
            "{name}: {crossings} periods of 440 Hz"
        );
    }
}

#[test]
fn truncated_files_are_errors_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let wav = ramp_wav(dir.path(), "whole.wav", 16_000);
    let sources = ["tone.flac", "tone.mp3", "tone.ogg"].map(fixture);
    for source in sources.iter().chain([&wav]) {
        let path = edited(&dir, source, |bytes| bytes.truncate(bytes.len() * 7 / 10));
        assert_eq!(reason(&path), "truncated", "{}", source.display());
    }
    // m4a from ffmpeg has its index at the end: without it the container cannot be opened at all
    let path = edited(&dir, &fixture("tone.m4a"), |bytes| {
        bytes.truncate(bytes.len() * 7 / 10)
    });
    assert_eq!(reason(&path), "not-audio");
    // a few lost samples are no reason to drop a recording
    let path = edited(&dir, &wav, |bytes| bytes.truncate(bytes.len() - 200));
    assert_eq!(decode_file(&path, 1).unwrap().audio.samples.len(), 15_900);
}

#[test]
fn short_means_100_ms_or_two_percent_beyond_the_slack() {
    assert!(is_short(10.0, 9.89, 0.0) && !is_short(10.0, 9.91, 0.0));
    assert!(is_short(1.0, 0.97, 0.0) && !is_short(1.0, 0.99, 0.0));
    assert!(!is_short(1.0, 0.95, 0.08) && is_short(1.0, 0.89, 0.2));
}

#[test]
fn damage_in_the_middle_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["tone.flac", "tone.ogg", "tone.mp3", "untagged.mp3"] {
        let path = edited(&dir, &fixture(name), |bytes| {
            let (middle, length) = (bytes.len() / 2, bytes.len() / 20);
            for byte in &mut bytes[middle..middle + length] {
                *byte = !*byte;
            }
        });
        let key = reason(&path);
        assert!(
            key == "corrupt" || name == "tone.ogg" && key == "truncated",
            "{name}: {key}"
        );
    }
}

#[test]
fn a_flac_frame_that_fails_its_checksum_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    for percent in [10, 50, 70] {
        let path = edited(&dir, &fixture("tone.flac"), |bytes| {
            let at = 8_400 + (bytes.len() - 8_400) * percent / 100;
            bytes[at] ^= 1;
        });
        assert_eq!(reason(&path), "corrupt", "{percent} %");
        let text = decode_file(&path, 1).unwrap_err().to_string();
        assert!(text.contains("the frame at sample"), "{text}");
    }
}

#[test]
fn an_mp3_cut_inside_a_frame_is_truncated_with_and_without_a_length_tag() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["tone.mp3", "untagged.mp3", "untagged-vbr.mp3"] {
        let whole = fs::read(fixture(name)).unwrap().len();
        for percent in [50, 77, 99] {
            let path = edited(&dir, &fixture(name), |bytes| {
                bytes.truncate(whole * percent / 100);
            });
            assert_eq!(reason(&path), "truncated", "{name} at {percent} %");
        }
    }
}

#[test]
fn an_mp3_that_goes_on_behind_its_length_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = edited(&dir, &fixture("tone.mp3"), |bytes| {
        // a second copy, without its ID3v2 tag
        let tag_bytes = bytes.windows(2).position(|w| w == [0xff, 0xf3]).unwrap();
        bytes.extend_from_within(tag_bytes..);
    });
    assert_eq!(reason(&path), "corrupt");
    let text = decode_file(&path, 1).unwrap_err().to_string();
    assert!(
        text.contains("1.5") && text.contains("split them"),
        "{text}"
    );
}

#[test]
fn priming_of_an_m4a_is_removed() {
    let decoded = decode_file(&fixture("chirp.m4a"), 1).unwrap();
    let samples = &decoded.audio.samples;
    let onset = samples.iter().position(|x| x.abs() > 0.03).unwrap();
    let expected = 4_000; // 0.25 s at 16 kHz
    assert!(
        onset.abs_diff(expected) <= 32,
        "onset at sample {onset}, not within 2 ms of {expected}"
    );
    assert_eq!(samples.len(), 9_600);
}

#[test]
fn junk_around_an_mp3_is_tolerated() {
    let dir = tempfile::tempdir().unwrap();
    let whole = decode_file(&fixture("tone.mp3"), 1)
        .unwrap()
        .audio
        .samples
        .len();
    let path = edited(&dir, &fixture("tone.mp3"), |bytes| {
        bytes.extend(std::iter::repeat_n(0u8, 777));
        bytes.splice(0..0, std::iter::repeat_n(0u8, 300));
    });
    assert_eq!(decode_file(&path, 1).unwrap().audio.samples.len(), whole);
}

#[test]
fn an_mp3_without_a_length_tag_is_neither_trimmed_nor_condemned() {
    // by the bit rate of its first frames this file would be far shorter than it is
    let samples = decode_file(&fixture("untagged-vbr.mp3"), 1)
        .unwrap()
        .audio
        .samples;
    let whole = 3.6 * 22_050.0;
    assert!(
        samples.len() as f64 >= whole,
        "{} samples of {whole}",
        samples.len()
    );
}

#[test]
fn files_that_are_not_audio_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("poem.wav");
    fs::write(
        &text,
        "so much depends upon a red wheel barrow ".repeat(500),
    )
    .unwrap();
    assert_eq!(reason(&text), "not-audio");
    assert!(
        decode_file(&text, 1)
            .unwrap_err()
            .to_string()
            .contains("not audio symphonia knows")
    );
    let short = dir.path().join("short.wav");
    fs::write(&short, b"RIFF\x10").unwrap();
    assert_eq!(reason(&short), "not-audio");
}

#[test]
fn files_without_samples_are_empty() {
    let dir = tempfile::tempdir().unwrap();
    let header_only = dir.path().join("header.wav");
    wav(&header_only, int_spec(1, 16_000, 16), |_| {});
    assert_eq!(reason(&header_only), "empty");
    let nothing = dir.path().join("nothing.flac");
    fs::write(&nothing, b"").unwrap();
    assert_eq!(reason(&nothing), "empty");
}

#[test]
fn rates_outside_the_range_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for rate_hz in [4_000, 384_000] {
        let path = ramp_wav(dir.path(), "edge.wav", rate_hz);
        assert_eq!(decode_file(&path, 1).unwrap().source_rate_hz, rate_hz);
    }
    for rate_hz in [1, 3_999, 384_001] {
        let path = ramp_wav(dir.path(), "beyond.wav", rate_hz);
        let error = decode_file(&path, 1).unwrap_err();
        assert_eq!(error.reason(), "rate");
        let text = error.to_string();
        assert!(
            text.contains(&format!("{rate_hz} Hz is outside 4000..=384000 Hz")),
            "{text}"
        );
    }
}

#[test]
fn unreadable_files_name_the_file_and_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder.wav");
    fs::create_dir(&folder).unwrap();
    assert_eq!(reason(&folder), "io");
    assert!(
        decode_file(&folder, 1)
            .unwrap_err()
            .to_string()
            .contains("rename or move it")
    );
    let missing = dir.path().join("missing.wav");
    assert_eq!(reason(&missing), "io");
}

#[cfg(unix)]
#[test]
fn forbidden_files_advise_on_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = ramp_wav(dir.path(), "locked.wav", 8_000);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        println!("skipped: this user may read any file, so permissions cannot be tested");
        return;
    }
    assert_eq!(reason(&path), "io");
    assert!(
        decode_file(&path, 1)
            .unwrap_err()
            .to_string()
            .contains("chmod u+r")
    );
}
