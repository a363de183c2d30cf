//! `mixes`: see what a mixture is, before anything is trained on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use mixes::report::{Duplicates, Report, Sample, Shares, stacked_area};
use mixes::{Loader, LoaderOptions, Mixture};
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tokens are numbers below this, up to which a double is exact.
const MAX_TOKENS: f64 = (1u64 << 53) as f64;

/// See what a mixture is, and what a run over it will see.
#[derive(Parser)]
#[command(
    version,
    after_help = "A MIX is the name of a built-in mixture or the path of a .toml file, with arguments if it has parameters.

Examples:
  mixes list
  mixes show 'cooldown(n=2)'
  mixes plot pretrain-to-cooldown --tokens 500e9 --out mixture.svg
  mixes report pretrain --data DIR --tokens 500e9 --samples 3
  mixes sequences pretrain --data DIR --from 1000 --count 2 --json"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the built-in mixtures.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show components, weights, and what whole sequences of a block make of them.
    #[command(after_help = "Examples:
  mixes show pretrain
  mixes show 'mix3-v5(w=.05)' --block-size 512")]
    Show {
        /// The mixture.
        mix: String,
        /// Sequences of a block, instead of the mixture's.
        #[arg(long, value_name = "SEQUENCES")]
        block_size: Option<u64>,
        /// Tokens a sequence; stages that start at tokens need it.
        #[arg(long, default_value_t = SEQ_LEN, value_name = "TOKENS")]
        seq_len: usize,
        /// Print JSON instead of tables.
        #[arg(long)]
        json: bool,
    },
    /// Draw the shares of the components over training; needs no data.
    #[command(after_help = "Example:
  mixes plot pretrain-to-cooldown --tokens 500e9 --out mixture.svg")]
    Plot {
        /// The mixture.
        mix: String,
        #[command(flatten)]
        length: Length,
        /// Tokens a sequence.
        #[arg(long, default_value_t = SEQ_LEN, value_name = "TOKENS")]
        seq_len: usize,
        /// The SVG file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Count what a run takes of each component, how often data come round, and what packing loses.
    #[command(after_help = "Examples:
  mixes report pretrain --data DIR --tokens 500e9
  mixes report quickstart --data runs/quickstart/data --sequences 1000 --seq-len 512 --samples 3 --duplicates")]
    Report {
        #[command(flatten)]
        open: Open,
        #[command(flatten)]
        length: Length,
        /// Show the first sequences as text, with audio as [a:FRAMES].
        #[arg(long, default_value_t = 0, value_name = "SEQUENCES")]
        samples: u64,
        /// Write the samples to a file, instead of behind the report.
        #[arg(long, value_name = "FILE", requires = "samples")]
        sample_out: Option<PathBuf>,
        /// Look for documents that occur more than once; reads the identifiers of all of them.
        #[arg(long)]
        duplicates: bool,
        /// Print JSON instead of tables.
        #[arg(long)]
        json: bool,
    },
    /// Print sequences as text, or with --json their tokens, a line each.
    #[command(after_help = "Examples:
  mixes sequences quickstart --data runs/quickstart/data --seq-len 512
  mixes sequences pretrain --data DIR --from 1000 --count 2 --json")]
    Sequences {
        #[command(flatten)]
        open: Open,
        /// The first sequence.
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        from: u64,
        /// How many sequences.
        #[arg(long, default_value_t = 1, value_name = "SEQUENCES")]
        count: u64,
        /// Print tokens, documents and loss weights as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Tokens a sequence, as the paper's models are trained.
const SEQ_LEN: usize = 4096;

/// What a loader is opened with.
#[derive(Args)]
struct Open {
    /// The mixture.
    mix: String,
    /// Folder, or location in an object store, with a folder of shards for each component.
    #[arg(long)]
    data: String,
    /// Tokens a sequence.
    #[arg(long, default_value_t = SEQ_LEN, value_name = "TOKENS")]
    seq_len: usize,
    /// Seed of all permutations.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Groups whose sequences are shuffled together.
    #[arg(long, default_value_t = LoaderOptions::WINDOW_GROUPS, value_name = "GROUPS")]
    window: usize,
}

/// How long a run is.
#[derive(Args)]
#[group(required = true)]
struct Length {
    /// Tokens of the run, as in 500e9; it ends with a whole sequence.
    #[arg(long, value_parser = tokens)]
    tokens: Option<u64>,
    /// Sequences of the run.
    #[arg(long, conflicts_with = "tokens")]
    sequences: Option<u64>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mixes: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::List { json } => list(json),
        Command::Show {
            mix,
            block_size,
            seq_len,
            json,
        } => {
            let mut mixture = Mixture::open(&mix)?;
            mixture.block_size = block_size.unwrap_or(mixture.block_size);
            let shares = Shares::new(&mixture, seq_len)?;
            match json {
                true => print_json(&shares)?,
                false => println!("{shares}"),
            }
            Ok(())
        }
        Command::Plot {
            mix,
            length,
            seq_len,
            out,
        } => {
            let svg = stacked_area(&Mixture::open(&mix)?, seq_len, length.sequences(seq_len))?;
            write(&out, &svg)
        }
        Command::Report {
            open,
            length,
            samples,
            sample_out,
            duplicates,
            json,
        } => {
            let loader = open.loader()?;
            let report = Report::new(&loader, 0..length.sequences(open.seq_len))?;
            let duplicates = match duplicates {
                true => Some(Duplicates::find(&loader, Duplicates::HELD)?),
                false => None,
            };
            let mut shown = Vec::new();
            for index in 0..samples.min(report.sequences) {
                shown.push(Sample::new(&loader, index)?);
            }
            if let Some(path) = sample_out {
                let text: String = shown
                    .drain(..)
                    .map(|sample| format!("{sample}\n"))
                    .collect();
                write(&path, &text)?;
            }
            let found = Found {
                report,
                duplicates,
                samples: shown,
            };
            found.print(json)
        }
        Command::Sequences {
            open,
            from,
            count,
            json,
        } => {
            let loader = open.loader()?;
            for index in from..from.saturating_add(count) {
                match json {
                    true => println!("{}", tokens_of(&loader, index)?),
                    false => println!("{}", Sample::new(&loader, index)?),
                }
            }
            Ok(())
        }
    }
}

impl Open {
    fn loader(&self) -> Result<Loader> {
        let options = LoaderOptions {
            seq_len: self.seq_len,
            seed: self.seed,
            window_groups: self.window,
            simulated_epoching: None,
            cache: None,
        };
        Ok(Loader::open(
            &Mixture::open(&self.mix)?,
            &self.data,
            &options,
        )?)
    }
}

impl Length {
    fn sequences(&self, seq_len: usize) -> u64 {
        let of_tokens = |tokens: u64| tokens.div_ceil(seq_len.max(1) as u64);
        self.tokens
            .map(of_tokens)
            .or(self.sequences)
            .unwrap_or_default()
    }
}

/// A number of tokens, which may be written as 500e9.
fn tokens(text: &str) -> Result<u64> {
    match text.parse::<f64>() {
        Ok(tokens) if (1.0..MAX_TOKENS).contains(&tokens) => Ok(tokens.round() as u64),
        _ => bail!("give a number of tokens from 1 on, like 500e9"),
    }
}

fn list(json: bool) -> Result<()> {
    let catalog = Mixture::catalog()?;
    if json {
        return print_json(&catalog);
    }
    let width = |entry: &mixes::CatalogEntry| entry.to_string().chars().count();
    let width = catalog.iter().map(width).max().unwrap_or_default();
    for entry in &catalog {
        let components = match entry.components {
            1 => "1 component ".to_owned(),
            n => format!("{n} components"),
        };
        println!("{entry:width$}  {components:>13}  {}", entry.description);
    }
    Ok(())
}

/// What `mixes report` prints.
#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    report: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicates: Option<Duplicates>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    samples: Vec<Sample>,
}

impl Found {
    fn print(&self, json: bool) -> Result<()> {
        if json {
            return print_json(self);
        }
        println!("{}", self.report);
        if let Some(duplicates) = &self.duplicates {
            println!("\n{duplicates}");
        }
        for sample in &self.samples {
            println!("\n{sample}");
        }
        Ok(())
    }
}

/// A sequence as JSON.
fn tokens_of(loader: &Loader, index: u64) -> Result<serde_json::Value> {
    let sequence = loader.sequence(index)?;
    let component = loader.component(index)?;
    Ok(serde_json::json!({
        "sequence": index,
        "component": loader.mixture().components[component].name,
        "tokens": sequence.tokens,
        "segment_ids": sequence.segment_ids,
        "loss_weights": sequence.loss_weights,
    }))
}

fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
