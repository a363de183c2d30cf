//! Encodes and decodes arrays with a codec, and measures it.
//!
//! ```sh
//! cargo run --release -p encodec-rs --example codec -- encode FOLDER waves.safetensors codes.safetensors
//! cargo run --release -p encodec-rs --example codec -- decode FOLDER codes.safetensors waves.safetensors
//! cargo run --release -p encodec-rs --example codec -- peak
//! ```
//!
//! Waves are f32 tensors `[samples]` or `[samples, channels]` at the codec's rate; codes are u16 tensors
//! `[frames, codebooks]` of the same names, and for codecs that normalise `NAME.scales`, f32 `[chunks]`. Utterances are
//! sorted by length, and groups of them are worked on by one thread each. Prints one line of JSON: seconds of each
//! repetition, seconds of audio, bytes of memory before the work (weights and input), and at most during it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use encodec_rs::{BackendChoice, Codec, Codes, Options, Precision};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};

use arrays::{Array, Tensors, floats, read_codes};

mod arrays;
mod peak;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Waves to codes.
    Encode(Job),
    /// Codes to waves.
    Decode(Job),
    /// Multiply-adds that the processor can do in f32.
    Peak {
        /// Threads that run at once.
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
}

#[derive(Args)]
struct Job {
    /// Folder of `config.json` and `model.safetensors`, or another name of a codec.
    codec: String,
    /// Tensors to read.
    input: PathBuf,
    /// Tensors to write.
    output: PathBuf,
    /// The first so many codebooks; by default 8, or all that the codec has if they are fewer.
    #[arg(long)]
    codebooks: Option<usize>,
    /// Products in bfloat16.
    #[arg(long)]
    bf16: bool,
    /// Where the codec computes.
    #[arg(long, value_enum, default_value = "cpu")]
    backend: BackendChoice,
    /// Utterances worked on at once; by default one for each processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Times that the work is done.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Seconds of audio that are encoded together.
    #[arg(long, default_value_t = 30.0)]
    batch_secs: f64,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Encode(job) => job.run(encode),
        Command::Decode(job) => job.run(decode),
        Command::Peak { threads } => {
            let flops = peak::flops(threads);
            println!(
                "{}",
                serde_json::json!({ "threads": threads, "flops": flops })
            );
            Ok(())
        }
    }
}

/// Reads, works, writes.
type Work = fn(&dyn Codec, &Job) -> Result<Report>;

struct Report {
    secs: Vec<f64>,
    audio_secs: f64,
    memory_before: u64,
}

impl Job {
    fn run(&self, work: Work) -> Result<()> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .build_global()?;
        let precision = match self.bf16 {
            true => Precision::Bf16,
            false => Precision::F32,
        };
        let options = Options {
            codebooks: self.codebooks,
            precision,
            backend: self.backend.resolve()?,
        };
        let codec = encodec_rs::open(&self.codec, &options)?;
        let report = work(&*codec, self)?;
        println!(
            "{}",
            serde_json::json!({
                "secs": report.secs,
                "audio_secs": report.audio_secs,
                "threads": rayon::current_num_threads(),
                "memory_before": report.memory_before,
                "memory_peak": memory("VmHWM:")?,
            })
        );
        Ok(())
    }

    /// Runs `work` as often as asked; the time of each run, memory before, and the last result.
    fn measure<T>(&self, work: impl Fn() -> Result<T>) -> Result<(Vec<f64>, u64, T)> {
        ensure!(self.repeat > 0, "--repeat is 0; it must be at least 1");
        reset_memory_peak()?;
        let before = memory("VmRSS:")?;
        let mut secs = Vec::new();
        loop {
            let start = Instant::now();
            let result = work()?;
            secs.push(start.elapsed().as_secs_f64());
            if secs.len() == self.repeat {
                return Ok((secs, before, result));
            }
        }
    }
}

