//! `pretrain EXPERIMENT`: resolve an experiment to a plan and run it; `pretrain watch`: look at runs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use experiments::Plan;
use experiments::flops::training_flops_per_token;
use mixes::Mixture;
use mixes::report::Report;
use pretrain::backend::BackendKind;
use pretrain::memory::{self, Estimate};
use pretrain::train::{
    Cut, RunOptions, RunSummary, adopt_initial_config, open_loader, replay, run,
};
use pretrain::watch::Watch;
use pretrain::with_backend;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Train a model over audio and text tokens.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  pretrain quickstart --data runs/quickstart/data --out runs/quickstart/run
  pretrain quickstart --data DIR --set optimizer.lr=1e-3 --set steps=1000 --out runs/slow
  pretrain quickstart --data DIR --resume        go on after an interruption
  pretrain my-experiment.toml --data DIR --dry-run
  pretrain my-experiment.toml --data s3://bucket/shards --out /scratch/run --mirror s3://bucket/run --resume
  pretrain watch runs/*                          how runs stand
  pretrain replay runs/quickstart/diverged/step-7

SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 save the state and end the program with status 75."
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<RunArgs>,
}

#[derive(Subcommand)]
enum Command {
    /// Compare runs, finished or still going on.
    ///
    /// On a terminal the table is refreshed until all runs are finished; elsewhere it is printed once.
    #[command(after_help = "Examples:
  pretrain watch runs/*
  pretrain watch runs/a runs/b --every 10
  pretrain watch runs/* --json | jq '.[] | {name, state, eta_secs}'")]
    Watch {
        /// Folders of runs.
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// Seconds between two looks.
        #[arg(long, value_name = "SECS", default_value_t = 2.0, value_parser = secs)]
        every: f64,
        /// Print the table once.
        #[arg(long)]
        once: bool,
        /// Print the numbers once, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Repeat a step whose loss was not finite, and show where in the model it begins.
    Replay {
        /// Folder in RUN/diverged.
        folder: PathBuf,
        /// Where tensors live.
        #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
        backend: BackendKind,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct RunArgs {
    /// A built-in experiment, or the path of a TOML file.
    experiment: String,
    /// Folder, or location in an object store, with a folder of shards for each component of the mixture.
    #[arg(long, default_value = "data")]
    data: String,
    /// The run's folder [default: runs/NAME].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Copy checkpoints, metrics and report to this folder or object store, and resume from there on another machine.
    #[arg(long, value_name = "LOCATION")]
    mirror: Option<String>,
    /// Override a key of the experiment; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Continue the run in the run's folder, if there is one.
    #[arg(long)]
    resume: bool,
    /// Begin with these weights: a folder of `convert`, of Hugging Face, or a checkpoint.
    #[arg(long, value_name = "FOLDER")]
    init_from: Option<String>,
    /// What the layers compute in: f32 or bf16 [default: the experiment's].
    #[arg(long, value_name = "TYPE")]
    precision: Option<String>,
    /// Sequences that pass through the model at a time; a divisor of the batch [default: the batch].
    #[arg(long, value_name = "N")]
    micro_batch: Option<usize>,
    /// Compute activations again in the backward pass, for a fraction of the memory and a third more work.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    recompute: Option<bool>,
    /// Memory of the device, such as 80GiB [default: what is free, on a processor].
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    memory: Option<u64>,
    /// Peak of the device, for MFU, such as 989e12 [default: measured].
    #[arg(long, value_name = "FLOPS")]
    peak_flops: Option<f64>,
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

/// Status of a run that was asked to stop: EX_TEMPFAIL, try again later.
const STOPPED: u8 = 75;

fn main() -> ExitCode {
    match try_main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pretrain: {error:#}");
            match error.downcast_ref() {
                Some(pretrain::Error::Stopped { .. }) => ExitCode::from(STOPPED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn try_main() -> Result<()> {
    let args = Args::parse();
    match (args.command, args.run) {
        (
            Some(Command::Watch {
                runs,
                every,
                once,
                json,
            }),
            _,
        ) => watch(&runs, Duration::from_secs_f64(every), once, json),
        (
            Some(Command::Replay {
                folder,
                backend,
                json,
            }),
            _,
        ) => {
            let found = with_backend!(backend, replay(&folder))?;
            match json {
                true => println!("{}", serde_json::to_string_pretty(&found)?),
                false => print!("{found}"),
            }
            Ok(())
        }
        (None, Some(args)) => train(args),
        (None, None) => unreachable!("clap asks for an experiment"),
    }
}

fn train(args: RunArgs) -> Result<()> {
    let mut plan = experiments::resolve(&args.experiment, &overrides(&args))?;
    if let Some(note) = adopt_initial_config(&mut plan)? {
        eprintln!("pretrain: {note}");
    }
    let memory = || (args.backend == BackendKind::Cpu).then(memory::available);
    let options = RunOptions {
        out: args
            .out
            .unwrap_or_else(|| PathBuf::from("runs").join(&plan.name)),
        data: args.data,
        mirror: args.mirror,
        resume: args.resume,
        micro_batch: args.micro_batch,
        recompute: args.recompute,
        memory: args.memory.or_else(memory),
        peak_flops: args.peak_flops,
    };
    if args.dry_run {
        return dry_run(&plan, &options, args.json);
    }
    let summary = with_backend!(args.backend, run(&plan, &options))?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&json(&summary))?),
        false => print_summary(&plan, &summary),
    }
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

/// A time span of a tenth of a second to a day.
fn secs(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(secs) if (0.1..=86_400.0).contains(&secs) => Ok(secs),
        _ => Err("not a number of seconds from 0.1 to 86400".to_string()),
    }
}

/// The flags that stand for keys come last, as the more particular.
fn overrides(args: &RunArgs) -> Vec<String> {
    let flag = |key: &str, value: &Option<String>| {
        let value = value.as_ref()?;
        Some(format!("{key}={}", toml::Value::String(value.clone())))
    };
    let flags = [
        flag("init_from", &args.init_from),
        flag("precision", &args.precision),
    ];
    args.set
        .iter()
        .cloned()
        .chain(flags.into_iter().flatten())
        .collect()
}

/// `80GiB`, `512MiB`, `80GB` or a number of bytes.
fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 6] = [
        ("GiB", 1024.0 * 1024.0 * 1024.0),
        ("MiB", 1024.0 * 1024.0),
        ("TiB", 1024.0 * 1024.0 * 1024.0 * 1024.0),
        ("GB", 1e9),
        ("MB", 1e6),
        ("B", 1.0),
    ];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, scale) = match unit {
        Some((unit, scale)) => (&text[..text.len() - unit.len()], *scale),
        None => (text, 1.0),
    };
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| "give it as 80GiB".to_string())?;
    match number.is_finite() && number >= 0.0 {
        true => Ok((number * scale) as u64),
        false => Err("give it as 80GiB".into()),
    }
}

/// Prints the plan, what it takes of each component of its mixture, and the memory it needs: behind the plan as comments, so that
/// all of it is TOML.
fn dry_run(plan: &Plan, options: &RunOptions, json: bool) -> Result<()> {
    let sequences = plan.steps * plan.batch_size as u64;
    let cut = Cut {
        micro_batch: options.micro_batch.unwrap_or(plan.batch_size),
        recompute: options.recompute.unwrap_or(false),
    };
    let (report, model) = match open_loader(plan, &options.data) {
        Ok(loader) => {
            let vocab_size = loader.vocab().layout().vocab_size as usize;
            let data = memory::data(&loader.summary());
            let needed = Estimate::new(plan, vocab_size, cut, data);
            let advice = match options.memory {
                Some(limit) => memory::check(plan, vocab_size, cut, data, limit).err(),
                None => None,
            };
            let advice = advice.map(|error| error.to_string());
            let parameters = plan.model.parameters(vocab_size);
            (
                Report::new(&loader, sequences)?,
                Some((parameters, needed, advice)),
            )
        }
        // a plan can be looked at where its data are not
        Err(pretrain::Error::Data(missing @ mixes::Error::MissingComponent { .. })) => {
            eprintln!("pretrain: {missing}; without it nothing is known of epochs and memory");
            (
                Report::planned(&Mixture::open(&plan.mix)?, plan.seq_len, sequences)?,
                None,
            )
        }
        Err(error) => return Err(error.into()),
    };
    if json {
        let (parameters, memory) = model
            .map(|(parameters, memory, _)| (parameters, memory))
            .unzip();
        let found = serde_json::json!({
            "plan": plan, "mixture": report, "parameters": parameters, "memory": memory,
        });
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    println!(
        "{}",
        toml::to_string(plan).context("the plan has no TOML form")?
    );
    let mut lines = report.to_string();
    if let Some((parameters, needed, advice)) = model {
        lines += &format!("\n{parameters} parameters\nmemory {needed}\n");
        lines += &advice.unwrap_or_default();
    }
    for line in lines.lines() {
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
