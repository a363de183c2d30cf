//! `finetune`: a checkpoint trained on the responses to instructions, all of it or by low-rank updates.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pretrain::weights::Weights;
use serde_json::Value;
use tests::{TrainJob, assert_same_bytes, bin, corpus, kill_at_random, metrics, run, run_ok};

/// A checkpoint of the tiny run, and examples of text and sound.
struct Tuning {
    job: TrainJob,
}

impl Tuning {
    fn new() -> Self {
        let job = TrainJob::new();
        run_ok(&mut job.train(&job.path("base")));
        let sounds =
            ["en-0-1", "en-0-2", "en-1-1"].map(|name| corpus().join(format!("en/{name}.flac")));
        let line = |number: usize| {
            let words = ["one", "two", "three", "four", "five"][number % 5];
            match number % 3 {
                0 => {
                    serde_json::json!({ "instruction": format!("Say {words}."), "response": words })
                }
                1 => serde_json::json!({
                    "instruction": [{ "audio": sounds[number % 2] }, "What is this?"], "response": "Speech."
                }),
                _ => serde_json::json!({
                    "instruction": format!("Speak, {words}!"), "response": [words, { "audio": sounds[2] }]
                }),
            }
        };
        let lines: Vec<String> = (0..30).map(|number| line(number).to_string()).collect();
        fs::write(job.path("tasks.jsonl"), lines.join("\n")).unwrap();
        Self { job }
    }

    fn from(&self) -> PathBuf {
        self.job.path("base/checkpoints/step-24")
    }

    /// Two epochs over the examples.
    fn tune(&self, out: &Path) -> Command {
        let mut command = self.tune_from(&self.from(), out);
        command.args(["--epochs", "2"]);
        command
    }

    /// Sequences are longer than the tiny run's, so that sounds fit.
    fn tune_from(&self, from: &Path, out: &Path) -> Command {
        let mut command = bin("finetune");
        command.arg("--data").arg(self.job.path("tasks.jsonl"));
        command.arg("--from").arg(from).arg("--out").arg(out);
        let set = [
            "seq_len=2048",
            "batch_size=2",
            "validate_every=4",
            "log_every=1",
            "precision=f32",
            // no average: the last validation is of the last weights
            "ema_decay=0",
        ];
        command.args(set.iter().flat_map(|set| ["--set", set]));
        command.args(["--lr", "1e-3"]);
        command
    }
}

fn weights(checkpoint: &Path) -> BTreeMap<String, Vec<f32>> {
    let weights = Weights::open(checkpoint, "model").unwrap();
    let values = |name: &str| weights.tensor(name).unwrap().into_vec::<f32>().unwrap();
    weights
        .names()
        .map(|name| (name.to_owned(), values(name)))
        .collect()
}

fn last_checkpoint(run: &Path) -> PathBuf {
    let steps = metrics(run)[0]["steps"].as_u64().unwrap();
    run.join(format!("checkpoints/step-{steps}"))
}

fn losses(run: &Path) -> (f64, f64) {
    let records = metrics(run);
    let validated = records
        .iter()
        .filter(|record| record["kind"] == "validation");
    let losses: Vec<f64> = validated.map(|r| r["loss"].as_f64().unwrap()).collect();
    (losses[0], *losses.last().unwrap())
}

fn refused(command: &mut Command, expected: &[&str]) {
    let run = run(command);
    assert_ne!(run.code, Some(0), "{}", run.stdout);
    for text in expected {
        assert!(run.stderr.contains(text), "no {text:?} in {}", run.stderr);
    }
}

