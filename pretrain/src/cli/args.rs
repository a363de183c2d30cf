//! Flags of every program that trains.

use std::path::PathBuf;

use clap::value_parser;
use experiments::{Hardware, Network};

use crate::backend::BackendChoice;

/// How and where a run is done.
#[derive(clap::Args)]
pub struct TrainArgs {
    /// Folder, or location in an object store, with a folder of shards for each component of the mixture.
    #[arg(long, default_value = "data")]
    pub data: String,
    /// The run's folder [default: runs/NAME]; of several runs, the folder of all [default: runs].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Copy checkpoints, metrics and report to this folder or object store, and resume from there on another machine.
    #[arg(long, value_name = "LOCATION")]
    pub mirror: Option<String>,
    /// Override a key of the experiment; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Continue the run in the run's folder, if there is one.
    #[arg(long)]
    pub resume: bool,
    /// What the layers compute in: f32 or bf16 [default: the experiment's].
    #[arg(long, value_name = "TYPE")]
    pub precision: Option<String>,
    /// Sequences that pass through the model at a time; a divisor of the batch [default: the batch].
    #[arg(long, value_name = "N")]
    pub micro_batch: Option<usize>,
    /// Compute activations again in the backward pass, for a fraction of the memory and a third more work.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub recompute: Option<bool>,
    /// Memory of the device, such as 80GiB [default: what is free, on a processor].
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// Peak of the device, for MFU, such as 989e12 [default: measured].
    #[arg(long, value_name = "FLOPS")]
    pub peak_flops: Option<f64>,
    /// Where tensors live.
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendChoice,
    /// Print the plan, what it comes to, and what it takes of each component of its mixture, and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// For --dry-run: hardware to estimate time on, such as h100x8.
    #[arg(long, value_name = "NAMExCOUNT")]
    pub device: Option<Hardware>,
    /// For --dry-run: part of the hardware's peak that is reached, with --world by one device alone.
    #[arg(long, default_value_t = 0.4, value_name = "SHARE")]
    pub mfu: f64,
    /// For --dry-run: price of an hour of one device.
    #[arg(long, value_name = "PRICE")]
    pub price: Option<f64>,
    /// For --dry-run: processes, one for each of as many devices, whose step and memory to estimate.
    #[arg(long, requires_all = ["dry_run", "device"], value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub world: Option<u64>,
    /// For --world: devices of a node.
    #[arg(long, requires = "world", default_value_t = 8, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub gpus_per_node: u64,
    /// For --world: bandwidth between nodes in one direction, in gigabits (400Gb) or gigabytes (50GB) a second, of the network card
    /// that each device has; or of all cards of a node together (100Gb/node).
    #[arg(long, requires = "world", value_name = "RATE")]
    pub net: Option<Network>,
    /// Print the result, or what --dry-run prints, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which variants of an experiment; the first if nothing is chosen.
#[derive(clap::Args)]
pub struct Variants {
    /// A variant by its name.
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// All variants that the other choices leave, one after the other.
    #[arg(long)]
    pub all: bool,
}

impl Variants {
    /// As `experiments` takes them, with the values that are chosen of some axes.
    pub fn selection(&self, axes: &[(&str, &Option<String>)]) -> Vec<String> {
        let chosen = axes
            .iter()
            .filter_map(|(axis, value)| Some(format!("{axis}={}", value.as_ref()?)));
        self.variant.iter().cloned().chain(chosen).collect()
    }
}

impl TrainArgs {
    /// The keys that are set, and behind them, as the more particular, those that flags stand for.
    pub fn overrides(&self, flags: impl IntoIterator<Item = Option<String>>) -> Vec<String> {
        let precision = set("precision", self.precision.clone());
        let flags = flags.into_iter().chain([precision]).flatten();
        self.set.iter().cloned().chain(flags).collect()
    }
}

/// `key=value` as --set takes it, of a flag that may be given.
pub fn set(key: &str, value: Option<impl Into<toml::Value>>) -> Option<String> {
    Some(format!("{key}={}", value?.into()))
}

/// `80GiB`, `512MiB`, `80GB` or a number of bytes.
fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 6] = [
        ("GiB", 1024.0 * 1024.0 * 1024.0),
        ("MiB", 1024.0 * 1024.0),
        ("TiB", 1024.0 * 1024.0 * 1024.0 * 1024.0),
        ("GB", 1e9),
        ("MB", 1e6),
        ("B", 1.0),
    ];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, scale) = match unit {
        Some((unit, scale)) => (&text[..text.len() - unit.len()], *scale),
        None => (text, 1.0),
    };
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| "give it as 80GiB".to_string())?;
    match number.is_finite() && number >= 0.0 {
        true => Ok((number * scale) as u64),
        false => Err("give it as 80GiB".into()),
    }
}
