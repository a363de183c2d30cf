//! What the command lines of `pretrain`, `anneal` and `finetune` have in common: flags of a run, and what is printed.

mod args;
mod show;

pub use args::{TrainArgs, Variants, set};
pub use show::catalog;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use experiments::{Plan, Resolved};

use crate::backend::free_memory;
use crate::train::{RunOptions, RunSummary, run};
use crate::with_backend;

/// Status of a run that was asked to stop: EX_TEMPFAIL, try again later.
pub const STOPPED: u8 = 75;

/// The status of `program`, whose error goes to the standard error stream: 75 if a run was asked to stop.
pub fn exit(program: &str, result: Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{program}: {error:#}");
    match error.downcast_ref() {
        Some(crate::Error::Stopped { .. }) => ExitCode::from(STOPPED),
        _ => ExitCode::FAILURE,
    }
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
    args: &TrainArgs,
    resolved: &Resolved,
    recipe: &Plan,
    folder: Option<PathBuf>,
) -> Result<Option<RunSummary>> {
    let plan = &resolved.plan;
    let backend = args.backend.resolve();
    // A plan for other hardware, or one that is only shown where its backend is not, is none for this machine's memory.
    let here = backend.as_ref().ok().filter(|_| args.device.is_none());
    let free_memory = here.and_then(|&backend| free_memory(backend));
    let options = RunOptions {
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
        show::dry_run(args, resolved, recipe, &options)?;
        return Ok(None);
    }
    let summary = with_backend!(backend?, run(plan, &options))?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&show::json(&summary))?),
        false => show::summary(plan, &summary),
    }
    Ok(Some(summary))
}