#[test]
fn examples_of_text_and_sound_are_learned_for_whole_epochs() {
    let tuning = Tuning::new();
    let out = tuning.job.path("tuned");
    run_ok(&mut tuning.tune(&out));
    let (before, after) = losses(&out);
    assert!(after < before, "{after} is not below {before}");
    let records = metrics(&out);
    let component = &records[0]["components"][0];
    assert_eq!(
        (&component["source"], &component["view"]),
        (&"tasks".into(), &"sft".into())
    );
    let (train, held_out) = (&component["documents"], &component["validation_documents"]);
    assert_eq!(train.as_u64().unwrap() + held_out.as_u64().unwrap(), 30);
    assert!(held_out.as_u64().unwrap() > 0);
    // two epochs, in steps of two sequences
    let sequences = component["sequences"].as_u64().unwrap();
    assert_eq!(
        records[0]["steps"].as_u64().unwrap(),
        (2 * sequences).div_ceil(2)
    );
    let config: toml::Table = fs::read_to_string(out.join("config.toml"))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(config["optimizer"]["beta2"].as_float(), Some(0.999));
    assert_eq!(config["init_from"].as_str(), tuning.from().to_str());
    assert!(config["mix"].as_str().unwrap().contains("best-fit"));
}

#[test]
fn low_rank_updates_are_trained_alone_and_merged_by_export() {
    let tuning = Tuning::new();
    let out = tuning.job.path("lora");
    let mut tune = tuning.tune(&out);
    tune.args([
        "--lora-rank",
        "4",
        "--lora-alpha",
        "6",
        "--lora-targets",
        "q_proj,down_proj",
    ]);
    run_ok(&mut tune);
    let (before, after) = losses(&out);
    assert!(after < before, "{after} is not below {before}");
    let checkpoint = last_checkpoint(&out);
    let (base, tuned) = (weights(&tuning.from()), weights(&checkpoint));
    for (name, values) in &base {
        assert!(&tuned[name] == values, "{name} is not frozen");
    }
    // two factors of two matrices in each of two layers
    assert_eq!(tuned.len(), base.len() + 2 * 2 * 2);
    let records = metrics(&out);
    let widths = (32 + 32) + (64 + 32);
    assert_eq!(records[0]["parameters"], 2 * 4 * widths);

    let exported = tuning.job.path("exported");
    let mut export = bin("convert");
    export
        .arg("hf-export")
        .arg(&checkpoint)
        .arg("--out")
        .arg(&exported);
    run_ok(export.args(["--dtype", "f32"]));
    let merged = weights(&exported);
    assert_eq!(
        merged.keys().collect::<Vec<_>>(),
        base.keys().collect::<Vec<_>>()
    );
    let (mut changed, mut largest) = (0, 0f64);
    for (name, values) in &base {
        let stem = name.trim_end_matches("weight");
        let Some(a) = tuned.get(&format!("{stem}lora.a")) else {
            assert!(&merged[name] == values, "{name} has no update");
            continue;
        };
        let b = &tuned[&format!("{stem}lora.b")];
        let (input, rank) = (a.len() / 4, 4);
        for (place, &value) in values.iter().enumerate() {
            let (row, column) = (place / input, place % input);
            let product =
                |k: usize| f64::from(b[row * rank + k]) * f64::from(a[k * input + column]);
            let update = 6.0 / 4.0 * (0..rank).map(product).sum::<f64>();
            let found = f64::from(merged[name][place]);
            assert!((found - (f64::from(value) + update)).abs() < 1e-6, "{name}");
            largest = largest.max(update.abs());
        }
        changed += 1;
    }
    assert!(changed == 4 && largest > 1e-4, "{changed}, {largest}");

    // what begins with the export, or with the checkpoint, begins where the updates have led
    for (from, name) in [(&exported, "of-export"), (&checkpoint, "of-checkpoint")] {
        let out = tuning.job.path(name);
        run_ok(
            tuning
                .tune_from(from, &out)
                .args(["--codec", "mel-rvq", "--set", "steps=1"]),
        );
        let (begun, _) = losses(&out);
        assert!((begun - after).abs() < 1e-5, "{name}: {begun}, not {after}");
    }
    refused(
        bin("anneal")
            .args(["--mix", "quickstart", "--from"])
            .arg(&checkpoint),
        &["low-rank updates", "hf-export"],
    );
}

