//! What comes before the first step: everything that could go wrong later is looked at now.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::backend::AutodiffBackend;
use experiments::flops::training_flops_per_token;
use experiments::{AnnealConfig, Plan};
use kernels::{Kernels, OptimizerKernels};
use mixes::{Batches, Loader, LoaderOptions, Mixture, Sequence, Share};

use super::batch::Objective;
use super::peak::matmul_flops;
use super::progress::Progress;
use super::ranks::Ranks;
use super::run::{Meter, Run};
use super::stop::Stop;
use super::{Cut, RunOptions, RunSummary, Trainer};
use crate::backend::TrainingBackend;
use crate::checkpoint::{Checkpoint, Mirror, STATE, Writer};
use crate::error::{Error, Result};
use crate::hf;
use crate::memory;
use crate::model::Qwen3;
use crate::run_dir::{Claim, DataConfig, RunConfig, RunDir};
use crate::world::{Identity, LONG_PATIENCE, World};

/// Batches kept ready.
const BATCHES_AHEAD: usize = 2;

/// Runs a plan to its end, from its start or from the newest checkpoint.
///
/// # Errors
/// [`Error`]: the run folder keeps what was reached, and `resume` continues it.
pub fn run<B>(device: &B::Device, plan: &Plan, options: &RunOptions) -> Result<RunSummary>
where
    B: TrainingBackend,
    B::InnerBackend: Kernels + OptimizerKernels,
{
    let world = &options.world;
    world.stands_at(0, LONG_PATIENCE);
    let stop = Stop::listen().map_err(Error::io("listen to signals of", &options.out))?;
    let share = share(plan, world)?;
    let loader = open_loader(plan, &options.data)?;
    let vocab_size = loader.vocab().layout().vocab_size as usize;
    let mirror = options.mirror.as_deref().map(Mirror::open).transpose()?;
    let mirror = mirror.filter(|_| world.is_first());
    let mut notes = Vec::new();
    if let Some(mirror) = mirror.as_ref().filter(|_| options.resume) {
        notes.extend(mirror.fetch(&options.out)?);
    }
    world.barrier();
    let cut = cut(plan, options, share)?;
    let config = RunConfig {
        plan: plan.clone(),
        data: DataConfig {
            path: options.data.clone(),
            sha256: loader.summary().data_sha256,
            vocab_size,
        },
        cut,
    };
    if world.size() > 1 {
        Identity::of(toml::to_string(&config).expect("a configuration serialises"))?
            .check(world)?;
    }
    if let Some(limit) = options.memory {
        let data = memory::data(&loader.summary());
        memory::check(plan, vocab_size, cut, data, world.size() as u64, limit)?;
    }
    // One process writes to the folder; others do not begin before it has it.
    let claim = match world.is_first() {
        true => Some(Claim::open(&options.out, config, options.resume)?),
        false => None,
    };
    let newest = newest(world, &options.out, &mut notes)?;
    let objective = Objective::new(&plan.loss.weights, loader.vocab().layout())?;
    let trainer = match &newest {
        Some(checkpoint) => {
            check_tokenizer(
                checkpoint.dir(),
                &checkpoint.state.tokenizer_sha256,
                &loader,
            )?;
            let loaded = checkpoint.load(plan, world, device)?;
            Trainer::<B>::resumed(plan, cut, objective, loaded)
        }
        None => match &plan.anneal {
            Some(anneal) => {
                let loaded = open_annealed(anneal, &loader)?.load(plan, world, device)?;
                Trainer::resumed(plan, cut, objective, loaded)
            }
            None => {
                let model = initial_model(plan, &loader, device, &mut notes)?;
                Trainer::new(plan, cut, objective, model)
            }
        },
    };
    let trainer = match world.size() {
        1 => trainer,
        _ => trainer.among(world, B::collective(world, device)?),
    };
    // Too little data is better known now than at the last step.
    loader.component(plan.sequence_at(plan.last_step()) - 1)?;
    let (validation_of, validation) = validation(plan, &loader)?;
    let step = newest.map(|checkpoint| checkpoint.state.step);
    let dir = claim.map(|claim| claim.begin(step)).transpose()?;
    let progress = Progress::new(plan, trainer.step(), world.rank());
    notes.iter().for_each(|note| progress.warn(note));
    let peak_flops = options
        .peak_flops
        .unwrap_or_else(|| matmul_flops::<B::InnerBackend>(plan.precision, device));
    let peak_flops = peak_flops * world.size() as f64;
    world.stands_at(trainer.step(), LONG_PATIENCE);
    Run {
        plan,
        batches: Batches::start(
            loader.clone(),
            share,
            plan.sequence_at(trainer.step()),
            BATCHES_AHEAD,
        ),
        share,
        components: loader.summary().components,
        validation,
        validation_of,
        writer: Writer::new(&options.out, &plan.checkpoint, mirror),
        path: options.out.clone(),
        dir,
        ranks: Ranks::new(world, &options.out)?,
        world: world.clone(),
        progress,
        stop,
        meter: Meter::default(),
        written: Instant::now(),
        flops_share: training_flops_per_token(&plan.model, vocab_size, plan.seq_len) / peak_flops,
        unrecorded: false,
        trainer,
        loader,
    }
    .run()
}

