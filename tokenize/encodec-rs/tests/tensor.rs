//! Codecs on a Burn backend against transformers (`scripts/make_codec_fixtures.py`), alone and in batches.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::Flex;
use encodec_rs::tensor::TensorCodec;
use encodec_rs::{Codec, Codes, models};
use safetensors::SafeTensors;

/// Of decoded samples, relative to the loudest: what f32 sums in another order differ by after some twenty layers is
/// below a tenth of it.
const TOLERANCE: f32 = 1e-4;

/// A checkpoint, and what transformers makes of some waveforms.
struct Fixture {
    name: String,
    codec: TensorCodec<Flex>,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    /// `[n, channels]`
    input: Vec<f32>,
    codes: Codes,
    /// By number of codebooks: `[n, channels]`
    decoded: BTreeMap<usize, Vec<f32>>,
}

fn fixtures(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(kind)
}

fn folders(kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures(kind)).unwrap();
    let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() > 2);
    folders
}

fn open(folder: &Path, codebooks: usize) -> (String, TensorCodec<Flex>) {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let model = models::load(folder, name, Some(codebooks)).unwrap();
    (
        name.to_owned(),
        TensorCodec::new(&model, &Default::default()),
    )
}

fn floats(tensors: &SafeTensors, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).unwrap().data().chunks_exact(4);
    bytes
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn numbers(tensors: &SafeTensors, name: &str) -> Vec<usize> {
    let bytes = tensors.tensor(name).unwrap().data().chunks_exact(4);
    bytes
        .map(|b| u32::from_le_bytes(b.try_into().unwrap()) as usize)
        .collect()
}

fn codes(tensors: &SafeTensors, name: &str) -> Codes {
    let view = tensors.tensor(name).unwrap();
    let data = view
        .data()
        .chunks_exact(2)
        .map(|b| u16::from_le_bytes(b.try_into().unwrap()));
    Codes::new(view.shape()[1], data.collect())
}

fn read(folder: &Path) -> Fixture {
    let bytes = fs::read(folder.join("reference.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<_> = tensors
        .names()
        .into_iter()
        .filter_map(|n| n.strip_suffix(".input"))
        .collect();
    names.sort();
    let cases: Vec<Case> = names
        .into_iter()
        .map(|name| {
            let mut codes = codes(&tensors, &format!("{name}.codes"));
            if tensors.tensor(&format!("{name}.scales")).is_ok() {
                codes.scales = floats(&tensors, &format!("{name}.scales"));
            }
            let whole = format!("{name}.decoded");
            let decoded = tensors.names().into_iter().filter_map(|tensor| {
                let codebooks = match tensor.strip_prefix(&whole)? {
                    "" => codes.codebooks,
                    few => few.strip_prefix('.')?.parse().unwrap(),
                };
                Some((codebooks, floats(&tensors, tensor)))
            });
            Case {
                name: name.to_owned(),
                input: floats(&tensors, &format!("{name}.input")),
                decoded: decoded.collect(),
                codes,
            }
        })
        .collect();
    let (name, codec) = open(folder, cases[0].codes.codebooks);
    Fixture { name, codec, cases }
}

fn each_fixture(check: impl Fn(&Fixture)) {
    for folder in folders("codecs") {
        check(&read(&folder));
    }
}

#[track_caller]
fn assert_codes(found: &Codes, expected: &Codes, what: &str) {
    assert_eq!(found.codebooks, expected.codebooks, "{what}");
    assert_eq!(found.frames(), expected.frames(), "{what}: frames");
    for frame in 0..expected.frames() {
        assert_eq!(
            found.frame(frame),
            expected.frame(frame),
            "{what}: frame {frame}"
        );
    }
    assert_eq!(found.scales.len(), expected.scales.len(), "{what}: scales");
    for (found, expected) in found.scales.iter().zip(&expected.scales) {
        assert!(
            (found - expected).abs() <= 1e-6 * expected,
            "{what}: scale {found}, not {expected}"
        );
    }
}

#[track_caller]
fn assert_sound(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: samples");
    let peak = expected.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= TOLERANCE * peak,
            "{what}: sample {at} is {found}, not {expected}"
        );
    }
}

#[test]
fn codes_of_a_waveform_are_those_of_transformers() {
    each_fixture(|fixture| {
        for case in &fixture.cases {
            let what = format!("{}, input {}", fixture.name, case.name);
            assert_codes(
                &fixture.codec.encode(&case.input).unwrap(),
                &case.codes,
                &what,
            );
        }
    });
}

