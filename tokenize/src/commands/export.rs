//! `tokenize export`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use shards::{Dataset, View};

use super::job::parse_fraction;
use crate::export::{self, Form, Options};
use crate::nearby::Nearby;

const EXAMPLES: &str = "\
Examples:
  tokenize export data/yodas2-en --view both --to parquet --out exported/yodas2-en
  tokenize export data/yodas2-en --view audio-first --codebooks 1 --to jsonl --out exported/semantic
  tokenize export data/yodas2-en --view both --to pua --out yodas2-mm-pretrain

Running the same command again continues where it stopped.
`parquet` and `jsonl` have the columns id and input_ids. `pua` has id, split and text, as the published *-mm-pretrain
datasets: an audio token is the character U+E000 + codebook * size + code, markers are spelled out.";

/// Write a dataset as flat token ids, or as text of which a tokenizer makes these ids
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A finished dataset; one in an object store is first copied to a temporary folder
    #[arg(value_name = "DIR|URL")]
    dir: String,
    /// The order of text and audio. Rows are called ID_type1 (text first) and ID_type2 (audio first)
    #[arg(long, value_parser = PossibleValuesParser::new(View::ALL.map(View::name)))]
    view: String,
    /// The first codebooks of each frame only [default: all]
    #[arg(long)]
    codebooks: Option<usize>,
    /// The form of the rows
    #[arg(long)]
    to: Form,
    /// Folder for the files, one for each shard
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Largest fraction of documents that may be left out, because their text has an audio character or a special token
    #[arg(long, default_value_t = 0.01, value_parser = parse_fraction)]
    max_bad: f64,
    /// Print the summary as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let view = View::ALL.into_iter().find(|view| view.name() == args.view);
    let options = Options {
        view: view.expect("a value that the parser knows"),
        codebooks: args.codebooks,
        form: args.to,
        max_bad: args.max_bad,
    };
    super::refuse_elsewhere(
        &args.out,
        "give --out a folder, and copy the export when it is finished",
    )?;
    let nearby = Nearby::open(&args.dir)?;
    let summary = export::run(&Dataset::open(nearby.dir())?, &options, &args.out)?;
    match args.json {
        true => super::print_json(&summary),
        false => {
            println!("{summary}");
            Ok(())
        }
    }
}
