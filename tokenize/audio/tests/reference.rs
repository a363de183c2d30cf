//! What decodes is what ffmpeg (Opus) and mpg123 (MP3) decode, sample by sample: the length, the level and the place of
//! everything. `scripts/make_audio_fixtures.py` makes the references.

use std::fs;
use std::path::{Path, PathBuf};

/// Sample periods from one that the reference holds to the next.
const EVERY: usize = 16;

/// The reference is rounded to 16 bits, which costs 1.5e-5; the decoders differ by 1e-6.
const TOLERANCE: f32 = 2e-5;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// `[n, channels]` of every [`EVERY`]th period.
fn reference(name: &str) -> Vec<f32> {
    let bytes = fs::read(fixture(&format!("{name}.s16"))).unwrap();
    let levels = bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    levels
        .map(|b| f32::from(i16::from_le_bytes(b)) / 32_768.0)
        .collect()
}

fn rms(samples: &[f32]) -> f32 {
    (samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32).sqrt()
}

fn assert_close(name: &str, samples: &[f32], channels: usize, expected: &[f32]) {
    assert!(rms(samples) > 0.01, "{name}: silence");
    let periods = samples.chunks_exact(channels).step_by(EVERY);
    for (n, (got, want)) in periods.flatten().zip(expected).enumerate() {
        let period = n / channels * EVERY;
        assert!(
            (got - want).abs() < TOLERANCE,
            "{name}: {got} at {period}, expected {want}"
        );
    }
}

#[test]
fn opus_is_exact_in_length_and_values() {
    for (name, channels, periods) in [("speech.opus", 1, 29_424), ("music.opus", 2, 19_536)] {
        let decoded = audio::decode_file(&fixture(name), channels).unwrap();
        assert_eq!(decoded.source_channels, channels);
        assert_eq!(decoded.source_rate_hz, 48_000);
        let samples = decoded.audio.samples;
        assert_eq!(samples.len(), periods * channels, "{name}");
        assert_close(name, &samples, channels, &reference(name));
    }
}

#[test]
fn opus_of_six_channels_is_exact_in_their_mean() {
    let decoded = audio::decode_file(&fixture("surround.opus"), 1).unwrap();
    assert_eq!(decoded.source_channels, 6);
    assert_eq!(decoded.audio.samples.len(), 9_936);
    let means: Vec<f32> = reference("surround.opus")
        .chunks_exact(6)
        .map(|period| period.iter().sum::<f32>() / 6.0)
        .collect();
    assert_close("surround.opus", &decoded.audio.samples, 1, &means);
}

#[test]
fn opus_in_webm_keeps_at_most_a_packet_of_padding() {
    let decoded = audio::decode_file(&fixture("speech.webm"), 1).unwrap();
    let samples = decoded.audio.samples;
    assert!(
        (29_424..29_424 + 960).contains(&samples.len()),
        "{}",
        samples.len()
    );
    assert_close("speech.webm", &samples, 1, &reference("speech.webm"));
}

#[test]
fn mp3_of_variable_bit_rate_is_no_silence_and_exact_in_length_and_values() {
    for (name, channels, periods) in [("vbr-mono.mp3", 1, 19_512), ("vbr-stereo.mp3", 2, 22_359)] {
        let samples = audio::decode_file(&fixture(name), channels)
            .unwrap()
            .audio
            .samples;
        assert_eq!(samples.len(), periods * channels, "{name}");
        assert_close(name, &samples, channels, &reference(name));
    }
}

/// Written to a pipe it has no tag, so that 1,715 samples of the encoder's stay: 71 ms, where 50 ms would be forgiven.
#[test]
fn a_short_mp3_from_a_pipe_is_as_long_as_declared() {
    const DECLARED_SECS: f64 = 0.405;
    let bytes = fs::read(fixture("piped.mp3")).unwrap();
    let check = |bytes: Vec<u8>| {
        let data = bytes.into();
        let name = "piped.mp3".to_owned();
        let blocks = audio::open(&audio::Input::Bytes { name, data }, 24_000, 1).unwrap();
        let untold_secs = blocks.untold_secs();
        let samples = blocks.read_all().unwrap().audio.samples;
        let secs = samples.len() as f64 / 24_000.0;
        assert!(rms(&samples) > 0.01, "silence");
        (
            secs,
            audio::check_duration(DECLARED_SECS, secs, untold_secs),
        )
    };
    let (secs, checked) = check(bytes.clone());
    assert!(secs > DECLARED_SECS + 0.05, "{secs} s");
    assert_eq!(checked, Ok(()));
    // its second half, cut between two frames: nothing but the length tells
    let starts: Vec<_> = (0..bytes.len() - 1)
        .filter(|&at| bytes[at..].starts_with(&[0xff, 0xf3]))
        .collect();
    let (secs, checked) = check(bytes[..starts[starts.len() / 2]].to_vec());
    assert!(secs < DECLARED_SECS - 0.05, "{secs} s");
    assert_eq!(checked.unwrap_err().reason(), "duration");
    // a file that tells its delay gets no more than any other
    for name in ["vbr-mono.mp3", "tone.flac", "speech.opus"] {
        let blocks = audio::open(&audio::Input::from(fixture(name).as_path()), 24_000, 1);
        assert_eq!(blocks.unwrap().untold_secs(), 0.0, "{name}");
    }
}
