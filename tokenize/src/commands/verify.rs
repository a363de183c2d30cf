//! `tokenize verify`.

use anyhow::bail;

use crate::nearby::Nearby;
use crate::summary::thousands;
use crate::verify;

const EXAMPLES: &str = "\
Examples:
  tokenize verify data/yodas2-en
  tokenize verify data/yodas2-en --json
  tokenize verify s3://bucket/data/yodas2-en

A dataset in an object store is first copied to a temporary folder.";

/// Check a finished dataset: hashes, schema, every code, every text id, ids, counts
///
/// Lists every fault (file, row group, document, what is wrong) and exits with 1 if there is one.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A dataset made by `tokenize`
    #[arg(value_name = "DIR|URL")]
    dir: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let dataset = Nearby::open(&args.dir)?;
    let report = verify::run(dataset.dir())?;
    if args.json {
        super::print_json(&report)?;
    } else {
        for fault in &report.faults {
            println!("{fault}");
        }
        println!(
            "{} shards, {} documents, {} bytes: {} faults",
            report.shards,
            thousands(report.documents),
            thousands(report.bytes),
            report.faults.len()
        );
    }
    match report.faults.len() {
        0 => Ok(()),
        n => bail!(
            "{} has {n} faults; remove the damaged shards and run the command that made them again, which redoes only these",
            args.dir
        ),
    }
}
