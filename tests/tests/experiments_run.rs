//! Every experiment, and every mixture, trains: each a few steps at a tiny size, on miniature datasets.
//!
//! What there is to run is asked of the catalogs, so that an experiment or a mixture that is new is run too, or fails here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use experiments::{Experiment, Start, Variant};
use mixes::Mixture;
use pretrain::metrics::Record;
use tests::{Datasets, bin, fixture, run_ok};

const STEPS: u64 = 3;

/// What makes a run small, and records each step. All else is the experiment's: mixture, optimizer, schedule, precision.
const SMALL: [&str; 4] = ["steps=3", "seq_len=256", "batch_size=2", "log_every=1"];

const TINY_MODEL: [&str; 6] = [
    "model.hidden_size=32",
    "model.intermediate_size=64",
    "model.num_hidden_layers=1",
    "model.num_attention_heads=2",
    "model.num_key_value_heads=1",
    "model.head_dim=16",
];

/// The shape of `fixtures/convert/base`.
const BASE_MODEL: [&str; 6] = [
    "model.hidden_size=16",
    "model.intermediate_size=24",
    "model.num_hidden_layers=2",
    "model.num_attention_heads=4",
    "model.num_key_value_heads=2",
    "model.head_dim=8",
];

/// A run of `pretrain`, `anneal` or `finetune`.
struct Job {
    /// What it is called here.
    name: String,
    program: &'static str,
    /// Steps behind the checkpoint that is annealed.
    first_step: u64,
    arguments: Vec<String>,
    mix: String,
    data: PathBuf,
}

impl Job {
    fn new(name: &str, experiment: &str, variant: Option<&str>, mix: &str, data: &Path) -> Self {
        let mut arguments = vec![experiment.to_owned()];
        if let Some(variant) = variant {
            arguments.extend(["--variant", variant].map(str::to_owned));
        }
        Job {
            name: name.to_owned(),
            program: "pretrain",
            first_step: 0,
            arguments,
            mix: mix.to_owned(),
            data: data.to_owned(),
        }
    }

    /// The same run from a checkpoint.
    fn from(mut self, start: &Start, checkpoint: &Path) -> Self {
        self.program = start.program();
        if let Start::Anneal { .. } = start {
            self.first_step = STEPS;
        }
        let checkpoint = checkpoint.display().to_string();
        self.arguments.extend(["--from".to_owned(), checkpoint]);
        self
    }

    fn set(mut self, keys: &[&str]) -> Self {
        let set = keys.iter().flat_map(|key| ["--set", key]);
        self.arguments.extend(set.map(str::to_owned));
        self
    }

    fn command(&self, out: &Path) -> Command {
        let mut command = bin(self.program);
        command.args(&self.arguments);
        command.args(SMALL.iter().flat_map(|set| ["--set", set]));
        // the machine's peak is not measured, and so takes no time
        command.args(["--peak-flops", "1e12"]);
        command.arg("--data").arg(&self.data).arg("--out").arg(out);
        command
    }

    /// Runs it in `out`, and looks at what it left there.
    fn check(&self, out: &Path) {
        run_ok(&mut self.command(out));
        let name = &self.name;
        let mixture = Mixture::open(&self.mix).unwrap();
        let expected = mixture.components.iter();
        let expected: Vec<_> = expected.map(|c| (c.name.as_str(), c.view.name())).collect();
        let records = Record::read_all(&out.join("metrics.jsonl")).unwrap();
        let [Record::Run(first), records @ ..] = &records[..] else {
            panic!("{name}: {records:?}")
        };
        let components = first.components.iter();
        let components: Vec<_> = components
            .map(|c| (c.source.as_str(), c.view.as_str()))
            .collect();
        assert_eq!(components, expected, "{name}");
        let (mut steps, mut validations) = (Vec::new(), Vec::new());
        for record in records {
            let (loss, by_component) = match record {
                Record::Train(train) => {
                    steps.push(train.step);
                    (train.loss, &train.by_component)
                }
                Record::Validation(validation) => {
                    validations.push(validation.step);
                    (validation.loss, &validation.by_component)
                }
                Record::Run(_) => panic!("{name}: a second run"),
            };
            assert!(loss.is_finite(), "{name}: {record:?}");
            let is_known = |name: &str| expected.iter().any(|(known, _)| *known == name);
            assert!(
                by_component.iter().all(|(name, _)| is_known(name)),
                "{name}: {record:?}"
            );
        }
        let last = self.first_step + STEPS;
        assert_eq!(steps, Vec::from_iter(self.first_step + 1..=last), "{name}");
        assert_eq!(validations, [self.first_step, last], "{name}");
        let checkpoint = out.join(format!("checkpoints/step-{last}"));
        for file in ["model.safetensors", "optimizer.safetensors", "state.json"] {
            assert!(checkpoint.join(file).is_file(), "{name}: no {file}");
        }
    }
}

