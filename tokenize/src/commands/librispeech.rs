//! `tokenize librispeech`.

use super::codec::CodecArgs;
use super::job::{InputArgs, JobArgs};
use crate::job::Coding;
use crate::source::Source;
use crate::sources::librispeech::{LibriSpeech, PUBLISHED};

const EXAMPLES: &str = "\
Examples:
  tokenize librispeech --tokenizer tokenizer --out data
  tokenize librispeech --input /data/LibriSpeech --tokenizer tokenizer --out data

Makes DATA/librispeech-train. Running the same command again continues where it stopped.";

/// Tokenize the training part of LibriSpeech: read books, an utterance a document
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
    let sources: [Box<dyn Source>; 1] = [Box::new(LibriSpeech::open(&store)?)];
    let codec = args.codec.open()?;
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    args.job.run_all(&sources, &coding)
}
