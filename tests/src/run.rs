//! Running the binaries.

use std::path::PathBuf;
use std::process::Command;

/// What a program printed and how it ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// The exit code; `None` if a signal ended the program.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The binary of that name beside the running test, which `scripts/test.sh` has built.
pub fn bin(name: &str) -> Command {
    Command::new(bin_path(name))
}

fn bin_path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    // …/release/deps/this_test-1234 -> …/release/NAME
    let profile = test
        .ancestors()
        .nth(2)
        .expect("tests lie in a target folder");
    let path = profile
        .join(name)
        .with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        path.is_file(),
        "{} is missing; run the tests with scripts/test.sh, which builds the programs first",
        path.display()
    );
    path
}

/// Runs to the end. A panic of the program, or a death by signal, fails the test: no input may cause one.
pub fn run(command: &mut Command) -> Run {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let run = Run {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    };
    assert!(
        run.code.is_some(),
        "{command:?} died: {}\n{}",
        output.status,
        run.stderr
    );
    assert!(
        !run.stderr.contains("panicked"),
        "{command:?} panicked:\n{}",
        run.stderr
    );
    run
}

/// Runs to the end and panics, showing what was printed, unless the exit code is 0. Gives standard output.
pub fn run_ok(command: &mut Command) -> String {
    let run = run(command);
    assert_eq!(
        run.code,
        Some(0),
        "{command:?} failed:\n{}{}",
        run.stdout,
        run.stderr
    );
    run.stdout
}
