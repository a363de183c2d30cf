//! `isoflop sweep --run`: studies of tiny models on the bundled corpus, disturbed in every way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use tests::{TrainJob, bin, kill_at_random, metrics, run, run_ok};

/// A grid of four runs, of 50 to 170 steps each.
const GRID: [&str; 26] = [
    "--budget",
    "2e9",
    "--budget",
    "4e9",
    "--hidden",
    "16..32",
    "--step",
    "16",
    "--head-dim",
    "16",
    "--seq-len",
    "64",
    "--aimed-steps",
    "64",
    "--min-batch",
    "1",
    "--lr-constant",
    "0.1",
    "--max-lr",
    "0.03",
    "--mix",
    "quickstart",
    "--set",
    "precision=f32",
    "--set",
    "checkpoint.every_steps=20",
];
const RUNS: [&str; 4] = ["2e9-h16", "2e9-h32", "4e9-h16", "4e9-h32"];

/// The study, into `out`; without `--run`.
fn study(job: &TrainJob, out: &Path) -> Command {
    let mut command = bin("isoflop");
    command.arg("sweep").args(GRID);
    command.arg("--data").arg(job.data()).arg("--out").arg(out);
    command
}

fn running(job: &TrainJob, out: &Path) -> Command {
    let mut command = study(job, out);
    command.arg("--run");
    command
}

fn index(dir: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join("index.json")).unwrap()).unwrap()
}

/// The metrics of each run of a study, without what depends on the clock.
fn all_metrics(dir: &Path) -> BTreeMap<&'static str, Vec<Value>> {
    let each = RUNS.map(|name| (name, metrics(&dir.join("runs").join(name))));
    each.into()
}

fn refused(command: &mut Command, expected: &str) {
    let run = run(command);
    assert!(matches!(run.code, Some(1 | 2)), "{:?}", run.code);
    assert!(
        run.stderr.contains(expected),
        "no {expected:?} in {}",
        run.stderr
    );
}

#[test]
fn a_study_killed_again_and_again_ends_as_an_undisturbed_one() {
    let job = TrainJob::new();
    let undisturbed = job.path("undisturbed");
    let start = Instant::now();
    let table = run_ok(&mut running(&job, &undisturbed));
    let duration = start.elapsed();
    let index = index(&undisturbed);
    let runs = index["runs"].as_array().unwrap();
    assert_eq!(runs.len(), RUNS.len());
    for (run, name) in runs.iter().zip(RUNS) {
        assert_eq!(run["name"], name);
        // what is fitted is measured after the last step
        let last = metrics(&undisturbed.join(run["run"].as_str().unwrap()));
        let last = last.into_iter().rfind(|line| line["kind"] == "validation");
        let last = last.unwrap();
        assert_eq!(last["step"], run["steps"]);
        assert_eq!(last["tokens"], run["tokens"]);
        let row = table.lines().find(|line| line.contains(name)).unwrap();
        let loss = format!("{:.4}", last["loss"].as_f64().unwrap());
        assert!(row.contains(&loss), "no {loss} in {row}");
    }

    let killed = job.path("killed");
    let kills = kill_at_random(|| running(&job, &killed), duration, 12, 0, || {});
    run_ok(&mut running(&job, &killed));
    assert!(kills.killed > 0, "{kills:?}");
    assert_eq!(all_metrics(&killed), all_metrics(&undisturbed));
    assert_eq!(self::index(&killed), index);
}

#[test]
fn a_stopped_study_goes_on_and_a_finished_one_is_not_run_again() {
    let job = TrainJob::new();
    let (stopped, whole) = (job.path("stopped"), job.path("whole"));
    let mut child = running(&job, &stopped)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // at work in the second run
    let second = stopped.join("runs").join(RUNS[1]).join("metrics.jsonl");
    while !fs::metadata(&second).is_ok_and(|file| file.len() > 0) {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    run_ok(
        Command::new("kill")
            .arg("-TERM")
            .arg(child.id().to_string()),
    );
    assert_eq!(child.wait().unwrap().code(), Some(75));
    assert!(!stopped.join("runs").join(RUNS[2]).exists());

    run_ok(&mut running(&job, &stopped));
    run_ok(&mut running(&job, &whole));
    assert_eq!(all_metrics(&stopped), all_metrics(&whole));

    let written = |name: &str| {
        let path = whole.join("runs").join(name).join("metrics.jsonl");
        fs::metadata(path).unwrap().modified().unwrap()
    };
    let before = RUNS.map(written);
    let text = run_ok(running(&job, &whole).arg("--json"));
    assert_eq!(RUNS.map(written), before);
    let outcomes: Value = serde_json::from_str(&text).unwrap();
    assert!(
        outcomes
            .as_array()
            .unwrap()
            .iter()
            .all(|run| run["state"] == "finished")
    );
}

#[test]
fn one_run_of_an_array_and_a_plan_by_itself_are_the_same() {
    let job = TrainJob::new();
    let (whole, alone) = (job.path("whole"), job.path("alone"));
    run_ok(&mut running(&job, &whole));
    run_ok(running(&job, &alone).args(["--only", RUNS[1]]));
    let run_of = |dir: &Path| dir.join("runs").join(RUNS[1]);
    assert_eq!(metrics(&run_of(&alone)), metrics(&run_of(&whole)));
    assert_eq!(fs::read_dir(alone.join("runs")).unwrap().count(), 1);

    let by_hand = job.path("by-hand");
    let mut pretrain = bin("pretrain");
    pretrain.arg(alone.join("plans").join(format!("{}.toml", RUNS[1])));
    run_ok(
        pretrain
            .arg("--data")
            .arg(job.data())
            .arg("--out")
            .arg(&by_hand),
    );
    assert_eq!(metrics(&by_hand), metrics(&run_of(&whole)));
    refused(running(&job, &alone).args(["--only", "9"]), "from 0 to 3");
}

#[test]
fn a_run_that_fails_is_told_and_the_others_go_on() {
    let job = TrainJob::new();
    let out = job.path("study");
    // not a run's folder
    let thesis = out.join("runs").join(RUNS[1]).join("thesis.tex");
    fs::create_dir_all(thesis.parent().unwrap()).unwrap();
    fs::write(thesis, "").unwrap();
    let failed = run(running(&job, &out).arg("--json"));
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("1 of 4 runs failed"),
        "{}",
        failed.stderr
    );
    let outcomes: Value = serde_json::from_str(&failed.stdout).unwrap();
    let states = [0, 1, 2, 3].map(|number| outcomes[number]["state"].as_str().unwrap());
    assert_eq!(states, ["finished", "failed", "finished", "finished"]);

    let diverging = job.path("diverging");
    let mut diverges = running(&job, &diverging);
    diverges.args(["--set", "optimizer.lr=1e30", "--only", RUNS[0]]);
    refused(&mut diverges, "1 of 1 runs failed");
    assert!(
        diverging
            .join("runs")
            .join(RUNS[0])
            .join("diverged")
            .exists()
    );
    refused(&mut diverges, "diverged before; to try again, remove");
}

