//! `tokenize librispeech`.

use super::codec::CodecArgs;
use super::job::{InputArgs, JobArgs};
use crate::job::Coding;
use crate::source::Source;
use crate::sources::librispeech::LibriSpeech;
use crate::sources::librispeech_table::{self, PUBLISHED};

const EXAMPLES: &str = "\
Examples:
  tokenize librispeech --tokenizer tokenizer --out data
  tokenize librispeech --input /data/LibriSpeech --tokenizer tokenizer --out data

Makes DATA/librispeech-train. Running the same command again continues where it stopped.";

/// Tokenize the training part of LibriSpeech: read books, an utterance a document
///
/// The hub's parquet, the archives of openslr.org/12, or the tree that they unpack to.
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
    // only the hub's form has a folder `all`
    let source: Box<dyn Source> = match store.list("all")?.is_empty() {
        true => Box::new(LibriSpeech::open(&store)?),
        false => Box::new(librispeech_table::open(&store)?),
    };
    let codec = args.codec.open()?;
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    args.job.run_all(&[source], &coding)
}
