//! Watching made-up runs while they grow.

use std::fs;
use std::time::{Duration, SystemTime};

use super::*;
use crate::metrics::Record;
use crate::report::tests::records;

/// Lines of a run of 600 steps whose first record comes first and which is validated each 50 steps.
fn lines(name: &str) -> Vec<String> {
    let records = records(name);
    let line = |record: &Record| record.to_line().unwrap();
    records.iter().map(line).collect()
}

/// A run's folder with these bytes as its metrics.
fn run(metrics: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.toml"), "").unwrap();
    fs::write(dir.path().join("metrics.jsonl"), metrics).unwrap();
    dir
}

fn open(dirs: &[&tempfile::TempDir]) -> Watch {
    let dirs: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
    Watch::open(&dirs).unwrap()
}

fn look(watch: &mut Watch) -> Vec<Standing> {
    watch.look(SystemTime::now()).unwrap()
}

fn close(a: Option<f64>, b: f64) -> bool {
    a.is_some_and(|a| (a - b).abs() < 1e-6 * b.abs())
}

#[test]
fn a_run_is_followed_line_by_line() {
    let lines = lines("followed");
    let dir = run("");
    let path = dir.path().join("metrics.jsonl");
    fs::remove_file(&path).unwrap();
    let mut watch = open(&[&dir]);
    let nothing = look(&mut watch).remove(0);
    assert_eq!((nothing.state, nothing.steps), (State::Starting, None));

    // each look sees the whole lines, also of a file that ends within one
    let text = lines.concat();
    for bytes in [10, 900, 901, 40_000, text.len() - 1, text.len()] {
        fs::write(&path, &text[..bytes]).unwrap();
        let whole = text[..bytes]
            .rsplit_once('\n')
            .map_or("", |(whole, _)| whole);
        let steps = whole.matches("\"kind\":\"train\"").count();
        let standing = look(&mut watch).remove(0);
        let found = (standing.step as usize, standing.losses.len());
        assert_eq!(found, (steps, steps), "{bytes} bytes");
    }
    let done = look(&mut watch).remove(0);
    assert_eq!(
        (done.state, done.step, done.steps),
        (State::Finished, 600, Some(600))
    );
    assert_eq!(done.tokens, 600 * 8192);
    assert_eq!(done.eta_secs, Some(0.0));
}

#[test]
fn averages_are_over_the_last_fifty_records() {
    let records = &records("r")[..=300];
    let text: String = records
        .iter()
        .map(|record| record.to_line().unwrap())
        .collect();
    let dir = run(&text);
    let standing = look(&mut open(&[&dir])).remove(0);
    let train: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Train(train) => Some(train),
            _ => None,
        })
        .collect();
    let last = &train[train.len() - 50..];
    let loss = last.iter().map(|record| record.loss).sum::<f64>() / 50.0;
    assert!(
        close(standing.train_loss, loss),
        "{:?}, {loss}",
        standing.train_loss
    );
    assert!(close(standing.tokens_per_sec, 8192.0 / 0.41));
    let step = train.len() as f64;
    assert_eq!(standing.step as f64, step);
    // five validations of 1.5 s so far
    let eta = (600.0 - step) * (0.41 + 5.0 * 1.5 / step);
    assert!(
        close(standing.eta_secs, eta),
        "{:?}, {eta}",
        standing.eta_secs
    );
    let validation = standing.validation.unwrap();
    assert_eq!(validation.step, 250);
    let acoustic = [5.6, 5.9, 6.0, 6.2, 6.3, 6.35, 6.4];
    let excess = validation.text.unwrap() / 3.1;
    let mean = acoustic.iter().sum::<f64>() / 7.0 * excess;
    assert!(close(validation.acoustic, mean) && close(validation.semantic, 5.2 * excess));
}

