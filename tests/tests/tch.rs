//! Training with LibTorch: its losses are those of the processor's own backend, and either goes on from what the other wrote.
//! Built with the feature `tch`, as the programs must be: `scripts/check_tch.sh`.
#![cfg(feature = "tch")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tests::{TrainJob, dir_bytes, kill_at_random, metrics, run_ok};

/// Runs of one job by each backend.
struct Runs {
    job: TrainJob,
    cpu: PathBuf,
    tch: PathBuf,
}

impl Runs {
    fn new() -> Self {
        let job = TrainJob::new();
        let [cpu, tch] = ["cpu", "tch"].map(|backend| {
            let out = job.path(backend);
            run_ok(job.train(&out).args(["--backend", backend]));
            out
        });
        Self { job, cpu, tch }
    }

    /// A run as it was when it had its checkpoint of step 12, gone on with by another backend.
    fn continued(&self, run: &Path, backend: &str) -> PathBuf {
        let out = self.job.path(&format!("continued-by-{backend}"));
        for (name, bytes) in dir_bytes(run) {
            let path = out.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        for step in [16, 20, 24] {
            fs::remove_dir_all(out.join(format!("checkpoints/step-{step}"))).unwrap();
        }
        run_ok(self.job.resume(&out).args(["--backend", backend]));
        out
    }
}

/// Losses of training and validation by step, and norms of gradients.
fn numbers(run: &Path) -> Vec<(u64, [Option<f64>; 2])> {
    let lines = metrics(run);
    let with_loss = lines.iter().filter(|line| line.get("loss").is_some());
    let numbers = with_loss.map(|line| {
        let number = |key: &str| line.get(key).and_then(|x| x.as_f64());
        let found = [number("loss"), number("grad_norm")];
        (line["step"].as_u64().unwrap(), found)
    });
    numbers.collect()
}

/// The same steps, and numbers that differ by roundings of f32 as they add up over 24 steps.
fn assert_near(found: &Path, wanted: &Path) {
    let [found, wanted] = [found, wanted].map(numbers);
    // 24 steps, and validations at the start and each 6.
    assert_eq!([found.len(), wanted.len()], [24 + 5; 2]);
    for ((step, found), (other, wanted)) in found.into_iter().zip(wanted) {
        assert_eq!(step, other);
        for (found, wanted, tolerance) in [(found[0], wanted[0], 1e-4), (found[1], wanted[1], 1e-3)]
        {
            assert_eq!(found.is_some(), wanted.is_some(), "step {step}");
            let (Some(found), Some(wanted)) = (found, wanted) else {
                continue;
            };
            let error = ((found - wanted) / wanted).abs();
            assert!(error <= tolerance, "step {step}: {found}, not {wanted}");
        }
    }
}

#[test]
fn losses_are_the_processors_whoever_goes_on() {
    let runs = Runs::new();
    assert_near(&runs.tch, &runs.cpu);
    assert_near(&runs.continued(&runs.cpu, "tch"), &runs.cpu);
    assert_near(&runs.continued(&runs.tch, "cpu"), &runs.cpu);
}

#[test]
fn kills_leave_no_trace() {
    let job = TrainJob::new();
    let train = |out: &Path| {
        let mut command = job.resume(out);
        command.args(["--backend", "tch"]);
        command
    };
    let undisturbed = job.path("undisturbed");
    let start = Instant::now();
    run_ok(&mut train(&undisturbed));
    let duration = start.elapsed();
    let out = job.path("killed");
    let ended = kill_at_random(|| train(&out), duration, 5, 0, || {});
    assert!(ended.killed > 0, "{ended:?}");
    run_ok(&mut train(&out));
    assert_near(&out, &undisturbed);
}
