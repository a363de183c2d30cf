//! Killing a training run at any moment leaves no trace in its metrics or weights.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use tests::{TokenizeJob, assert_same_bytes, bin, corpus, kill_at_random, run, run_ok};

/// Kills in all, over as many runs as it takes.
const KILLS: usize = 24;
/// A model and a run small enough to be killed often.
const TINY: [&str; 12] = [
    "model.hidden_size=32",
    "model.intermediate_size=64",
    "model.num_hidden_layers=2",
    "model.num_attention_heads=2",
    "model.num_key_value_heads=1",
    "model.head_dim=16",
    "seq_len=64",
    "batch_size=2",
    "steps=24",
    "validate_every=6",
    "checkpoint.every_steps=4",
    "checkpoint.keep_last=9",
];

/// The bundled corpus as shards, below the returned folder.
fn data(job: &TokenizeJob) -> PathBuf {
    let data = job.path("data");
    run_ok(&mut job.command_for(&corpus(), &data.join("quickstart")));
    data
}

fn tiny(data: &Path, out: &Path) -> Command {
    let mut command = bin("pretrain");
    command
        .arg("quickstart")
        .arg("--data")
        .arg(data)
        .arg("--out")
        .arg(out);
    command.args(TINY.iter().flat_map(|set| ["--set", set]));
    command
}

fn resume(data: &Path, out: &Path) -> Command {
    let mut command = tiny(data, out);
    command.arg("--resume");
    command
}

/// The lines of `metrics.jsonl` without what depends on the clock.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let without_clock = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for key in ["secs", "time"] {
            line.as_object_mut().unwrap().remove(key);
        }
        line
    };
    text.lines().map(without_clock).collect()
}

#[test]
fn any_number_of_kills_leaves_the_metrics_and_weights_of_an_undisturbed_run() {
    let job = TokenizeJob::new();
    let data = data(&job);
    let undisturbed = job.path("undisturbed");
    let start = Instant::now();
    run_ok(&mut tiny(&data, &undisturbed));
    let duration = start.elapsed();
    let want = metrics(&undisturbed);
    // The run, a validation at the start and each 6 steps, and the 24 steps.
    assert_eq!(want.len(), 1 + 5 + 24);

    let (mut kills, mut runs) = (0, 0);
    while kills < KILLS {
        let out = job.path(&format!("killed-{runs}"));
        let ended = kill_at_random(|| resume(&data, &out), duration, KILLS, runs, || {});
        run_ok(&mut resume(&data, &out));
        assert_eq!(metrics(&out), want, "{}", out.display());
        for step in [8, 24] {
            let checkpoint = format!("checkpoints/step-{step}");
            assert_same_bytes(&out.join(&checkpoint), &undisturbed.join(&checkpoint));
        }
        (kills, runs) = (kills + ended.killed, runs + 1);
    }
    println!("{kills} kills of {runs} runs, {duration:?} undisturbed");
}

#[test]
fn a_finished_run_is_not_run_again_and_another_is_refused() {
    let job = TokenizeJob::new();
    let data = data(&job);
    let out = job.path("run");
    run_ok(&mut tiny(&data, &out));
    let bytes = fs::read(out.join("metrics.jsonl")).unwrap();
    let table = run_ok(&mut resume(&data, &out));
    assert!(
        table.contains("semantic") && table.contains("unigram"),
        "{table}"
    );
    assert_eq!(fs::read(out.join("metrics.jsonl")).unwrap(), bytes);

    let refused = |command: &mut Command, expected: &[&str]| {
        let run = run(command);
        assert_ne!(run.code, Some(0));
        for text in expected {
            assert!(run.stderr.contains(text), "no {text:?} in {}", run.stderr);
        }
    };
    refused(&mut tiny(&data, &out), &["already holds a run", "--resume"]);
    refused(
        resume(&data, &out).args(["--set", "optimizer.lr=1"]),
        &["optimizer.lr 0.003 → 1", "--out"],
    );
    let other = job.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis.tex"), "").unwrap();
    refused(&mut tiny(&data, &other), &["holds no run", "--out"]);
    refused(
        &mut tiny(&job.path("nowhere"), &job.path("new")),
        &["quickstart", "nowhere"],
    );
}

#[test]
fn a_cut_off_metrics_line_and_a_half_written_checkpoint_are_repaired() {
    let job = TokenizeJob::new();
    let data = data(&job);
    let out = job.path("run");
    run_ok(&mut tiny(&data, &out));
    let want = metrics(&out);
    let checkpoints = out.join("checkpoints");
    fs::rename(
        checkpoints.join("step-24"),
        checkpoints.join(".step-24.partial"),
    )
    .unwrap();
    fs::remove_file(checkpoints.join(".step-24.partial/state.json")).unwrap();
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    fs::write(out.join("metrics.jsonl"), &text[..text.len() - 20]).unwrap();
    run_ok(&mut resume(&data, &out));
    assert_eq!(metrics(&out), want);
    assert!(!checkpoints.join(".step-24.partial").exists());

    // Damage to a finished checkpoint is found before it is trained on.
    let model = checkpoints.join("step-24/model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&model, bytes).unwrap();
    let refused = run(&mut resume(&data, &out));
    assert!(
        refused.code != Some(0) && refused.stderr.contains("model.safetensors is damaged"),
        "{}",
        refused.stderr
    );
}
