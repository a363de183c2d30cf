//! `isoflop`: scaling studies at a fixed number of FLOPs.

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
}

fn main() -> ExitCode {
    let Command::Sweep { budget, json } = Cli::parse().command;
    match sweep(budget, json) {
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
