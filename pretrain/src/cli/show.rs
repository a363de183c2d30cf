//! What is printed of plans and of finished runs.

use crate::memory::{self, Estimate as Memory};
use crate::train::{Cut, RunOptions, RunSummary, open_loader};
use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use experiments::flops::training_flops_per_token;
use experiments::{Difference, Estimate, Plan, Resolved, Summary, differences};
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
        let (mixture, rows, memory) = match open_loader(plan, &options.data) {
            Ok(loader) => {
                let rows = loader.vocab().layout().vocab_size as usize;
                let data = memory::data(&loader.summary());
                let memory = memory(plan, rows, data, options);
                (Report::new(&loader, sequences)?, Some(rows), Some(memory))
            }
            // a plan can be looked at where its data are not
            Err(crate::Error::Data(missing @ mixes::Error::MissingComponent { .. })) => {
                eprintln!("{missing}; without it nothing is known of epochs");
                let mixture = Mixture::open(&plan.mix)?;
                let rows = resolved.vocab.map(experiments::Vocabulary::size);
                let memory = rows.map(|rows| memory(plan, rows, 0, options));
                let planned = Report::planned(&mixture, plan.seq_len, sequences)?;
                (planned, rows, memory)
            }
            Err(error) => return Err(error.into()),
        };
        let summary = rows.map(|rows| Summary::new(plan, rows));
        let estimate = match (&summary, args.device.clone()) {
            (Some(summary), Some(hardware)) => Some(Estimate::new(
                &summary.flops,
                summary.tokens,
                hardware,
                args.mfu,
                args.price,
            )?),
            _ => None,
        };
        Ok(Self {
            mixture,
            summary,
            estimate,
            memory,
            differences: differences(plan, recipe),
        })
    }
}

/// Memory that a plan needs, and what is wrong with it.
fn memory(plan: &Plan, rows: usize, data: u64, options: &RunOptions) -> (Memory, Option<String>) {
    let cut = Cut {
        micro_batch: options.micro_batch.unwrap_or(plan.batch_size),
        recompute: options.recompute.unwrap_or(false),
    };
    let problem = match options.memory {
        Some(limit) => memory::check(plan, rows, cut, data, limit).err(),
        None => None,
    };
    let problem = problem.map(|problem| problem.to_string());
    (Memory::new(plan, rows, cut, data), problem)
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
    if let Some((needed, problem)) = memory {
        parts.push(format!("memory {needed}"));
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
