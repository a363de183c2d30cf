//! Datasets in an object store: jobs that are killed, and the commands over what they make.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Bench, assert_same, files, run, run_ok};

const MLS: [&str; 3] = ["mls", "--codec", "mel-rvq"];

/// Runs a command until it has sent `puts` more objects, and then kills it. Whether it was still running.
fn killed_after(bench: &Bench, puts: usize, command: &mut Command) -> bool {
    let wanted = bench.server.count("PUT") + puts;
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    while bench.server.count("PUT") < wanted {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "it failed by itself");
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    status.code().is_none()
}

#[test]
fn a_killed_job_goes_on_where_it_stopped() {
    let bench = Bench::new();
    let input = bench.put("mls");
    let job = |out: &str| bench.job(&MLS, &input, &Bench::url(out));
    run_ok(&mut job("whole"));
    let mut kills = 0;
    for puts in 1.. {
        if !killed_after(&bench, puts, &mut job("killed")) {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 5, "{kills} kills");
    run_ok(&mut job("killed"));
    assert_same(&bench.stored("killed"), &bench.stored("whole"));
}

#[test]
fn commands_over_datasets_read_them_from_the_store() {
    let bench = Bench::new();
    let input = bench.put("mls");
    let data = Bench::url("data/mls-en");
    run_ok(&mut bench.job(&MLS, &input, &Bench::url("data")));
    let local = bench.path("local");
    run_ok(&mut bench.job(&MLS, &input, local.to_str().unwrap()));
    let local = local.join("mls-en").to_str().unwrap().to_owned();

    let status = bench.tokenize(&["status", &Bench::url("data"), "--json"]);
    let status: Value = serde_json::from_str(&run_ok(&mut { status })).unwrap();
    let states: Vec<_> = status.as_array().unwrap().iter().collect();
    assert_eq!(states.len(), 2, "{status}");
    assert!(states.iter().all(|one| one["state"] == "finished"));

    for command in ["verify", "stats"] {
        let said = |location: &str| run_ok(&mut bench.tokenize(&[command, location, "--json"]));
        assert_eq!(said(&data), said(&local), "{command}");
    }

    let export = |location: &str, out: &str| {
        let out = bench.path(out);
        let mut command = bench.tokenize(&["export", location, "--view", "both", "--to", "jsonl"]);
        run_ok(command.arg("--out").arg(&out));
        out
    };
    let (from_store, from_folder) = (export(&data, "flat"), export(&local, "flat-local"));
    for part in ["part-00000.jsonl", "export.json"] {
        let [found, expected] = [&from_store, &from_folder].map(|dir| dir.join(part));
        let read = |path| std::fs::read(path).unwrap();
        assert!(read(found) == read(expected), "{part}");
    }
}

#[test]
fn datasets_are_merged_and_given_other_ids_in_the_store() {
    let bench = Bench::new();
    let libri = bench.put("librispeech/LibriSpeech");
    let source = ["librispeech", "--codec", "mel-rvq"];
    run_ok(&mut bench.job(&source, &libri, &Bench::url("data")));
    let mls = bench.put("mls");
    run_ok(&mut bench.job(&MLS, &mls, &Bench::url("data")));
    let inputs = ["data/librispeech-train", "data/mls-en"].map(Bench::url);
    let merge = |out: &str| bench.tokenize(&["merge", &inputs[0], &inputs[1], "--out", out]);
    let folder = bench.path("merged");
    run_ok(&mut merge(&Bench::url("merged")));
    run_ok(&mut merge(folder.to_str().unwrap()));
    assert_same(&bench.stored("merged"), &files(&folder));
    run_ok(&mut bench.tokenize(&["verify", &Bench::url("merged")]));

    let tokenizer = bench.path("tokenizer");
    let out = Bench::url("again");
    let mut retext = bench.tokenize(&["retext", &inputs[1], "--out", &out, "--tokenizer"]);
    run_ok(retext.arg(&tokenizer));
    run_ok(&mut bench.tokenize(&["verify", &out]));
}

#[test]
fn what_is_no_finished_dataset_is_told_by_its_location() {
    let bench = Bench::new();
    bench.s3.put("bucket/begun/job.json", b"{}".to_vec());
    for (name, expected) in [
        ("begun", "s3://bucket/begun has no manifest.json"),
        ("nothing", "s3://bucket/nothing is not a dataset"),
    ] {
        for command in ["verify", "stats"] {
            let output = run(&mut bench.tokenize(&[command, &Bench::url(name)]));
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(
                !output.status.success() && text.contains(expected),
                "{text}"
            );
        }
    }
}

#[test]
fn where_only_a_folder_will_do_a_location_is_refused() {
    let bench = Bench::new();
    let refused = |args: &[&str]| {
        let output = run(&mut bench.tokenize(args));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        text
    };
    let url = Bench::url("x");
    let export = ["export", "data", "--view", "both", "--to", "jsonl"];
    let text = refused(&[&export[..], &["--out", &url]].concat());
    assert!(
        text.contains("s3://bucket/x is no folder of this machine; give --out a folder"),
        "{text}"
    );
    let tokenizer = bench.path("tokenizer");
    let job = ["--out", "out", "--tokenizer", tokenizer.to_str().unwrap()];
    for place in [&[url.as_str()][..], &["data", "--manifest", &url]] {
        let text = refused(&[&["folder", "--codec", "mel-rvq"], place, &job].concat());
        assert!(
            text.contains("s3://bucket/x is no folder of this machine; copy recordings"),
            "{text}"
        );
    }
}
