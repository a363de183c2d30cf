//! Experiments from the command line: what there is, what it comes to, and variants of one file as runs.

use std::fs;

use serde_json::Value;
use tests::{TrainJob, bin, run, run_ok};

fn json(arguments: &[&str]) -> Value {
    let text = run_ok(
        bin("pretrain")
            .args(arguments)
            .args(["--data", "/nowhere", "--json"]),
    );
    serde_json::from_str(&text).unwrap()
}

fn refused(arguments: &[&str], expected: &[&str]) {
    let run = run(bin("pretrain").args(arguments).args(["--data", "/nowhere"]));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for text in expected {
        assert!(run.stderr.contains(text), "no {text:?} in {}", run.stderr);
    }
}

#[test]
fn experiments_are_listed() {
    let table = run_ok(bin("pretrain").arg("--list"));
    let listed = json(&["--list"]);
    for name in ["exp1.1", "exp2.1", "data-mix", "sft-cvss", "quickstart"] {
        assert!(table.contains(name), "{name} is not in\n{table}");
        let named = |entry: &Value| entry["name"] == name;
        assert!(listed.as_array().unwrap().iter().any(named), "{name}");
    }
}

#[test]
fn a_dry_run_shows_what_a_variant_comes_to() {
    let chosen = [
        "exp2.1",
        "--size",
        "600m",
        "--dry-run",
        "--set",
        "optimizer.lr=1e-3",
    ];
    let found = json(
        &[
            &chosen[..],
            &["--device", "h100x8", "--mfu", "0.5", "--price", "2"],
        ]
        .concat(),
    );
    assert_eq!(found["plan"]["steps"], 238_419);
    assert_eq!(found["summary"]["parameters"], 736_698_368_u64);
    assert_eq!(found["differences"][0]["key"], "optimizer.lr");
    // 3 × 7.381e20 forward FLOPs over half of 8 × 989.4e12 a second
    let hours = found["estimate"]["hours"].as_f64().unwrap();
    assert!((hours - 155.4).abs() < 0.1, "{hours}");
    assert_eq!(found["estimate"]["cost"].as_f64().unwrap(), 16.0 * hours);
    let text = run_ok(bin("pretrain").args(chosen).args(["--data", "/nowhere"]));
    assert!(text.contains("# optimizer.lr: 0.00424264"), "{text}");
    // comments and all, it is the plan
    let plan: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(plan["name"].as_str(), Some("exp2.1-600m"));
}

#[test]
fn a_dry_run_shows_what_a_step_comes_to_on_many_devices() {
    let chosen = ["exp2.1", "--size", "600m", "--dry-run", "--device", "h100"];
    let world = |ranks| [&chosen[..], &["--world", ranks]].concat();
    let network = ["--net", "400Gb", "--micro-batch", "8"];
    let found = json(&[&world("64")[..], &network].concat());
    // the row of docs/scaling.md
    let step = found["scaling"]["step_secs"].as_f64().unwrap();
    assert!((step - 0.387).abs() < 5e-4, "{step}");
    // time and cost are those of all
    assert_eq!(found["estimate"]["hardware"]["count"], 64);
    assert_eq!(found["estimate"]["mfu"], found["scaling"]["mfu"]);
    let moments = found["memory"]["optimizer"].as_u64().unwrap();
    assert_eq!(moments, 8 * 736_698_368 / 64);
    refused(&world("64"), &["--net 400Gb"]);
    refused(
        &world("5"),
        &["does not divide the batch of 512", "1, 2, 4"],
    );
}

#[test]
fn what_there_is_not_is_refused_with_what_there_is() {
    refused(&["exp2.1", "--size", "60m"], &["60m", "600m"]);
    refused(&["exp2.1", "--text", "5"], &["text", "size"]);
    refused(&["exp21"], &["exp21", "exp2.1"]);
    refused(&["exp1.3"], &["goes on from", "step-190000"]);
}

#[test]
fn all_variants_of_a_file_are_run_one_after_the_other() {
    let job = TrainJob::new();
    let runs = job.path("runs");
    let quickstart =
        run_ok(bin("pretrain").args(["quickstart", "--dry-run", "--data", "/nowhere"]));
    let file = job.path("mine.toml");
    let variants = "\n[variants.seed]\n1.seed = 1\n2.seed = 2\n";
    fs::write(
        &file,
        quickstart.replace("name = \"quickstart\"", "name = \"mine\"") + variants,
    )
    .unwrap();
    let all = |command: &mut std::process::Command| {
        command
            .arg(&file)
            .arg("--all")
            .arg("--data")
            .arg(job.data())
            .arg("--out")
            .arg(&runs);
        let tiny = [
            "seq_len=64",
            "batch_size=2",
            "steps=3",
            "checkpoint.every_steps=3",
        ];
        command.args(tiny.iter().flat_map(|set| ["--set", set]));
        command.arg("--resume");
        run_ok(command)
    };
    all(&mut bin("pretrain"));
    let weights = |seed: &str| {
        let folder = runs.join(format!("mine-seed{seed}"));
        fs::read(folder.join("checkpoints/step-3/model.safetensors")).unwrap()
    };
    assert!(weights("1") != weights("2"));
    // again: both are finished
    let again = all(&mut bin("pretrain"));
    assert_eq!(again.matches("validation loss").count(), 2, "{again}");
}
