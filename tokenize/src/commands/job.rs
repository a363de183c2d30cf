//! What all commands that make datasets share.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use shards::Vocab;
use stores::Store;

use crate::filter::Filters;
use crate::job::{Coding, RunOptions, Tokenization};
use crate::output;
use crate::sample;
use crate::source::Source;
use crate::summary::{Summary, thousands};
use crate::worker::Worker;

/// Where the input of a corpus is.
#[derive(clap::Args)]
pub struct InputArgs {
    /// A folder, or a location: hf://datasets/ORG/NAME[@REVISION], s3://BUCKET/PREFIX, gs://…, az://…, https://…
    #[arg(long, value_name = "DIR|URL")]
    pub input: Option<String>,
}

impl InputArgs {
    /// Opens the input, or what the corpus' publisher offers.
    pub fn open(&self, published: &str) -> anyhow::Result<Store> {
        let location = self.input.as_deref().unwrap_or(published);
        Store::open(location).context("cannot open the input")
    }
}

/// How a job runs, and what it leaves out.
#[derive(Clone, clap::Args)]
pub struct JobArgs {
    /// Folder, or s3://, gs:// or az:// location, for what is made
    #[arg(long, value_name = "DIR|URL")]
    pub out: String,
    /// Folder of tokenizer.json and audio_vocab.json, as made by `tokenize vocab`
    #[arg(long)]
    pub tokenizer: PathBuf,
    /// Largest fraction of bad utterances with which the job still succeeds
    #[arg(long, default_value_t = 0.01, value_parser = parse_fraction)]
    pub max_bad: f64,
    /// Worker threads [default: all cores]
    #[arg(long, value_parser = super::parse_threads)]
    pub threads: Option<usize>,
    /// Do one part of a job that several processes share [default: as Slurm or a Kubernetes Indexed Job says, else all]
    #[arg(long, value_name = "INDEX/COUNT")]
    pub worker: Option<Worker>,
    /// Replace what another job made in the output folder
    #[arg(long)]
    pub overwrite: bool,
    /// Print the plan, and what the filters drop of a sample, and make nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the plan or the summary as JSON on stdout
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub filters: Filters,
}

pub fn parse_fraction(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err("a fraction lies between 0 and 1".to_owned()),
    }
}

impl JobArgs {
    /// The tokenizer of the job.
    pub fn vocab(&self) -> anyhow::Result<Vocab> {
        Vocab::load(&self.tokenizer).context("cannot load the tokenizer")
    }

    /// The dataset `name` below the output location.
    pub fn dataset(&self, name: &str) -> anyhow::Result<Store> {
        let out = self.out.trim_end_matches('/');
        Ok(Store::open(&format!("{out}/{name}"))?)
    }

    fn worker(&self) -> anyhow::Result<Worker> {
        if let Some(worker) = self.worker {
            return Ok(worker);
        }
        let found =
            Worker::from_environment(|name| std::env::var(name).ok()).map_err(|e| anyhow!(e))?;
        Ok(found.unwrap_or(Worker::ALONE))
    }

    /// Makes one dataset of each source, in folders of their names; or shows what would be made.
    pub fn run_all(&self, sources: &[Box<dyn Source>], coding: &Coding<'_>) -> anyhow::Result<()> {
        let vocab = self.vocab()?;
        let mut results = Vec::new();
        for source in sources {
            let out = self.dataset(source.name())?;
            let result = self.run(&**source, coding, &vocab, out)?;
            if !self.json {
                println!("{}\n{}\n", source.name(), result.text());
            }
            results.push(result.json(&**source));
        }
        match self.json {
            true => super::print_json(&results),
            false => Ok(()),
        }
    }

    /// Makes the dataset of a source, or shows what would be made.
    pub fn run(
        &self,
        source: &dyn Source,
        coding: &Coding<'_>,
        vocab: &Vocab,
        out: Store,
    ) -> anyhow::Result<Outcome> {
        let tokenization = Tokenization {
            source,
            coding: coding.clone(),
            vocab,
            tokenizer_dir: self.tokenizer.clone(),
            filters: self.filters.clone(),
        };
        let worker = self.worker()?;
        if self.dry_run {
            tokenization.check()?;
            output::check(&out, &tokenization.job(), self.overwrite)?;
            return self.plan(source, worker, &out);
        }
        let summary = tokenization.run(&RunOptions {
            out,
            threads: super::threads(self.threads),
            worker,
            overwrite: self.overwrite,
            max_bad: self.max_bad,
        })?;
        Ok(Outcome::Made(Box::new(summary)))
    }

    fn plan(&self, source: &dyn Source, worker: Worker, out: &Store) -> anyhow::Result<Outcome> {
        let units = source.units();
        let sizes: Vec<u64> = units.iter().map(|unit| unit.bytes).collect();
        let own = worker.units(&sizes);
        let mut lines = vec![format!(
            "{} units of {} bytes, {} of them for worker {worker}, to {}:",
            units.len(),
            thousands(sizes.iter().sum()),
            own.len(),
            out.location()
        )];
        for &unit in &own {
            let file = shards::Dataset::shard_file_name(unit);
            lines.push(format!("  {file}  {}", units[unit].label));
        }
        let dropped = match self.filters.arguments().is_empty() {
            true => None,
            false => Some(sample::filtered(source, &self.filters)?),
        };
        lines.extend(dropped.as_ref().map(ToString::to_string));
        let json = json!({
            "source": source.name(),
            "out": out.location(),
            "input_bytes": sizes.iter().sum::<u64>(),
            "units": own.iter().map(|&unit| &units[unit].label).collect::<Vec<_>>(),
            "sample": dropped,
        });
        Ok(Outcome::Planned(lines.join("\n"), json))
    }
}

/// What a command has to say at its end.
pub enum Outcome {
    /// A dataset, or a worker's part of it.
    Made(Box<Summary>),
    /// A plan, in words and as JSON.
    Planned(String, Value),
}

impl Outcome {
    /// In words.
    pub fn text(&self) -> String {
        match self {
            Outcome::Made(summary) => summary.to_string(),
            Outcome::Planned(text, _) => text.clone(),
        }
    }

    /// As JSON, with the name of the source.
    pub fn json(&self, source: &dyn Source) -> Value {
        let mut value = match self {
            Outcome::Made(summary) => json!(summary),
            Outcome::Planned(_, json) => json.clone(),
        };
        value["source"] = source.name().into();
        value
    }
}
