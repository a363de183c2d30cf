//! `--all --slurm`: the variants of an experiment as an array job.

use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail};
use experiments::Experiment;
use pretrain::slurm::{absolute_location, write_array as write};

use crate::args::RunArgs;

/// Writes the script of the array, a task for each variant that is chosen, and prints how to submit it.
pub fn write_array(args: &RunArgs, experiment: &Experiment) -> Result<()> {
    let runs = args
        .train
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs"));
    let program = std::env::current_exe().context("the program's own path is unknown")?;
    let mut commands = Vec::new();
    for variant in experiment.select(&args.choice.selection())? {
        // what no run could use is better known now than in the queue
        let selection = std::slice::from_ref(&variant.name);
        let resolved = experiment.resolve(selection, &args.overrides())?;
        if let Some(checkpoint) = resolved.start.checkpoint(Path::new("runs")) {
            bail!(
                "{} goes on from {}: run it with `{}`",
                resolved.plan.name,
                checkpoint.display(),
                resolved.start.program()
            );
        }
        let folder = absolute(runs.join(&resolved.plan.name))?;
        let mut command = vec![program.display().to_string(), name(args)?];
        if !variant.name.is_empty() {
            command.extend(["--variant".into(), variant.name.clone()]);
        }
        command.extend(["--out".into(), folder.display().to_string()]);
        command.extend(forwarded(args)?);
        commands.push(command);
    }
    let path = write(&runs, experiment.name(), &commands)?;
    println!("{} tasks: sbatch {}", commands.len(), path.display());
    Ok(())
}

/// The experiment, for a task that runs in another folder.
fn name(args: &RunArgs) -> Result<String> {
    let name = args.experiment.clone().expect("clap asks for one");
    Ok(match name.ends_with(".toml") {
        true => absolute(name)?.display().to_string(),
        false => name,
    })
}

/// The arguments that each task has as well.
fn forwarded(args: &RunArgs) -> Result<Vec<String>> {
    let mut words = vec!["--data".to_string(), absolute_location(&args.train.data)?];
    let mut option = |flag: &str, value: Option<String>| {
        words.extend(
            value
                .into_iter()
                .flat_map(|value| [flag.to_string(), value]),
        );
    };
    let mirror = args
        .train
        .mirror
        .as_deref()
        .map(absolute_location)
        .transpose()?;
    option("--mirror", mirror);
    for set in &args.train.set {
        option("--set", Some(set.clone()));
    }
    option(
        "--init-from",
        args.init_from
            .as_deref()
            .map(absolute_location)
            .transpose()?,
    );
    option("--precision", args.train.precision.clone());
    option(
        "--micro-batch",
        args.train.micro_batch.map(|size| size.to_string()),
    );
    option(
        "--recompute",
        args.train.recompute.map(|yes| yes.to_string()),
    );
    option("--memory", args.train.memory.map(|bytes| bytes.to_string()));
    option(
        "--peak-flops",
        args.train.peak_flops.map(|flops| flops.to_string()),
    );
    option("--backend", Some(args.train.backend.to_string()));
    words.push("--resume".into());
    Ok(words)
}
