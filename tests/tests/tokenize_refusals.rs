//! Jobs that must not start: the message names what is in the way and how to get on, and nothing is touched.

use std::fs;
use std::process::Command;

use tests::{Pcm, TokenizeJob, bin, dir_bytes, repo_root, run, run_ok, tone, write_wav};

fn job_with_recording() -> TokenizeJob {
    let job = TokenizeJob::new();
    write_wav(
        &job.input().join("a.wav"),
        &tone(0.5, 16_000),
        16_000,
        1,
        Pcm::Bits(16),
    );
    job
}

/// The command must fail with a message that has all `parts`.
fn assert_refused(command: &mut Command, parts: &[&str]) {
    let refused = run(command);
    assert_eq!(
        refused.code,
        Some(1),
        "{}{}",
        refused.stdout,
        refused.stderr
    );
    for part in parts {
        assert!(
            refused.stderr.contains(part),
            "no {part:?} in: {}",
            refused.stderr
        );
    }
}

#[test]
fn a_backend_that_is_not_built() {
    let job = job_with_recording();
    for backend in ["cuda", "tch"] {
        assert_refused(
            job.command().args(["--backend", backend]),
            &["built without it", "--features", "--backend cpu"],
        );
        assert_refused(
            bin("pretrain").args(["quickstart", "--backend", backend]),
            &["built without it", "--features", "--backend cpu"],
        );
    }
    assert!(!job.out().join("manifest.json").exists());
    run_ok(job.command().args(["--backend", "auto"]));
}

#[test]
fn two_recordings_of_one_id() {
    let job = job_with_recording();
    fs::copy(
        tests::corpus().join("en/en-0-1.flac"),
        job.input().join("a.flac"),
    )
    .unwrap();
    assert_refused(
        &mut job.command(),
        &["\"a\"", "a.flac", "a.wav", "rename or remove one"],
    );
}

#[test]
fn two_rows_of_one_recording() {
    let job = job_with_recording();
    let manifest = job.input().join("rows.jsonl");
    fs::write(&manifest, "{\"path\": \"a.wav\"}\n{\"path\": \"a.wav\"}\n").unwrap();
    let mut command = job.command();
    command.arg("--manifest").arg(&manifest);
    assert_refused(
        &mut command,
        &[
            "rows.jsonl, row 2",
            "\"a.wav\" is already in row 1",
            "remove one",
        ],
    );
}

#[test]
fn a_manifest_with_an_error() {
    let job = job_with_recording();
    let manifest = job.input().join("rows.jsonl");
    for (rows, parts) in [
        (
            "{\"path\": \"a.wav\"\n",
            ["rows.jsonl, row 1", "rows.jsonl"],
        ),
        (
            "{\"path\": \"b.wav\"}\n",
            ["rows.jsonl, row 1", "correct it or remove the row"],
        ),
        (
            "{\"path\": \"../other/b.wav\"}\n",
            ["rows.jsonl, row 1", "move the file or the manifest"],
        ),
        (
            "{\"path\": \"a.wav\", \"txt\": \"typo\"}\n",
            ["rows.jsonl, row 1", "txt"],
        ),
    ] {
        fs::write(&manifest, rows).unwrap();
        assert_refused(job.command().arg("--manifest").arg(&manifest), &parts);
    }
    fs::remove_file(&manifest).unwrap();
    assert_refused(
        job.command().arg("--manifest").arg(&manifest),
        &["rows.jsonl"],
    );
}

#[test]
fn a_missing_transcript_where_all_are_required() {
    let job = job_with_recording();
    let parts = [
        "1 of 1 recordings have no transcript",
        "a.wav",
        "drop --require-text",
    ];
    assert_refused(job.command().arg("--require-text"), &parts);
}

#[test]
fn no_recordings() {
    let job = TokenizeJob::new();
    assert_refused(
        &mut job.command(),
        &["no audio found in", "input", "*.flac"],
    );
    fs::remove_dir(job.input()).unwrap();
    assert_refused(&mut job.command(), &["input"]);
}

#[test]
fn an_output_folder_with_other_data() {
    let job = job_with_recording();
    fs::create_dir(job.out()).unwrap();
    fs::write(job.out().join("thesis.tex"), "years of work").unwrap();
    let before = dir_bytes(&job.out());
    assert_refused(
        &mut job.command(),
        &["thesis.tex", "choose a new or empty folder"],
    );
    assert_eq!(dir_bytes(&job.out()), before);
}

