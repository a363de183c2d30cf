//! `tokenize libritts`.

use super::codec::CodecArgs;
use super::job::{InputArgs, JobArgs};
use crate::job::Coding;
use crate::sources::libritts::{self, PUBLISHED};

const EXAMPLES: &str = "\
Examples:
  tokenize libritts --tokenizer tokenizer --out data
  tokenize libritts --input /data/libritts_r --codec codecs/mimi --tokenizer tokenizer --out data

Makes the dataset DATA/libritts-train. Running the same command again continues where it stopped.";

/// Tokenize the training part of LibriTTS-R: read speech, an utterance a document
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
    let codec = args.codec.open()?;
    let source = libritts::open(&args.input.open(PUBLISHED)?)?;
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    args.job.run_all(&[Box::new(source)], &coding)
}