#[test]
fn codes_do_not_depend_on_the_batch() {
    each_fixture(|fixture| {
        let inputs: Vec<_> = fixture.cases.iter().map(|case| &case.input[..]).collect();
        for (found, case) in fixture
            .codec
            .encode_batch(&inputs)
            .iter()
            .zip(&fixture.cases)
        {
            let what = format!("{}, input {} in a batch", fixture.name, case.name);
            assert_codes(found.as_ref().unwrap(), &case.codes, &what);
        }
    });
}

#[test]
fn sound_is_that_of_transformers() {
    each_fixture(|fixture| {
        for case in &fixture.cases {
            for (&codebooks, expected) in &case.decoded {
                let what = format!(
                    "{}, input {}, {codebooks} codebooks",
                    fixture.name, case.name
                );
                let found = fixture
                    .codec
                    .decode(&first(&case.codes, codebooks))
                    .unwrap();
                assert_sound(&found, expected, &what);
            }
        }
    });
}

#[test]
fn sound_does_not_depend_on_the_batch() {
    each_fixture(|fixture| {
        let decoded = fixture.cases.iter().flat_map(|case| {
            case.decoded
                .iter()
                .map(move |(&codebooks, expected)| (case, codebooks, expected))
        });
        let codes: Vec<_> = decoded
            .clone()
            .map(|(case, books, _)| first(&case.codes, books))
            .collect();
        let found = fixture
            .codec
            .decode_batch(&codes.iter().collect::<Vec<_>>());
        for (found, (case, codebooks, expected)) in found.iter().zip(decoded) {
            let what = format!(
                "{}, input {}, {codebooks} codebooks",
                fixture.name, case.name
            );
            assert_sound(found.as_ref().unwrap(), expected, &what);
        }
    });
}

/// The first `codebooks` codebooks of `codes`.
fn first(codes: &Codes, codebooks: usize) -> Codes {
    let frames = codes.data.chunks_exact(codes.codebooks);
    Codes {
        codebooks,
        data: frames
            .flat_map(|frame| frame[..codebooks].to_vec())
            .collect(),
        scales: codes.scales.clone(),
    }
}

/// Models with the kernels and strides of the published ones.
#[test]
fn published_geometries_encode_all_lengths_in_a_batch() {
    for folder in folders("lengths") {
        let bytes = fs::read(folder.join("lengths.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let expected = codes(&tensors, "codes");
        let (name, codec) = open(&folder, expected.codebooks);
        let (signal, channels) = (floats(&tensors, "signal"), codec.spec().channels);
        let (offsets, lengths) = (
            numbers(&tensors, "coded.offsets"),
            numbers(&tensors, "coded.lengths"),
        );
        let pieces = offsets.iter().zip(&lengths);
        let pieces: Vec<_> = pieces
            .map(|(at, n)| &signal[at * channels..(at + n) * channels])
            .collect();
        let mut frame = 0;
        for (found, samples) in codec.encode_batch(&pieces).into_iter().zip(&lengths) {
            for codes in found.unwrap().data.chunks_exact(expected.codebooks) {
                assert_eq!(codes, expected.frame(frame), "{name}, {samples} samples");
                frame += 1;
            }
        }
        assert_eq!(frame, expected.frames(), "{name}");
    }
}

#[test]
fn a_bad_utterance_leaves_the_others_alone() {
    let fixture = read(&fixtures("codecs").join("encodec-48khz"));
    let good = fixture
        .cases
        .iter()
        .find(|case| case.codes.scales.len() > 1)
        .unwrap();
    let found = fixture
        .codec
        .encode_batch(&[&[], &good.input, &[0.0, f32::NAN], &good.input[1..]]);
    assert_codes(found[1].as_ref().unwrap(), &good.codes, "between bad ones");
    let message = |index: usize| found[index].as_ref().unwrap_err().to_string();
    assert!(message(0).contains("no samples"), "{}", message(0));
    assert!(message(2).contains("sample 1 is NaN"), "{}", message(2));
    assert!(message(3).contains("2 channels"), "{}", message(3));

    let mut bad = good.codes.clone();
    bad.data[3] = u16::MAX;
    let mut unscaled = good.codes.clone();
    unscaled.scales.pop();
    let found = fixture.codec.decode_batch(&[&bad, &good.codes, &unscaled]);
    assert!(found[0].as_ref().unwrap_err().to_string().contains("65535"));
    assert!(
        found[2]
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("loudness")
    );
    assert_sound(
        found[1].as_ref().unwrap(),
        &good.decoded[&good.codes.codebooks],
        "after a bad one",
    );
}
