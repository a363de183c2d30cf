//! Killing a tokenizing job at any moment costs only the shard being written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime};

use tests::{TokenizeJob, assert_same_bytes, bin, corpus, fixture, kill_at_random, run_ok};

/// Kills in all, over as many jobs as it takes.
const KILLS: usize = 24;
/// Copies of the bundled corpus in the input, of about four units each.
const COPIES: usize = 3;

/// Copies of the bundled corpus with one recording in each that cannot be decoded.
fn fill(input: &Path) {
    for copy in 0..COPIES {
        for lang in ["de", "en", "es", "fr"] {
            let folder = input.join(format!("copy-{copy}")).join(lang);
            fs::create_dir_all(&folder).unwrap();
            for file in fs::read_dir(corpus().join(lang)).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), folder.join(file.file_name())).unwrap();
            }
        }
        fs::write(input.join(format!("copy-{copy}/bad.wav")), "no audio").unwrap();
    }
}

/// When the shard of each finished unit in `out` was written, by name.
fn shards_written(out: &Path) -> BTreeMap<String, SystemTime> {
    let mut written = BTreeMap::new();
    for entry in fs::read_dir(out.join("units")).into_iter().flatten() {
        let record = entry.unwrap().file_name().into_string().unwrap();
        if let Some(name) = record.strip_suffix(".json") {
            let shard = out.join(name).with_extension("parquet");
            written.insert(
                name.to_owned(),
                fs::metadata(shard).unwrap().modified().unwrap(),
            );
        }
    }
    written
}

#[test]
fn any_number_of_kills_leaves_the_bytes_of_an_undisturbed_run() {
    let job = TokenizeJob::new();
    fill(&job.input());
    let tokenize = |out: &Path| {
        let mut command = job.command_for(&job.input(), out);
        command.args(["--shard-mib", "1", "--max-bad", "0.1"]);
        command
    };
    let undisturbed = job.path("undisturbed");
    let start = Instant::now();
    run_ok(&mut tokenize(&undisturbed));
    let duration = start.elapsed();
    let shards = shards_written(&undisturbed).len();
    assert!(shards >= 10, "{shards} shards test too little");

    let (mut kills, mut jobs, mut kept) = (0, 0, 0);
    while kills < KILLS {
        let out = job.path(&format!("killed-{jobs}"));
        let mut finished = BTreeMap::new();
        let ended = kill_at_random(
            || tokenize(&out),
            duration,
            KILLS,
            jobs,
            || {
                let now = shards_written(&out);
                for (name, time) in &finished {
                    assert_eq!(
                        now.get(name),
                        Some(time),
                        "{name} was finished and is written again"
                    );
                }
                kept += now.len();
                finished = now;
            },
        );
        run_ok(&mut tokenize(&out));
        assert_same_bytes(&out, &undisturbed);
        (kills, jobs) = (kills + ended.killed, jobs + 1);
    }
    assert!(kept > 0, "no kill came after the first shard");
    println!(
        "{kills} kills of {jobs} jobs of {shards} shards, {duration:?} undisturbed; {kept} shards outlived a kill"
    );
}

/// Sources of every kind in turn, from the miniature corpora: each is killed ten times, and has other threads than the
/// undisturbed run.
#[test]
fn sources_of_archives_and_tables_survive_kills_too() {
    let job = TokenizeJob::new();
    let files = ["tasks.jsonl", "speech-0.jsonl.gz", "speech-1.jsonl.zst"];
    let instructions = [&["instructions"], &files[..], &["--name", "tasks"]].concat();
    let sources: [(&str, &[&str]); 5] = [
        ("yodas", &["yodas", "--langs", "en,es"]),
        (
            "emilia",
            &["emilia", "--langs", "EN,DE", "--split", "Emilia"],
        ),
        ("mls", &["mls"]),
        ("nemotron", &["nemotron", "--split", "hq_actual"]),
        ("instructions", &instructions),
    ];
    for (seed, (name, arguments)) in sources.into_iter().enumerate() {
        let tokenize = |out: &Path, threads: &str| {
            let mut command = bin("tokenize");
            command.args(arguments).args(["--max-bad", "1"]);
            command.args(["--threads", threads]);
            let input = fixture("sources").join(name);
            match name {
                // its files are given one by one
                "instructions" => command.current_dir(input),
                _ => command.arg("--input").arg(input),
            };
            command
                .arg("--tokenizer")
                .arg(job.tokenizer())
                .arg("--out")
                .arg(out);
            if name != "nemotron" {
                command.args(["--codec", "mel-rvq"]);
            }
            command
        };
        let undisturbed = job.path(&format!("{name}-undisturbed"));
        let start = Instant::now();
        run_ok(&mut tokenize(&undisturbed, "1"));
        let duration = start.elapsed();
        let (mut kills, mut jobs) = (0, 0);
        while kills < 10 {
            let out = job.path(&format!("{name}-{jobs}"));
            let seed = (1000 * seed + jobs) as u64;
            let ended = kill_at_random(|| tokenize(&out, "3"), duration, 10, seed, || {});
            run_ok(&mut tokenize(&out, "3"));
            assert_same_bytes(&out, &undisturbed);
            (kills, jobs) = (kills + ended.killed, jobs + 1);
        }
    }
}
