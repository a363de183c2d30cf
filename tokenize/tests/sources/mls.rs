//! Utterances of recordings that lie over several files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::{CODEC, check_in_two, command, fixtures, make_tokenizer, run};

fn mls() -> Vec<&'static str> {
    [&["mls"][..], &CODEC].concat()
}

#[test]
fn consecutive_utterances_are_a_document() {
    check_in_two("mls", ".", &mls(), "mls-en-utterances");
}

/// All files of both datasets but those that tell of workers.
fn files(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dataset in ["mls-en-utterances", "mls-en"] {
        for folder in ["", "units", "skipped"] {
            let Ok(entries) = fs::read_dir(out.join(dataset).join(folder)) else {
                continue;
            };
            for entry in entries.map(Result::unwrap).filter(|e| e.path().is_file()) {
                let name = format!("{dataset}/{folder}/{}", entry.file_name().display());
                if !name.contains("/.lock") {
                    files.insert(name, fs::read(entry.path()).unwrap());
                }
            }
        }
    }
    files
}

#[test]
fn killed_runs_are_continued_to_the_same_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let (tokenizer, input) = (temp.path().join("tokenizer"), fixtures().join("mls"));
    make_tokenizer(&tokenizer);
    let (whole, killed) = (temp.path().join("whole"), temp.path().join("killed"));
    run(&mls(), &input, &tokenizer, &whole);
    for round in 0..10 {
        let mut child = command(&mls(), &input, &tokenizer, &killed)
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + 30 * round));
        let _ = child.kill();
        child.wait().unwrap();
    }
    run(&mls(), &input, &tokenizer, &killed);
    let (whole, killed) = (files(&whole), files(&killed));
    assert_eq!(
        whole.keys().collect::<Vec<_>>(),
        killed.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &whole {
        assert!(*bytes == killed[name], "{name} differs");
    }
}

#[test]
fn the_second_stage_waits_for_other_workers() {
    let temp = tempfile::tempdir().unwrap();
    let (tokenizer, input) = (temp.path().join("tokenizer"), fixtures().join("mls"));
    make_tokenizer(&tokenizer);
    let worker = |worker: &'static str, out: &Path| {
        let args = [mls(), vec!["--worker", worker]].concat();
        run(&args, &input, &tokenizer, out)
    };
    let (shared, alone) = (temp.path().join("shared"), temp.path().join("alone"));
    let told = worker("0/2", &shared);
    assert!(told.contains("run again"), "{told}");
    assert!(!shared.join("mls-en").exists());
    worker("1/2", &shared);
    worker("0/2", &shared);
    run(&mls(), &input, &tokenizer, &alone);
    assert_eq!(files(&shared), files(&alone));
}

#[test]
fn a_dry_run_says_of_what_the_filters_sample_is() {
    let temp = tempfile::tempdir().unwrap();
    let (tokenizer, input) = (temp.path().join("tokenizer"), fixtures().join("mls"));
    make_tokenizer(&tokenizer);
    let plan = |filters: &[&'static str]| {
        let args = [mls(), vec!["--dry-run"], filters.to_vec()].concat();
        run(&args, &input, &tokenizer, &temp.path().join("out"))
    };
    let told = plan(&["--min-secs", "0.5"]);
    assert!(told.contains("sampled from mls-en-utterances"), "{told}");
    let told = plan(&[]);
    assert!(
        !told.contains("sampled") && told.contains("put together in mls-en"),
        "{told}"
    );
}