fn encode(codec: &dyn Codec, job: &Job) -> Result<Report> {
    let spec = codec.spec();
    let file = fs::read(&job.input).with_context(|| job.input.display().to_string())?;
    let mut waves = floats(&SafeTensors::deserialize(&file)?, |_| true)?;
    drop(file);
    for wave in &waves {
        let channels = wave.shape.get(1).copied().unwrap_or(1);
        if channels != spec.channels {
            bail!(
                "tensor `{}` has {channels} channels, the codec {}",
                wave.name,
                spec.channels
            );
        }
    }
    waves.sort_by_key(|wave| std::cmp::Reverse(wave.data.len()));
    let secs_of = |wave: &Array<f32>| wave.shape[0] as f64 / f64::from(spec.sample_rate_hz);
    let groups = grouped(&waves, secs_of, job.batch_secs);
    let (secs, memory_before, codes) = job.measure(|| {
        let encoded: Vec<Vec<_>> = groups
            .par_iter()
            .map(|group| {
                let samples: Vec<&[f32]> = group.iter().map(|wave| &wave.data[..]).collect();
                codec.encode_batch(&samples)
            })
            .collect();
        Ok(encoded
            .into_iter()
            .flatten()
            .collect::<encodec_rs::Result<Vec<Codes>>>()?)
    })?;
    let mut output = Tensors::default();
    for (wave, codes) in waves.iter().zip(codes) {
        let shape = vec![codes.frames(), codes.codebooks];
        let bytes = codes
            .data
            .iter()
            .flat_map(|code| code.to_le_bytes())
            .collect();
        output.push(&wave.name, Dtype::U16, shape, bytes);
        if !codes.scales.is_empty() {
            output.floats(
                &format!("{}.scales", wave.name),
                vec![codes.scales.len()],
                &codes.scales,
            );
        }
    }
    output.write(&job.output)?;
    Ok(Report {
        secs,
        audio_secs: waves.iter().map(secs_of).sum(),
        memory_before,
    })
}

fn decode(codec: &dyn Codec, job: &Job) -> Result<Report> {
    let spec = codec.spec();
    let file = fs::read(&job.input).with_context(|| job.input.display().to_string())?;
    let mut codes = read_codes(&SafeTensors::deserialize(&file)?)?;
    drop(file);
    codes.sort_by_key(|(_, codes)| std::cmp::Reverse(codes.frames()));
    let (secs, memory_before, waves) = job.measure(|| {
        Ok(codes
            .par_iter()
            .with_max_len(1)
            .map(|(_, codes)| codec.decode(codes))
            .collect::<encodec_rs::Result<Vec<_>>>()?)
    })?;
    let mut output = Tensors::default();
    for ((name, _), wave) in codes.iter().zip(&waves) {
        let shape = vec![wave.len() / spec.channels, spec.channels];
        output.floats(name, shape, wave);
    }
    output.write(&job.output)?;
    let samples: usize = waves.iter().map(|wave| wave.len() / spec.channels).sum();
    Ok(Report {
        secs,
        audio_secs: samples as f64 / f64::from(spec.sample_rate_hz),
        memory_before,
    })
}

/// Neighbours in groups of at most `limit` seconds, or alone.
fn grouped<T>(items: &[T], secs_of: impl Fn(&T) -> f64, limit: f64) -> Vec<&[T]> {
    let mut groups = Vec::new();
    let (mut start, mut secs) = (0, 0.0);
    for (at, item) in items.iter().enumerate() {
        if at > start && secs + secs_of(item) > limit {
            groups.push(&items[start..at]);
            (start, secs) = (at, 0.0);
        }
        secs += secs_of(item);
    }
    if start < items.len() {
        groups.push(&items[start..]);
    }
    groups
}

/// Bytes of this program's memory by Linux's name of the quantity; 0 on systems without `/proc`.
fn memory(key: &str) -> Result<u64> {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return Ok(0);
    };
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .with_context(|| format!("/proc/self/status has no {key}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Loading is done: let the peak be that of the work.
fn reset_memory_peak() -> Result<()> {
    let path = Path::new("/proc/self/clear_refs");
    if path.exists() {
        fs::write(path, "5").context("/proc/self/clear_refs")?;
    }
    Ok(())
}
