//! Time and memory of training steps (forward, backward, clip, update), for `scripts/bench_train.py`:
//!
//! ```text
//! cargo run --release -p pretrain --example step_speed -- --model 30m --batch 2 --time 512 --precision bf16
//! ```
//! prints one line of JSON: the time of each step, the least processor time of all threads (on a machine with other work, the
//! better measure), and the parts of the fastest step. The steps are those of the trainer, with AdamW, on random tokens of one
//! document a sequence. `peak_memory` is that of the process, without a GPU's. Under mpirun (built with the feature `mpi`) the
//! processes share the batch, and the times are those of the first.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use experiments::ModelConfig;
use kernels::{Kernels, OptimizerKernels};
use mixes::Sequence;
use pretrain::backend::{BackendChoice, TrainingBackend};
use pretrain::model::Qwen3;
use pretrain::train::{Cut, Objective, Phases, Trainer, matmul_flops, peak_memory};
use pretrain::with_backend;
use pretrain::world::World;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use shards::VocabLayout;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Llama 3's text ids and eight of Mimi's codebooks.
const VOCABULARY: VocabLayout = VocabLayout {
    bos: 128_000,
    eos: 128_001,
    text_start: 128_256,
    text_end: 128_257,
    audio_start: 128_258,
    audio_end: 128_259,
    audio_base: 128_260,
    codebooks: 8,
    codebook_size: 2048,
    vocab_size: 144_644,
};

#[derive(Parser)]
struct Args {
    /// One of the recipe's sizes.
    #[arg(long, default_value = "30m")]
    model: String,
    /// Layers, if not those of the size.
    #[arg(long)]
    layers: Option<usize>,
    /// Sequences a step.
    #[arg(long, default_value_t = 2)]
    batch: usize,
    /// Tokens a sequence.
    #[arg(long, default_value_t = 512)]
    time: usize,
    /// f32 or bf16.
    #[arg(long, default_value = "f32")]
    precision: String,
    /// Computes activations again in the backward pass.
    #[arg(long)]
    recompute: bool,
    #[arg(long, default_value_t = 8)]
    steps: u64,
    /// Where tensors live.
    #[arg(long, value_enum, default_value = "cpu")]
    backend: BackendChoice,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let world = World::join()?;
    with_backend!(args.backend.resolve()?, measure(&args, &world))
}

fn measure<B>(device: &B::Device, args: &Args, world: &World) -> Result<()>
where
    B: TrainingBackend,
    B::InnerBackend: Kernels + OptimizerKernels,
{
    let settings = [
        format!("batch_size={}", args.batch),
        format!("seq_len={}", args.time),
        format!("precision={}", args.precision),
        format!("steps={}", args.steps),
        "optimizer.cautious=false".into(),
        "schedule.warmup=0".into(),
    ];
    let mut plan = experiments::resolve("quickstart", &settings)?;
    plan.model = ModelConfig::named(&args.model)
        .with_context(|| format!("no model of size {}", args.model))?
        .clone();
    if let Some(layers) = args.layers {
        plan.model.num_hidden_layers = layers;
    }
    let cut = Cut {
        micro_batch: args.batch / world.size(),
        recompute: args.recompute,
    };
    let model = Qwen3::<B>::new(&plan.model, VOCABULARY.vocab_size as usize, 0, device);
    let objective = Objective::new(&plan.loss.weights, &VOCABULARY)?;
    let trainer = Trainer::new(&plan, cut, objective, model);
    let mut trainer = trainer.among(world, B::collective(world, device)?);

    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut steps = Vec::new();
    let mut processor_secs = f64::INFINITY;
    let mut loss = f64::NAN;
    for _ in 0..args.steps {
        let sequences: Vec<Sequence> = (0..args.batch)
            .map(|_| sequence(args.time, &mut rng))
            .collect();
        let mine = sequences
            .into_iter()
            .skip(world.rank())
            .step_by(world.size());
        let sequences: Vec<Sequence> = mine.collect();
        let (start, before) = (Instant::now(), processor_time()?);
        let out = trainer.train_step(&sequences, false)?;
        steps.push((start.elapsed().as_secs_f64(), out.phases));
        processor_secs = processor_secs.min(processor_time()? - before);
        loss = out.objective;
    }
    if !world.is_first() {
        return Ok(());
    }
    let memory = peak_memory();
    let (secs, phases) = steps
        .iter()
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .context("at least one step")?;
    let Phases {
        forward,
        backward,
        optimizer,
        ..
    } = phases;
    println!(
        "{}",
        json!({
            "secs": steps.iter().map(|(secs, _)| secs).collect::<Vec<_>>(),
            "processor_secs": processor_secs,
            "tokens_per_sec": (args.batch * args.time) as f64 / secs,
            "forward_secs": forward.as_secs_f64(),
            "backward_secs": backward.as_secs_f64(),
            "optimizer_secs": optimizer.as_secs_f64(),
            "loss": loss,
            "peak_memory": memory,
            "matmul_flops": matmul_flops::<B::InnerBackend>(plan.precision, device),
        })
    );
    Ok(())
}

/// Random tokens of one document.
fn sequence(time: usize, rng: &mut ChaCha8Rng) -> Sequence {
    let mut loss_weights = vec![1.0; time];
    loss_weights[time - 1] = 0.0;
    Sequence {
        tokens: (0..time)
            .map(|_| rng.random_range(0..VOCABULARY.vocab_size))
            .collect(),
        segment_ids: vec![0; time],
        loss_weights,
    }
}

/// Seconds that this process's threads have computed so far, as Linux counts them.
fn processor_time() -> Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let line = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = line.split(' ').next().context("an empty schedstat")?;
        nanoseconds += first.parse::<f64>()?;
    }
    Ok(nanoseconds / 1e9)
}
