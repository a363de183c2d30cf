//! What goes wrong around a training run, and what is lost by it: nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use servers::{S3, Server};
use tests::{TrainJob, assert_same_bytes, bin, metrics, run, run_ok};

/// Flips a bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn refused(command: &mut Command, expected: &[&str]) {
    let run = run(command);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for text in expected {
        assert!(run.stderr.contains(text), "no {text:?} in {}", run.stderr);
    }
}

/// Starts a program whose messages are read at its end.
fn start(command: &mut Command) -> Child {
    let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "no {}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_damaged_checkpoint_is_put_aside_for_the_one_before() {
    let job = TrainJob::new();
    let (undisturbed, out) = (job.path("undisturbed"), job.path("run"));
    run_ok(&mut job.train(&undisturbed));
    run_ok(&mut job.train(&out));
    let checkpoints = out.join("checkpoints");
    damage(&checkpoints.join("step-24/optimizer.safetensors"));
    fs::remove_file(checkpoints.join("step-20/ema.safetensors")).unwrap();
    let resumed = run(&mut job.resume(&out));
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    for text in [
        "optimizer.safetensors is damaged",
        "damaged-step-24",
        "damaged-step-20",
    ] {
        assert!(
            resumed.stderr.contains(text),
            "no {text:?} in {}",
            resumed.stderr
        );
    }
    assert_eq!(metrics(&out), metrics(&undisturbed));
    for step in ["step-16", "step-20", "step-24"] {
        let of = |run: &Path| run.join("checkpoints").join(step);
        assert_same_bytes(&of(&out), &of(&undisturbed));
    }

    for entry in fs::read_dir(&checkpoints).unwrap() {
        let model = entry.unwrap().path().join("model.safetensors");
        damage(&model);
    }
    refused(&mut job.resume(&out), &["no checkpoint in", "begin anew"]);
}

#[test]
fn a_signal_saves_the_state() {
    let job = TrainJob::new();
    let undisturbed = job.path("undisturbed");
    // long enough to be met at work
    let steps = ["--set", "steps=200", "--set", "checkpoint.every_steps=150"];
    run_ok(job.train(&undisturbed).args(steps));
    for signal in ["TERM", "INT", "USR1"] {
        let out = job.path(signal);
        let child = start(job.train(&out).args(steps));
        while metrics_lines(&out) < 20 {
            std::thread::sleep(Duration::from_millis(5));
        }
        run_ok(Command::new("kill").args(["-s", signal, &child.id().to_string()]));
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(75), "{stderr}");
        assert!(
            stderr.contains(&format!("stopped by SIG{signal}")) && stderr.contains("--resume"),
            "{stderr}"
        );
        let saved = fs::read_dir(out.join("checkpoints")).unwrap().count();
        assert_eq!(saved, 1, "the state of the step at which the signal came");
        run_ok(job.resume(&out).args(steps));
        assert_eq!(metrics(&out), metrics(&undisturbed), "{signal}");
        let last = |run: &Path| run.join("checkpoints/step-200");
        assert_same_bytes(&last(&out), &last(&undisturbed));
    }
}