#[test]
fn the_output_folder_of_another_job() {
    let job = job_with_recording();
    run_ok(&mut job.command());
    let before = dir_bytes(&job.out());
    let parts = [
        "holds another job",
        "repeat that job's arguments",
        "choose a new folder",
    ];
    assert_refused(job.command().args(["--lang", "de"]), &parts);
    write_wav(
        &job.input().join("b.wav"),
        &tone(0.5, 16_000),
        16_000,
        1,
        Pcm::Bits(16),
    );
    assert_refused(&mut job.command(), &parts);
    assert_eq!(dir_bytes(&job.out()), before);
}

#[test]
fn an_output_that_is_a_file() {
    let job = job_with_recording();
    fs::write(job.out(), "a file").unwrap();
    assert_refused(&mut job.command(), &["out"]);
    assert_eq!(fs::read(job.out()).unwrap(), b"a file");
}

#[test]
fn a_missing_tokenizer() {
    let job = job_with_recording();
    fs::remove_dir_all(job.tokenizer()).unwrap();
    assert_refused(&mut job.command(), &["tokenizer", "tokenize vocab"]);
    assert!(!job.out().exists());
}

#[test]
fn a_tokenizer_for_fewer_codebooks() {
    let job = job_with_recording();
    let base = repo_root().join("tokenize/assets/tokenizer.json");
    let mut vocab = bin("tokenize");
    vocab
        .arg("vocab")
        .arg("--base")
        .arg(base)
        .args(["--codebooks", "4", "--out"])
        .arg(job.path("four"));
    run_ok(&mut vocab);
    let mut command = bin("tokenize");
    command
        .arg("folder")
        .arg(job.input())
        .arg("--out")
        .arg(job.out())
        .args(["--codec", "mel-rvq"]);
    command.arg("--tokenizer").arg(job.path("four"));
    assert_refused(
        &mut command,
        &["8 codebooks", "4 of 2048", "tokenize vocab --codebooks 8"],
    );
}

/// `tokenize folder` with the codec in the file `codec.safetensors`.
fn with_codec_file(job: &TokenizeJob) -> Command {
    let mut command = bin("tokenize");
    command
        .arg("folder")
        .arg(job.input())
        .arg("--out")
        .arg(job.out());
    command
        .arg("--codec")
        .arg(job.path("codec.safetensors"))
        .arg("--tokenizer")
        .arg(job.tokenizer());
    command
}

#[test]
fn a_damaged_codec_file() {
    let job = job_with_recording();
    let path = job.path("codec.safetensors");
    assert_refused(&mut with_codec_file(&job), &["codec.safetensors"]);
    let good =
        fs::read(repo_root().join("tokenize/encodec-rs/assets/mel-rvq.safetensors")).unwrap();
    // safetensors: length of the header, header, tensors; the first of these are scales in f32
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let mut no_number = good.clone();
    no_number[header..header + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut long_header = good.clone();
    long_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for damaged in [
        b"".to_vec(),
        b"not a codec".to_vec(),
        good[..good.len() / 2].to_vec(),
        no_number,
        long_header,
    ] {
        fs::write(&path, damaged).unwrap();
        assert_refused(&mut with_codec_file(&job), &["codec.safetensors"]);
        assert!(!job.out().exists());
    }
    fs::write(&path, good).unwrap();
    run_ok(&mut with_codec_file(&job));
}

#[test]
fn an_unknown_codec() {
    let job = job_with_recording();
    let mut command = bin("tokenize");
    command
        .arg("folder")
        .arg(job.input())
        .arg("--out")
        .arg(job.out())
        .args(["--codec", "mp9"]);
    command.arg("--tokenizer").arg(job.tokenizer());
    assert_refused(&mut command, &["mp9", "mel-rvq"]);
}

#[test]
fn a_dataset_that_is_unfinished_or_damaged() {
    let job = job_with_recording();
    run_ok(&mut job.command());
    let stats = || {
        let mut command = bin("tokenize");
        command.arg("stats").arg(job.out());
        command
    };
    run_ok(&mut stats());
    fs::remove_file(job.out().join("manifest.json")).unwrap();
    assert_refused(
        &mut stats(),
        &[
            "has no manifest.json",
            "run the same `tokenize` command again",
        ],
    );
    run_ok(&mut job.command());
    let shard = job.out().join("part-00000.parquet");
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[..bytes.len() / 2]).unwrap();
    assert_refused(&mut stats(), &["part-00000.parquet", "tokenize"]);
    // told to run again, which redoes the shard
    fs::remove_file(&shard).unwrap();
    run_ok(&mut job.command());
    assert_eq!(fs::read(&shard).unwrap(), bytes);
}
