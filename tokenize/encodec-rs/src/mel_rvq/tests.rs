//! The codec as a whole.

use std::sync::LazyLock;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::quality::log_spectral_distance;

static CODEC: LazyLock<MelRvq> = LazyLock::new(MelRvq::embedded);

/// Voice-like sound: harmonics of a gliding pitch under moving formants, in syllables.
fn babble(frames: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = move || rng.next_u32() as f32 / u32::MAX as f32;
    let mut phase = 0.0f32;
    let mut samples = Vec::with_capacity(frames * SAMPLES_PER_FRAME);
    while samples.len() < frames * SAMPLES_PER_FRAME {
        let (pitch_hz, loud) = (90.0 + 140.0 * uniform(), 0.02 + 0.2 * uniform());
        let formants_hz = [
            300.0 + 500.0 * uniform(),
            900.0 + 1400.0 * uniform(),
            2400.0 + 1000.0 * uniform(),
        ];
        let length = 1200 + (6000.0 * uniform()) as usize;
        for i in 0..length {
            phase = (phase + pitch_hz / SAMPLE_RATE_HZ as f32).fract();
            let envelope = loud * (std::f32::consts::PI * i as f32 / length as f32).sin();
            let harmonic = |k: usize| {
                let hz = pitch_hz * k as f32;
                let gain: f32 = formants_hz
                    .iter()
                    .map(|formant| 1.0 / (1.0 + ((hz - formant) / 120.0).powi(2)))
                    .sum();
                gain * (std::f32::consts::TAU * phase * k as f32).sin()
            };
            samples.push(envelope * (1..16).map(harmonic).sum::<f32>() + 1e-3 * (uniform() - 0.5));
        }
    }
    samples.truncate(frames * SAMPLES_PER_FRAME);
    samples
}

/// A corpus recording, `[n]` at 24 kHz.
fn recording() -> Vec<f32> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/corpus/en/en-0-0.wav"
    );
    let mut reader = hound::WavReader::open(path).unwrap();
    assert_eq!(
        (reader.spec().sample_rate, reader.spec().channels),
        (SAMPLE_RATE_HZ, 1)
    );
    reader
        .samples::<i16>()
        .map(|sample| f32::from(sample.unwrap()) / 32768.0)
        .collect()
}

fn distance(original: &[f32], codes: &Codes) -> f64 {
    log_spectral_distance(original, &CODEC.decode(codes).unwrap(), SAMPLE_RATE_HZ).unwrap()
}

#[test]
fn geometry_is_that_of_the_recipe() {
    let spec = CODEC.spec();
    assert_eq!((spec.sample_rate_hz, spec.frame_rate_hz), (24_000, 12.5));
    assert_eq!(
        (spec.codebooks, spec.codebook_size, spec.samples_per_frame()),
        (8, 2048, 1920)
    );
    assert_eq!((spec.name.as_str(), spec.sha256.len()), (NAME, 64));
    assert!(EMBEDDED.len() < 2_000_000);
}

#[test]
fn decoded_speech_is_nearer_to_its_original_than_shuffled_speech() {
    for original in [babble(40, 1), recording()] {
        let codes = CODEC.encode(&original).unwrap();
        let decoded = distance(&original, &codes);
        let mut shuffled = codes.clone();
        shuffled.data = (0..codes.frames())
            .rev()
            .flat_map(|i| codes.frame(i).to_vec())
            .collect();
        let control = distance(&original, &shuffled);
        assert!(
            decoded < 6.0 && decoded < 0.7 * control,
            "decoded {decoded:.2} dB, shuffled {control:.2} dB"
        );
    }
}

#[test]
fn every_codebook_brings_the_decoded_speech_nearer() {
    let original = recording();
    let codes = CODEC.encode(&original).unwrap();
    let prefix = |codebooks: usize| {
        let data = (0..codes.frames()).flat_map(|i| codes.frame(i)[..codebooks].to_vec());
        Codes::new(codebooks, data.collect())
    };
    let distances = [1, 2, 4, 8].map(|codebooks| distance(&original, &prefix(codebooks)));
    assert!(
        distances.windows(2).all(|pair| pair[1] < pair[0]),
        "{distances:?}"
    );
}

#[test]
fn decoded_speech_is_as_loud_as_its_original() {
    let original = recording();
    let decoded = CODEC.decode(&CODEC.encode(&original).unwrap()).unwrap();
    let energy = |samples: &[f32]| samples.iter().map(|sample| sample * sample).sum::<f32>();
    let level_db = 10.0 * (energy(&decoded) / energy(&original)).log10();
    assert!(level_db.abs() < 4.0, "{level_db}");
}

