//! `tokenize codec-check`, and the codec's options in other commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{folder, here, make_vocab, run_ok, run_refused, tokenize};
use audio::Audio;
use serde_json::Value;

/// `tokenize codec-check` with mel-RVQ.
fn check(files: &[PathBuf]) -> Command {
    let mut check = tokenize();
    check
        .args(["codec-check", "--codec", "mel-rvq"])
        .args(files);
    check
}

fn report(files: &[PathBuf]) -> Value {
    serde_json::from_str(&run_ok(check(files).arg("--json"))).unwrap()
}

fn speech(name: &str) -> PathBuf {
    here("../tests/corpus").join(name)
}

/// A mono recording at 24 kHz.
fn write(dir: &Path, name: &str, samples: Vec<f32>) -> PathBuf {
    let audio = Audio {
        samples,
        channels: 1,
        sample_rate_hz: 24_000,
    };
    let path = dir.join(name);
    audio::write_wav(&path, &audio).unwrap();
    path
}

#[test]
fn speech_is_measured_and_written() {
    let temp = tempfile::tempdir().unwrap();
    let files = [speech("en/en-0-0.wav"), speech("fr/fr-0-1.flac")];
    let out = temp.path().join("deep/out");
    let printed = run_ok(check(&files).arg("--json").arg("--out").arg(&out));
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (report["codec"].as_str(), report["codebooks"].as_u64()),
        (Some("mel-rvq"), Some(8))
    );
    let mut secs = 0.0;
    for (file, measured) in files.iter().zip(report["files"].as_array().unwrap()) {
        let original = audio::load(file, 24_000, 1).unwrap().audio;
        let name = file.with_extension("wav");
        let decoded = out.join(name.file_name().unwrap());
        assert_eq!(measured["decoded"].as_str(), decoded.to_str());
        let decoded = audio::load(&decoded, 24_000, 1).unwrap().audio;
        assert_eq!(decoded.samples.len(), original.samples.len());
        let number = |key: &str| {
            measured[key]
                .as_f64()
                .unwrap_or_else(|| panic!("{key}: {measured}"))
        };
        // docs/codec-mel-rvq.md: about 4.5 dB, and 10 or more for another recording
        assert!(
            (2.0..7.0).contains(&number("log_spectral_distance_db")),
            "{measured}"
        );
        assert!((-60.0..5.0).contains(&number("si_sdr_db")), "{measured}");
        // 12.5 frames of 8 codes of 11 bits, the last frame counted whole
        assert!(
            (1_100.0..1_160.0).contains(&number("bits_per_sec")),
            "{measured}"
        );
        assert!(number("entropy_bits_per_sec") < number("bits_per_sec"));
        assert!(number("encode_times_real_time") > 1.0 && number("decode_times_real_time") > 0.1);
        secs += number("audio_secs");
    }
    let all = &report["all"];
    assert!((all["audio_secs"].as_f64().unwrap() - secs).abs() < 1e-9);
    let usage = all["usage"].as_array().unwrap();
    assert_eq!(usage.len(), 8);
    for codebook in usage {
        let number = |key: &str| codebook[key].as_f64().unwrap();
        assert!((number("entropy_bits").exp2() - number("perplexity")).abs() < 1e-6);
        assert!(number("perplexity") <= number("used") + 1e-6 && number("used") > 10.0);
    }
    let table = run_ok(&mut check(&files));
    for part in ["en-0-0.wav", "SI-SDR", "all", "perplexity", "of 2048"] {
        assert!(table.contains(part), "no {part:?} in:\n{table}");
    }
}

#[test]
fn any_finite_sound_has_a_report_of_finite_numbers() {
    let temp = tempfile::tempdir().unwrap();
    let square = |n: usize| {
        if (n / 50).is_multiple_of(2) {
            1.0
        } else {
            -1.0
        }
    };
    let files = [
        write(temp.path(), "silence.wav", vec![0.0; 24_000]),
        write(temp.path(), "constant.wav", vec![0.5; 24_000]),
        write(
            temp.path(),
            "clipped.wav",
            (0..24_000).map(square).collect(),
        ),
        write(temp.path(), "one sample.wav", vec![0.25]),
    ];
    let report = report(&files);
    let measured = report["files"].as_array().unwrap();
    assert_eq!(measured.len(), 4);
    assert_eq!(measured[0]["si_sdr_db"], Value::Null);
    assert!(measured[2]["si_sdr_db"].is_f64(), "{}", measured[2]);
    assert_eq!(measured[3]["usage"][0]["used"], 1);
    // serde_json has no form for NaN and writes null; nothing else may be null
    for file in measured {
        let null = file
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, value)| value.is_null());
        let null: Vec<_> = null.map(|(key, _)| key.as_str()).collect();
        assert!(
            null.iter()
                .all(|key| ["decoded", "si_sdr_db"].contains(key)),
            "{file}"
        );
    }
}

#[test]
fn bad_files_are_named() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("bad.wav");
    fs::write(&path, b"not audio").unwrap();
    let good = speech("en/en-0-0.wav");
    for (bytes, finding) in [
        (None, "No such file"),
        (Some(&b"not audio"[..]), "not audio"),
    ] {
        match bytes {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        let text = run_refused(&mut check(&[good.clone(), path.clone()]));
        assert!(text.contains("bad.wav") && text.contains(finding), "{text}");
    }
    // a float wav whose last sample is no number
    let samples = [0.5f32, f32::NAN];
    let mut wav = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x03\0\x01\0\xc0\x5d\0\0\0\x77\x01\0\x04\0\x20\0data\x08\0\0\0".to_vec();
    wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    fs::write(&path, wav).unwrap();
    let text = run_refused(&mut check(std::slice::from_ref(&path)));
    assert!(text.contains("bad.wav: sample 1 is NaN"), "{text}");
}

#[test]
fn options_that_a_codec_does_not_have_are_refused() {
    let file = [speech("en/en-0-0.wav")];
    let text = run_refused(check(&file).args(["--codebooks", "9"]));
    assert!(
        text.contains("`mel-rvq` has 8 codebooks; 9 were asked for"),
        "{text}"
    );
    let text = run_refused(check(&file).args(["--precision", "bf16"]));
    assert!(
        text.contains("mel-rvq only knows --precision f32"),
        "{text}"
    );
    run_ok(check(&file).args(["--codebooks", "2", "--precision", "f32"]));
}

#[test]
fn a_codec_that_moved_is_given_with_codec() {
    let temp = tempfile::tempdir().unwrap();
    let input = temp.path().join("input");
    fs::create_dir(&input).unwrap();
    fs::copy(speech("en/en-0-0.wav"), input.join("a.wav")).unwrap();
    let [first, second] =
        ["first", "second"].map(|name| temp.path().join(format!("{name}.safetensors")));
    fs::copy(here("encodec-rs/assets/mel-rvq.safetensors"), &first).unwrap();
    make_vocab(&temp.path().join("vocab"), 8, 2048);
    run_ok(&mut folder(temp.path(), &input, &first, "out"));
    fs::rename(&first, &second).unwrap();
    let decode = || {
        let mut decode = tokenize();
        decode
            .arg("decode")
            .arg(temp.path().join("out/part-00000.parquet"));
        decode
            .args(["--id", "a", "--out"])
            .arg(temp.path().join("a.wav"));
        decode
    };
    run_ok(decode().arg("--codec").arg(&second));
    assert!(temp.path().join("a.wav").is_file());
    let name = temp.path().join("no/such/codec");
    let text = run_refused(decode().arg("--codec").arg(&name));
    assert!(text.contains("no/such/codec"), "{text}");
}