#[test]
fn a_run_that_was_resumed_from_a_checkpoint_is_read_anew() {
    let lines = lines("r");
    let dir = run(&lines[..101].concat());
    let path = dir.path().join("metrics.jsonl");
    let mut watch = open(&[&dir]);
    let before = look(&mut watch).remove(0).step;
    // shorter, and then as long as before with other numbers
    fs::write(&path, lines[..61].concat()).unwrap();
    let rewound = look(&mut watch).remove(0);
    assert!(rewound.step < before && rewound.losses.len() as u64 == rewound.step);
    let anew = lines[..101]
        .concat()
        .replace("\"secs\":0.41", "\"secs\":0.82");
    fs::write(&path, &anew).unwrap();
    let standing = look(&mut watch).remove(0);
    assert_eq!(
        (standing.step, standing.losses.len() as u64),
        (before, before)
    );
    assert!(
        close(standing.tokens_per_sec, 8192.0 / 0.82),
        "{standing:?}"
    );
}

#[test]
fn a_run_silent_for_long_is_marked() {
    let dir = run(&lines("r")[..101].concat());
    let mut watch = open(&[&dir]);
    let now = SystemTime::now();
    let state = |watch: &mut Watch, secs| {
        let later = now + Duration::from_secs(secs);
        let standings = watch.look(later).unwrap();
        (standings[0].state, table(&standings, 200).contains('!'))
    };
    assert_eq!(state(&mut watch, 30), (State::Running, false));
    assert_eq!(state(&mut watch, 100), (State::Silent, true));
    // a validation of 1.5 s and steps of 0.41 s are no reason to wait longer, steps of 20 s are
    let slow = lines("r")[..101]
        .concat()
        .replace("\"secs\":0.41", "\"secs\":20.0");
    let dir = run(&slow);
    assert_eq!(state(&mut open(&[&dir]), 100), (State::Running, false));
}

#[test]
fn the_table_fits_its_width_and_marks_the_best() {
    let worse = lines("worse")
        .concat()
        .replace("\"loss\":5.", "\"loss\":6.");
    let (better, worse) = (run(&lines("better").concat()), run(&worse));
    let standings = look(&mut open(&[&better, &worse]));
    let wide = table(&standings, 200);
    for head in [
        "run", "step", "train", "val", "sem", "lr", "tok/s", "MFU", "ETA", "age", "loss",
    ] {
        assert!(
            wide.lines().next().unwrap().contains(head),
            "{head}: {wide}"
        );
    }
    let row = |name: &str| wide.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(
        row("better").contains("5.781*") && row("worse").contains("6.781 "),
        "{wide}"
    );
    assert!(
        row("better").contains("600/600") && row("better").contains("done"),
        "{wide}"
    );
    assert!(
        row("better").ends_with('▁') && row("better").contains('█'),
        "{wide}"
    );
    for width in [40, 60, 80, 100, 120] {
        let table = table(&standings, width);
        let longest = table.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(width), "{width}:\n{table}");
        assert!(table.contains("step"), "{width}:\n{table}");
    }
    let narrow = table(&standings, 80);
    assert!(narrow.contains("ETA") && narrow.contains('█'), "{narrow}");
}

#[test]
fn runs_of_one_name_are_told_apart_by_their_folders() {
    let (a, b) = (run(&lines("same").concat()), run(&lines("same").concat()));
    let table = table(&look(&mut open(&[&a, &b])), 200);
    for dir in [a, b] {
        let name = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(table.contains(&name), "{name}: {table}");
    }
}

#[test]
fn folders_that_are_no_runs_are_named() {
    let (dir, empty) = (run(""), tempfile::tempdir().unwrap());
    let missing = empty.path().join("missing");
    let dirs = [dir.path(), empty.path(), &missing].map(PathBuf::from);
    let message = Watch::open(&dirs).err().unwrap().to_string();
    let (empty, missing) = (empty.path().display(), missing.display());
    assert!(
        message.starts_with(&format!("{empty}, {missing} are no runs: ")),
        "{message}"
    );
}

#[test]
fn a_line_that_is_no_record_is_named() {
    let dir = run(&(lines("r")[..3].concat() + "{}\n"));
    let error = open(&[&dir])
        .look(SystemTime::now())
        .unwrap_err()
        .to_string();
    assert!(error.contains("metrics.jsonl, line 4: "), "{error}");
}
