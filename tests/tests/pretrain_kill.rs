//! Killing a training run at any moment leaves no trace in its metrics or weights.

use std::fs;
use std::process::Command;
use std::time::Instant;

use tests::{TrainJob, assert_same_bytes, bin, kill_at_random, metrics, run, run_ok};

/// Kills in all, over as many runs as it takes.
const KILLS: usize = 50;

#[test]
fn any_number_of_kills_leaves_the_metrics_and_weights_of_an_undisturbed_run() {
    let job = TrainJob::new();
    let undisturbed = job.path("undisturbed");
    let start = Instant::now();
    run_ok(&mut job.train(&undisturbed));
    let duration = start.elapsed();
    let want = metrics(&undisturbed);
    // The run, a validation at the start and each 6 steps, and the 24 steps.
    assert_eq!(want.len(), 1 + 5 + 24);

    let (mut kills, mut runs) = (0, 0);
    while kills < KILLS {
        let out = job.path(&format!("killed-{runs}"));
        let ended = kill_at_random(|| job.resume(&out), duration, KILLS, runs, || {});
        run_ok(&mut job.resume(&out));
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
    let job = TrainJob::new();
    let out = job.path("run");
    run_ok(&mut job.train(&out));
    let bytes = fs::read(out.join("metrics.jsonl")).unwrap();
    let table = run_ok(&mut job.resume(&out));
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
    refused(&mut job.train(&out), &["already holds a run", "--resume"]);
    refused(
        job.resume(&out).args(["--set", "optimizer.lr=1"]),
        &["optimizer.lr 0.003 → 1", "--out"],
    );
    let other = job.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis.tex"), "").unwrap();
    refused(&mut job.train(&other), &["holds no run", "--out"]);
    let (new, nowhere) = (job.path("new"), job.path("nowhere"));
    let mut elsewhere = bin("pretrain");
    elsewhere.arg("quickstart").arg("--data").arg(nowhere);
    refused(elsewhere.arg("--out").arg(new), &["quickstart", "nowhere"]);
}

#[test]
fn a_cut_off_metrics_line_and_a_half_written_checkpoint_are_repaired() {
    let job = TrainJob::new();
    let out = job.path("run");
    run_ok(&mut job.train(&out));
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
    run_ok(&mut job.resume(&out));
    assert_eq!(metrics(&out), want);
    assert!(!checkpoints.join(".step-24.partial").exists());
}
