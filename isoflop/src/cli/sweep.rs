//! `isoflop sweep`

use std::ops::RangeInclusive;

use anyhow::Result;
use isoflop::grid::{self, Rules};

use super::grid_args::{GridArgs, print, widths};
use super::study_args::StudyArgs;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isoflop sweep --budget 1e19
  isoflop sweep --budget 3e18 --convention training
  isoflop sweep --budget 3e18 --json > grid.json
  isoflop sweep --budget 1e12 --budget 1e13 --hidden 64..256 --step 32 --head-dim 32 --seq-len 256 \\
      --aimed-steps 1024 --data DIR --mix quickstart --set precision=f32 --out runs/study --run

The same command goes on after an interruption. SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 save the state and end the program with
status 75. docs/isoflop.md has the derivation and a study.")]
pub struct Args {
    /// FLOPs of a run; may be repeated [default: the recipe's seven].
    #[arg(long = "budget", value_name = "FLOPS", allow_negative_numbers = true)]
    budgets: Vec<f64>,
    /// Narrowest and widest model [default: 128..2048].
    #[arg(long, value_name = "MIN..MAX", value_parser = widths)]
    hidden: Option<RangeInclusive<usize>>,
    /// Distance of the widths [default: 128, and 256 for budgets over 9e18 forward FLOPs].
    #[arg(long, value_name = "CHANNELS")]
    step: Option<usize>,
    #[command(flatten)]
    grid: GridArgs,
    #[command(flatten)]
    study: StudyArgs,
    /// Print JSON instead of tables: the grid, or a list of them if there are several budgets; with --run, what became of the runs.
    #[arg(long)]
    json: bool,
}

/// Derives, prints, and trains.
pub fn run(args: &Args) -> Result<()> {
    let rules = args.grid.rules(args.study.vocabulary(&args.grid)?);
    let rules = Rules {
        hidden: args.hidden.clone().unwrap_or(rules.hidden),
        step: args.step,
        ..rules
    };
    let budgets = args.grid.budgets(&args.budgets)?;
    let grids = budgets.iter().map(|&budget| grid::sweep(&rules, budget));
    let grids: Vec<_> = grids.collect::<Result<_, _>>()?;
    match args.study.is_asked() {
        true => args.study.run(&grids, args.json),
        false => print(&grids, args.json),
    }
}
