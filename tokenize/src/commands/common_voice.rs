//! `tokenize common-voice`.

use super::codec::CodecArgs;
use super::job::{InputArgs, JobArgs};
use crate::job::Coding;
use crate::source::Source;
use crate::sources::common_voice::{CommonVoice, PUBLISHED};
use crate::sources::common_voice_table;

const EXAMPLES: &str = "\
Examples:
  tokenize common-voice --tokenizer tokenizer --out data
  tokenize common-voice --input /data/cv-corpus-17.0-2024-03-15 --tokenizer tokenizer --out data

Makes DATA/commonvoice17-en. Running the same command again continues where it stopped.";

/// Tokenize the English training part of Common Voice 17: read sentences, an utterance a document
///
/// Mozilla's download, as it is or unpacked, or one of the hub's forms: archives with a table, or parquet.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    codec: CodecArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let store = args.input.open(PUBLISHED)?;
    let source: Box<dyn Source> = match common_voice_table::find(&store)? {
        Some(table) => Box::new(table),
        None => Box::new(CommonVoice::open(&store)?),
    };
    let codec = args.codec.open()?;
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    args.job.run_all(&[source], &coding)
}
