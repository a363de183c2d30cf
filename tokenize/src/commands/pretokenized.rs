//! `tokenize pretokenized`.

use anyhow::Context;
use stores::Store;

use super::job::JobArgs;
use crate::job::Coding;
use crate::sources::pretokenized::{self, Pretokenized};

const EXAMPLES: &str = "\
Examples:
  tokenize pretokenized --source yodas2-en --input hf://datasets/ORG/yodas2-mm-pretrain --tokenizer tokenizer --out data
  tokenize pretokenized --source emilia-en --input /data/emilia-mm-pretrain/Emilia/EN --tokenizer tokenizer --out data

Makes the dataset DATA/yodas2-en. Running the same command again continues where it stopped.";

/// Turn published *-mm-pretrain parquet, whose audio tokens are characters, into token shards
///
/// Rows of one document, text first (…_type1) and audio first (…_type2), become one document again. Audio that Unicode
/// normalisation changed is found and left out. The codes are those of kyutai/mimi with 8 codebooks.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the dataset, which is that of a component in mixes, e.g. yodas2-en
    #[arg(long)]
    source: String,
    /// Folder or location, of which all parquet files are taken: hf://datasets/ORG/NAME[@REVISION], s3://BUCKET/PREFIX,
    /// gs://…, az://…, https://…
    #[arg(long, value_name = "DIR|URL")]
    input: String,
    #[command(flatten)]
    job: JobArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open(&args.input).context("cannot open the input")?;
    let source = Pretokenized::open(&store, &args.source)?;
    let coding = Coding::Codes(pretokenized::codec());
    args.job.run_all(&[Box::new(source)], &coding)
}