/// The sequences of each batch that a process takes.
fn share(plan: &Plan, world: &World) -> Result<Share> {
    let (batch, ranks) = (plan.batch_size, world.size());
    if !batch.is_multiple_of(ranks) {
        let fit: Vec<String> = (1..=batch)
            .filter(|ranks| batch.is_multiple_of(*ranks))
            .map(|ranks| ranks.to_string())
            .collect();
        return Err(Error::World(format!(
            "{ranks} processes cannot share batches of {batch} sequences equally: start one of {} processes, or set batch_size \
             to a multiple of {ranks}",
            fit.join(", ")
        )));
    }
    Ok(Share {
        batch_size: batch as u64,
        rank: world.rank() as u64,
        ranks: ranks as u64,
    })
}

/// The newest checkpoint of a run's folder, which the first process has found to be whole.
fn newest(world: &World, run: &Path, notes: &mut Vec<String>) -> Result<Option<Checkpoint>> {
    let folder = run.join("checkpoints");
    let mut newest = None;
    if world.is_first() {
        let found = Checkpoint::newest(&folder)?;
        notes.extend(found.damaged);
        newest = found.checkpoint;
    }
    let step = newest.as_ref().map(|checkpoint| checkpoint.state.step);
    let json = world.from_first(|| serde_json::to_vec(&step).expect("a number serialises"));
    let step: Option<u64> = serde_json::from_slice(&json).expect("the first process sends one");
    let Some(step) = step.filter(|_| !world.is_first()) else {
        return Ok(newest);
    };
    let dir = folder.join(format!("step-{step}"));
    Checkpoint::open(&dir).map(Some).map_err(|error| {
        Error::World(format!(
            "rank {} does not see the checkpoint that rank 0 goes on from: {error}. The run's folder must lie where all nodes \
             share it",
            world.rank()
        ))
    })
}

/// Opens the data of a plan, below the location `data`.
pub fn open_loader(plan: &Plan, data: &str) -> Result<Arc<Loader>> {
    let options = LoaderOptions {
        seq_len: plan.seq_len,
        seed: plan.seed,
        window_groups: LoaderOptions::WINDOW_GROUPS,
        simulated_epoching: None,
        cache: None,
    };
    let loader = Loader::open(&Mixture::open(&plan.mix)?, data, &options)?;
    Ok(Arc::new(loader))
}

/// Takes the rotary embedding and the epsilon of the weights that a plan begins with, which were trained so. Says what
/// that changed.
///
/// # Errors
/// A folder that is no model.
pub fn adopt_initial_config(plan: &mut Plan) -> Result<Option<String>> {
    let Some(folder) = &plan.init_from else {
        return Ok(None);
    };
    let (theirs, _) = hf::folder_config(Path::new(folder))?;
    let (rope, epsilon) = (&plan.model.rope, plan.model.rms_norm_eps);
    if theirs.rope == *rope && theirs.rms_norm_eps == epsilon {
        return Ok(None);
    }
    let note = format!(
        "rotary embedding {:?} and epsilon {:e} are those of {folder}, not the plan's {rope:?} and {epsilon:e}",
        theirs.rope, theirs.rms_norm_eps
    );
    plan.model.rope = theirs.rope;
    plan.model.rms_norm_eps = theirs.rms_norm_eps;
    Ok(Some(note))
}

