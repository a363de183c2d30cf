//! `tokenize peoples-speech`.

use clap::builder::PossibleValuesParser;

use super::codec::CodecArgs;
use super::job::{InputArgs, JobArgs};
use crate::job::Coding;
use crate::source::Source;
use crate::sources::peoples_speech::{self, PUBLISHED, SPLITS};

const EXAMPLES: &str = "\
Examples:
  tokenize peoples-speech --split clean --tokenizer tokenizer --out data
  tokenize peoples-speech --split clean,clean_sa --input /data/peoples_speech --tokenizer tokenizer --out data

Makes one dataset a split: DATA/peoples-speech-clean, … Running the same command again continues where it stopped.";

/// Tokenize training splits of the People's Speech: an utterance a document
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Splits of the corpus
    #[arg(long, value_delimiter = ',', required = true, value_parser = PossibleValuesParser::new(SPLITS))]
    split: Vec<String>,
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
        sources.push(Box::new(peoples_speech::open(&store, split)?));
    }
    let codec = args.codec.open()?;
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    args.job.run_all(&sources, &coding)
}
