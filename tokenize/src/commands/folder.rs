//! `tokenize folder`.

use std::path::PathBuf;

use stores::Store;

use super::codec::CodecArgs;
use super::job::JobArgs;
use crate::job::Coding;
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
    /// The folder, on this machine, searched recursively
    dir: PathBuf,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    codec: CodecArgs,
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
    /// Input of one shard, in MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    shard_mib: u64,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let cure = "copy recordings and manifest to a disk; only the commands of published corpora read elsewhere";
    for path in std::iter::once(&args.dir).chain(&args.manifest) {
        super::refuse_elsewhere(path, cure)?;
    }
    let vocab = args.job.vocab()?;
    let codec = args.codec.open()?;
    let folder = Folder::open(&FolderOptions {
        dir: args.dir.clone(),
        out: Some(PathBuf::from(&args.job.out)),
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
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    let out = Store::open(&args.job.out)?;
    let outcome = args.job.run(&folder, &coding, &vocab, out)?;
    match args.job.json {
        true => super::print_json(&outcome.json(&folder)),
        false => {
            println!("{}", outcome.text());
            Ok(())
        }
    }
}