#[test]
fn codes_of_decoded_speech_resemble_the_codes_decoded() {
    let codes = CODEC.encode(&recording()).unwrap();
    let again = CODEC.encode(&CODEC.decode(&codes).unwrap()).unwrap();
    assert_eq!(codes.frames(), again.frames());
    let same = (0..codes.frames())
        .filter(|&i| codes.frame(i)[0] == again.frame(i)[0])
        .count();
    assert!(
        same * 5 > codes.frames(),
        "{same} of {} agree",
        codes.frames()
    );
}

#[test]
fn codebook_0_ignores_volume() {
    let speech = recording();
    let quiet: Vec<f32> = speech.iter().map(|sample| sample * 0.1).collect();
    let (a, b) = (
        CODEC.encode(&speech).unwrap(),
        CODEC.encode(&quiet).unwrap(),
    );
    let same = (0..a.frames())
        .filter(|&i| a.frame(i)[0] == b.frame(i)[0])
        .count();
    assert!(same * 4 > a.frames() * 3, "{same} of {} agree", a.frames());
}

#[test]
fn samples_beyond_the_limit_count_as_the_limit() {
    let noise = babble(3, 2);
    let encode = |limit: f32| {
        let samples: Vec<f32> = noise.iter().map(|sample| sample.signum() * limit).collect();
        CODEC.encode(&samples).unwrap()
    };
    assert_eq!(encode(f32::MAX), encode(4.0));
    assert_ne!(encode(1.0), encode(4.0));
}

#[test]
fn unusual_signals_have_a_defined_result() {
    let noise = babble(3, 2);
    let signals: [Vec<f32>; 5] = [
        vec![0.0; 5000],
        vec![0.7; 5000],
        noise
            .iter()
            .map(|sample| (sample * 1000.0).clamp(-1.0, 1.0))
            .collect(),
        noise
            .iter()
            .map(|sample| sample.signum() * f32::MAX)
            .collect(),
        vec![f32::MIN_POSITIVE; 1],
    ];
    for signal in signals {
        let codes = CODEC.encode(&signal).unwrap();
        assert_eq!(codes, CODEC.encode(&signal).unwrap());
        let decoded = CODEC.decode(&codes).unwrap();
        assert_eq!(
            decoded.len(),
            signal.len().next_multiple_of(SAMPLES_PER_FRAME)
        );
        assert!(decoded.iter().all(|sample| sample.is_finite()));
    }
}

#[test]
fn silence_decodes_to_near_silence() {
    let decoded = CODEC
        .decode(&CODEC.encode(&[0.0; 24_000]).unwrap())
        .unwrap();
    let peak = decoded
        .iter()
        .fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    assert!(peak < 0.003, "{peak}");
}

#[test]
fn faint_noise_is_silence_to_codebook_0() {
    let faint: Vec<f32> = babble(10, 3).iter().map(|sample| sample * 1e-4).collect();
    let (noise, silence) = (
        CODEC.encode(&faint).unwrap(),
        CODEC.encode(&[0.0; 1920]).unwrap(),
    );
    assert!((0..noise.frames()).all(|i| noise.frame(i)[0] == silence.data[0]));
}

#[test]
fn bad_input_is_an_error_that_says_where() {
    let mut samples = vec![0.0; 3000];
    samples[1234] = f32::NAN;
    assert!(
        CODEC
            .encode(&samples)
            .unwrap_err()
            .to_string()
            .contains("sample 1234")
    );
    assert!(
        CODEC
            .encode(&[])
            .unwrap_err()
            .to_string()
            .contains("no samples")
    );
    let codes = Codes::new(8, vec![0, 0, 0, 0, 0, 0, 0, 2048]);
    assert!(
        CODEC
            .decode(&codes)
            .unwrap_err()
            .to_string()
            .contains("codebook 7")
    );
    assert!(CODEC.decode(&Codes::new(8, vec![0; 7])).is_err());
}