fn cut(plan: &Plan, options: &RunOptions, share: Share) -> Result<Cut> {
    let mine = plan.batch_size / share.ranks as usize;
    let before = RunDir::cut(&options.out)?.unwrap_or(Cut {
        micro_batch: mine,
        recompute: false,
    });
    // As before, or the next less that fits if the run goes on with another number of processes.
    let fits = |micro_batch: &usize| mine.is_multiple_of(*micro_batch);
    let before_fits = (1..=before.micro_batch.min(mine)).rev().find(fits);
    let cut = Cut {
        micro_batch: options.micro_batch.or(before_fits).unwrap_or(mine),
        recompute: options.recompute.unwrap_or(before.recompute),
    };
    match cut.micro_batch > 0 && mine.is_multiple_of(cut.micro_batch) {
        true => Ok(cut),
        false => Err(Error::Plan(format!(
            "--micro-batch is {}, but must divide the batch of {mine} sequences{}",
            cut.micro_batch,
            if share.ranks > 1 {
                " of each process"
            } else {
                ""
            }
        ))),
    }
}

fn initial_model<B: AutodiffBackend>(
    plan: &Plan,
    loader: &Loader,
    device: &B::Device,
    notes: &mut Vec<String>,
) -> Result<Qwen3<B>> {
    let vocab_size = loader.vocab().layout().vocab_size as usize;
    let model = match &plan.init_from {
        Some(folder) => {
            let folder = Path::new(folder);
            let tokenizer = folder.join("tokenizer.json");
            let theirs = shards::sha256_file(&tokenizer).map_err(Error::io("read", &tokenizer))?;
            check_tokenizer(folder, &theirs, loader)?;
            if folder.join(STATE).is_file() {
                check_codec(&Checkpoint::open(folder)?, loader)?;
            }
            let initial = hf::initial_weights(folder, &plan.model, vocab_size, device)?;
            notes.extend(initial.notes);
            initial.model
        }
        None => Qwen3::new(&plan.model, vocab_size, plan.seed, device),
    };
    Ok(match &plan.lora {
        Some(lora) => model.with_lora(lora, Some(plan.seed), device),
        None => model,
    })
}

/// The checkpoint that a run anneals, whole and of the same meaning of tokens.
fn open_annealed(anneal: &AnnealConfig, loader: &Loader) -> Result<Checkpoint> {
    let dir = Path::new(&anneal.from);
    let path = dir.join(STATE);
    let found = shards::sha256_file(&path).map_err(Error::io("read", &path))?;
    if found != anneal.sha256 {
        return Err(Error::Checkpoint {
            dir: dir.into(),
            message: format!(
                "it is not the one that the plan goes on from: the SHA-256 of {STATE} is {found}, not {}",
                anneal.sha256
            ),
        });
    }
    let checkpoint = Checkpoint::open(dir)?.verified()?;
    check_tokenizer(dir, &checkpoint.state.tokenizer_sha256, loader)?;
    check_codec(&checkpoint, loader)?;
    Ok(checkpoint)
}

/// Refuses a checkpoint whose audio tokens mean other sounds.
fn check_codec(checkpoint: &Checkpoint, loader: &Loader) -> Result<()> {
    match (&checkpoint.state.codec, loader.codec()) {
        (Some(theirs), Some(ours)) if !theirs.is_same(ours) => Err(Error::OtherCodec {
            dir: checkpoint.dir().into(),
            theirs: theirs.name.clone(),
            ours: ours.name.clone(),
        }),
        _ => Ok(()),
    }
}

fn check_tokenizer(dir: &Path, theirs: &str, loader: &Loader) -> Result<()> {
    let ours = &loader.vocab().info().sha256;
    match theirs == ours {
        true => Ok(()),
        false => Err(Error::OtherTokenizer {
            dir: dir.into(),
            theirs: theirs.into(),
            ours: ours.clone(),
        }),
    }
}

/// Number of the component of each validation sequence, and the sequences.
fn validation(plan: &Plan, loader: &Loader) -> Result<(Vec<usize>, Vec<Sequence>)> {
    let components = loader.summary().components;
    let mut validation = Vec::new();
    for (name, sequences) in loader.validation(plan.validation_sequences)? {
        let number = components.iter().position(|c| c.name == name);
        let number = number.expect("validation sets are of the mixture's components");
        validation.extend(sequences.into_iter().map(|sequence| (number, sequence)));
    }
    match validation.is_empty() {
        false => Ok(validation.into_iter().unzip()),
        true => Err(Error::NoValidation {
            fraction: loader.mixture().validation_fraction,
        }),
    }
}
