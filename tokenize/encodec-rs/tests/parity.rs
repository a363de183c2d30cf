//! The neural codecs against transformers, on small checkpoints that together use every option of the architectures.

mod common;

use common::{Array, Fixture};
use encodec_rs::{Codes, NeuralCodec, Precision, models};

/// Of the largest value. Sums in another order differ by some 1e-6.
const TOLERANCE: f64 = 1e-4;

fn fixtures() -> Vec<Fixture> {
    let fixtures = Fixture::all("codecs", "reference.safetensors");
    assert_eq!(fixtures.len(), 15);
    fixtures
}

/// One waveform and what the reference makes of it.
struct Case<'a> {
    name: String,
    codebooks: usize,
    input: Vec<f32>,
    codes: Codes,
    latents: &'a Array,
    decoded: &'a Array,
}

fn cases(fixture: &Fixture) -> Vec<Case<'_>> {
    let array = |name: &str, what: &str| &fixture.arrays[&format!("{name}.{what}")];
    let names = fixture
        .arrays
        .keys()
        .filter_map(|key| key.strip_suffix(".input"));
    let cases: Vec<_> = names
        .map(|name| {
            let codes = array(name, "codes");
            let scales = fixture.arrays.get(&format!("{name}.scales"));
            Case {
                name: format!("{}, {name}", fixture.name()),
                codebooks: codes.shape[1],
                input: array(name, "input").floats(),
                codes: Codes {
                    scales: scales.map(Array::floats).unwrap_or_default(),
                    ..Codes::new(codes.shape[1], codes.codes())
                },
                latents: array(name, "latents"),
                decoded: array(name, "decoded"),
            }
        })
        .collect();
    assert!(cases.len() >= 4, "{}", fixture.name());
    cases
}

/// Largest difference, of the largest value.
fn error(ours: &[f32], reference: &Array, name: &str) -> f64 {
    assert_eq!(ours.len(), reference.data.len(), "{name}: length");
    let pairs = ours.iter().zip(&reference.data);
    let largest = reference.data.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let error = pairs.fold(0.0, |m: f64, (&a, b)| match a.is_finite() {
        true => m.max((f64::from(a) - b).abs()),
        false => f64::INFINITY,
    });
    error / largest.max(f64::MIN_POSITIVE)
}

fn close(ours: &[f32], reference: &Array, name: &str) {
    let error = error(ours, reference, name);
    assert!(error < TOLERANCE, "{name}: differs by {error:.1e}");
}

fn same_codes(ours: &Codes, reference: &Codes, name: &str) {
    assert_eq!(ours.codebooks, reference.codebooks, "{name}");
    assert_eq!(ours.frames(), reference.frames(), "{name}: frames");
    for frame in 0..ours.frames() {
        assert_eq!(
            ours.frame(frame),
            reference.frame(frame),
            "{name}: frame {frame}"
        );
    }
    assert_eq!(ours.scales.len(), reference.scales.len(), "{name}: chunks");
    for (a, b) in ours.scales.iter().zip(&reference.scales) {
        assert!(
            (a - b).abs() <= 1e-5 * b.abs(),
            "{name}: scale {a}, reference {b}"
        );
    }
}

#[test]
fn codes_are_those_of_transformers() {
    for fixture in fixtures() {
        for case in cases(&fixture) {
            let codes = fixture.open(case.codebooks).encode(&case.input).unwrap();
            same_codes(&codes, &case.codes, &case.name);
        }
    }
}

#[test]
fn latents_are_those_of_transformers() {
    for fixture in fixtures() {
        for case in cases(&fixture) {
            let model = models::load(&fixture.folder, fixture.name(), None).unwrap();
            let codec = NeuralCodec::new(model, Precision::F32);
            let latents = codec.latents(&case.input).unwrap();
            close(&latents, case.latents, &case.name);
        }
    }
}

#[test]
fn sound_is_that_of_transformers() {
    for fixture in fixtures() {
        for case in cases(&fixture) {
            let decoded = fixture.open(case.codebooks).decode(&case.codes).unwrap();
            close(&decoded, case.decoded, &case.name);
        }
    }
}

#[test]
fn fewer_codebooks_are_the_first_ones() {
    for fixture in fixtures() {
        for case in cases(&fixture) {
            for codebooks in 1..case.codebooks {
                let codes = fixture.open(codebooks).encode(&case.input).unwrap();
                let name = format!("{}, {codebooks} codebooks", case.name);
                same_codes(&codes, &first(&case.codes, codebooks), &name);
            }
        }
    }
}

#[test]
fn sound_of_fewer_codebooks_is_that_of_transformers() {
    for fixture in fixtures() {
        let (key, reference) = fixture
            .arrays
            .iter()
            .find(|(key, _)| key.contains(".decoded."))
            .unwrap();
        let (name, codebooks) = key.split_once(".decoded.").unwrap();
        let codebooks = codebooks.parse().unwrap();
        let whole = cases(&fixture)
            .into_iter()
            .find(|case| case.name.ends_with(&format!(", {name}")))
            .unwrap();
        // by a codec of all codebooks and by one of only these
        for open in [whole.codebooks, codebooks] {
            let codes = first(&whole.codes, codebooks);
            let decoded = fixture.open(open).decode(&codes).unwrap();
            close(
                &decoded,
                reference,
                &format!("{key}, {open} codebooks open"),
            );
        }
    }
}

#[test]
fn a_batch_gives_what_each_gives_alone() {
    for fixture in fixtures() {
        let cases = cases(&fixture);
        let codec = fixture.open(cases[0].codebooks);
        let alone: Vec<Codes> = cases
            .iter()
            .map(|case| codec.encode(&case.input).unwrap())
            .collect();
        for rotation in 0..cases.len() {
            let order: Vec<usize> = (0..cases.len())
                .map(|index| (index + rotation) % cases.len())
                .collect();
            let inputs: Vec<&[f32]> = order.iter().map(|&at| &cases[at].input[..]).collect();
            let batch = codec.encode_batch(&inputs);
            assert_eq!(batch.len(), cases.len());
            for (codes, at) in batch.into_iter().zip(order) {
                assert_eq!(codes.unwrap(), alone[at], "{}", cases[at].name);
            }
        }
    }
}

#[test]
fn a_bad_utterance_fails_alone() {
    for fixture in fixtures() {
        let cases = cases(&fixture);
        let codec = fixture.open(cases[0].codebooks);
        let mut bad = cases[1].input.clone();
        bad[0] = f32::NAN;
        let batch = codec.encode_batch(&[&cases[0].input, &bad, &[], &cases[1].input]);
        same_codes(batch[0].as_ref().unwrap(), &cases[0].codes, &cases[0].name);
        assert!(batch[1].is_err() && batch[2].is_err());
        same_codes(batch[3].as_ref().unwrap(), &cases[1].codes, &cases[1].name);
    }
}

/// The first `codebooks` codes of each frame.
fn first(codes: &Codes, codebooks: usize) -> Codes {
    let data = (0..codes.frames())
        .flat_map(|frame| &codes.frame(frame)[..codebooks])
        .copied()
        .collect();
    Codes {
        scales: codes.scales.clone(),
        ..Codes::new(codebooks, data)
    }
}
