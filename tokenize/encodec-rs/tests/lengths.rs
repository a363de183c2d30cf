//! Frames and samples by length, and codes of short sounds, where padding decides, against transformers: narrow models
//! with the strides, kernels and paddings of the published ones.

mod common;

use common::Fixture;
use encodec_rs::{Codec, Codes};
use proptest::prelude::*;

fn fixtures() -> Vec<Fixture> {
    let fixtures = Fixture::all("lengths", "lengths.safetensors");
    assert_eq!(fixtures.len(), 5);
    fixtures
}

impl Fixture {
    fn counts(&self, name: &str) -> Vec<usize> {
        self.arrays[name].data.iter().map(|&x| x as usize).collect()
    }

    fn all_codebooks(&self) -> Box<dyn Codec> {
        self.open(self.arrays["codes"].shape[1])
    }
}

/// Codes of `samples` of silence.
fn silence(codec: &dyn Codec, samples: usize) -> Codes {
    let silence = vec![0.0; samples * codec.spec().channels];
    codec.encode(&silence).unwrap()
}

#[test]
fn every_length_has_the_frames_of_transformers() {
    for fixture in fixtures() {
        let codec = fixture.open(1);
        for (length, frames) in (1..).zip(fixture.counts("frames")) {
            let found = silence(&*codec, length).frames();
            assert_eq!(found, frames, "{}: {length} samples", fixture.name());
        }
    }
}

#[test]
fn long_sounds_have_the_frames_and_samples_of_transformers() {
    for fixture in fixtures() {
        let codec = fixture.open(1);
        let (frames, decoded) = (
            fixture.counts("long.frames"),
            fixture.counts("long.decoded"),
        );
        for (index, length) in fixture.counts("long.lengths").into_iter().enumerate() {
            let name = format!("{}: {length} samples", fixture.name());
            let codes = silence(&*codec, length);
            assert_eq!(codes.frames(), frames[index], "{name}");
            let samples = codec.decode(&codes).unwrap().len() / codec.spec().channels;
            match decoded[index] {
                0 => assert!(samples >= length, "{name}: {samples}"),
                reference => assert_eq!(samples, reference, "{name}"),
            }
        }
    }
}

#[test]
fn every_number_of_frames_has_the_samples_of_transformers() {
    for fixture in fixtures() {
        let codec = fixture.open(1);
        for (frames, samples) in (1..).zip(fixture.counts("decoded")) {
            let found = codec.decode(&Codes::new(1, vec![0; frames])).unwrap().len();
            assert_eq!(
                found,
                samples * codec.spec().channels,
                "{}: {frames} frames",
                fixture.name()
            );
        }
    }
}

#[test]
fn short_sounds_have_the_codes_of_transformers() {
    for fixture in fixtures() {
        let codec = fixture.all_codebooks();
        let (signal, reference) = (
            fixture.arrays["signal"].floats(),
            fixture.arrays["codes"].codes(),
        );
        let channels = codec.spec().channels;
        let mut rest = &reference[..];
        let lengths = fixture.counts("coded.lengths");
        for (&length, offset) in lengths.iter().zip(fixture.counts("coded.offsets")) {
            let piece = &signal[offset * channels..(offset + length) * channels];
            let codes = codec.encode(piece).unwrap().data;
            let (expected, others) = rest.split_at(codes.len().min(rest.len()));
            assert_eq!(codes, expected, "{}: {length} samples", fixture.name());
            rest = others;
        }
        assert!(rest.is_empty(), "{}", fixture.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Noise, not silence, and decoded again: as long as the table says.
    #[test]
    fn any_sound_has_the_frames_and_samples_of_its_length(
        length in 1..=4000usize,
        seed in any::<u64>(),
    ) {
        for fixture in fixtures() {
            let codec = fixture.all_codebooks();
            let mut state = seed | 1;
            let noise: Vec<f32> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .take(length * codec.spec().channels)
            .collect();
            let codes = codec.encode(&noise).unwrap();
            let frames = fixture.counts("frames")[length - 1];
            prop_assert_eq!(codes.frames(), frames, "{}", fixture.name());
            let samples = codec.decode(&codes).unwrap().len() / codec.spec().channels;
            prop_assert_eq!(samples, fixture.counts("decoded")[frames - 1], "{}", fixture.name());
        }
    }
}
