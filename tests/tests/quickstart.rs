//! What the README promises of the quickstart, by the commands that its script runs.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::{TokenizeJob, bin, corpus, run, run_ok};

/// Trains the quickstart below `job`, as its script does, and returns what `pretrain --json` prints.
fn trained(job: &TokenizeJob) -> Value {
    let data = job.path("data");
    run_ok(&mut job.command_for(&corpus(), &data.join("quickstart")));
    let mut pretrain = bin("pretrain");
    pretrain.args(["quickstart", "--json", "--data"]).arg(&data);
    let json = run_ok(pretrain.arg("--out").arg(job.path("run")));
    serde_json::from_str(&json).unwrap()
}

#[test]
fn the_model_beats_unigrams_is_reported_and_speaks() {
    let job = TokenizeJob::new();
    let summary = trained(&job);
    let loss = |of: &str, path: &str| summary[of].pointer(path).unwrap().as_f64().unwrap();
    for path in ["/loss", "/by_kind/semantic"] {
        let (model, unigram) = (loss("validation", path), loss("unigram", path));
        assert!(model < unigram, "{path}: {model} is not below {unigram}");
    }
    let report = fs::read_to_string(summary["report"].as_str().unwrap()).unwrap();
    assert!(report.contains("<svg") && report.contains("acoustic-7"));

    let checkpoint = Path::new(summary["checkpoint"].as_str().unwrap());
    // A prompt of 2 s or so, and 1 to 2 s more of it.
    let prompt = corpus().join("en/en-0-1.flac");
    let prompt_secs =
        audio::load(&prompt, 24_000, 1).unwrap().audio.samples.len() as f64 / 24_000.0;
    let speak = |prompt: &Path, name: &str, seed: &str| {
        let out = job.path(name);
        let mut generate = bin("generate");
        generate
            .arg("--checkpoint")
            .arg(checkpoint)
            .arg("--prompt")
            .arg(prompt);
        generate.args(["--min-seconds", "1", "--seconds", "2", "--seed", seed]);
        run_ok(generate.arg("--out").arg(&out));
        audio::decode_file(&out, 1).unwrap().audio.samples
    };
    let continued = speak(&prompt, "continued.wav", "1");
    let secs = continued.len() as f64 / 24_000.0 - prompt_secs;
    assert!((1.0..2.1).contains(&secs), "{secs} s of new audio");
    let text = Path::new("The river is cold.");
    let spoken = speak(text, "spoken.wav", "1");
    assert!(spoken == speak(text, "again.wav", "1"), "the same seed");
    // a whole utterance may be followed by silence with any seed, but not a text
    assert!(spoken != speak(text, "other.wav", "2"), "another seed");
    assert!(
        (24_000..=48_000 + 1920).contains(&spoken.len()),
        "{} samples",
        spoken.len()
    );

    let refused = |prompt: &str, extra: &[&str], expected: &str| {
        let mut generate = bin("generate");
        generate
            .arg("--checkpoint")
            .arg(checkpoint)
            .args(["--prompt", prompt]);
        let run = run(generate.args(extra).arg("--out").arg(job.path("none.wav")));
        assert!(
            run.code == Some(1) && run.stderr.contains(expected),
            "{}",
            run.stderr
        );
        assert!(!job.path("none.wav").exists());
    };
    refused("nowhere.wav", &[], "there is no such file");
    refused("  ", &[], "the prompt is empty");
    refused("hello", &["--top-p", "2"], "--top-p is 2");
    refused("hello", &["--min-seconds", "9"], "in order");
    refused("hello", &["--codec", "kyutai/nothing"], "kyutai/nothing");
}
