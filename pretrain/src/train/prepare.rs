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
use super::run::{Meter, Run};
use super::stop::Stop;
use super::{Cut, RunOptions, RunSummary, Trainer};
use crate::checkpoint::{Checkpoint, Mirror, STATE, Writer};
use crate::error::{Error, Result};
use crate::hf;
use crate::memory;
use crate::model::Qwen3;
use crate::run_dir::{Claim, DataConfig, RunConfig, RunDir};

/// Batches kept ready.
const BATCHES_AHEAD: usize = 2;

/// Runs a plan to its end, from its start or from the newest checkpoint.
///
/// # Errors
/// [`Error`]: the run folder keeps what was reached, and `resume` continues it.
pub fn run<B>(device: &B::Device, plan: &Plan, options: &RunOptions) -> Result<RunSummary>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels + OptimizerKernels,
{
    let stop = Stop::listen().map_err(Error::io("listen to signals of", &options.out))?;
    let loader = open_loader(plan, &options.data)?;
    let vocab_size = loader.vocab().layout().vocab_size as usize;
    let mirror = options.mirror.as_deref().map(Mirror::open).transpose()?;
    let mut notes = Vec::new();
    if let Some(mirror) = mirror.as_ref().filter(|_| options.resume) {
        notes.extend(mirror.fetch(&options.out)?);
    }
    let cut = cut(plan, options)?;
    let config = RunConfig {
        plan: plan.clone(),
        data: DataConfig {
            path: options.data.clone(),
            sha256: loader.summary().data_sha256,
            vocab_size,
        },
        cut,
    };
    if let Some(limit) = options.memory {
        let data = memory::data(&loader.summary());
        memory::check(plan, vocab_size, cut, data, 1, limit)?;
    }
    let claim = Claim::open(&options.out, config, options.resume)?;
    let newest = Checkpoint::newest(&claim.checkpoints())?;
    notes.extend(newest.damaged);
    let objective = Objective::new(&plan.loss.weights, loader.vocab().layout())?;
    let trainer = match &newest.checkpoint {
        Some(checkpoint) => {
            check_tokenizer(
                checkpoint.dir(),
                &checkpoint.state.tokenizer_sha256,
                &loader,
            )?;
            let loaded = checkpoint.load(plan, device)?;
            Trainer::<B>::resumed(plan, cut, objective, loaded)
        }
        None => match &plan.anneal {
            Some(anneal) => {
                let loaded = open_annealed(anneal, &loader)?.load(plan, device)?;
                Trainer::resumed(plan, cut, objective, loaded)
            }
            None => {
                let model = initial_model(plan, &loader, device, &mut notes)?;
                Trainer::new(plan, cut, objective, model)
            }
        },
    };
    // Too little data is better known now than at the last step.
    loader.component(plan.sequence_at(plan.last_step()) - 1)?;
    let (validation_of, validation) = validation(plan, &loader)?;
    let dir = claim.begin(newest.checkpoint.map(|checkpoint| checkpoint.state.step))?;
    let progress = Progress::new(plan, trainer.step());
    notes.iter().for_each(|note| progress.warn(note));
    let peak_flops = options
        .peak_flops
        .unwrap_or_else(|| matmul_flops::<B::InnerBackend>(plan.precision, device));
    let share = Share::whole(plan.batch_size as u64);
    Run {
        plan,
        batches: Batches::start(
            loader.clone(),
            share,
            plan.sequence_at(trainer.step()),
            BATCHES_AHEAD,
        ),
        components: loader.summary().components,
        validation,
        validation_of,
        writer: Writer::new(dir.path(), &plan.checkpoint, mirror),
        dir,
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

fn cut(plan: &Plan, options: &RunOptions) -> Result<Cut> {
    let before = RunDir::cut(&options.out)?.unwrap_or(Cut {
        micro_batch: plan.batch_size,
        recompute: false,
    });
    let cut = Cut {
        micro_batch: options.micro_batch.unwrap_or(before.micro_batch),
        recompute: options.recompute.unwrap_or(before.recompute),
    };
    match cut.micro_batch > 0 && plan.batch_size.is_multiple_of(cut.micro_batch) {
        true => Ok(cut),
        false => Err(Error::Plan(format!(
            "--micro-batch is {}, but must divide the batch of {} sequences",
            cut.micro_batch, plan.batch_size
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