fn metrics_lines(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_full_disk_costs_a_checkpoint_and_nothing_else() {
    let job = TrainJob::new();
    let out = job.path("run");
    let steps = ["--set", "steps=300", "--set", "checkpoint.every_steps=20"];
    // As on a full disk, writes fail beyond a size: small files still have room.
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "bash"]);
    let train = job.train(&out);
    command
        .arg(train.get_program())
        .args(train.get_args())
        .args(steps);
    let mut child = start(&mut command);
    wait_for(&out.join("checkpoints/step-20"));
    let pid = child.id().to_string();
    let limit = |size: &str| {
        run_ok(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={size}")]));
    };
    // Not even metrics can be written for a while.
    limit("10000:unlimited");
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut stderr = String::new();
    let mut failed = None;
    while let Some(Ok(line)) = said.next() {
        stderr += &line;
        if line.contains("is not written") && failed.is_none() {
            limit("unlimited:unlimited");
            failed = line
                .split_once("checkpoint of step ")
                .map(|(_, rest)| rest.to_owned());
        }
    }
    assert!(child.wait().unwrap().success(), "{stderr}");
    for text in [
        "training goes on",
        "metrics are kept until they can be written",
    ] {
        assert!(stderr.contains(text), "no {text:?} in {stderr}");
    }
    let failed = failed.expect("a checkpoint failed");
    let failed = failed.split(' ').next().unwrap();
    let checkpoints = out.join("checkpoints");
    assert!(
        !checkpoints.join(format!("step-{failed}")).exists(),
        "{failed}"
    );
    let undisturbed = job.path("undisturbed");
    run_ok(job.train(&undisturbed).args(steps));
    assert_eq!(metrics(&out), metrics(&undisturbed));
    assert_same_bytes(
        &checkpoints.join("step-300"),
        &undisturbed.join("checkpoints/step-300"),
    );
}

#[test]
fn a_run_goes_on_elsewhere_from_its_mirror() {
    let s3 = Arc::new(S3::new(1000));
    let served = s3.clone();
    let server = Server::new(move |request, _| served.answer(request));
    let job = TrainJob::new();
    let undisturbed = job.path("undisturbed");
    run_ok(&mut job.train(&undisturbed));
    let with_mirror = |command: &mut Command| {
        command.args(["--mirror", "s3://bucket/runs/tiny"]);
        command.env("AWS_ENDPOINT", &server.endpoint);
        command
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        command.args([
            "--set",
            "checkpoint.keep_last=2",
            "--set",
            "checkpoint.keep_every=12",
        ]);
    };
    let first = job.path("first");
    let mut command = job.train(&first);
    with_mirror(&mut command);
    run_ok(&mut command);
    let folders = |prefix: &str| {
        let mut found: Vec<String> = s3
            .below(prefix)
            .into_keys()
            .filter_map(|key| {
                Some(
                    key.split_once("checkpoints/")?
                        .1
                        .split('/')
                        .next()?
                        .to_owned(),
                )
            })
            .collect();
        found.dedup();
        found
    };
    assert_eq!(
        folders("bucket/runs/tiny/"),
        ["step-12", "step-20", "step-24"]
    );

    // The machine is gone, and the newest checkpoint of the store is damaged.
    let key = "bucket/runs/tiny/checkpoints/step-24/model.safetensors";
    let mut bytes = s3.get(key).unwrap();
    bytes[5000] ^= 1;
    s3.put(key, bytes);
    let second = job.path("second");
    let mut command = job.resume(&second);
    with_mirror(&mut command);
    let resumed = run(&mut command);
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert!(
        resumed.stderr.contains("step 24 of s3://bucket/runs/tiny"),
        "{}",
        resumed.stderr
    );
    assert_eq!(metrics(&second), metrics(&undisturbed));
    let model = "checkpoints/step-24/model.safetensors";
    assert!(fs::read(second.join(model)).unwrap() == fs::read(undisturbed.join(model)).unwrap());
    let restored = fs::read(second.join(model)).unwrap();
    assert!(
        s3.get(key).unwrap() == restored,
        "the mirror is whole again"
    );
}

