//! `tokenize vocab`.

use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  tokenize vocab --base llama-3/tokenizer.json --out tokenizer
  tokenize vocab --base tokenizer.json --out tokenizer --codebooks 4 --codebook-size 1024";

/// Extend a text tokenizer with markers and audio tokens
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A Hugging Face tokenizer.json
    #[arg(long)]
    base: PathBuf,
    /// Folder for tokenizer.json, audio_vocab.json and tokenizer_config.json
    #[arg(long)]
    out: PathBuf,
    /// Codebooks of the codec
    #[arg(long, default_value_t = 8)]
    codebooks: usize,
    /// Codes of each codebook
    #[arg(long, default_value_t = 2048)]
    codebook_size: usize,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let layout =
        shards::extend_tokenizer(&args.base, &args.out, args.codebooks, args.codebook_size)?;
    println!(
        "{}: {} ids, audio from {} on ({} codebooks of {} codes)",
        args.out.display(),
        layout.vocab_size,
        layout.audio_base,
        layout.codebooks,
        layout.codebook_size
    );
    Ok(())
}
