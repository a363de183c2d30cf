//! What is printed of plans and of finished runs.

use crate::memory::{self, Estimate as Memory};
use crate::train::{Cut, RunOptions, RunSummary, open_loader};
use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use experiments::flops::training_flops_per_token;
use experiments::{
    Cluster, Difference, Estimate, Hardware, Plan, Resolved, Scaling, Summary, differences,
};
use mixes::Mixture;
use mixes::report::Report;

use super::TrainArgs;

/// Prints the built-in experiments.
pub fn catalog(json: bool) -> Result<()> {
    let catalog = experiments::catalog()?;
    match json {
        true => println!("{}", serde_json::to_string_pretty(&catalog)?),
        false => println!("{catalog}"),
    }
    Ok(())
}

/// What is known of a plan before it is run.
struct Outlook {
    mixture: Report,
    summary: Option<Summary>,
    estimate: Option<Estimate>,
    scaling: Option<Scaling>,
    /// Needed, and what is wrong with it.
    memory: Option<(Memory, Option<String>)>,
    differences: Vec<Difference>,
}

impl Outlook {
    fn new(
        args: &TrainArgs,
        resolved: &Resolved,
        recipe: &Plan,
        options: &RunOptions,
    ) -> Result<Self> {
        let plan = &resolved.plan;
        let sequences = plan.sequence_at(plan.first_step())..plan.sequence_at(plan.last_step());
        let (mixture, rows, data) = match open_loader(plan, &options.data) {
            Ok(loader) => {
                let rows = loader.vocab().layout().vocab_size as usize;
                let data = memory::data(&loader.summary());
                (Report::new(&loader, sequences)?, Some(rows), data)
            }
            // a plan can be looked at where its data are not
            Err(crate::Error::Data(missing @ mixes::Error::MissingComponent { .. })) => {
                eprintln!("{missing}; without it nothing is known of epochs");
                let mixture = Mixture::open(&plan.mix)?;
                let rows = resolved.vocab.map(experiments::Vocabulary::size);
                let planned = Report::planned(&mixture, plan.seq_len, sequences)?;
                (planned, rows, 0)
            }
            Err(error) => return Err(error.into()),
        };
        let summary = rows.map(|rows| Summary::new(plan, rows));
        let ranks = args.world.unwrap_or(1);
        let cut = cut(plan, options, ranks);
        let mut hardware = args.device.clone();
        if let (Some(hardware), Some(peak)) = (&mut hardware, args.peak_flops) {
            hardware.peak_flops = peak;
        }
        let scaling = match (rows, &hardware) {
            (Some(rows), Some(hardware)) => scaling(args, plan, rows, hardware, cut)?,
            _ => None,
        };
        let estimate = match (&summary, hardware) {
            (Some(summary), Some(hardware)) => Some(estimate(args, summary, hardware, &scaling)?),
            _ => None,
        };
        let memory = rows.map(|rows| memory(plan, rows, cut, data, ranks, options.memory));
        Ok(Self {
            mixture,
            summary,
            estimate,
            scaling,
            memory,
            differences: differences(plan, recipe),
        })
    }
}

/// How each of `ranks` processes would cut its part of a step.
fn cut(plan: &Plan, options: &RunOptions, ranks: u64) -> Cut {
    Cut {
        micro_batch: options
            .micro_batch
            .unwrap_or(plan.batch_size / ranks as usize),
        recompute: options.recompute.unwrap_or(false),
    }
}

/// What a step comes to on the devices of --world, if that is given.
fn scaling(
    args: &TrainArgs,
    plan: &Plan,
    rows: usize,
    hardware: &Hardware,
    cut: Cut,
) -> Result<Option<Scaling>> {
    let Some(ranks) = args.world else {
        return Ok(None);
    };
    let cluster = Cluster::new(hardware.clone(), ranks, args.gpus_per_node, args.net)?;
    let scaling = Scaling::new(plan, rows, &cluster, cut.micro_batch, args.mfu)?;
    Ok(Some(scaling))
}

/// Time and cost of a run: with --world those of its devices, whose utilisation communication lowers.
fn estimate(
    args: &TrainArgs,
    summary: &Summary,
    mut hardware: Hardware,
    scaling: &Option<Scaling>,
) -> Result<Estimate> {
    let mut mfu = args.mfu;
    if let Some(scaling) = scaling {
        (hardware.count, mfu) = (scaling.ranks, scaling.mfu);
    }
    let (flops, tokens) = (&summary.flops, summary.tokens);
    Ok(Estimate::new(flops, tokens, hardware, mfu, args.price)?)
}

/// Memory that each of `ranks` processes needs, and what is wrong with it.
fn memory(
    plan: &Plan,
    rows: usize,
    cut: Cut,
    data: u64,
    ranks: u64,
    limit: Option<u64>,
) -> (Memory, Option<String>) {
    let checked = limit.map(|limit| memory::check(plan, rows, cut, data, ranks, limit));
    let problem = checked.and_then(Result::err).map(|error| error.to_string());
    (Memory::new(plan, rows, cut, data, ranks), problem)
}

/// Prints the plan and what it comes to: behind the plan as comments, so that all of it is TOML.
pub fn dry_run(
    args: &TrainArgs,
    resolved: &Resolved,
    recipe: &Plan,
    options: &RunOptions,
) -> Result<()> {
    let plan = &resolved.plan;
    let outlook = Outlook::new(args, resolved, recipe, options)?;
    let memory = outlook.memory.as_ref();
    if args.json {
        let found = serde_json::json!({
            "plan": plan,
            "start": resolved.start,
            "mixture": outlook.mixture,
            "summary": outlook.summary,
            "estimate": outlook.estimate,
            "scaling": outlook.scaling,
            "memory": memory.map(|(needed, _)| needed),
            "differences": outlook.differences,
        });
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    println!(
        "{}",
        toml::to_string(plan).context("the plan has no TOML form")?
    );
    let mut parts = vec![outlook.mixture.to_string()];
    parts.extend(outlook.summary.map(|summary| summary.to_string()));
    parts.extend(outlook.estimate.map(|estimate| estimate.to_string()));
    parts.extend(outlook.scaling.map(|scaling| scaling.to_string()));
    if let Some((needed, problem)) = memory {
        let each = args.world.map_or("", |_| " of each process");
        parts.push(format!("memory{each} {needed}"));
        parts.extend(problem.clone());
    }
    if !outlook.differences.is_empty() {
        let lines = outlook
            .differences
            .iter()
            .map(|change| format!("\n{change}"));
        parts.push(format!("changed:{}", lines.collect::<String>()));
    }
    let parts: Vec<&str> = parts.iter().map(|part| part.trim_end()).collect();
    for line in parts.join("\n\n").lines() {
        println!("{}", format!("# {line}").trim_end());
    }
    Ok(())
}

/// A finished run, for programs.
pub fn json(summary: &RunSummary) -> serde_json::Value {
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

/// Prints a finished run.
pub fn summary(plan: &Plan, summary: &RunSummary) {
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