#[test]
fn a_study_that_cannot_be_is_refused_before_anything_is_written() {
    let job = TrainJob::new();
    let out = job.path("study");
    let with = |args: &[&str]| {
        let mut command = running(&job, &out);
        command.args(args);
        command
    };
    refused(
        &mut with(&["--vocab", "4096"]),
        "has 17412 rows; leave --vocab out",
    );
    refused(
        &mut with(&["--set", "optimizer.beta=1"]),
        "unknown key `beta`",
    );
    refused(
        &mut with(&["--set", "schedule.warmup=3.5"]),
        "schedule.warmup is 3.5",
    );
    refused(&mut with(&["--only", "1e9-h16"]), "no run `1e9-h16`");
    refused(&mut with(&["--budget", "1e30"]), "budget 1e30");
    refused(&mut with(&["--slurm"]), "cannot be used with");
    let mut nowhere = bin("isoflop");
    nowhere.arg("sweep").args(GRID).arg("--run");
    refused(&mut nowhere, "--out");
    let data = job.path("nowhere");
    refused(
        nowhere.arg("--out").arg(&out).arg("--data").arg(data),
        "quickstart",
    );
    assert!(!out.exists());

    run_ok(study(&job, &out).arg("--slurm"));
    let before = fs::read(out.join("index.json")).unwrap();
    refused(&mut with(&["--set", "seed=1"]), "holds another study");
    refused(
        &mut with(&["--convention", "training"]),
        "holds another study",
    );
    assert_eq!(fs::read(out.join("index.json")).unwrap(), before);
}

#[test]
fn a_task_of_the_array_trains_its_run() {
    let job = TrainJob::new();
    let (out, whole) = (job.path("my study"), job.path("whole"));
    let said = run_ok(study(&job, &out).arg("--slurm"));
    let script = out.join("isoflop.sbatch");
    assert_eq!(said, format!("4 tasks: sbatch {}\n", script.display()));
    run_ok(Command::new("bash").arg("-n").arg(&script));
    let mut task = Command::new("bash");
    task.arg(&script).current_dir("/");
    task.env("SLURM_ARRAY_JOB_ID", "1")
        .env("SLURM_ARRAY_TASK_ID", "2");
    run_ok(&mut task);
    run_ok(running(&job, &whole).args(["--only", "2"]));
    let run_of = |dir: &Path| dir.join("runs").join(RUNS[2]);
    assert_eq!(metrics(&run_of(&out)), metrics(&run_of(&whole)));
}

#[test]
fn the_variants_of_an_experiment_are_an_array_too() {
    let job = TrainJob::new();
    let out = job.path("runs");
    let mut command = bin("pretrain");
    command.args([
        "exp1.4", "--size", "150m", "--all", "--slurm", "--set", "steps=7",
    ]);
    command.arg("--data").arg(job.data()).arg("--out").arg(&out);
    let said = run_ok(&mut command);
    let script = out.join("exp1.4.sbatch");
    assert_eq!(said, format!("14 tasks: sbatch {}\n", script.display()));
    run_ok(Command::new("bash").arg("-n").arg(&script));
    let text = fs::read_to_string(&script).unwrap();
    let last = text
        .lines()
        .find(|line| line.starts_with("13) command=("))
        .unwrap();
    for expected in [
        "exp1.4 --variant 150m-text100 ",
        "--set steps=7 ",
        "--backend auto --resume) ;;",
    ] {
        assert!(last.contains(expected), "no {expected:?} in {last}");
    }
    refused(bin("pretrain").args(["exp1.4", "--slurm"]), "--all");
    refused(
        bin("pretrain")
            .args(["exp1.3", "--all", "--slurm"])
            .arg("--out")
            .arg(&out),
        "goes on from",
    );
}
