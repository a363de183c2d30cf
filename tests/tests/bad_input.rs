//! Recordings and transcripts that cannot be used: each is listed with its reason and a way out, and by default one of
//! two is too many.

use std::fs::{self, File, Permissions};
use std::path::{Path, PathBuf};

use tests::{Pcm, TokenizeJob, corpus, repo_root, run, run_ok, tone, write_wav};

/// A job of one good recording, to which a test adds a bad one.
fn job_with_one_good() -> TokenizeJob {
    let job = TokenizeJob::new();
    write_wav(
        &job.input().join("good.wav"),
        &tone(0.5, 16_000),
        16_000,
        1,
        Pcm::Bits(16),
    );
    fs::write(job.input().join("good.txt"), "good").unwrap();
    job
}

/// The job must fail, list the file with that reason and a message that says `finding` and what to do, and then finish
/// without the file when told to.
fn assert_left_out(job: &TokenizeJob, file: &str, reason: &str, finding: &str, cure: &str) {
    let strict = run(&mut job.command());
    assert_eq!(strict.code, Some(1), "{}{}", strict.stdout, strict.stderr);
    for part in [
        "1 of 2 utterances are bad",
        &format!("1 {reason}"),
        "skipped.jsonl",
        "--max-bad",
    ] {
        assert!(
            strict.stderr.contains(part),
            "no {part:?} in: {}",
            strict.stderr
        );
    }
    assert!(
        !job.out().join("manifest.json").exists(),
        "a failed job must not look finished"
    );
    assert_listed(job, file, reason, finding, cure);

    run_ok(job.command().args(["--max-bad", "1"]));
    assert_listed(job, file, reason, finding, cure);
    assert_eq!(job.documents().into_keys().collect::<Vec<_>>(), ["good"]);
    let dataset = shards::Dataset::open(&job.out()).unwrap();
    let skipped: Vec<_> = dataset
        .manifest()
        .skipped
        .iter()
        .map(|(reason, &n)| (reason.as_str(), n))
        .collect();
    assert_eq!(skipped, [(reason, 1)]);
}

