//! `isoflop target`

use anyhow::{Result, bail, ensure};
use isoflop::grid::{self, Grid};

use super::grid_args::{GridArgs, once, print};
use super::study_args::StudyArgs;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isoflop target                                   the recipe's seven
  isoflop target --budget 1e20 --hidden 2304
  isoflop target --budget 6e19 --budget 1e20 --hidden 2048 --hidden 2304 --json

A width that a rule of the derivation refuses is shown with that rule, and makes the exit status 1.")]
pub struct Args {
    /// FLOPs of a run; may be repeated.
    #[arg(
        long = "budget",
        value_name = "FLOPS",
        allow_negative_numbers = true,
        requires = "widths"
    )]
    budgets: Vec<f64>,
    /// Width of the model; may be repeated. Every width is derived for every budget.
    #[arg(
        long = "hidden",
        id = "widths",
        value_name = "WIDTH",
        requires = "budgets"
    )]
    widths: Vec<usize>,
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
    let wanted = match args.budgets.is_empty() {
        true => recipe(args.grid.convention.per_forward_flop())?,
        false => {
            let widths = once(&args.widths);
            let budgets = once(&args.budgets).into_iter();
            budgets.map(|budget| (budget, widths.clone())).collect()
        }
    };
    let grids = wanted
        .iter()
        .map(|(budget, widths)| grid::target(&rules, *budget, widths));
    let grids: Vec<_> = grids.collect::<Result<_, _>>()?;
    let refused = refused(&grids);
    if args.study.is_asked() {
        ensure!(refused.is_empty(), "{}", refused.join("; "));
        return args.study.run(&grids, args.json);
    }
    print(&grids, args.json)?;
    match refused.is_empty() {
        true => Ok(()),
        false => bail!("{}", refused.join("; ")),
    }
}

/// The recipe's budgets with their widths; they are the names of its variants: `1e20-2304`.
fn recipe(factor: f64) -> Result<Vec<(f64, Vec<usize>)>> {
    let mut found: Vec<(f64, Vec<usize>)> = Vec::new();
    for variant in isoflop::study::recipe()?.variants() {
        let Some((budget, width)) = variant.name.split_once('-') else {
            continue;
        };
        let (budget, width) = (budget.parse::<f64>()? * factor, width.parse()?);
        match found.iter_mut().find(|(known, _)| *known == budget) {
            Some((_, widths)) => widths.push(width),
            None => found.push((budget, vec![width])),
        }
    }
    Ok(found)
}

fn refused(grids: &[Grid]) -> Vec<String> {
    let each = grids.iter().flat_map(|grid| {
        let left_out = grid.left_out.iter();
        left_out.map(|left| {
            format!(
                "budget {:e} has no run of width {}: {}",
                grid.budget, left.hidden, left.reason
            )
        })
    });
    each.collect()
}