#[test]
fn a_diverging_run_stops_and_can_be_looked_at() {
    let job = TrainJob::new();
    let out = job.path("run");
    let lr = ["--set", "optimizer.lr=1e30", "--set", "schedule.warmup=0"];
    let mut command = job.train(&out);
    let diverged = run(command.args(lr));
    assert_eq!(diverged.code, Some(1));
    for text in ["the loss is", "lower learning rate", "pretrain replay"] {
        assert!(
            diverged.stderr.contains(text),
            "no {text:?} in {}",
            diverged.stderr
        );
    }
    let mut folders = fs::read_dir(out.join("diverged")).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    let json = run_ok(bin("pretrain").arg("replay").arg(&folder).arg("--json"));
    let replay: Value = serde_json::from_str(&json).unwrap();
    let step = folder
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .strip_prefix("step-")
        .unwrap();
    assert_eq!(
        replay["step"].as_u64().unwrap(),
        step.parse::<u64>().unwrap() + 1
    );
    let sequences = replay["sequences"].as_array().unwrap();
    assert_eq!(sequences.len(), 2);
    let is_bad = |sequence: &Value| {
        sequence["objective"].is_null() || !sequence["bad_gradients"].as_array().unwrap().is_empty()
    };
    assert!(sequences.iter().any(is_bad), "{json}");
    let text = run_ok(bin("pretrain").arg("replay").arg(&folder));
    assert!(text.contains("after embedding and layers"), "{text}");
}

#[test]
fn what_cannot_work_is_refused_before_the_first_step() {
    let job = TrainJob::new();
    let out = job.path("run");
    let with = |arguments: &[&str]| {
        let mut command = job.train(&out);
        command.args(arguments);
        command
    };
    refused(
        &mut with(&["--set", "seq_len=8192"]),
        &["seq_len is 8192", "max_position_embeddings"],
    );
    refused(
        &mut with(&["--micro-batch", "3"]),
        &["--micro-batch is 3", "divide"],
    );
    refused(
        &mut with(&["--memory", "9MiB"]),
        &["the run needs", "parameters", "9.0 MiB", "Not even one"],
    );
    let long = [
        "--set",
        "seq_len=1024",
        "--set",
        "batch_size=8",
        "--memory",
        "260MiB",
    ];
    refused(&mut with(&long), &["With --micro-batch 2 it would fit"]);
    refused(
        &mut with(&["--set", "loss.weights.acoustic=[1.0, 2.0]"]),
        &["lists 2 weights", "7 acoustic codebooks"],
    );
    refused(&mut with(&["--init-from", "/nowhere"]), &["/nowhere"]);
    assert!(!out.join("metrics.jsonl").exists(), "a run was begun");

    // a checkpoint of data with another tokenizer
    let first = job.path("first");
    run_ok(&mut job.train(&first));
    let checkpoint = first.join("checkpoints/step-24");
    fs::write(checkpoint.join("tokenizer.json"), "{}").unwrap();
    let init = checkpoint.to_str().unwrap();
    refused(
        &mut with(&["--init-from", init]),
        &["tokenizer", "SHA-256", "another token"],
    );
}

#[test]
fn a_run_may_go_on_with_another_cut_and_precision() {
    let job = TrainJob::new();
    let (whole, out) = (job.path("whole"), job.path("run"));
    run_ok(&mut job.train(&whole));
    let half = ["--set", "checkpoint.every_steps=12"];
    run_ok(job.train(&out).args(half));
    fs::remove_dir_all(out.join("checkpoints/step-24")).unwrap();
    let other = ["--micro-batch", "1", "--recompute", "--precision", "bf16"];
    run_ok(job.resume(&out).args(half).args(other));
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    for text in [
        "micro_batch = 1",
        "recompute = true",
        "precision = \"bf16\"",
    ] {
        assert!(config.contains(text), "no {text} in {config}");
    }
    let losses = |run: &Path| -> Vec<f64> {
        let all = metrics(run);
        all.iter()
            .filter_map(|line| line["loss"].as_f64())
            .collect()
    };
    let (a, b) = (losses(&whole), losses(&out));
    assert_eq!(a.len(), b.len());
    assert!(a != b, "bf16 leaves a trace");
    assert!(
        a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.02 * a),
        "{a:?} {b:?}"
    );
    // and with what it had
    fs::remove_dir_all(out.join("checkpoints/step-24")).unwrap();
    let before = fs::read_to_string(out.join("config.toml")).unwrap();
    run_ok(job.resume(&out).args(half).args(["--precision", "bf16"]));
    assert_eq!(fs::read_to_string(out.join("config.toml")).unwrap(), before);
}