#[test]
fn kills_change_nothing() {
    let tuning = Tuning::new();
    let command = |out: &Path| {
        let mut command = tuning.tune(out);
        command.args([
            "--lora-rank",
            "2",
            "--set",
            "checkpoint.every_steps=2",
            "--resume",
        ]);
        command
    };
    // data of its own lie in a run's folder, and their place is part of its configuration
    let out = tuning.job.path("run");
    run_ok(&mut command(&out));
    let undisturbed = tuning.job.path("undisturbed");
    fs::rename(&out, &undisturbed).unwrap();
    let kills = kill_at_random(|| command(&out), Duration::from_millis(700), 12, 7, || {});
    if !kills.finished {
        run_ok(&mut command(&out));
    }
    assert!(kills.killed >= 3, "{kills:?}");
    assert_eq!(metrics(&out), metrics(&undisturbed));
    assert_same_bytes(&last_checkpoint(&out), &last_checkpoint(&undisturbed));
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let tuning = Tuning::new();
    let out = tuning.job.path("refused");
    refused(
        tuning.tune(&out).args(["--lora-rank", "0"]),
        &["lora.rank is 0", "at least 1"],
    );
    refused(
        tuning
            .tune(&out)
            .args(["--lora-rank", "2", "--lora-targets", "q_prj"]),
        &["q_prj", "q_proj"],
    );
    let no_mix = |command: &mut Command| {
        command
            .arg("--data")
            .arg(tuning.job.data())
            .arg("--from")
            .arg(tuning.from());
        refused(command, &["no .jsonl file", "--mix"]);
    };
    no_mix(&mut bin("finetune"));
    refused(bin("finetune").arg("exp2.1"), &["exp2.1", "--from"]);
    refused(
        bin("finetune").args(["cvss", "--method", "3"]),
        &["method `3`"],
    );
    refused(
        bin("finetune").args(["cvss", "--data", "/nowhere"]),
        &["runs/exp2.1-600m/checkpoints/step-238419"],
    );
    fs::write(tuning.job.path("tasks.jsonl"), "{\"instruction\": \"a\"}\n").unwrap();
    refused(
        &mut tuning.tune(&tuning.job.path("bad")),
        &["tasks.jsonl", "could not be tokenized"],
    );
}

#[test]
fn examples_longer_than_a_sequence_are_left_out_and_said() {
    let tuning = Tuning::new();
    let tuned = run(tuning
        .tune(&tuning.job.path("short"))
        .args(["--set", "seq_len=32"]));
    assert_eq!(tuned.code, Some(0), "{}", tuned.stderr);
    // those with sound, of which one is held out
    let said = "19 of 28 documents of tasks are longer than 32 tokens and are left out";
    assert!(tuned.stderr.contains(said), "{}", tuned.stderr);
}

/// The recipe's fine-tuning takes any checkpoint, with its shape.
#[test]
fn the_recipe_is_planned_with_or_without_its_checkpoint() {
    let plan = |arguments: &[&str]| -> Value {
        let mut command = bin("finetune");
        command
            .args(arguments)
            .args(["--dry-run", "--json", "--data", "/nowhere"]);
        serde_json::from_str(&run_ok(&mut command)).unwrap()
    };
    let recipe = plan(&["cvss", "--method", "1"]);
    assert_eq!(recipe["plan"]["name"], "sft-cvss-method1");
    assert_eq!(recipe["plan"]["steps"], 28_611);
    assert_eq!(recipe["plan"]["optimizer"]["lr"], 2e-5);
    let tuning = Tuning::new();
    let from = tuning.from().display().to_string();
    let mine = plan(&[
        "sft-cvss",
        "--method",
        "2",
        "--from",
        &from,
        "--lora-rank",
        "8",
    ]);
    let found = &mine["plan"];
    assert_eq!(
        (&found["model"]["hidden_size"], &found["init_from"]),
        (&32.into(), &from.into())
    );
    assert_eq!(
        (&found["lora"]["alpha"], &found["lora"]["rank"]),
        (&16.0.into(), &8.into())
    );
}
