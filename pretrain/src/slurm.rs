//! An array job of Slurm, a task for each of several command lines of the trainer.
//!
//! What the script relies on is the trainer's own: `--resume` goes on from the last checkpoint, and a run that is asked to
//! stop saves its state and ends with status 75.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Seconds before a task's time limit at which it is told to save its state.
const NOTICE_SECS: u32 = 300;

/// Writes `NAME.sbatch`, an array of tasks, into a folder, which is made; returns its path.
///
/// # Errors
/// I/O errors.
pub fn write_array(folder: &Path, name: &str, commands: &[Vec<String>]) -> Result<PathBuf> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let path = folder.join(format!("{name}.sbatch"));
    let script = array_script(name, commands);
    shards::write_atomic(&path, script.as_bytes()).map_err(Error::io("write", &path))?;
    Ok(path)
}

/// A path as it is called from any folder; a location in an object store as it is.
///
/// # Errors
/// I/O errors.
pub fn absolute_location(location: &str) -> Result<String> {
    if location.contains("://") {
        return Ok(location.into());
    }
    let path = std::path::absolute(location).map_err(Error::io("find", Path::new(location)))?;
    Ok(path.display().to_string())
}

/// The script of an array of tasks. Task `i` runs `commands[i]`, a program and its arguments.
///
/// A task that ends with status 75 before its work is done goes back into the queue, as does one whose node fails. Paths in
/// commands must be the same on all nodes.
pub fn array_script(name: &str, commands: &[Vec<String>]) -> String {
    let last = commands.len().saturating_sub(1);
    let mut tasks = String::new();
    for (number, command) in commands.iter().enumerate() {
        let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
        writeln!(tasks, "{number}) command=({}) ;;", words.join(" ")).expect("a string grows");
    }
    format!(
        r##"#!/usr/bin/env bash
#
# A Slurm array job: every task trains one run.
#
#   sbatch THIS_FILE
#   sbatch --array=3 --partition=gpu --gres=gpu:1 --mem=64G THIS_FILE      options given to sbatch replace those here
#
# Submit it again to go on: what is finished is not done again.
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#
# The log stays whole when a task starts again:
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#
# Slurm itself starts a task again after preemption and the failure of a node. Some minutes before the time limit it tells
# this script, which has the run saved and asks for the same.
#SBATCH --requeue
#SBATCH --signal=B:USR1@{NOTICE_SECS}

set -uo pipefail

case ${{SLURM_ARRAY_TASK_ID:-}} in
{tasks}*)
    echo "error: there is no task ${{SLURM_ARRAY_TASK_ID:-}}; submit this with sbatch, and --array within 0-{last}" >&2
    exit 2
    ;;
esac

task=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
say() {{
    echo "$(date +%FT%T) task $task: $*" >&2
}}

say "start $((${{SLURM_RESTART_COUNT:-0}} + 1)) on $(uname -n): ${{command[*]}}"
"${{command[@]}}" &
child=$!
told=
stop() {{
    told=$1
    kill -TERM "$child" 2>/dev/null
}}
trap 'stop limit' USR1
trap 'stop asked' TERM INT

# a signal to this script ends `wait` before the program ends
while
    wait "$child"
    code=$?
    kill -0 "$child" 2>/dev/null
do
    continue
done

if [[ $code -eq 75 && $told != asked ]]; then
    say "saved; it goes back into the queue and continues where it stopped"
    scontrol requeue "$task"
    exit
fi
# a task that was cancelled stays so; one that was preempted Slurm itself starts again
say "ended with status $code"
exit "$code"
"##
    )
}

/// A word as the shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| word.to_string()).collect()
    }

    /// Runs a task of the script where `scontrol` says that it was called; status and output.
    fn run_task(script: &str, task: Option<&str>) -> (Option<i32>, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("array.sbatch");
        fs::write(&path, script).unwrap();
        let mut bash = Command::new("bash");
        bash.args([
            "-c",
            "scontrol() { echo \"scontrol $*\"; }; export -f scontrol; exec bash \"$0\"",
        ])
        .arg(&path)
        .env_remove("SLURM_ARRAY_TASK_ID")
        .env("SLURM_ARRAY_JOB_ID", "7");
        bash.envs(task.map(|task| ("SLURM_ARRAY_TASK_ID", task)));
        let output = bash.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    #[test]
    fn each_task_runs_its_command_word_for_word() {
        let odd = ["a b", "", "$HOME", "it's", "`x`", "two\nlines", "*"];
        let mut second = words(&["printf", "<%s>"]);
        second.extend(words(&odd));
        let script = array_script("study", &[words(&["echo", "first"]), second]);
        assert!(script.contains("#SBATCH --array=0-1\n#"), "{script}");
        let (status, text) = run_task(&script, Some("0"));
        assert!(status == Some(0) && text.contains("first\n"), "{text}");
        let (_, text) = run_task(&script, Some("1"));
        let expected: String = odd.iter().map(|word| format!("<{word}>")).collect();
        assert!(text.contains(&expected), "{text}");
    }

    #[test]
    fn a_saved_run_goes_back_into_the_queue_and_a_failed_one_does_not() {
        let exit = |status: &str| array_script("x", &[words(&["bash", "-c", status])]);
        let (status, text) = run_task(&exit("exit 75"), Some("0"));
        assert_eq!(status, Some(0));
        assert!(text.contains("scontrol requeue 7_0"), "{text}");
        let (status, text) = run_task(&exit("exit 3"), Some("0"));
        assert_eq!(status, Some(3));
        assert!(!text.contains("scontrol"), "{text}");
    }

    #[test]
    fn near_its_limit_a_task_saves_and_cancelled_it_stays_so() {
        // the command signals the script, its parent, and ends with 75 when it is told to
        let told = |signal: &str| {
            let program =
                format!("trap 'exit 75' TERM; kill -{signal} $PPID; while :; do sleep 0.01; done");
            array_script("x", &[words(&["bash", "-c", &program])])
        };
        let (status, text) = run_task(&told("USR1"), Some("0"));
        assert!(
            status == Some(0) && text.contains("scontrol requeue 7_0"),
            "{text}"
        );
        let (status, text) = run_task(&told("TERM"), Some("0"));
        assert!(status == Some(75) && !text.contains("scontrol"), "{text}");
    }

    #[test]
    fn a_task_that_there_is_not_is_refused() {
        let script = array_script("x", &[words(&["true"])]);
        for task in [None, Some("1")] {
            let (status, text) = run_task(&script, task);
            assert!(
                status == Some(2) && text.contains("there is no task"),
                "{text}"
            );
        }
    }
}
