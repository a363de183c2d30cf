//! What happens around a tokenizing job: networks that fail, disks that fill up, processes that get in each other's way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use tests::{
    BadServer, TokenizeJob, assert_same_bytes, bin, corpus, dir_bytes, fixture, run, run_ok,
};

/// `tokenize nemotron` of the miniature corpus, from any location.
fn nemotron(job: &TokenizeJob, input: &str, out: &Path) -> Command {
    let mut command = bin("tokenize");
    command.args([
        "nemotron",
        "--split",
        "hq_actual",
        "--max-bad",
        "1",
        "--input",
        input,
    ]);
    command
        .arg("--tokenizer")
        .arg(job.tokenizer())
        .arg("--out")
        .arg(out);
    command
}

#[test]
fn a_network_that_fails_changes_nothing() {
    let job = TokenizeJob::new();
    let input = fixture("sources/nemotron");
    let mut files = dir_bytes(&input);
    files.retain(|path, _| path.contains("/data-jsonl/"));
    let list: Vec<String> = files.keys().cloned().collect();
    let mut gzip = Command::new("gzip");
    let plain = job.path("paths");
    fs::write(&plain, list.join("\n")).unwrap();
    run_ok(gzip.arg(&plain));
    let list = fs::read(job.path("paths.gz")).unwrap();
    files.insert(
        "contrib/Nemotron/Nemotron-CC/data-jsonl.paths.gz".to_owned(),
        list,
    );
    let server = BadServer::start(files);
    run_ok(&mut nemotron(&job, server.address(), &job.path("remote")));
    assert!(server.faults() >= 3, "{} faults", server.faults());
    run_ok(&mut nemotron(
        &job,
        input.to_str().unwrap(),
        &job.path("local"),
    ));
    // all but what names the inputs' hashes
    let shards = |out: &str| -> BTreeMap<String, String> {
        let dir = job.path(out).join("nemotron-hq_actual");
        let documents = tests::documents(&dir);
        documents
            .into_iter()
            .map(|(id, document)| (id, format!("{document:?}")))
            .collect()
    };
    assert_eq!(shards("remote"), shards("local"));
    assert!(!shards("local").is_empty());
}

#[test]
fn processes_that_share_an_output_do_no_harm() {
    let job = TokenizeJob::new();
    let tokenize = |out: &Path, worker: &str| {
        let mut command = job.command_for(&corpus(), out);
        command.args(["--shard-mib", "1", "--worker", worker]);
        command
    };
    run_ok(&mut tokenize(&job.path("alone"), "0/1"));
    // workers of one job, one of them twice, and one that believes to be alone
    let out = job.path("shared");
    let mut children: Vec<_> = ["0/2", "1/2", "1/2", "0/1"]
        .map(|worker| tokenize(&out, worker).spawn().unwrap())
        .into();
    for child in &mut children {
        child.wait().unwrap();
    }
    // whatever became of each, another run ends what is left
    run_ok(&mut tokenize(&out, "0/1"));
    let (mut shared, alone) = (dir_bytes(&out), dir_bytes(&job.path("alone")));
    shared.retain(|path, _| !path.contains(".lock") && !path.starts_with("workers/"));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    let visible: BTreeMap<_, _> = alone
        .into_iter()
        .filter(|(path, _)| !path.contains(".lock"))
        .collect();
    assert_eq!(names(&shared), names(&visible));
    assert!(shared == visible, "the bytes differ");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_the_job_and_more_room_lets_it_end() {
    let job = TokenizeJob::new();
    // a limit on the size of files is what a process can be given without privileges; the system answers as a full disk does
    let script = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";
    let whole = job.path("whole");
    let command = job.command_for(&corpus(), &whole);
    run_ok(&mut job.command_for(&corpus(), &whole));
    let out = job.path("out");
    let mut limited = Command::new("bash");
    limited.arg("-c").arg(script).arg(command.get_program());
    limited.args(job.command_for(&corpus(), &out).get_args());
    let failed = run(&mut limited);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("cannot write"), "{}", failed.stderr);
    assert!(!out.join("manifest.json").exists());
    run_ok(&mut job.command_for(&corpus(), &out));
    assert_same_bytes(&out, &whole);
}
