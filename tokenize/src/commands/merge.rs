//! `tokenize merge`.

use std::path::PathBuf;

use stores::Store;

use crate::merge;

const EXAMPLES: &str = "\
Examples:
  tokenize merge data/part-1 data/part-2 --out data/yodas2-en

On one file system the shards are linked and take no space. Running the same command again continues where it stopped.";

/// Make one dataset of several with the same codec and tokenizer
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Finished datasets, whose shards follow one another in this order
    #[arg(required = true, num_args = 2..)]
    dirs: Vec<PathBuf>,
    /// Folder, or s3://, gs:// or az:// location, for the merged dataset
    #[arg(long, value_name = "DIR|URL")]
    out: String,
    /// Print the summary as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let summary = merge::run(&args.dirs, &Store::open(&args.out)?)?;
    match args.json {
        true => super::print_json(&summary),
        false => {
            println!("{summary}");
            Ok(())
        }
    }
}
