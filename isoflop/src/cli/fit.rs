//! `isoflop fit`: scaling laws of a study.

use std::path::PathBuf;

use anyhow::Context;
use isoflop::fit::bootstrap::Bootstrap;
use isoflop::fit::predict::{BudgetPrediction, SizePrediction};
use isoflop::fit::{Fit, table};
use isoflop::observation::Observations;
use serde::Serialize;

/// What is fitted, and how; `isoflop plot` takes the same.
#[derive(clap::Args)]
pub struct StudyArgs {
    /// A study's folder, or a CSV table of runs: budget, params, tokens, loss, and name and loss_KIND where they are known.
    #[arg(value_name = "DIR|RUNS.csv")]
    study: PathBuf,
    /// Resamples that intervals are made of.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(40..))]
    resamples: u32,
    /// Seed of the resamples.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  isoflop fit runs/study --csv runs.csv\n  isoflop fit runs.csv --predict-budget 1e21 --predict-size 1e9\n  isoflop fit runs.csv --json > fit.json"
)]
pub struct Args {
    #[command(flatten)]
    study: StudyArgs,
    /// Say which size and how many tokens are best for this budget. May be repeated.
    #[arg(long, value_name = "FLOPS", value_parser = positive)]
    predict_budget: Vec<f64>,
    /// Say for which budget this size is the best. May be repeated.
    #[arg(long, value_name = "PARAMS", value_parser = positive)]
    predict_size: Vec<f64>,
    /// Write the runs as a table, those left out with an empty loss.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Print JSON with everything instead of tables.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    fit: &'a Fit,
    predicted_budgets: &'a [BudgetPrediction],
    predicted_sizes: &'a [SizePrediction],
}

impl StudyArgs {
    /// Reads and fits the study.
    pub fn fit(&self) -> anyhow::Result<Fit> {
        let observations = Observations::read(&self.study)?;
        let bootstrap = Bootstrap {
            resamples: self.resamples as usize,
            seed: self.seed,
        };
        Ok(Fit::new(observations, bootstrap))
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let fit = args.study.fit()?;
    if let Some(path) = &args.csv {
        let table = fit.observations.to_csv();
        shards::write_atomic(path, table.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let budgets: Vec<_> = args
        .predict_budget
        .iter()
        .map(|budget| fit.predict_budget(*budget))
        .collect();
    let sizes: Vec<_> = args
        .predict_size
        .iter()
        .map(|size| fit.predict_size(*size))
        .collect();
    match args.json {
        true => {
            let output = Output {
                fit: &fit,
                predicted_budgets: &budgets,
                predicted_sizes: &sizes,
            };
            println!("{}", serde_json::to_string_pretty(&output)?);
        }
        false => print!("{}", table::render(&fit, &budgets, &sizes)),
    }
    Ok(())
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    number
        .filter(|number: &f64| *number > 0.0 && number.is_finite())
        .ok_or_else(|| format!("`{text}` is not a positive number; give one like 1e19"))
}
