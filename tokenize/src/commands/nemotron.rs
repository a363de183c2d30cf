//! `tokenize nemotron`.

use clap::builder::PossibleValuesParser;

use super::job::{InputArgs, JobArgs};
use crate::job::Coding;
use crate::source::Source;
use crate::sources::nemotron::{Nemotron, PUBLISHED, SPLITS};

const EXAMPLES: &str = "\
Examples:
  tokenize nemotron --split hq_actual --input /data/commoncrawl --tokenizer tokenizer --out data
  tokenize nemotron --split hq_actual,medium --input s3://commoncrawl --tokenizer tokenizer --out s3://bucket/data

Makes one dataset a split: DATA/nemotron-hq_actual, … Running the same command again continues where it stopped.";

/// Tokenize splits of Nemotron-CC: web text, a document a line
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Splits of the corpus
    #[arg(long, value_delimiter = ',', required = true, value_parser = PossibleValuesParser::new(SPLITS.map(|(name, _)| name)))]
    split: Vec<String>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    job: JobArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let store = args.input.open(PUBLISHED)?;
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    for split in &args.split {
        sources.push(Box::new(Nemotron::open(&store, split)?));
    }
    args.job.run_all(&sources, &Coding::Text)
}
