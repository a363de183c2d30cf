//! `tokenize verify`.

use std::path::PathBuf;

use anyhow::bail;

use crate::summary::thousands;
use crate::verify;

const EXAMPLES: &str = "\
Examples:
  tokenize verify data/yodas2-en
  tokenize verify data/yodas2-en --json";

/// Check a finished dataset: hashes, schema, every code, every text id, ids, counts
///
/// Lists every fault (file, row group, document, what is wrong) and exits with 1 if there is one.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A folder made by `tokenize`
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let report = verify::run(&args.dir)?;
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
            args.dir.display()
        ),
    }
}
