//! Blocks, one behind the other, are the recording that is decoded and resampled in one piece, bit for bit.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use audio::{Input, open};
use proptest::prelude::*;

const RATES_HZ: [u32; 7] = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000];

const FIXTURES: [&str; 12] = [
    "tone.flac",
    "tone.mp3",
    "tone.ogg",
    "tone.m4a",
    "chirp.m4a",
    "untagged.mp3",
    "speech.opus",
    "music.opus",
    "surround.opus",
    "speech.webm",
    "vbr-mono.mp3",
    "vbr-stereo.mp3",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn in_memory(name: &str, bytes: Vec<u8>) -> Input {
    Input::Bytes {
        name: name.to_owned(),
        data: bytes.into(),
    }
}

fn float_wav(channels: u16, rate_hz: u32, samples: &[f32]) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate_hz,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for &sample in samples {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// All samples, after a check of the blocks' form.
fn joined(input: &Input, rate_hz: u32, channels: usize) -> Vec<f32> {
    let blocks: Vec<Vec<f32>> = open(input, rate_hz, channels)
        .unwrap()
        .collect::<audio::Result<_>>()
        .unwrap();
    let (last, others) = blocks.split_last().unwrap();
    assert!(!last.is_empty());
    // a second or two, and no more than a packet or a block of the resampler beyond
    assert!(
        others
            .iter()
            .all(|b| (16_384..65_536).contains(&(b.len() / channels)))
    );
    blocks.concat()
}

/// Each channel resampled in one piece.
fn in_one_piece(samples: &[f32], channels: usize, from_hz: u32, to_hz: u32) -> Vec<f32> {
    let lanes: Vec<Vec<f32>> = (0..channels)
        .map(|channel| {
            let one: Vec<f32> = samples[channel..]
                .iter()
                .step_by(channels)
                .copied()
                .collect();
            audio::resample(&one, from_hz, to_hz).unwrap()
        })
        .collect();
    (0..lanes[0].len())
        .flat_map(|n| lanes.iter().map(move |lane| lane[n]))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn of_a_wav_of_any_length_are_the_whole(
        length in 1usize..90_000,
        from in 0..RATES_HZ.len(),
        to in 0..RATES_HZ.len(),
        channels in 1usize..=2,
        seed in any::<u32>(),
    ) {
        let noise = |n: usize| (n as u32 ^ seed).wrapping_mul(2_654_435_761) as f32 / 4e9 - 0.5;
        let samples: Vec<f32> = (0..length * channels).map(noise).collect();
        let (from_hz, to_hz) = (RATES_HZ[from], RATES_HZ[to]);
        let input = in_memory("", float_wav(channels as u16, from_hz, &samples));
        let expected = in_one_piece(&samples, channels, from_hz, to_hz);
        prop_assert!(joined(&input, to_hz, channels) == expected);
        let whole = open(&input, to_hz, channels).unwrap().read_all().unwrap();
        prop_assert!(whole.audio.samples == expected);
        prop_assert_eq!((whole.source_rate_hz, whole.source_channels), (from_hz, channels));
    }
}

#[test]
fn of_every_format_at_every_rate_are_the_whole() {
    for name in FIXTURES {
        for channels in [1, 2] {
            let source = audio::decode_file(&fixture(name), channels).unwrap();
            for rate_hz in RATES_HZ {
                let expected = in_one_piece(
                    &source.audio.samples,
                    channels,
                    source.source_rate_hz,
                    rate_hz,
                );
                let path = fixture(name);
                let input = Input::from(path.as_path());
                assert!(
                    joined(&input, rate_hz, channels) == expected,
                    "{name} at {rate_hz} Hz"
                );
                let loaded = audio::load(&path, rate_hz, channels).unwrap();
                assert!(
                    loaded.audio.samples == expected,
                    "{name} at {rate_hz} Hz, loaded"
                );
            }
        }
    }
}

#[test]
fn the_container_is_found_by_its_content_whatever_the_name() {
    for name in FIXTURES {
        let expected = audio::load(&fixture(name), 24_000, 1).unwrap();
        let bytes = fs::read(fixture(name)).unwrap();
        for other in ["", "utterance-17", "a/b.wav", "x.mp3", "x.flac", "x.opus"] {
            let found = open(&in_memory(other, bytes.clone()), 24_000, 1);
            let found = found.and_then(audio::Blocks::read_all);
            assert!(
                found.as_ref().is_ok_and(|found| *found == expected),
                "{name} as {other:?}: {:?}",
                found.err()
            );
        }
    }
}

#[test]
fn may_be_decoded_on_another_thread_than_opened_them() {
    let path = fixture("speech.opus");
    let blocks = open(&Input::from(path.as_path()), 24_000, 1).unwrap();
    let elsewhere = std::thread::spawn(|| blocks.read_all().unwrap());
    assert_eq!(
        elsewhere.join().unwrap(),
        audio::load(&path, 24_000, 1).unwrap()
    );
}

#[test]
fn an_error_is_the_last_item_and_names_its_input() {
    let dir = tempfile::tempdir().unwrap();
    let mut samples = vec![0.25; 100_000];
    let whole = float_wav(1, 16_000, &samples);
    let cut = whole[..whole.len() / 2].to_vec();
    samples[70_321] = f32::NAN;
    let with_nan = float_wav(1, 16_000, &samples);
    for (bytes, reason, text) in [
        (cut, "truncated", "3.12 s decoded of the 6.25 s"),
        (with_nan, "nan", "sample 70321 is NaN"),
    ] {
        let path = dir.path().join("member.wav");
        fs::write(&path, &bytes).unwrap();
        let member = in_memory("corpus.tar: member.wav", bytes);
        for input in [Input::File(path), member] {
            let mut blocks = open(&input, 24_000, 1).unwrap();
            let mut right = 0;
            let error = loop {
                match blocks.next().expect("an error comes before the end") {
                    Ok(block) => right += block.len(),
                    Err(error) => break error,
                }
            };
            assert!(blocks.next().is_none());
            assert!(right > 24_000, "{right} samples before the error");
            assert_eq!(error.reason(), reason);
            let message = error.to_string();
            assert!(
                message.starts_with(&input.name()) && message.contains(text),
                "{message}"
            );
        }
    }
    let error = open(&in_memory("corpus.tar: none.wav", Vec::new()), 24_000, 1)
        .err()
        .unwrap();
    assert_eq!(error.reason(), "empty");
    assert!(error.to_string().starts_with("corpus.tar: none.wav: "));
}
