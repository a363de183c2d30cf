//! Several processes train as one does, under a real `mpirun`. Built with the feature `mpi`, as the programs must be:
//! `scripts/test_mpi.sh`.
#![cfg(feature = "mpi")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tests::{TrainJob, assert_same_bytes, metrics, run_ok};

/// A batch that one to four processes share equally, and 50 steps.
const SETTINGS: [&str; 6] = [
    "batch_size=12",
    "steps=50",
    "validate_every=10",
    "checkpoint.every_steps=10",
    "log_every=1",
    "optimizer.lr=5e-4",
];

struct Job {
    train: TrainJob,
    settings: Vec<String>,
}

impl Job {
    fn new(more: &[&str]) -> Self {
        let settings = SETTINGS.iter().chain(more);
        Self {
            train: TrainJob::new(),
            settings: settings.map(|set| set.to_string()).collect(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.train.path(name)
    }

    /// The run in `out`, or what is left of it, on so many processes.
    fn on(&self, ranks: usize, out: &Path) -> Command {
        let mut program = self.train.plain(out);
        program.arg("--resume");
        program.args(self.settings.iter().flat_map(|set| ["--set", set]));
        mpirun(ranks, &program)
    }

    fn run(&self, ranks: usize, name: &str) -> PathBuf {
        let out = self.path(name);
        run_ok(&mut self.on(ranks, &out));
        out
    }
}

fn mpirun(ranks: usize, program: &Command) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "-np", &ranks.to_string()]);
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1");
    command.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.arg(program.get_program()).args(program.get_args());
    command
}

fn numbers(run: &Path) -> Vec<(Value, Value, f64)> {
    let lines = metrics(run).into_iter();
    let with_loss = lines.filter_map(|line| {
        Some((
            line["kind"].clone(),
            line["step"].clone(),
            line.get("loss")?.as_f64()?,
        ))
    });
    with_loss.collect()
}

#[track_caller]
fn assert_near(found: &Path, wanted: &Path, tolerance: f64) {
    let [found, wanted] = [found, wanted].map(numbers);
    // 50 steps, and validations at the start and each 10.
    assert_eq!([found.len(), wanted.len()], [50 + 6; 2]);
    for ((kind, step, found), (_, other, wanted)) in found.into_iter().zip(wanted) {
        assert_eq!(step, other);
        let error = (found / wanted - 1.0).abs();
        assert!(error <= tolerance, "{kind} {step}: {found}, not {wanted}");
    }
}

#[test]
fn the_trajectory_is_the_same_for_every_number_of_processes() {
    // Sums of other orders differ in their last digits. A cautious update makes more of that: it multiplies its steps by the
    // inverse of the share that agrees, which is small for an embedding of which a batch has few rows.
    for (settings, tolerance) in [
        (
            ["optimizer.cautious=true", "model.tie_word_embeddings=true"],
            1e-5,
        ),
        (
            [
                "optimizer.cautious=false",
                "model.tie_word_embeddings=false",
            ],
            1e-6,
        ),
    ] {
        let job = Job::new(&settings);
        let one = job.run(1, "one");
        for ranks in 2..=4 {
            let run = job.run(ranks, &format!("of-{ranks}"));
            assert_near(&run, &one, tolerance);
        }
        let again = job.run(3, "again");
        assert_eq!(metrics(&again), metrics(&job.path("of-3")));
        for step in [10, 50] {
            let checkpoint = format!("checkpoints/step-{step}");
            assert_same_bytes(
                &again.join(&checkpoint),
                &job.path("of-3").join(&checkpoint),
            );
        }
    }
}

#[test]
fn a_run_goes_on_with_any_number_of_processes() {
    let job = Job::new(&[
        "optimizer.muon.lr=0.002",
        "ema_decay=0.9",
        "optimizer.cautious=false",
    ]);
    let one = job.run(1, "one");
    let out = job.run(4, "moved");
    let names: Vec<_> = files(&one.join("checkpoints/step-50"));
    assert_eq!(files(&out.join("checkpoints/step-50")), names);
    for (ranks, left) in [(2, 20), (3, 40)] {
        for step in (left + 10..=50).step_by(10) {
            fs::remove_dir_all(out.join(format!("checkpoints/step-{step}"))).unwrap();
        }
        run_ok(&mut job.on(ranks, &out));
    }
    assert_near(&out, &one, 1e-5);
}

fn files(folder: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                entry.metadata().unwrap().len(),
            )
        })
        .filter(|(name, _)| name != "state.json")
        .collect();
    files.sort();
    files
}

#[test]
fn a_rank_that_is_killed_at_any_moment_leaves_no_trace() {
    const KILLS: usize = 20;
    let job = Job::new(&["steps=24", "checkpoint.every_steps=4"]);
    let start = Instant::now();
    let undisturbed = job.run(2, "undisturbed");
    let duration = start.elapsed();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let (mut killed, mut runs) = (0, 0);
    while killed < KILLS {
        let out = job.path(&format!("killed-{runs}"));
        while killed < KILLS {
            let started = SystemTime::now();
            let mut child = start_quietly(&mut job.on(2, &out));
            // Not before the processes have joined: Open MPI's own start does not always survive that.
            let config = out.join("config.toml");
            let begun = || fs::metadata(&config).is_ok_and(|it| it.modified().unwrap() >= started);
            while !begun() && child.try_wait().unwrap().is_none() {
                thread::sleep(Duration::from_millis(2));
            }
            thread::sleep(duration.mul_f64(rng.random::<f64>()));
            let ranks = ranks_of(&child);
            let was_killed = ranks
                .get(rng.random_range(0..2))
                .is_some_and(|&rank| signal("KILL", rank));
            let output = finish(child_within(&mut child, 60), child);
            if output.status.success() {
                break;
            }
            assert!(was_killed, "{}", String::from_utf8_lossy(&output.stderr));
            killed += 1;
        }
        run_ok(&mut job.on(2, &out));
        assert_eq!(metrics(&out), metrics(&undisturbed), "{}", out.display());
        let last = "checkpoints/step-24";
        assert_same_bytes(&out.join(last), &undisturbed.join(last));
        runs += 1;
    }
    println!("{killed} kills of {runs} runs, {duration:?} undisturbed");
}

