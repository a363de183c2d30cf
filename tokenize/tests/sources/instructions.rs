//! Lines of instructions with their responses.

use std::fs;
use std::path::Path;

use shards::Dataset;

use crate::common::{CODEC, check_commands, command, fixtures, make_tokenizer, run};

#[test]
fn parts_are_segments_of_two_speakers() {
    let speech = ["speech-0.jsonl.gz", "speech-1.jsonl.zst"];
    let commands = [
        [&["instructions", "tasks.jsonl"], &CODEC[..]].concat(),
        [
            &["instructions"],
            &speech[..],
            &["--name", "speech"],
            &CODEC,
        ]
        .concat(),
    ];
    check_commands("instructions", ".", &[&commands[0], &commands[1]]);
}

#[test]
fn lines_before_the_damage_are_kept() {
    const LINES: u64 = 40_000;
    let temp = tempfile::tempdir().unwrap();
    let (tokenizer, out) = (temp.path().join("tokenizer"), temp.path().join("out"));
    make_tokenizer(&tokenizer);
    // numbers that do not compress well
    let line = |number: u64| {
        let number = number * 7919;
        format!("{{\"instruction\":\"{number}?\",\"response\":\"{number}!\"}}\n")
    };
    let text: String = (0..LINES).map(line).collect();
    let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let cut = &packed[..packed.len() * 2 / 3];
    fs::write(temp.path().join("cut.jsonl.zst"), cut).unwrap();
    let command = [&["instructions", "cut.jsonl.zst"], &CODEC[..]].concat();
    run(&command, temp.path(), &tokenizer, &out);
    let dataset = Dataset::open(&out.join("cut")).unwrap();
    let kept = dataset.shards()[0].summary.documents;
    assert!(kept > LINES / 4 && kept < LINES, "{kept}");
    let truncated = [("truncated".to_owned(), 1)];
    assert_eq!(dataset.manifest().skipped, truncated.into());
}

/// What the program says when it refuses these files, which lie in a folder of two of one name and one that is empty.
fn refusal(files: &[&str]) -> String {
    let temp = tempfile::tempdir().unwrap();
    let (input, tokenizer) = (temp.path().join("input"), temp.path().join("tokenizer"));
    make_tokenizer(&tokenizer);
    let tasks = fixtures().join("instructions/speech-0.jsonl.gz");
    for folder in ["a", "b"] {
        fs::create_dir_all(input.join(folder)).unwrap();
        fs::copy(&tasks, input.join(folder).join("tasks.jsonl.gz")).unwrap();
    }
    fs::write(input.join("empty.jsonl"), "\n \n").unwrap();
    let args = [&["instructions"], files, &CODEC].concat();
    let output = command(&args, &input, &tokenizer, Path::new("out"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_cannot_be_a_dataset_is_refused() {
    for (files, expected) in [
        (&["empty.jsonl"][..], ["empty.jsonl", "no lines"]),
        (
            &["a/tasks.jsonl.gz", "b/tasks.jsonl.gz"],
            ["b/tasks.jsonl.gz", "rename one"],
        ),
        (
            &["a/tasks.jsonl.gz", "empty.jsonl"],
            ["a/tasks.jsonl.gz", "--name"],
        ),
        (&["missing.jsonl"], ["missing.jsonl", "check the path"]),
        (
            &["s3://bucket/tasks.jsonl"],
            ["s3://bucket/tasks.jsonl", "copy the file"],
        ),
    ] {
        let message = refusal(files);
        assert!(
            expected.iter().all(|text| message.contains(text)),
            "{files:?}: {message}"
        );
    }
}
