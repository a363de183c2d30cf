//! `tokenize retext`.

use std::path::PathBuf;

use stores::Store;

use super::job::{JobArgs, parse_fraction};
use crate::filter::Filters;
use crate::sources::retext::Retext;
use crate::worker::Worker;

const EXAMPLES: &str = "\
Examples:
  tokenize retext data/yodas2-en --tokenizer qwen3x --out data-qwen/yodas2-en

Running the same command again continues where it stopped.";

/// Make a dataset with the text ids of another tokenizer, from the texts in its shards; audio is untouched
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A finished dataset; one in an object store is first copied to a temporary folder
    #[arg(value_name = "DIR|URL")]
    dir: String,
    /// Folder of tokenizer.json and audio_vocab.json, as made by `tokenize vocab`
    #[arg(long)]
    tokenizer: PathBuf,
    /// Folder, or s3://, gs:// or az:// location, for what is made
    #[arg(long, value_name = "DIR|URL")]
    out: String,
    /// Largest fraction of bad segments with which it still succeeds
    #[arg(long, default_value_t = 0.0, value_parser = parse_fraction)]
    max_bad: f64,
    /// Worker threads [default: all cores]
    #[arg(long, value_parser = super::parse_threads)]
    threads: Option<usize>,
    /// Do one part of a job that several processes share [default: as Slurm or a Kubernetes Indexed Job says, else all]
    #[arg(long, value_name = "INDEX/COUNT")]
    worker: Option<Worker>,
    /// Replace what another job made in the output folder
    #[arg(long)]
    overwrite: bool,
    /// Print the plan and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the plan or the summary as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let out = Store::open(&args.out)?;
    let source = Retext::open(&args.dir, &out)?;
    // documents are kept whole: no filters, and nothing bad unless asked for
    let job = JobArgs {
        out: args.out.clone(),
        tokenizer: args.tokenizer.clone(),
        max_bad: args.max_bad,
        threads: args.threads,
        worker: args.worker,
        overwrite: args.overwrite,
        dry_run: args.dry_run,
        json: args.json,
        filters: Filters::default(),
    };
    let outcome = job.run(&source, &source.coding(), &job.vocab()?, out)?;
    match args.json {
        true => super::print_json(&outcome.json(&source)),
        false => {
            println!("{}", outcome.text());
            Ok(())
        }
    }
}