fn start_quietly(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Processes that mpirun has started, in their order.
fn ranks_of(mpirun: &Child) -> Vec<u32> {
    let path = format!("/proc/{0}/task/{0}/children", mpirun.id());
    let children = fs::read_to_string(path).unwrap_or_default();
    let mut ranks: Vec<u32> = children
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    ranks.sort_unstable();
    ranks
}

fn signal(name: &str, process: u32) -> bool {
    let mut kill = Command::new("kill");
    let sent = kill
        .args([&format!("-{name}"), &process.to_string()])
        .output();
    sent.unwrap().status.success()
}

/// Whether it ends within so many seconds.
fn child_within(child: &mut Child, secs: u64) -> bool {
    let end = Instant::now() + Duration::from_secs(secs);
    while Instant::now() < end {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

fn finish(in_time: bool, mut child: Child) -> Output {
    if !in_time {
        let _ = child.kill();
    }
    let output = child.wait_with_output().unwrap();
    assert!(in_time, "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Trains without end on three processes, and sends one of them a signal; what was said in the minute that the job then has.
fn with_lost_rank(name: &str, rank: usize) -> (Output, Duration) {
    let job = Job::new(&["steps=1000000", "validate_every=1000000"]);
    let out = job.path("run");
    let mut child = start_quietly(&mut job.on(3, &out));
    let metrics = out.join("metrics.jsonl");
    let end = Instant::now() + Duration::from_secs(60);
    let trains = || fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() > 12);
    while !trains() && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(signal(name, ranks_of(&child)[rank]));
    let start = Instant::now();
    let in_time = child_within(&mut child, 60);
    let took = start.elapsed();
    (finish(in_time, child), took)
}

#[test]
fn a_rank_that_hangs_or_dies_ends_the_job_within_a_minute_and_is_named() {
    for (name, rank) in [("STOP", 2), ("STOP", 0), ("KILL", 1)] {
        let (output, took) = with_lost_rank(name, rank);
        assert!(!output.status.success() && took < Duration::from_secs(60));
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = format!("rank {rank} is silent since");
        let line = stderr.lines().find(|line| line.contains(&said));
        let line = line.unwrap_or_else(|| panic!("{name}: no {said:?} in {stderr}"));
        assert!(
            line.contains("the last step it finished is") && line.contains("--resume"),
            "{line}"
        );
    }
}

#[test]
fn bytes_sent_are_those_of_the_formula() {
    let job = Job::new(&["steps=3"]);
    for ranks in [2, 4] {
        let run = job.run(ranks, &format!("of-{ranks}"));
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let (mut parameters, mut counted) = (0, 0);
        for line in lines {
            parameters = line["parameters"].as_u64().unwrap_or(parameters);
            // The first record has the parameters' way to all processes, too.
            if line["kind"] == "train" && line["step"] != 1 {
                let found = &line["time"]["ranks"];
                assert_eq!(found["ranks"], ranks);
                // Gradients to those who update, parameters back; all sizes here are multiples of four.
                let wanted = 2 * 4 * parameters * (ranks as u64 - 1) / ranks as u64;
                assert_eq!(found["sent_bytes"], wanted);
                counted += 1;
            }
        }
        assert_eq!(counted, 2);
        let logs = files(&run.join("logs"));
        assert_eq!(logs.len(), ranks);
    }
}

#[test]
fn processes_that_do_not_fit_together_are_refused() {
    let job = Job::new(&[]);
    let refused = |command: &mut Command, texts: &[&str]| {
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{stderr}");
        for text in texts {
            assert!(stderr.contains(text), "no {text:?} in {stderr}");
        }
        let said = stderr.lines().filter(|line| line.starts_with("pretrain:"));
        assert_eq!(said.count(), 1, "{stderr}");
    };
    let out = job.path("five");
    let wanted = [
        "5 processes cannot share batches of 12",
        "1, 2, 3, 4, 6, 12",
    ];
    refused(&mut job.on(5, &out), &wanted);
    assert!(!out.exists());

    let out = job.path("different");
    let program = job.on(2, &out);
    // The second process gets another rate.
    let words: Vec<_> = program.get_args().skip(3).collect();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        r#"[ "$OMPI_COMM_WORLD_RANK" = 0 ] || set -- "$@" --set optimizer.lr=0.1; exec "$@""#,
        "sh",
    ]);
    shell.args(words);
    let wanted = ["rank 1", "`lr = 0.1` instead of `lr = 0.0005`"];
    refused(&mut mpirun(2, &shell), &wanted);
    assert!(!out.exists());
}
