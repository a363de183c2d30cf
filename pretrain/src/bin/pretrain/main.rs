//! `pretrain EXPERIMENT`: resolve an experiment to a plan and run it; `pretrain watch`: look at runs.

mod args;
mod schedule;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use clap::Parser;
use experiments::{Experiment, Plan};
use pretrain::cli;
use pretrain::train::{adopt_initial_config, replay};
use pretrain::watch::Watch;
use pretrain::with_backend;
use pretrain::world::World;

use args::{Args, Command, RunArgs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    cli::main("pretrain", |world| try_main(args, world))
}

fn try_main(args: Args, world: &World) -> Result<()> {
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
            let found = with_backend!(backend.resolve()?, replay(&folder))?;
            match json {
                true => println!("{}", serde_json::to_string_pretty(&found)?),
                false => print!("{found}"),
            }
            Ok(())
        }
        None => train(&args.run, world),
    }
}

fn train(args: &RunArgs, world: &World) -> Result<()> {
    if args.list {
        return cli::catalog(args.train.json);
    }
    let name = args.experiment.as_deref().expect("clap asks for one");
    let experiment = experiments::load(name)?;
    let selection = args.choice.selection();
    if !args.choice.variants.all {
        let folder = |_: &Plan| args.train.out.clone();
        return train_one(world, args, &experiment, &selection, folder);
    }
    if args.slurm {
        return schedule::write_array(args, &experiment);
    }
    for variant in experiment.select(&selection)? {
        let selection = std::slice::from_ref(&variant.name);
        let folder = |plan: &Plan| Some(cli::one_of_several(&args.train, plan));
        train_one(world, args, &experiment, selection, folder)?;
    }
    Ok(())
}

fn train_one(
    world: &World,
    args: &RunArgs,
    experiment: &Experiment,
    selection: &[String],
    folder: impl FnOnce(&Plan) -> Option<PathBuf>,
) -> Result<()> {
    let mut resolved = experiment.resolve(selection, &args.overrides())?;
    let recipe = experiment.resolve(selection, &[])?.plan;
    if !args.train.dry_run {
        if let Some(checkpoint) = resolved.start.checkpoint(Path::new("runs")) {
            bail!(
                "{} goes on from {}: run it with `{}`",
                resolved.plan.name,
                checkpoint.display(),
                resolved.start.program()
            );
        }
        if let Some(note) = adopt_initial_config(&mut resolved.plan)?
            && world.is_first()
        {
            eprintln!("pretrain: {note}");
        }
    }
    let folder = folder(&resolved.plan);
    cli::train(world, &args.train, &resolved, &recipe, folder)?;
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