#[test]
fn the_first_codebooks_give_the_first_codes_of_each_frame() {
    let samples = recording();
    let all = CODEC.encode(&samples).unwrap();
    for codebooks in [1, 3, 8] {
        let codec = MelRvq::embedded().with_codebooks(Some(codebooks)).unwrap();
        assert_eq!(codec.spec().codebooks, codebooks);
        let codes = codec.encode(&samples).unwrap();
        assert_eq!(codes.frames(), all.frames());
        for frame in 0..all.frames() {
            assert_eq!(codes.frame(frame), &all.frame(frame)[..codebooks]);
        }
        assert_eq!(codec.decode(&codes).unwrap(), CODEC.decode(&codes).unwrap());
    }
    for wrong in [0, 9] {
        let error = MelRvq::embedded()
            .with_codebooks(Some(wrong))
            .err()
            .unwrap();
        assert!(error.to_string().contains("has 8 codebooks"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn frames_are_the_samples_over_1920_rounded_up(n in 1usize..20_000, value in -1.0f32..1.0) {
        let codes = CODEC.encode(&vec![value; n]).unwrap();
        prop_assert_eq!(codes.frames(), n.div_ceil(SAMPLES_PER_FRAME));
        prop_assert_eq!(codes.data.len(), codes.frames() * CODEBOOKS);
        prop_assert!(codes.data.iter().all(|&code| usize::from(code) < CODEBOOK_SIZE));
    }

    #[test]
    fn any_codes_decode_to_finite_samples(data in prop::collection::vec(0u16..2048, 0..10 * 8)) {
        let frames = data.len() / 8;
        let codes = Codes::new(8, data[..frames * 8].to_vec());
        let samples = CODEC.decode(&codes).unwrap();
        prop_assert_eq!(samples.len(), frames * SAMPLES_PER_FRAME);
        prop_assert!(samples.iter().all(|sample| sample.is_finite()));
    }
}

mod training {
    use super::*;

    fn train_on(threads: usize, utterances: &[Vec<f32>]) -> MelRvq {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let options = TrainOptions {
            seed: 7,
            iterations: 1,
        };
        pool.install(|| train(utterances, &options, &mut |_| ()).unwrap())
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let utterances: Vec<Vec<f32>> = (0..5).map(|seed| babble(850, seed)).collect();
        let (one, two) = (train_on(1, &utterances), train_on(2, &utterances));
        assert_eq!(one.spec().sha256, two.spec().sha256);
        assert_ne!(one.spec().sha256, CODEC.spec().sha256);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codec.safetensors");
        one.save(&path).unwrap();
        let loaded = MelRvq::load(&path).unwrap();
        assert_eq!(loaded.spec(), one.spec());
        let speech = babble(20, 9);
        assert_eq!(
            loaded.encode(&speech).unwrap(),
            one.encode(&speech).unwrap()
        );
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside the file"
        );
    }

    #[test]
    fn too_little_audio_says_how_much_is_needed() {
        let error = train(&[babble(10, 0)], &TrainOptions::default(), &mut |_| ())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("10 frames") && error.contains("4096"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_recording_is_named() {
        let utterances = [vec![0.0; 10], vec![0.0, f32::NAN]];
        let error = train(&utterances, &TrainOptions::default(), &mut |_| ())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("recording 1") && error.contains("sample 1"),
            "{error}"
        );
    }
}

mod files {
    use super::*;

    fn complaint(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codec.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let message = MelRvq::load(&path).err().unwrap().to_string();
        assert!(message.contains("codec.safetensors"), "{message}");
        message
    }

    /// The embedded file with one piece of its header replaced by another of the same length.
    fn edited(from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let at = EMBEDDED
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .unwrap();
        let mut bytes = EMBEDDED.to_vec();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        assert!(complaint(&EMBEDDED[..EMBEDDED.len() - 1]).contains("not a complete"));
        assert!(complaint(b"RIFF").contains("not a complete"));
        assert!(
            complaint(&edited("\"mel-rvq\"", "\"mel-abc\"")).contains("without `mel-rvq` metadata")
        );
        let newer = edited("{\\\"format\\\":1", "{\\\"format\\\":2");
        assert!(complaint(&newer).contains("another version"));
        assert!(
            complaint(&edited("\"pca.mean\"", "\"pca.abcd\"")).contains("`pca.mean` is missing")
        );
        let reshaped = edited("\"shape\":[2048,16]", "\"shape\":[16,2048]");
        assert!(complaint(&reshaped).contains("instead of I8 [2048, 16]"));
        let mut not_a_number = EMBEDDED.to_vec();
        let header = u64::from_le_bytes(EMBEDDED[..8].try_into().unwrap()) as usize + 8;
        not_a_number[header..header + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(complaint(&not_a_number).contains("acoustic.1.scale"));
    }
}
