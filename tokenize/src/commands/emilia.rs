//! `tokenize emilia`.

use clap::builder::PossibleValuesParser;

use super::codec::CodecArgs;
use super::job::{InputArgs, JobArgs};
use crate::job::Coding;
use crate::source::Source;
use crate::sources::emilia::{Emilia, PUBLISHED, SPLITS};

const EXAMPLES: &str = "\
Examples:
  tokenize emilia --split Emilia,Emilia-YODAS --langs EN --tokenizer tokenizer --out data
  tokenize emilia --split Emilia --langs EN,DE,ZH --input /data/emilia --tokenizer tokenizer --out s3://bucket/data

Makes one dataset a split and language: DATA/emilia-en, DATA/emilia-yodas-en, … Running the same command again continues
where it stopped.";

/// Tokenize Emilia and Emilia-YODAS: conversations, a document each
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Parts of the corpus
    #[arg(long, value_delimiter = ',', required = true, value_parser = PossibleValuesParser::new(SPLITS))]
    split: Vec<String>,
    /// Languages: EN, ZH, DE, FR, JA, KO
    #[arg(long, value_delimiter = ',', required = true)]
    langs: Vec<String>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    codec: CodecArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let store = args.input.open(PUBLISHED)?;
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    for split in &args.split {
        for lang in &args.langs {
            sources.push(Box::new(Emilia::open(&store, split, lang)?));
        }
    }
    let codec = args.codec.open()?;
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    args.job.run_all(&sources, &coding)
}
