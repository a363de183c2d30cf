//! Codecs on a Burn backend against transformers (`scripts/make_codec_fixtures.py`), alone and in batches.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use burn::backend::Flex;
use encodec_rs::tensor::{DeviceCodec, TensorCodec};
use encodec_rs::{BackendKind, Codec, Codes, models};

use common::Array;

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

fn open(folder: &Path, codebooks: usize) -> TensorCodec<Flex> {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let model = models::load(folder, name, Some(codebooks)).unwrap();
    TensorCodec::new(&model, &Default::default())
}

/// The codes of `[frames, codebooks]`.
fn codes(array: &Array) -> Codes {
    Codes::new(array.shape[1], array.codes())
}

fn read(fixture: &common::Fixture) -> Fixture {
    let arrays = &fixture.arrays;
    let names = arrays.keys().filter_map(|name| name.strip_suffix(".input"));
    let cases: Vec<Case> = names
        .map(|name| {
            let mut codes = codes(&arrays[&format!("{name}.codes")]);
            if let Some(scales) = arrays.get(&format!("{name}.scales")) {
                codes.scales = scales.floats();
            }
            let whole = format!("{name}.decoded");
            let decoded = arrays.iter().filter_map(|(array, samples)| {
                let codebooks = match array.strip_prefix(&whole)? {
                    "" => codes.codebooks,
                    few => few.strip_prefix('.')?.parse().unwrap(),
                };
                Some((codebooks, samples.floats()))
            });
            Case {
                name: name.to_owned(),
                input: arrays[&format!("{name}.input")].floats(),
                decoded: decoded.collect(),
                codes,
            }
        })
        .collect();
    Fixture {
        name: fixture.name().to_owned(),
        codec: open(&fixture.folder, cases[0].codes.codebooks),
        cases,
    }
}

fn fixtures() -> Vec<common::Fixture> {
    let fixtures = common::Fixture::all("codecs", "reference.safetensors");
    assert!(fixtures.len() > 2);
    fixtures
}

fn each_fixture(check: impl Fn(&Fixture)) {
    for fixture in fixtures() {
        check(&read(&fixture));
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
fn threads_that_share_a_device_get_their_own_codes() {
    for fixture in fixtures() {
        let alone = read(&fixture);
        let codebooks = alone.cases[0].codes.codebooks;
        let model = models::load(&fixture.folder, &alone.name, Some(codebooks)).unwrap();
        let shared = DeviceCodec::new::<Flex>(&model, Default::default(), BackendKind::Cpu);
        assert_eq!(shared.spec(), alone.codec.spec());
        thread::scope(|scope| {
            for case in &alone.cases {
                scope.spawn(|| {
                    let inputs = [&case.input[..], &[], &case.input[..]];
                    let [first, none, last] = &shared.encode_batch(&inputs)[..] else {
                        panic!("an answer to each")
                    };
                    assert_codes(first.as_ref().unwrap(), &case.codes, &case.name);
                    assert_codes(last.as_ref().unwrap(), &case.codes, &case.name);
                    assert!(none.is_err());
                    let sound = shared.decode(&case.codes).unwrap();
                    assert_sound(&sound, &case.decoded[&codebooks], &case.name);
                });
            }
        });
    }
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
    for fixture in common::Fixture::all("lengths", "lengths.safetensors") {
        let (name, arrays) = (fixture.name(), &fixture.arrays);
        let expected = codes(&arrays["codes"]);
        let codec = open(&fixture.folder, expected.codebooks);
        let (signal, channels) = (arrays["signal"].floats(), codec.spec().channels);
        let numbers =
            |name: &str| -> Vec<usize> { arrays[name].data.iter().map(|&x| x as usize).collect() };
        let (offsets, lengths) = (numbers("coded.offsets"), numbers("coded.lengths"));
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
    let all = fixtures();
    let fixture = all.iter().find(|fixture| fixture.name() == "encodec-48khz");
    let fixture = read(fixture.unwrap());
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
