//! Streams give what the whole utterance gives, however it is cut.

mod common;

use common::Fixture;
use encodec_rs::{Codec, Codes, NeuralCodec, Precision, models};
use proptest::prelude::*;

/// All small checkpoints.
fn codecs() -> Vec<(String, NeuralCodec)> {
    Fixture::all("codecs", "reference.safetensors")
        .iter()
        .map(|fixture| {
            let model = models::load(&fixture.folder, fixture.name(), None).unwrap();
            (
                fixture.name().to_owned(),
                NeuralCodec::new(model, Precision::F32),
            )
        })
        .collect()
}

fn wave(values: usize) -> Vec<f32> {
    (0..values)
        .map(|i| {
            let t = i as f32;
            0.3 * (t * 0.05).sin() + 0.2 * (t * t * 1e-4).cos()
        })
        .collect()
}

/// Cuts `n` at `cuts`, which are fractions.
fn pieces(n: usize, cuts: &[f64]) -> Vec<std::ops::Range<usize>> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| (cut * n as f64) as usize).collect();
    ends.push(n);
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter()
        .map(|end| std::mem::replace(&mut start, end)..end)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn codes_and_sound_do_not_depend_on_the_pieces(
        n in 1usize..4000,
        cuts in prop::collection::vec(0.0f64..1.0, 0..12),
    ) {
        for (name, codec) in codecs() {
            let channels = codec.spec().channels;
            let samples = wave(n * channels);
            let whole = codec.encode(&samples).unwrap();
            let Some(mut stream) = codec.encode_stream() else {
                prop_assert_eq!(&name, "encodec-normalize");
                continue;
            };
            let mut codes = Codes::new(whole.codebooks, Vec::new());
            let mut extend = |more: Codes| {
                codes.data.extend(more.data);
                codes.scales.extend(more.scales);
            };
            for piece in pieces(n, &cuts) {
                extend(stream.push(&samples[piece.start * channels..piece.end * channels]).unwrap());
            }
            extend(stream.finish().unwrap());
            prop_assert_eq!(&codes, &whole, "{}", &name);

            let Some(mut stream) = codec.decode_stream() else {
                prop_assert!(codec.is_chunked(), "{}", name);
                continue;
            };
            let sound = codec.decode(&whole).unwrap();
            let mut streamed = Vec::new();
            for piece in pieces(whole.frames(), &cuts) {
                let data = &whole.data[piece.start * whole.codebooks..piece.end * whole.codebooks];
                streamed.extend(stream.push(&Codes::new(whole.codebooks, data.to_vec())).unwrap());
            }
            streamed.extend(stream.finish());
            prop_assert!(sound == streamed, "{}: sound differs", name);
        }
    }
}

#[test]
fn samples_come_as_soon_as_they_are_determined() {
    for (name, codec) in codecs() {
        let channels = codec.spec().channels;
        if let Some(mut stream) = codec.encode_stream() {
            let codes = stream.push(&wave(4000 * channels)).unwrap();
            // this one normalises over all of the utterance
            let waits = name == "encodec-wide-noncausal";
            assert_eq!(codes.frames() > 0, !waits, "{name}");
        }
    }
}

#[test]
fn bad_samples_and_codes_are_refused() {
    for (name, codec) in codecs() {
        if let Some(mut stream) = codec.encode_stream() {
            let text = stream.push(&[0.0, f32::NAN]).unwrap_err().to_string();
            assert!(text.contains("sample 1"), "{name}: {text}");
            if codec.spec().channels == 2 {
                let text = stream.push(&[0.0; 3]).unwrap_err().to_string();
                assert!(text.contains("2 channels"), "{name}: {text}");
            }
        }
        if let Some(mut stream) = codec.decode_stream() {
            let size = codec.spec().codebook_size as u16;
            let text = stream
                .push(&Codes::new(1, vec![0, size]))
                .unwrap_err()
                .to_string();
            assert!(text.contains("frame 1, codebook 0"), "{name}: {text}");
        }
    }
}
