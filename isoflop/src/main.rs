//! `isoflop`: scaling studies at a fixed number of FLOPs.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pretrain::cli::STOPPED;
use pretrain::world::World;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plan, run and fit IsoFLOP scaling studies: models of many sizes, each trained with the same number of FLOPs.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  isoflop sweep --budget 1e19
  isoflop target --budget 1e20 --hidden 2304
  isoflop sweep --budget 1e12 --budget 1e13 --hidden 64..256 --step 32 --head-dim 32 --seq-len 256 \\
      --aimed-steps 1024 --data DIR --mix quickstart --set precision=f32 --out runs/study --run
  isoflop fit runs/study --predict-budget 1e14
  isoflop plot runs/study --out figures"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Derive the candidates of budgets: one model for each width, with batch, steps and learning rate. Train them, with --run.
    Sweep(cli::sweep::Args),
    /// Derive the models of given widths at given budgets, as `sweep` derives its own. Train them, with --run.
    Target(cli::target::Args),
    /// Fit scaling laws to the runs of a study: IsoFLOP parabolas with power laws, and a parametric surface.
    Fit(cli::fit::Args),
    /// Draw the figures of a study: IsoFLOP curves, power laws, residuals, and losses by kind of token.
    Plot(cli::plot::Args),
}

fn main() -> ExitCode {
    let done = run(Cli::parse().command);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isoflop: {error:#}");
            match error.downcast_ref() {
                Some(isoflop::Error::Stopped { .. }) => ExitCode::from(STOPPED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    World::refuse("isoflop")?;
    match command {
        Command::Sweep(args) => cli::sweep::run(&args),
        Command::Target(args) => cli::target::run(&args),
        Command::Fit(args) => cli::fit::run(&args),
        Command::Plot(args) => cli::plot::run(&args),
    }
}
