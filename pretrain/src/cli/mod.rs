//! What the command lines of `pretrain`, `anneal` and `finetune` have in common: flags of a run, and what is printed.

mod args;
mod show;

pub use args::{TrainArgs, Variants, set};
pub use show::catalog;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use experiments::{Plan, Resolved};

use crate::backend::{BackendKind, free_memory};
use crate::train::{RunOptions, RunSummary, run};
use crate::with_backend;
use crate::world::World;

/// Status of a run that was asked to stop: EX_TEMPFAIL, try again later.
pub const STOPPED: u8 = 75;

/// How long the other processes leave the first one to say what is wrong: most of what goes wrong does so on all of them.
const FIRST_SPEAKS: Duration = Duration::from_secs(3);

/// Runs `program` as one of the processes that it was started with. Its error goes to the standard error stream and ends all
/// of them; the status is 75 if a run was asked to stop.
pub fn main(program: &str, run: impl FnOnce(&World) -> Result<()>) -> ExitCode {
    let world = match World::join() {
        Ok(world) => world,
        Err(error) => {
            eprintln!("{program}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Err(error) = run(&world) else {
        return ExitCode::SUCCESS;
    };
    if let Some(crate::Error::Stopped { .. }) = error.downcast_ref() {
        if world.is_first() {
            eprintln!("{program}: {error:#}");
        }
        return ExitCode::from(STOPPED);
    }
    if !world.is_first() {
        std::thread::sleep(FIRST_SPEAKS);
    }
    let rank = match world.size() {
        1 => String::new(),
        _ => format!("rank {}: ", world.rank()),
    };
    eprintln!("{program}: {rank}{error:#}");
    if world.size() > 1 {
        world.abort(1);
    }
    ExitCode::FAILURE
}

/// The folder of one run of several: below `--out`, or below `runs`.
pub fn one_of_several(args: &TrainArgs, plan: &Plan) -> PathBuf {
    args.out
        .as_deref()
        .unwrap_or(Path::new("runs"))
        .join(&plan.name)
}

/// Runs a plan in `folder`, or in that of its name, and prints what came of it; or shows it, with --dry-run. `recipe` is the
/// plan without what was set.
///
/// # Errors
/// Those of [`run`].
pub fn train(
    world: &World,
    args: &TrainArgs,
    resolved: &Resolved,
    recipe: &Plan,
    folder: Option<PathBuf>,
) -> Result<Option<RunSummary>> {
    let plan = &resolved.plan;
    let backend = args.backend.resolve();
    // A plan for other hardware, or one that is only shown where its backend is not, is none for this machine's memory.
    let here = backend.as_ref().ok().filter(|_| args.device.is_none());
    // The processes of a machine share its memory; GPUs have their own.
    let sharing = |backend| match backend == BackendKind::Cpu {
        true => world.local_size() as u64,
        false => 1,
    };
    let free_memory = here.and_then(|&backend| Some(free_memory(backend)? / sharing(backend)));
    let options = RunOptions {
        world: world.clone(),
        out: folder.unwrap_or_else(|| Path::new("runs").join(&plan.name)),
        data: args.data.clone(),
        mirror: args.mirror.clone(),
        resume: args.resume,
        micro_batch: args.micro_batch,
        recompute: args.recompute,
        memory: args.memory.or(free_memory),
        peak_flops: args.peak_flops,
    };
    if args.dry_run {
        if world.is_first() {
            show::dry_run(args, resolved, recipe, &options)?;
        }
        return Ok(None);
    }
    let summary = with_backend!(backend?, run(plan, &options))?;
    if !world.is_first() {
        return Ok(Some(summary));
    }
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&show::json(&summary))?),
        false => show::summary(plan, &summary),
    }
    Ok(Some(summary))
}
