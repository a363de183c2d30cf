//! `anneal`: go on from a checkpoint on other data, with a learning rate that falls.

mod args;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use experiments::{Experiment, Plan, Resolved, Start};
use mixes::Mixture;
use pretrain::anneal::Annealed;
use pretrain::cli;
use pretrain::report::Comparison;
use pretrain::world::World;

use args::{Args, Command, RunArgs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    cli::main("anneal", |world| try_main(args, world))
}

fn try_main(args: Args, world: &World) -> Result<()> {
    match args.command {
        Some(Command::Compare { runs, out, json }) => compare(&runs, &out, json),
        None => anneal(&args.run, world),
    }
}

/// An anneal, and its plan without what was set.
struct Job {
    resolved: Resolved,
    recipe: Plan,
}

fn anneal(args: &RunArgs, world: &World) -> Result<()> {
    let jobs = match &args.experiment {
        Some(name) => of_experiment(args, name)?,
        None => of_checkpoint(args)?,
    };
    let several = jobs.len() > 1;
    let mut folders = Vec::new();
    for job in jobs {
        let plan = &job.resolved.plan;
        let folder = match several {
            true => cli::one_of_several(&args.train, plan),
            false => args
                .train
                .out
                .clone()
                .unwrap_or_else(|| Path::new("runs").join(&plan.name)),
        };
        cli::train(
            world,
            &args.train,
            &job.resolved,
            &job.recipe,
            Some(folder.clone()),
        )?;
        folders.push(folder);
    }
    if several && !args.train.dry_run && world.is_first() {
        let runs = args
            .train
            .out
            .clone()
            .unwrap_or_else(|| PathBuf::from("runs"));
        compare(&folders, &runs.join("anneals.html"), args.train.json)?;
    }
    Ok(())
}

/// The variants of an experiment that anneals.
fn of_experiment(args: &RunArgs, name: &str) -> Result<Vec<Job>> {
    let experiment = experiments::load(name)?;
    let mixes: Vec<Option<String>> = match args.mix.is_empty() {
        true => vec![None],
        false => args.mix.iter().cloned().map(Some).collect(),
    };
    let mut jobs = Vec::new();
    for mix in mixes {
        let chosen = experiment.select(&args.variants.selection(&[("mix", &mix)]))?;
        let count = if args.variants.all { chosen.len() } else { 1 };
        for variant in &chosen[..count] {
            let selection = std::slice::from_ref(&variant.name);
            jobs.push(job_of_variant(args, &experiment, selection)?);
        }
    }
    Ok(jobs)
}

fn job_of_variant(args: &RunArgs, experiment: &Experiment, selection: &[String]) -> Result<Job> {
    let resolve = |overrides: &[String]| experiment.resolve(selection, overrides);
    let mut resolved = resolve(&args.overrides())?;
    let mut recipe = resolve(&[])?.plan;
    let name = &resolved.plan.name;
    if !matches!(resolved.start, Start::Anneal { .. }) {
        bail!(
            "{name} anneals nothing: run it with `{}`",
            resolved.start.program()
        );
    }
    let from = resolved
        .start
        .checkpoint(Path::new("runs"))
        .expect("anneals have one");
    let from = args.from.as_ref().unwrap_or(&from);
    if args.train.dry_run && args.from.is_none() && !from.exists() {
        // a plan can be looked at where its checkpoint is not
        return Ok(Job { resolved, recipe });
    }
    let annealed = Annealed::open(from)?;
    if args.from.is_some() {
        resolved.plan.model = annealed.plan().model.clone();
    } else if resolved.plan.model != annealed.plan().model {
        bail!(
            "the model of {name} is not that of {}; give --from to anneal the latter",
            from.display()
        );
    }
    recipe.anneal = Some(annealed.config());
    finish(args, &annealed, &mut resolved.plan)?;
    Ok(Job { resolved, recipe })
}

/// The plan of the checkpoint's run, with what anneals have in common over it.
fn of_checkpoint(args: &RunArgs) -> Result<Vec<Job>> {
    let from = args.from.as_ref().expect("clap asks for one");
    let annealed = Annealed::open(from)?;
    let label = from.join("state.json").display().to_string();
    let experiment = experiments::over(annealed.plan(), &label, "anneal")?;
    let rates = rates(args, &annealed)?;
    let job = |mix: &String| {
        let mix = match args.n_weight {
            Some(n) => format!("{mix}(n={n})"),
            None => mix.clone(),
        };
        let name = annealed.name(&Mixture::open(&mix)?);
        let base = [cli::set("name", Some(name)), cli::set("mix", Some(mix))];
        let base: Vec<String> = base.into_iter().flatten().chain(rates.clone()).collect();
        let mut resolved = experiment.resolve(&[], &[&base[..], &args.overrides()].concat())?;
        let mut recipe = experiment.resolve(&[], &base)?.plan;
        recipe.anneal = Some(annealed.config());
        finish(args, &annealed, &mut resolved.plan)?;
        Ok(Job { resolved, recipe })
    };
    args.mix.iter().map(job).collect()
}

/// The run's learning rates at the checkpoint, as keys to set.
fn rates(args: &RunArgs, annealed: &Annealed) -> Result<Vec<String>> {
    let [now, peak] = annealed.rates();
    let config = annealed.config();
    let is_set = args.lr.is_some()
        || args
            .train
            .set
            .iter()
            .any(|set| set.starts_with("optimizer"));
    if now.adamw == 0.0 && !is_set {
        bail!(
            "the learning rate of {} has come down to 0 at step {}, from {:e}; say with --lr what the anneal begins with",
            config.from,
            config.step,
            peak.adamw
        );
    }
    if now != peak && !is_set {
        eprintln!(
            "anneal: the learning rate begins at {:e}, as the run had it at step {} after a peak of {:e}; --lr gives another",
            now.adamw, config.step, peak.adamw
        );
    }
    let muon = annealed.plan().optimizer.muon.as_ref().map(|_| now.muon);
    let keys = [
        cli::set("optimizer.lr", Some(now.adamw)),
        cli::set("optimizer.muon.lr", muon),
    ];
    Ok(keys.into_iter().flatten().collect())
}

fn finish(args: &RunArgs, annealed: &Annealed, plan: &mut Plan) -> Result<()> {
    plan.anneal = Some(annealed.config());
    if args.interpolate {
        plan.mix = annealed.interpolated(plan)?;
        Mixture::open(&plan.mix).context("--interpolate")?;
    }
    Ok(())
}

fn compare(runs: &[PathBuf], out: &Path, json: bool) -> Result<()> {
    let comparison = Comparison::of(runs)?;
    comparison.write(out)?;
    match json {
        true => println!("{}", serde_json::to_string_pretty(&comparison)?),
        false => println!("{comparison}\ncomparison  {}", out.display()),
    }
    Ok(())
}
