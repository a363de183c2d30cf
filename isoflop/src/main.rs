//! `isoflop`: scaling studies at a fixed number of FLOPs.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Plan IsoFLOP scaling studies: models of many sizes, each trained with the same number of FLOPs.
#[derive(Parser)]
#[command(version, after_help = "Example:\n  isoflop sweep --budget 1e19")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the candidates of a budget: one model for each width, with batch, steps and learning rate.
    #[command(
        after_help = "Examples:\n  isoflop sweep --budget 1e19\n  isoflop sweep --budget 3e18 --json > grid.json"
    )]
    Sweep {
        /// Forward FLOPs of the whole run; training takes three times as many.
        #[arg(long, value_name = "FLOPS", allow_negative_numbers = true)]
        budget: f64,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Fit scaling laws to the runs of a study: IsoFLOP parabolas with power laws, and a parametric surface.
    Fit(cli::fit::Args),
    /// Draw the figures of a study: IsoFLOP curves, power laws, residuals, and losses by kind of token.
    Plot(cli::plot::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Sweep { budget, json } => sweep(budget, json),
        Command::Fit(args) => cli::fit::run(&args),
        Command::Plot(args) => cli::plot::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn sweep(budget: f64, json: bool) -> anyhow::Result<()> {
    let grid = isoflop::grid::sweep(budget)?;
    match json {
        true => println!("{}", serde_json::to_string_pretty(&grid)?),
        false => println!("{}", isoflop::table::render(&grid)),
    }
    Ok(())
}
