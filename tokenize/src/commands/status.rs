//! `tokenize status`.

use stores::Store;

use crate::status;

const EXAMPLES: &str = "\
Examples:
  tokenize status data/yodas2-en
  tokenize status data
  tokenize status s3://bucket/data --json";

/// Show how far datasets are: units, rates, time left, bad records, workers
///
/// Only reads, and may be asked at any time and from any machine, whether workers are running or not.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A dataset, finished or not, or a folder of datasets
    #[arg(value_name = "DIR|URL")]
    dir: String,
    /// Print JSON: a list, with an entry for each dataset
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let all = status::read_all(&Store::open(&args.dir)?)?;
    if args.json {
        return super::print_json(&all);
    }
    let texts: Vec<_> = all.iter().map(ToString::to_string).collect();
    println!("{}", texts.join("\n\n"));
    Ok(())
}