/// The first variants that have every value of every axis among them.
fn covering(experiment: &Experiment) -> Vec<&Variant> {
    let mut seen = BTreeSet::new();
    let mut is_new = |variant: &&Variant| {
        let before = seen.len();
        seen.extend(variant.choices.iter().cloned());
        seen.len() > before || variant.choices.is_empty()
    };
    experiment.variants().iter().filter(|v| is_new(v)).collect()
}

/// Gives a mixture its datasets, in `data`.
fn provide(datasets: &Datasets, mix: &str, data: &Path) {
    let components = Mixture::open(mix).unwrap().components;
    for name in components.iter().flat_map(|component| &component.sources) {
        datasets.provide(name, data);
    }
}

/// A run that begins with a text model, and data with its tokenizer.
fn warm_start(datasets: &Datasets, job: Job) -> Job {
    let (model, data) = (datasets.path("qwen3x"), datasets.path("qwen3x-data"));
    if !model.exists() {
        let mut convert = bin("convert");
        convert
            .arg("qwen3x")
            .arg("--base")
            .arg(fixture("convert/base"));
        run_ok(convert.arg("--out").arg(&model));
    }
    let components = Mixture::open(&job.mix).unwrap().components;
    for name in components.iter().flat_map(|component| &component.sources) {
        if !data.join(name).exists() {
            datasets.retext(name, &model, &data);
        }
    }
    let mut job = Job { data, ..job }.set(&BASE_MODEL);
    let model = model.to_str().unwrap().to_owned();
    job.arguments.extend(["--init-from".to_owned(), model]);
    job
}

/// The checkpoint that the others go on from.
fn checkpoint(datasets: &Datasets) -> PathBuf {
    let plan = experiments::load("exp2.1")
        .unwrap()
        .resolve(&[], &[])
        .unwrap()
        .plan;
    provide(datasets, &plan.mix, &datasets.data());
    let out = datasets.path("base");
    let job = Job::new("base", "exp2.1", None, &plan.mix, &datasets.data());
    job.set(&TINY_MODEL).check(&out);
    out.join(format!("checkpoints/step-{STEPS}"))
}

/// A run of each value of each axis of the experiments.
fn of_experiments(datasets: &Datasets) -> Vec<Job> {
    let mut jobs = Vec::new();
    let checkpoint = checkpoint(datasets);
    for name in experiments::names() {
        let experiment = experiments::load(name).unwrap();
        for variant in covering(&experiment) {
            let chosen = Some(variant.name.as_str()).filter(|name| !name.is_empty());
            let selection: Vec<_> = chosen.map(str::to_owned).into_iter().collect();
            let resolved = experiment.resolve(&selection, &[]).unwrap();
            let plan = &resolved.plan;
            // both methods of CVSS make datasets of the same names
            let direct = variant
                .choices
                .iter()
                .any(|(axis, value)| axis == "method" && value == "2");
            let data = if direct {
                datasets.direct()
            } else {
                datasets.data()
            };
            provide(datasets, &plan.mix, &data);
            let job = Job::new(&plan.name, name, chosen, &plan.mix, &data);
            jobs.push(match &resolved.start {
                Start::Scratch => job.set(&TINY_MODEL),
                Start::WarmStart { .. } => warm_start(datasets, job),
                start => job.from(start, &checkpoint),
            });
        }
    }
    jobs
}

/// A run of each built-in mixture that none of `jobs` has, within an experiment.
fn other_mixtures(datasets: &Datasets, jobs: &[Job]) -> Vec<Job> {
    let used: BTreeSet<_> = jobs
        .iter()
        .map(|job| job.mix.split('(').next().unwrap())
        .collect();
    let mut others = Vec::new();
    for mix in Mixture::names() {
        if used.contains(mix) {
            continue;
        }
        provide(datasets, mix, &datasets.data());
        let job = Job::new(mix, "exp2.1", None, mix, &datasets.data()).set(&TINY_MODEL);
        others.push(job.set(&[&format!("mix={mix:?}")]));
    }
    others
}

/// Runs all, some at once.
fn run_all(datasets: &Datasets, jobs: Vec<Job>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = Mutex::new(jobs.into_iter().enumerate());
    let next = || jobs.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, job)) = next() {
                    let out = datasets.path(&format!("runs/{number}"));
                    job.check(&out);
                    fs::remove_dir_all(out).unwrap();
                }
            });
        }
    });
}

#[test]
fn every_experiment_and_every_mixture_trains() {
    let datasets = Datasets::new();
    let mut jobs = of_experiments(&datasets);
    let programs: BTreeSet<_> = jobs.iter().map(|job| job.program).collect();
    assert_eq!(Vec::from_iter(programs), ["anneal", "finetune", "pretrain"]);
    jobs.extend(other_mixtures(&datasets, &jobs));
    println!("{} runs", jobs.len());
    run_all(&datasets, jobs);
}
