//! `finetune`: train a model on the responses to instructions.

mod args;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use experiments::{Experiment, Plan, Resolved, Start};
use mixes::Mixture;
use pretrain::cli;
use pretrain::finetune::{self, Origin};
use pretrain::run_dir::OWN_DATA;
use pretrain::train::adopt_initial_config;
use pretrain::world::World;

use args::Args;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    cli::main("finetune", |world| fine_tune(args, world))
}

fn fine_tune(mut args: Args, world: &World) -> Result<()> {
    let Some(name) = args.experiment.clone() else {
        return of_origin(&mut args, world);
    };
    let experiment = load(&name)?;
    let selection = args.variants.selection(&[("method", &args.method)]);
    let chosen = experiment.select(&selection)?;
    let count = if args.variants.all { chosen.len() } else { 1 };
    for variant in &chosen[..count] {
        let selection = std::slice::from_ref(&variant.name);
        let resolved = experiment.resolve(selection, &args.overrides())?;
        let recipe = experiment.resolve(selection, &[])?.plan;
        let folder = match count {
            1 => args.train.out.clone(),
            _ => Some(cli::one_of_several(&args.train, &resolved.plan)),
        };
        of_variant(world, &args, resolved, recipe, folder)?;
    }
    Ok(())
}

/// An experiment by its name, which may lack the `sft-` that such names begin with.
fn load(name: &str) -> Result<Experiment> {
    let full = format!("sft-{name}");
    let name = match experiments::names().contains(&full.as_str()) {
        true => &full,
        false => name,
    };
    Ok(experiments::load(name)?)
}

fn of_variant(
    world: &World,
    args: &Args,
    mut resolved: Resolved,
    recipe: Plan,
    folder: Option<PathBuf>,
) -> Result<()> {
    let name = &resolved.plan.name;
    let from = match (&args.from, resolved.start.checkpoint(Path::new("runs"))) {
        (Some(from), _) => from.clone(),
        (None, Some(from)) if matches!(resolved.start, Start::FineTune { .. }) => from,
        _ => bail!("{name} does not say what it fine-tunes; say so with --from"),
    };
    // a plan can be looked at where its checkpoint is not
    if !args.train.dry_run || from.exists() {
        let origin = Origin::open(&from)?;
        if args.from.is_some() {
            resolved.plan.model = origin.model;
        } else if resolved.plan.model != origin.model {
            bail!(
                "the model of {name} is not that of {}; give --from to fine-tune the latter",
                from.display()
            );
        }
    }
    begin(world, args, &from, resolved, recipe, folder)
}

/// Without an experiment: the plan of the origin's run, with what fine-tuning has in common over it.
fn of_origin(args: &mut Args, world: &World) -> Result<()> {
    let from = args.from.clone().expect("clap asks for one");
    let origin = Origin::open(&from)?;
    let experiment = match origin.plan() {
        Some(plan) => {
            let label = from.join("state.json").display().to_string();
            experiments::over(&plan, &label, "finetune")?
        }
        None => experiments::load("finetune")?,
    };
    let model = format!("model={}", toml::Value::try_from(&origin.model)?);
    let dataset = match finetune::is_instructions(&args.train.data) {
        true => Some(tokenized(args, &origin, world)?),
        false => None,
    };
    let keys = |name: &str, mix: &str, tokens: u64| -> Vec<String> {
        let keys = [
            cli::set("name", Some(format!("{}-sft-{name}", origin.name()))),
            cli::set("mix", Some(mix)),
            cli::set("epochs", Some(1.0)),
            cli::set("epoch_tokens", Some(tokens as f64)),
        ];
        [model.clone()]
            .into_iter()
            .chain(keys.into_iter().flatten())
            .collect()
    };
    let resolve = |keys: Vec<String>| experiment.resolve(&[], &[keys, args.overrides()].concat());
    let data = &args.train.data;
    let (name, mix) = match (&dataset, &args.mix) {
        (_, Some(mix)) => (Mixture::open(mix)?.name, mix.clone()),
        (Some(dataset), None) => {
            // how long sequences are does not depend on the mixture
            let plan = resolve(keys(dataset, "quickstart", 1))?.plan;
            (dataset.clone(), finetune::mixture_of(dataset, data, &plan)?)
        }
        (None, None) => {
            bail!("--data {data} is no .jsonl file: say with --mix how its datasets are mixed")
        }
    };
    let tokens = finetune::epoch_tokens(&resolve(keys(&name, &mix, 1))?.plan, data)?;
    let resolved = resolve(keys(&name, &mix, tokens))?;
    let recipe = experiment.resolve(&[], &keys(&name, &mix, tokens))?.plan;
    begin(world, args, &from, resolved, recipe, args.train.out.clone())
}

/// Makes the run's own data of a file of instructions; the name of the dataset.
fn tokenized(args: &mut Args, origin: &Origin, world: &World) -> Result<String> {
    let file = PathBuf::from(&args.train.data);
    let dataset = finetune::dataset_name(&file);
    let run = format!("{}-sft-{dataset}", origin.name());
    let out = args
        .train
        .out
        .get_or_insert_with(|| Path::new("runs").join(run));
    let data = out.join(OWN_DATA);
    if world.is_first() {
        finetune::tokenize(&file, origin, args.codec.as_deref(), &data)?;
    }
    world.barrier();
    args.train.data = data.display().to_string();
    Ok(dataset)
}

fn begin(
    world: &World,
    args: &Args,
    from: &Path,
    mut resolved: Resolved,
    mut recipe: Plan,
    folder: Option<PathBuf>,
) -> Result<()> {
    let plan = &mut resolved.plan;
    plan.init_from = Some(from.display().to_string());
    recipe.init_from.clone_from(&plan.init_from);
    if from.exists()
        && let Some(note) = adopt_initial_config(plan)?
        && world.is_first()
    {
        eprintln!("finetune: {note}");
    }
    if !args.train.dry_run && world.is_first() {
        for note in finetune::left_out(plan, &args.train.data)? {
            eprintln!("finetune: {note}");
        }
    }
    cli::train(world, &args.train, &resolved, &recipe, folder)?;
    Ok(())
}
