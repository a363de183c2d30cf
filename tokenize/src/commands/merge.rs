//! `tokenize merge`.

use stores::Store;

use crate::merge;

const EXAMPLES: &str = "\
Examples:
  tokenize merge data/part-1 data/part-2 --out data/yodas2-en

On one file system the shards are linked and take no space. Datasets in an object store are first copied to a temporary
folder. Running the same command again continues where it stopped.";

/// Make one dataset of several with the same codec and tokenizer
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Finished datasets, whose shards follow one another in this order
    #[arg(required = true, num_args = 2.., value_name = "DIR|URL")]
    dirs: Vec<String>,
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
