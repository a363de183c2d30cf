//! `tokenize instructions`.

use std::path::PathBuf;

use super::codec::CodecArgs;
use super::job::JobArgs;
use crate::job::Coding;
use crate::sources::instructions::Instructions;

const EXAMPLES: &str = "\
Examples:
  tokenize instructions tasks.jsonl --tokenizer tokenizer --out data
  tokenize instructions train-*.jsonl.gz --name tasks --tokenizer tokenizer --out data --worker 0/8

A line of a file:
  {\"id\": \"a-1\", \"instruction\": [{\"audio\": \"a-1.wav\"}, \"What is the capital of this country?\"], \"response\": \"Paris.\"}
`id` may be missing. Instruction and response are each a text, or a list of texts and recordings. Paths are relative to the file.

Makes DATA/tasks. Running the same command again continues where it stopped.";

/// Tokenize instructions and their responses, of text and sound, for supervised fine-tuning: a document a line
///
/// Every part of an instruction or a response becomes a segment of the document. The view `sft` of a mixture trains the response.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Files of JSON lines on this machine, plain or compressed (.gz, .zst, .zstd)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Name of the dataset [default: the only file's, without its extensions]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    codec: CodecArgs,
    /// Input of one shard, lines and recordings, in MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    shard_mib: u64,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    for path in &args.files {
        super::refuse_elsewhere(path, "copy the file and its recordings to a disk")?;
    }
    let name = args.name.as_deref();
    let source = Instructions::open(&args.files, name, args.shard_mib << 20)?;
    let codec = args.codec.open()?;
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    args.job.run_all(&[Box::new(source)], &coding)
}
