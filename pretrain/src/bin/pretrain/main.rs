//! `pretrain EXPERIMENT`: resolve an experiment to a plan and run it; `pretrain watch`: look at runs.

mod args;
mod schedule;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use clap::Parser;
use experiments::{Plan, Resolved};
use pretrain::backend::BackendKind;
use pretrain::memory;
use pretrain::train::{RunOptions, adopt_initial_config, replay, run};
use pretrain::watch::Watch;
use pretrain::with_backend;

use args::{Args, Command, RunArgs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Status of a run that was asked to stop: EX_TEMPFAIL, try again later.
const STOPPED: u8 = 75;

fn main() -> ExitCode {
    match try_main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pretrain: {error:#}");
            match error.downcast_ref() {
                Some(pretrain::Error::Stopped { .. }) => ExitCode::from(STOPPED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn try_main() -> Result<()> {
    let args = Args::parse();
    match args.command {
        Some(Command::Watch {
            runs,
            every,
            once,
            json,
        }) => watch(&runs, Duration::from_secs_f64(every), once, json),
        Some(Command::Replay {
            folder,
            backend,
            json,
        }) => {
            let found = with_backend!(backend, replay(&folder))?;
            match json {
                true => println!("{}", serde_json::to_string_pretty(&found)?),
                false => print!("{found}"),
            }
            Ok(())
        }
        None => train(&args.run),
    }
}

fn train(args: &RunArgs) -> Result<()> {
    if args.list {
        return show::catalog(args.json);
    }
    let name = args.experiment.as_deref().expect("clap asks for one");
    let experiment = experiments::load(name)?;
    let selection = args.choice.selection();
    if !args.choice.all {
        let resolved = experiment.resolve(&selection, &args.overrides())?;
        let recipe = experiment.resolve(&selection, &[])?;
        let folder = args.out.clone();
        return train_one(args, resolved, &recipe.plan, folder);
    }
    let runs = args.out.clone().unwrap_or_else(|| PathBuf::from("runs"));
    if args.slurm {
        return schedule::write_array(args, &experiment, &runs);
    }
    for variant in experiment.select(&selection)? {
        let selection = std::slice::from_ref(&variant.name);
        let resolved = experiment.resolve(selection, &args.overrides())?;
        let recipe = experiment.resolve(selection, &[])?;
        let folder = runs.join(&resolved.plan.name);
        train_one(args, resolved, &recipe.plan, Some(folder))?;
    }
    Ok(())
}

/// Runs a plan, or shows it; `recipe` is the plan without what was set.
fn train_one(
    args: &RunArgs,
    mut resolved: Resolved,
    recipe: &Plan,
    folder: Option<PathBuf>,
) -> Result<()> {
    let memory = || (args.backend == BackendKind::Cpu).then(memory::available);
    let options = RunOptions {
        out: folder.unwrap_or_else(|| PathBuf::from("runs").join(&resolved.plan.name)),
        data: args.data.clone(),
        mirror: args.mirror.clone(),
        resume: args.resume,
        micro_batch: args.micro_batch,
        recompute: args.recompute,
        memory: args.memory.or_else(memory),
        peak_flops: args.peak_flops,
    };
    if args.dry_run {
        return show::dry_run(args, &resolved, recipe, &options);
    }
    if let Some(checkpoint) = resolved.start.checkpoint(Path::new("runs")) {
        bail!(
            "{} goes on from {}, which pretrain does not; it begins runs, from scratch or from --init-from",
            resolved.plan.name,
            checkpoint.display()
        );
    }
    if let Some(note) = adopt_initial_config(&mut resolved.plan)? {
        eprintln!("pretrain: {note}");
    }
    let plan = &resolved.plan;
    let summary = with_backend!(args.backend, run(plan, &options))?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&show::json(&summary))?),
        false => show::summary(plan, &summary),
    }
    Ok(())
}

/// Shows how runs stand.
fn watch(runs: &[PathBuf], every: Duration, once: bool, json: bool) -> Result<()> {
    let mut watch = Watch::open(runs)?;
    match json {
        true => {
            let standings = watch.look(SystemTime::now())?;
            println!("{}", serde_json::to_string_pretty(&standings)?);
        }
        false => watch.show(every, once)?,
    }
    Ok(())
}
