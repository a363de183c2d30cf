//! What a run tells TensorBoard and `pretrain watch`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use pretrain::metrics::Record;
use pretrain::trackers::scalars;
use serde_json::Value;
use tests::{TrainJob, bin, run, run_ok};

/// Scalars by tag and step, as the bits of an f32.
type Scalars = BTreeMap<(String, u64), u32>;

/// The fields of a protobuf message: number, and what is there. https://protobuf.dev/programming-guides/encoding
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                let value = varint(&mut bytes);
                fields.push((key >> 3, value.to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(length);
        fields.push((key >> 3, value.to_vec()));
        bytes = rest;
    }
    fields
}

fn field(fields: &[(u64, Vec<u8>)], number: u64) -> Option<&[u8]> {
    let found = fields.iter().find(|field| field.0 == number);
    found.map(|field| &*field.1)
}

/// What TensorBoard shows of a run: the events of all files in order, of which those from a START on replace earlier ones.
fn tensorboard(run: &Path) -> (Scalars, usize) {
    let files = fs::read_dir(run.join("tensorboard")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut shown = Scalars::new();
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let mut rest = &bytes[..];
        // a killed run may leave half an event at the end
        while rest.len() >= 12 {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let Some(event) = rest.get(12..12 + length) else {
                break;
            };
            show(&fields(event), &mut shown);
            rest = rest.get(16 + length..).unwrap_or_default();
        }
    }
    (shown, files.len())
}

fn show(event: &[(u64, Vec<u8>)], shown: &mut Scalars) {
    let step = field(event, 2).map_or(0, |step| u64::from_le_bytes(step.try_into().unwrap()));
    if field(event, 7).is_some() {
        shown.retain(|key, _| key.1 < step);
    }
    let summary = field(event, 5).map(fields).unwrap_or_default();
    for (_, value) in summary {
        let value = fields(&value);
        let tag = String::from_utf8(field(&value, 1).unwrap().to_vec()).unwrap();
        let bits = u32::from_le_bytes(field(&value, 2).unwrap().try_into().unwrap());
        let former = shown.insert((tag.clone(), step), bits);
        assert_eq!(former, None, "{tag} twice at step {step}");
    }
}

/// The same of `metrics.jsonl`.
fn metrics(run: &Path) -> Scalars {
    let records = Record::read_all(&run.join("metrics.jsonl")).unwrap();
    let of_record = |record: &Record| {
        let step = match record {
            Record::Run(_) => 0,
            Record::Train(record) => record.step,
            Record::Validation(record) => record.step,
        };
        let bits = move |(tag, value)| ((tag, step), (value as f32).to_bits());
        scalars(record).into_iter().map(bits).collect::<Vec<_>>()
    };
    records.iter().flat_map(of_record).collect()
}

#[test]
fn tensorboard_shows_the_metrics_of_a_run_that_was_killed_and_resumed() {
    let job = TrainJob::new();
    let out = job.path("run");
    // long enough to be met at work
    let program = || {
        let mut command = job.resume(&out);
        command.args(["--set", "steps=120"]);
        command
    };
    for lines in [20, 60] {
        let mut child = program().stderr(Stdio::null()).spawn().unwrap();
        while lines_of(&out) < lines {
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "it was at work");
    }
    run_ok(&mut program());
    let (shown, files) = tensorboard(&out);
    assert_eq!(files, 3, "a file for each start");
    for tag in [
        "train/loss",
        "norm/grad",
        "loss_by_kind/semantic",
        "time/secs",
    ] {
        let steps = shown.keys().filter(|key| key.0 == tag).count();
        assert_eq!(steps, 120, "{tag}");
    }
    assert_eq!(
        shown
            .keys()
            .filter(|key| key.0 == "validation/loss")
            .count(),
        21
    );
    let want = metrics(&out);
    // our JSON reader may be wrong in a number's last digit, which rounds a tie the other way
    let same = |key| match (shown.get(key), want.get(key)) {
        (Some(shown), Some(want)) => shown.abs_diff(*want) <= 1,
        _ => false,
    };
    let keys = shown.keys().chain(want.keys());
    let wrong: Vec<_> = keys.filter(|key| !same(key)).collect();
    assert!(wrong.is_empty(), "not as in metrics.jsonl: {wrong:?}");
}

/// Lines of a run's metrics so far.
fn lines_of(run: &Path) -> usize {
    let text = fs::read_to_string(run.join("metrics.jsonl"));
    text.map_or(0, |text| text.lines().count())
}

/// A finished run, and one of the same name that has been killed in its middle.
fn two_runs() -> (TrainJob, [String; 2]) {
    let job = TrainJob::new();
    let (whole, half) = (job.path("whole"), job.path("half"));
    run_ok(&mut job.resume(&whole));
    let text = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    let middle = text.find("\"step\":13,").unwrap();
    fs::create_dir(&half).unwrap();
    fs::copy(whole.join("config.toml"), half.join("config.toml")).unwrap();
    fs::write(half.join("metrics.jsonl"), &text[..middle]).unwrap();
    let dirs = [whole, half].map(|dir| dir.to_str().unwrap().to_owned());
    (job, dirs)
}

#[test]
fn watch_compares_runs() {
    let (job, dirs) = two_runs();
    let table = run_ok(bin("pretrain").arg("watch").args(&dirs).arg("--once"));
    let row = |dir: &str| table.lines().find(|line| line.contains(dir)).unwrap();
    assert!(
        row("/whole").contains("24/24") && row("/whole").contains("done"),
        "{table}"
    );
    assert!(
        row("/half").contains("12/24") && !row("/half").contains("done"),
        "{table}"
    );
    assert!(
        row("/whole").contains('*') && row("/whole").contains('█'),
        "{table}"
    );
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    assert!(!table.contains('\x1b'), "{table}");

    let json = run_ok(bin("pretrain").arg("watch").args(&dirs).arg("--json"));
    let json: Value = serde_json::from_str(&json).unwrap();
    let records = Record::read_all(&Path::new(&dirs[0]).join("metrics.jsonl")).unwrap();
    let last = records.iter().rev().find_map(|record| match record {
        Record::Validation(record) => Some(record),
        _ => None,
    });
    let (whole, half) = (&json[0], &json[1]);
    assert_eq!(whole["validation"]["all"], last.unwrap().loss);
    assert_eq!(
        (&whole["state"], &half["state"]),
        (&"finished".into(), &"running".into())
    );
    assert_eq!((&whole["step"], &half["step"]), (&24.into(), &12.into()));
    assert_eq!(
        (&whole["steps"], &whole["tokens"]),
        (&24.into(), &(24 * 128).into())
    );
    assert_eq!(half["validation"]["step"], 12);
    assert!(half["eta_secs"].as_f64() > Some(0.0), "{half}");

    let data = job.path("data");
    let refused = run(bin("pretrain").arg("watch").arg(&dirs[0]).arg(&data));
    assert_ne!(refused.code, Some(0));
    let expected = format!("{} is no run", data.display());
    assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
}

#[test]
fn watch_prints_once_where_there_is_no_terminal() {
    let (_job, dirs) = two_runs();
    let mut watch = bin("pretrain");
    watch.arg("watch").args(&dirs).stdout(Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let start = Instant::now();
    while watch.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            watch.kill().unwrap();
            panic!("still there, although a run that has not finished is shown to no terminal");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let table = watch.wait_with_output().unwrap().stdout;
    let table = String::from_utf8(table).unwrap();
    assert_eq!(table.matches("24/24").count(), 1, "{table}");
    assert!(!table.contains('\x1b'), "{table}");
}