fn assert_listed(job: &TokenizeJob, file: &str, reason: &str, finding: &str, cure: &str) {
    let listed = job.skipped();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["reason"], reason, "{listed:?}");
    let message = listed[0]["message"].as_str().unwrap();
    for part in [file, finding, cure] {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

/// Copies a recording, changed by `damage`, to `bad.EXTENSION`.
fn damaged(job: &TokenizeJob, source: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = fs::read(source).unwrap();
    damage(&mut bytes);
    let name = Path::new("bad").with_extension(source.extension().unwrap());
    fs::write(job.input().join(&name), bytes).unwrap();
    name.to_string_lossy().into_owned()
}

/// One MP3 whose header gives its length, as most do, and one without.
fn mp3s() -> [PathBuf; 2] {
    [
        repo_root().join("tokenize/audio/fixtures/tone.mp3"),
        corpus().join("en/en-4-0.mp3"),
    ]
}

fn cut_in_half(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}

/// Inverts every bit of a twentieth of the file, from its middle on.
fn invert_middle(bytes: &mut [u8]) {
    let (middle, length) = (bytes.len() / 2, bytes.len() / 20);
    bytes[middle..middle + length]
        .iter_mut()
        .for_each(|byte| *byte = !*byte);
}

#[test]
fn truncated_flac() {
    let job = job_with_one_good();
    let file = damaged(&job, &corpus().join("en/en-0-1.flac"), cut_in_half);
    assert_left_out(
        &job,
        &file,
        "truncated",
        "truncated",
        "fetch the file again or leave it out",
    );
}

#[test]
fn truncated_mp3() {
    for mp3 in mp3s() {
        let job = job_with_one_good();
        let file = damaged(&job, &mp3, cut_in_half);
        assert_left_out(
            &job,
            &file,
            "truncated",
            "truncated",
            "fetch the file again or leave it out",
        );
    }
}

#[test]
fn truncated_wav() {
    let job = job_with_one_good();
    let file = damaged(&job, &corpus().join("en/en-0-0.wav"), cut_in_half);
    assert_left_out(
        &job,
        &file,
        "truncated",
        "truncated",
        "fetch the file again or leave it out",
    );
}

#[test]
fn corrupt_flac() {
    let job = job_with_one_good();
    let file = damaged(&job, &corpus().join("en/en-0-1.flac"), |bytes| {
        invert_middle(bytes)
    });
    assert_left_out(
        &job,
        &file,
        "corrupt",
        "missing or fails its checksum",
        "fetch the file again or leave it out",
    );
}

#[test]
fn a_single_flipped_bit_in_flac() {
    let job = job_with_one_good();
    let file = damaged(&job, &corpus().join("en/en-0-1.flac"), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    assert_left_out(
        &job,
        &file,
        "corrupt",
        "missing or fails its checksum",
        "fetch the file again or leave it out",
    );
}

#[test]
fn corrupt_mp3() {
    for mp3 in mp3s() {
        let job = job_with_one_good();
        let file = damaged(&job, &mp3, |bytes| invert_middle(bytes));
        assert_left_out(
            &job,
            &file,
            "corrupt",
            "corrupt audio",
            "fetch the file again or leave it out",
        );
    }
}

#[test]
fn zero_length_files() {
    for name in ["bad.wav", "bad.flac", "bad.mp3", "bad.ogg", "bad.m4a"] {
        let job = job_with_one_good();
        File::create(job.input().join(name)).unwrap();
        assert_left_out(&job, name, "empty", "no audio samples", "leave it out");
    }
}

#[test]
fn zero_samples() {
    let job = job_with_one_good();
    write_wav(&job.input().join("bad.wav"), &[], 16_000, 1, Pcm::Bits(16));
    assert_left_out(&job, "bad.wav", "empty", "no audio samples", "leave it out");
}

#[test]
fn not_a_number() {
    let job = job_with_one_good();
    let mut samples = tone(0.5, 16_000);
    samples[4_321] = f32::NAN;
    write_wav(
        &job.input().join("bad.wav"),
        &samples,
        16_000,
        1,
        Pcm::Float,
    );
    assert_left_out(
        &job,
        "bad.wav",
        "nan",
        "sample 4321 is NaN",
        "rewrite the file with finite samples",
    );
}

#[test]
fn a_rate_of_one_hertz() {
    let job = job_with_one_good();
    write_wav(
        &job.input().join("bad.wav"),
        &tone(0.5, 16_000),
        1,
        1,
        Pcm::Bits(16),
    );
    assert_left_out(
        &job,
        "bad.wav",
        "rate",
        "sample rate 1 Hz",
        "convert the file",
    );
}

#[test]
fn text_named_wav() {
    let job = job_with_one_good();
    fs::write(
        job.input().join("bad.wav"),
        "Good morning, the kitchen is warm.\n".repeat(100),
    )
    .unwrap();
    assert_left_out(
        &job,
        "bad.wav",
        "not-audio",
        "not audio",
        "convert it to wav",
    );
}

#[cfg(unix)]
#[test]
fn no_permission_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let job = job_with_one_good();
    let path = job.input().join("bad.wav");
    write_wav(&path, &tone(0.5, 16_000), 16_000, 1, Pcm::Bits(16));
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    let run = run(&mut unprivileged(&job, &path));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_listed(
        &job,
        "bad.wav",
        "io",
        "ermission denied",
        "give yourself read permission",
    );
}

/// The job's command; as another user if this one may read `path` without read permission, as root may.
#[cfg(unix)]
fn unprivileged(job: &TokenizeJob, path: &Path) -> std::process::Command {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    const NOBODY: u32 = 65534;
    let command = job.command();
    if File::open(path).is_err() {
        return command;
    }
    let program = job.path("tokenize");
    fs::copy(command.get_program(), &program).unwrap();
    fs::set_permissions(job.path(""), Permissions::from_mode(0o777)).unwrap();
    let mut other = std::process::Command::new(program);
    other.args(command.get_args()).uid(NOBODY).gid(NOBODY);
    other
}

/// Adds a good recording whose transcript has these bytes.
fn transcribed(job: &TokenizeJob, transcript: &[u8]) {
    write_wav(
        &job.input().join("bad.wav"),
        &tone(0.5, 16_000),
        16_000,
        1,
        Pcm::Bits(16),
    );
    fs::write(job.input().join("bad.txt"), transcript).unwrap();
}

#[test]
fn a_transcript_that_is_not_utf8() {
    let job = job_with_one_good();
    transcribed(&job, b"caf\xe9");
    assert_left_out(
        &job,
        "bad.txt",
        "not-utf8",
        "not UTF-8 at byte 3",
        "save the transcript as UTF-8",
    );
}

#[test]
fn an_empty_transcript() {
    for content in ["", " \n\t\n", "\u{feff}\n"] {
        let job = job_with_one_good();
        transcribed(&job, content.as_bytes());
        assert_left_out(
            &job,
            "bad.txt",
            "empty-transcript",
            "transcript is empty",
            "write the transcript, or remove it",
        );
    }
}
