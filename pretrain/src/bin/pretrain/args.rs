//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use experiments::Hardware;
use pretrain::backend::BackendKind;

/// Train a model over audio and text tokens.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  pretrain quickstart --data runs/quickstart/data --out runs/quickstart/run
  pretrain quickstart --data DIR --set optimizer.lr=1e-3 --set steps=1000 --out runs/slow
  pretrain quickstart --data DIR --resume        go on after an interruption
  pretrain --list
  pretrain exp2.1 --size 600m --dry-run --device h100x8 --mfu 0.45
  pretrain exp2.1 --size 600m --data DIR --micro-batch 16
  pretrain exp1.4 --all --data /shared/data --out /shared/runs --slurm
  pretrain my-experiment.toml --data DIR --dry-run
  pretrain my-experiment.toml --data s3://bucket/shards --out /scratch/run --mirror s3://bucket/run --resume
  pretrain watch runs/*                          how runs stand
  pretrain replay runs/quickstart/diverged/step-7

SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 save the state and end the program with status 75."
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Subcommand)]
pub enum Command {
    /// Compare runs, finished or still going on.
    ///
    /// On a terminal the table is refreshed until all runs are finished; elsewhere it is printed once.
    #[command(after_help = "Examples:
  pretrain watch runs/*
  pretrain watch runs/a runs/b --every 10
  pretrain watch runs/* --json | jq '.[] | {name, state, eta_secs}'")]
    Watch {
        /// Folders of runs.
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// Seconds between two looks.
        #[arg(long, value_name = "SECS", default_value_t = 2.0, value_parser = secs)]
        every: f64,
        /// Print the table once.
        #[arg(long)]
        once: bool,
        /// Print the numbers once, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Repeat a step whose loss was not finite, and show where in the model it begins.
    Replay {
        /// Folder in RUN/diverged.
        folder: PathBuf,
        /// Where tensors live.
        #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
        backend: BackendKind,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub struct RunArgs {
    /// A built-in experiment, or the path of a TOML file.
    #[arg(required_unless_present = "list")]
    pub experiment: Option<String>,
    /// List the built-in experiments, and stop.
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    pub choice: Choice,
    /// Folder, or location in an object store, with a folder of shards for each component of the mixture.
    #[arg(long, default_value = "data")]
    pub data: String,
    /// The run's folder [default: runs/NAME]; with --all, the folder of all runs [default: runs].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Copy checkpoints, metrics and report to this folder or object store, and resume from there on another machine.
    #[arg(long, value_name = "LOCATION")]
    pub mirror: Option<String>,
    /// Override a key of the experiment; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Continue the run in the run's folder, if there is one.
    #[arg(long)]
    pub resume: bool,
    /// Begin with these weights: a folder of `convert`, of Hugging Face, or a checkpoint.
    #[arg(long, value_name = "FOLDER")]
    pub init_from: Option<String>,
    /// What the layers compute in: f32 or bf16 [default: the experiment's].
    #[arg(long, value_name = "TYPE")]
    pub precision: Option<String>,
    /// Sequences that pass through the model at a time; a divisor of the batch [default: the batch].
    #[arg(long, value_name = "N")]
    pub micro_batch: Option<usize>,
    /// Compute activations again in the backward pass, for a fraction of the memory and a third more work.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub recompute: Option<bool>,
    /// Memory of the device, such as 80GiB [default: what is free, on a processor].
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// Peak of the device, for MFU, such as 989e12 [default: measured].
    #[arg(long, value_name = "FLOPS")]
    pub peak_flops: Option<f64>,
    /// Where tensors live.
    #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
    pub backend: BackendKind,
    /// Print the plan, what it comes to, and what it takes of each component of its mixture, and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// With --all: train nothing, but write an array job of Slurm into the folder of all runs, a task for each variant.
    #[arg(long, requires = "all", conflicts_with = "dry_run")]
    pub slurm: bool,
    /// For --dry-run: hardware to estimate time on, such as h100x8.
    #[arg(long, value_name = "NAMExCOUNT")]
    pub device: Option<Hardware>,
    /// For --dry-run: part of the hardware's peak that is reached.
    #[arg(long, default_value_t = 0.4, value_name = "SHARE")]
    pub mfu: f64,
    /// For --dry-run: price of an hour of one device.
    #[arg(long, value_name = "PRICE")]
    pub price: Option<f64>,
    /// Print the result, or what --dry-run prints, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which variants of an experiment; the first if nothing is chosen.
#[derive(clap::Args)]
pub struct Choice {
    /// A variant by its name.
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// All variants that the other choices leave, one after the other.
    #[arg(long)]
    pub all: bool,
    /// A model of the experiment, such as 600m.
    #[arg(long)]
    size: Option<String>,
    /// A mixture of the experiment.
    #[arg(long)]
    mix: Option<String>,
    /// Percent of text.
    #[arg(long, value_name = "PERCENT")]
    text: Option<String>,
    /// Length of the run, such as 10b.
    #[arg(long)]
    tokens: Option<String>,
    /// View of the documents.
    #[arg(long)]
    view: Option<String>,
    /// Sequences a step.
    #[arg(long)]
    batch: Option<String>,
    /// Weight of a component.
    #[arg(long, value_name = "WEIGHT")]
    w: Option<String>,
    /// Target of a scaling study.
    #[arg(long)]
    target: Option<String>,
}

impl Choice {
    /// As `experiments` takes them.
    pub fn selection(&self) -> Vec<String> {
        let axes = [
            ("size", &self.size),
            ("mix", &self.mix),
            ("text", &self.text),
            ("tokens", &self.tokens),
            ("view", &self.view),
            ("batch", &self.batch),
            ("w", &self.w),
            ("target", &self.target),
        ];
        let chosen = axes
            .into_iter()
            .filter_map(|(axis, value)| Some(format!("{axis}={}", value.as_ref()?)));
        self.variant.iter().cloned().chain(chosen).collect()
    }
}

impl RunArgs {
    /// The keys that are set; flags that stand for keys come last, as the more particular.
    pub fn overrides(&self) -> Vec<String> {
        let flag = |key: &str, value: &Option<String>| {
            let value = value.as_ref()?;
            Some(format!("{key}={}", toml::Value::String(value.clone())))
        };
        let flags = [
            flag("init_from", &self.init_from),
            flag("precision", &self.precision),
        ];
        let flags = flags.into_iter().flatten();
        self.set.iter().cloned().chain(flags).collect()
    }
}

/// A time span of a tenth of a second to a day.
fn secs(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(secs) if (0.1..=86_400.0).contains(&secs) => Ok(secs),
        _ => Err("not a number of seconds from 0.1 to 86400".to_string()),
    }
}

/// `80GiB`, `512MiB`, `80GB` or a number of bytes.
fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 6] = [
        ("GiB", 1024.0 * 1024.0 * 1024.0),
        ("MiB", 1024.0 * 1024.0),
        ("TiB", 1024.0 * 1024.0 * 1024.0 * 1024.0),
        ("GB", 1e9),
        ("MB", 1e6),
        ("B", 1.0),
    ];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, scale) = match unit {
        Some((unit, scale)) => (&text[..text.len() - unit.len()], *scale),
        None => (text, 1.0),
    };
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| "give it as 80GiB".to_string())?;
    match number.is_finite() && number >= 0.0 {
        true => Ok((number * scale) as u64),
        false => Err("give it as 80GiB".into()),
    }
}
