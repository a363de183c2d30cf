//! `tokenize codec-train`.

use std::path::PathBuf;

use encodec_rs::mel_rvq::{self, TrainOptions};
use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::error::Error;
use crate::sources::folder::scan;
use crate::summary::thousands;

const EXAMPLES: &str = "\
Examples:
  tokenize codec-train recordings --out my-codec.safetensors
  tokenize folder recordings --codec my-codec.safetensors --out data/recordings --tokenizer tokenizer";

/// Train the mel-RVQ codec on a folder of recordings
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder of audio files, searched recursively; all are held in memory
    dir: PathBuf,
    /// The .safetensors file to write
    #[arg(long)]
    out: PathBuf,
    /// Seed of the first centroids
    #[arg(long, default_value_t = TrainOptions::default().seed)]
    seed: u64,
    /// Updates of each codebook
    #[arg(long, default_value_t = TrainOptions::default().iterations)]
    iterations: usize,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let files = scan::audio_files(&args.dir, None)?;
    if files.is_empty() {
        let (dir, extensions) = (args.dir.clone(), scan::EXTENSIONS);
        return Err(Error::NoAudio { dir, extensions }.into());
    }
    let bar = ProgressBar::new(files.len() as u64);
    let load = |file: &scan::AudioFile| {
        let decoded = audio::load(&args.dir.join(&file.relative), mel_rvq::SAMPLE_RATE_HZ, 1)?;
        bar.inc(1);
        Ok(decoded.audio.samples)
    };
    let utterances = files
        .par_iter()
        .map(load)
        .collect::<audio::Result<Vec<_>>>()?;
    bar.finish_and_clear();
    let samples: usize = utterances.iter().map(Vec::len).sum();
    let hours = samples as f64 / f64::from(mel_rvq::SAMPLE_RATE_HZ) / 3600.0;
    eprintln!("{} recordings, {hours:.3} h", thousands(files.len() as u64));

    let options = TrainOptions {
        seed: args.seed,
        iterations: args.iterations,
    };
    let mut report = |progress: mel_rvq::Progress| {
        if progress.iteration == args.iterations {
            eprintln!(
                "codebook {}: mean squared error {:.5}",
                progress.codebook, progress.error
            );
        }
    };
    let codec = mel_rvq::train(&utterances, &options, &mut report)?;
    codec.save(&args.out)?;
    println!("{}", args.out.display());
    Ok(())
}
