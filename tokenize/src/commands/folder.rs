//! `tokenize folder`.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;
use shards::Vocab;

use super::codec::CodecArgs;
use crate::job::{RunOptions, Tokenization};
use crate::output;
use crate::source::{Source, Transcript};
use crate::sources::folder::{Folder, FolderOptions};
use crate::summary::thousands;

const EXAMPLES: &str = "\
Examples:
  tokenize folder recordings --out data/recordings --tokenizer tokenizer
  tokenize folder recordings --out data/recordings --tokenizer tokenizer --codec codecs/mimi
  tokenize folder corpus --manifest corpus/rows.jsonl --lang en --out data/corpus --tokenizer tokenizer
  tokenize folder corpus --out data/corpus --codec mel-rvq --tokenizer tokenizer --dry-run

Running the same command again continues where it stopped.

A manifest has one row a recording, as JSON lines or CSV with a header:
  {\"path\": \"a.wav\", \"text\": \"Good morning.\", \"lang\": \"en\", \"speaker\": \"Ann\", \"document\": \"interview-01\"}
Only `path`, relative to the manifest, is needed. Rows of one `document` form one document, in row order.";

/// Tokenize a folder of audio files (wav flac mp3 ogg oga m4a aac mp4) with transcripts in .txt files beside them
///
/// Every file is a document, its id the relative path without the extension; hidden files are left out. A file without a
/// transcript becomes an audio-only document. A first folder named after a language (en/…) gives the language.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The folder, searched recursively
    dir: PathBuf,
    /// Folder for the shards
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    codec: CodecArgs,
    /// Folder of tokenizer.json and audio_vocab.json, as made by `tokenize vocab`
    #[arg(long)]
    tokenizer: PathBuf,
    /// Rows of path, text, lang, speaker, document (.jsonl or .csv); only the files in it are taken
    #[arg(long)]
    manifest: Option<PathBuf>,
    /// Language of all documents, whatever manifest and folders say
    #[arg(long)]
    lang: Option<String>,
    /// Name of the source in the shards [default: the folder's name]
    #[arg(long)]
    source: Option<String>,
    /// Refuse to start if a recording has no transcript
    #[arg(long)]
    require_text: bool,
    /// Largest fraction of bad documents with which the job still succeeds
    #[arg(long, default_value_t = 0.01, value_parser = parse_fraction)]
    max_bad: f64,
    /// Worker threads [default: all cores]
    #[arg(long, value_parser = super::parse_threads)]
    threads: Option<usize>,
    /// Input of one shard, in MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    shard_mib: u64,
    /// Print the plan and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the plan or the summary as JSON on stdout
    #[arg(long)]
    json: bool,
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err("a fraction lies between 0 and 1".to_owned()),
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let vocab = Vocab::load(&args.tokenizer).context("cannot load the tokenizer")?;
    let codec = args.codec.open()?;
    let folder = Folder::open(&FolderOptions {
        dir: args.dir.clone(),
        out: Some(args.out.clone()),
        manifest: args.manifest.clone(),
        lang: args.lang.clone(),
        source: args.source.clone(),
        require_text: args.require_text,
        shard_bytes: args.shard_mib << 20,
    })?;
    if folder.unlisted() > 0 {
        eprintln!(
            "note: {} audio files are not in the manifest and are left out",
            thousands(folder.unlisted() as u64)
        );
    }
    let tokenization = Tokenization {
        source: &folder,
        codec: &*codec,
        vocab: &vocab,
        tokenizer_dir: args.tokenizer.clone(),
        precision: args.codec.precision.into(),
    };
    if args.dry_run {
        tokenization.check()?;
        output::check(&args.out, &tokenization.job())?;
        return print_plan(&folder, args);
    }
    let summary = tokenization.run(&RunOptions {
        out: args.out.clone(),
        threads: super::threads(args.threads),
        max_bad: args.max_bad,
    })?;
    match args.json {
        true => super::print_json(&summary),
        false => {
            println!("{summary}");
            Ok(())
        }
    }
}

fn print_plan(folder: &Folder, args: &Args) -> anyhow::Result<()> {
    let segments = || {
        folder
            .all_documents()
            .iter()
            .flat_map(|document| &document.segments)
    };
    let untranscribed = segments()
        .filter(|segment| segment.transcript == Transcript::None)
        .count();
    let documents = folder.all_documents().len();
    let bytes: u64 = folder.units().iter().map(|unit| unit.bytes).sum();
    if args.json {
        let units: Vec<_> = folder.units().iter().map(|unit| &unit.label).collect();
        return super::print_json(&json!({
            "source": folder.name(),
            "documents": documents,
            "recordings": segments().count(),
            "recordings_without_transcript": untranscribed,
            "input_bytes": bytes,
            "out": args.out,
            "units": units,
        }));
    }
    println!(
        "{}: {documents} documents of {} recordings, {untranscribed} without a transcript, {} bytes",
        folder.name(),
        segments().count(),
        thousands(bytes)
    );
    println!("{} shards in {}:", folder.units().len(), args.out.display());
    for (index, unit) in folder.units().iter().enumerate() {
        println!(
            "  {}  {}",
            shards::Dataset::shard_file_name(index),
            unit.label
        );
    }
    Ok(())
}
