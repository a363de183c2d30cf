//! Running the program.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program.
pub fn tokenize() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tokenize"))
}

/// A path in this crate's folder.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs to the end and gives standard output; panics with what was printed unless the exit code is 0.
pub fn run_ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs to the end and gives standard error; panics unless the program fails in its own words.
pub fn run_refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{command:?}:\n{stderr}");
    assert!(!stderr.contains("panicked"), "{command:?}:\n{stderr}");
    stderr
}

/// `tokenize vocab` with the bundled tokenizer.
pub fn make_vocab(out: &Path, codebooks: usize, codebook_size: usize) {
    let mut vocab = tokenize();
    vocab
        .arg("vocab")
        .arg("--base")
        .arg(here("assets/tokenizer.json"));
    vocab.args([
        "--codebooks",
        &codebooks.to_string(),
        "--codebook-size",
        &codebook_size.to_string(),
    ]);
    run_ok(vocab.arg("--out").arg(out));
}

/// `tokenize folder` of `input` into `temp/NAME` with `temp/vocab`.
pub fn folder(temp: &Path, input: &Path, codec: &Path, name: &str) -> Command {
    let mut folder = tokenize();
    folder.arg("folder").arg(input).arg("--codec").arg(codec);
    folder.arg("--tokenizer").arg(temp.join("vocab"));
    folder.arg("--out").arg(temp.join(name));
    folder
}
