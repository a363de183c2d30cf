//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use pretrain::backend::BackendChoice;
use pretrain::cli::{TrainArgs, Variants, set};

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
        #[arg(long, value_enum, default_value_t)]
        backend: BackendChoice,
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
    /// Begin with these weights: a folder of `convert`, of Hugging Face, or a checkpoint.
    #[arg(long, value_name = "FOLDER")]
    pub init_from: Option<String>,
    /// With --all: train nothing, but write an array job of Slurm into the folder of all runs, a task for each variant.
    #[arg(long, requires = "all", conflicts_with = "dry_run")]
    pub slurm: bool,
    #[command(flatten)]
    pub train: TrainArgs,
}

#[derive(clap::Args)]
pub struct Choice {
    #[command(flatten)]
    pub variants: Variants,
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
    /// As `experiments` takes it.
    pub fn selection(&self) -> Vec<String> {
        self.variants.selection(&[
            ("size", &self.size),
            ("mix", &self.mix),
            ("text", &self.text),
            ("tokens", &self.tokens),
            ("view", &self.view),
            ("batch", &self.batch),
            ("w", &self.w),
            ("target", &self.target),
        ])
    }
}

impl RunArgs {
    /// The keys that are set.
    pub fn overrides(&self) -> Vec<String> {
        self.train
            .overrides([set("init_from", self.init_from.clone())])
    }
}

/// A time span of a tenth of a second to a day.
fn secs(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(secs) if (0.1..=86_400.0).contains(&secs) => Ok(secs),
        _ => Err("not a number of seconds from 0.1 to 86400".to_string()),
    }
}
