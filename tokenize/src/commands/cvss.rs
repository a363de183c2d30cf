//! `tokenize cvss`.

use anyhow::Context;
use stores::Store;

use super::codec::CodecArgs;
use super::job::JobArgs;
use crate::job::Coding;
use crate::source::Source;
use crate::sources::cvss::{Cvss, Method};

const EXAMPLES: &str = "\
Examples:
  tokenize cvss --langs es,fr --method 1 --input /data/cvss --tokenizer tokenizer --out data
  tokenize cvss --langs de --method 2 --input s3://bucket/cvss --tokenizer tokenizer --out data/direct

Makes one dataset a language: DATA/cvss-es, … Running the same command again continues where it stopped. The two methods
make different datasets of one name: give each an --out of its own.";

/// Tokenize CVSS: speech in another language with its translation into English, a pair a document
///
/// The input has a folder a language with files train-*.parquet, whose columns are id, original_text, original_audio,
/// translated_text and translated_audio.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Languages: the names of their folders
    #[arg(long, value_delimiter = ',', required = true)]
    langs: Vec<String>,
    /// 1: original sound, original text, translated text, translated sound; 2, the direct pair: original sound, translated
    /// sound
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    method: u8,
    /// Folder or location of the corpus: hf://datasets/ORG/NAME[@REVISION], s3://BUCKET/PREFIX, gs://…, az://…, https://…
    #[arg(long, value_name = "DIR|URL")]
    input: String,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    codec: CodecArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open(&args.input).context("cannot open the input")?;
    let method = match args.method {
        1 => Method::ThroughText,
        _ => Method::Direct,
    };
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    for lang in &args.langs {
        sources.push(Box::new(Cvss::open(&store, lang, method)?));
    }
    let codec = args.codec.open()?;
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    args.job.run_all(&sources, &coding)
}
