//! `pretrain EXPERIMENT`: resolve an experiment to a plan and run it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use experiments::Plan;
use experiments::flops::training_flops_per_token;
use mixes::Mixture;
use mixes::report::Report;
use pretrain::backend::BackendKind;
use pretrain::train::{RunOptions, RunSummary, open_loader, run};
use pretrain::with_backend;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Train a model over audio and text tokens.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  pretrain quickstart --data runs/quickstart/data --out runs/quickstart/run
  pretrain quickstart --data DIR --set optimizer.lr=1e-3 --set steps=1000 --out runs/slow
  pretrain quickstart --data DIR --resume        go on after an interruption
  pretrain my-experiment.toml --data DIR --dry-run"
)]
struct Args {
    /// A built-in experiment, or the path of a TOML file.
    experiment: String,
    /// Folder, or location in an object store, with a folder of shards for each component of the mixture.
    #[arg(long, default_value = "data")]
    data: String,
    /// The run's folder [default: runs/NAME].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Override a key of the experiment; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Continue the run in the run's folder, if there is one.
    #[arg(long)]
    resume: bool,
    /// Where tensors live.
    #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
    backend: BackendKind,
    /// Print the plan and what it takes of each component of its mixture, and stop.
    #[arg(long)]
    dry_run: bool,
    /// Print the result, or what --dry-run prints, as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match try_main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pretrain: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_main() -> Result<()> {
    let args = Args::parse();
    let plan = experiments::resolve(&args.experiment, &args.set)?;
    if args.dry_run {
        return dry_run(&plan, &args.data, args.json);
    }
    let out = args
        .out
        .unwrap_or_else(|| PathBuf::from("runs").join(&plan.name));
    let options = RunOptions {
        data: args.data,
        out,
        resume: args.resume,
    };
    let summary = with_backend!(args.backend, run(&plan, &options))?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&json(&summary))?),
        false => print_summary(&plan, &summary),
    }
    Ok(())
}

/// Prints the plan, and what it takes of each component of its mixture: behind the plan as comments, so that all of it is TOML.
fn dry_run(plan: &Plan, data: &str, json: bool) -> Result<()> {
    let sequences = plan.steps * plan.batch_size as u64;
    let report = match open_loader(plan, data) {
        Ok(loader) => Report::new(&loader, sequences)?,
        // a plan can be looked at where its data are not
        Err(pretrain::Error::Data(missing @ mixes::Error::MissingComponent { .. })) => {
            eprintln!("pretrain: {missing}; without it nothing is known of epochs");
            Report::planned(&Mixture::open(&plan.mix)?, plan.seq_len, sequences)?
        }
        Err(error) => return Err(error.into()),
    };
    if json {
        let found = serde_json::json!({ "plan": plan, "mixture": report });
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    println!(
        "{}",
        toml::to_string(plan).context("the plan has no TOML form")?
    );
    for line in report.to_string().lines() {
        println!("{}", format!("# {line}").trim_end());
    }
    Ok(())
}

fn json(summary: &RunSummary) -> serde_json::Value {
    serde_json::json!({
        "parameters": summary.parameters,
        "steps": summary.steps,
        "tokens": summary.tokens,
        "validation": { "loss": summary.validation.loss, "by_kind": summary.validation.by_kind },
        "unigram": summary.unigram,
        "checkpoint": summary.checkpoint,
        "report": summary.report,
    })
}

fn print_summary(plan: &Plan, summary: &RunSummary) {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "validation loss, nats a token",
        "model",
        "unigram",
        "difference",
    ]);
    let validation = &summary.validation;
    let unigram = &summary.unigram;
    let kinds = validation
        .by_kind
        .iter()
        .map(|(kind, loss)| (kind, loss, unigram.by_kind.get(kind)));
    for (kind, loss, baseline) in
        std::iter::once(("all", validation.loss, Some(unigram.loss))).chain(kinds)
    {
        let number = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.3}"));
        let difference = baseline.map(|baseline| loss - baseline);
        table.add_row([
            kind.to_string(),
            number(Some(loss)),
            number(baseline),
            number(difference),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let flops = training_flops_per_token(&plan.model, summary.vocab_size, plan.seq_len)
        * summary.tokens as f64;
    println!("{table}");
    println!(
        "{}: {} parameters, {} steps, {} tokens, {flops:.2e} training FLOPs",
        plan.name, summary.parameters, summary.steps, summary.tokens
    );
    println!("checkpoint  {}", summary.checkpoint.display());
    println!("report      {}", summary.report.display());
}
