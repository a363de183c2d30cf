//! Finished datasets to one: their shards, linked or copied under new numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use shards::{CodecInfo, Dataset, Job, Vocab};
use stores::Store;

use crate::error::{Error, Result};
use crate::ids;
use crate::nearby::Nearby;
use crate::output::{self, OutputDir, UnitRecord};
use crate::summary::Summary;
use crate::worker::Worker;

/// The kind of source of a merged dataset.
const KIND: &str = "merge";
/// Repeated ids that an error shows.
const SHOWN: usize = 5;

/// A dataset to be merged.
struct Input {
    nearby: Nearby,
    dataset: Dataset,
    store: Store,
    job: Job,
}

/// The `arguments_sha256` that shards of this job may have: that of the job, or those of the jobs merged in it.
pub fn shard_arguments(job: &Job) -> Vec<String> {
    match job.source.as_str() {
        KIND => job.arguments.keys().cloned().collect(),
        _ => vec![job.arguments_sha256()],
    }
}

/// Merges datasets of one codec, tokenizer and vocabulary, without an id in common, into one in `out`. What an earlier,
/// interrupted run has linked is kept.
pub fn run(locations: &[String], out: &Store) -> Result<Summary> {
    let started = Instant::now();
    let inputs: Vec<Input> = locations
        .iter()
        .map(|location| Input::open(location))
        .collect::<Result<_>>()?;
    check_alike(&inputs)?;
    refuse_repeated_ids(&inputs)?;
    let job = merged(&inputs);
    let units: Vec<usize> = (0..job.units.len()).collect();
    let output = OutputDir::open(out, &job, Worker::ALONE, &units, false)?;
    let shards = inputs
        .iter()
        .flat_map(|input| (0..input.dataset.shards().len()).map(move |shard| (input, shard)));
    let (mut records, mut kept) = (Vec::new(), 0);
    for (index, (input, shard)) in shards.enumerate() {
        let record = match output.finished(index)? {
            Some(record) => {
                kept += 1;
                record
            }
            None => add(&output, &job, index, input, shard)?,
        };
        records.push(record);
    }
    output.merge_skipped(&records)?;
    output.complete(&inputs[0].dataset.tokenizer_dir(), &records)?;
    let mut summary = Summary::new(&records, job.codec.as_ref());
    summary.shards_kept = kept;
    summary.elapsed_secs = started.elapsed().as_secs_f64();
    Ok(summary)
}

impl Input {
    fn open(location: &str) -> Result<Self> {
        let nearby = Nearby::open(location)?;
        let dataset = Dataset::open(nearby.dir())?;
        let (store, job) = output::open_job(nearby.dir())?;
        Ok(Input {
            nearby,
            dataset,
            store,
            job,
        })
    }

    fn name(&self) -> String {
        let name = self.job.arguments.get("name").cloned();
        name.unwrap_or_else(|| self.job.source.clone())
    }
}

fn check_alike(inputs: &[Input]) -> Result<()> {
    let Some(first) = inputs.first() else {
        return Ok(());
    };
    let first_vocab = first.dataset.vocab()?;
    for second in &inputs[1..] {
        let unlike = |what, first_has, second_has| Error::Unlike {
            first: first.nearby.location().into(),
            second: second.nearby.location().into(),
            what,
            first_has,
            second_has,
        };
        let is_same = match (&first.job.codec, &second.job.codec) {
            (Some(first), Some(second)) => first.is_same(second),
            (first, second) => first == second,
        };
        if !is_same {
            let [first, second] = [first, second].map(|input| codec(input.job.codec.as_ref()));
            return Err(unlike("codecs", first, second));
        }
        let vocab = second.dataset.vocab()?;
        if vocab.info().sha256 != first_vocab.info().sha256 {
            let [first, second] = [&first_vocab, &vocab].map(tokenizer);
            return Err(unlike("tokenizers", first, second));
        }
        if vocab.layout() != first_vocab.layout() {
            let [first, second] = [&first_vocab, &vocab].map(layout);
            return Err(unlike("vocabularies", first, second));
        }
    }
    Ok(())
}

fn codec(codec: Option<&CodecInfo>) -> String {
    codec.map_or("none".to_owned(), |codec| {
        format!(
            "{} {:.12} with {} codebooks",
            codec.name, codec.sha256, codec.codebooks
        )
    })
}

fn tokenizer(vocab: &Vocab) -> String {
    format!("{} {:.12}", vocab.info().name, vocab.info().sha256)
}

fn layout(vocab: &Vocab) -> String {
    let layout = vocab.layout();
    format!(
        "{} ids, audio from {}",
        layout.vocab_size, layout.audio_base
    )
}

fn refuse_repeated_ids(inputs: &[Input]) -> Result<()> {
    let (mut readers, mut documents) = (Vec::new(), 0);
    for input in inputs {
        for (index, shard) in input.dataset.shards().iter().enumerate() {
            readers.push(input.dataset.reader(index)?);
            documents += shard.summary.documents;
        }
    }
    let repeated = ids::repeated(&readers, documents)?;
    if repeated.is_empty() {
        return Ok(());
    }
    let shown = repeated.iter().take(SHOWN).map(|(id, paths)| {
        let paths: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        format!("{id:?} in {}", paths.join(" and "))
    });
    Err(Error::RepeatedIds {
        n: repeated.len(),
        shown: shown.collect(),
    })
}

/// The job of the merged dataset. Its arguments are the jobs that made the shards, by their hash, with their names.
fn merged(inputs: &[Input]) -> Job {
    let mut arguments = BTreeMap::new();
    for input in inputs {
        match input.job.source.as_str() {
            KIND => arguments.extend(input.job.arguments.clone()),
            _ => {
                arguments.insert(input.job.arguments_sha256(), input.name());
            }
        }
    }
    let first = &inputs[0].job;
    let jobs = || inputs.iter().map(|input| &input.job);
    Job::new(
        KIND,
        arguments,
        first.codec.clone(),
        first.tokenizer.clone(),
        jobs().flat_map(|job| job.units.clone()).collect(),
    )
    .with_unit_bytes(jobs().flat_map(|job| job.unit_bytes.clone()).collect())
}

/// Adds one shard, with its bad records, as unit `index`.
fn add(
    output: &OutputDir,
    job: &Job,
    index: usize,
    input: &Input,
    shard: usize,
) -> Result<UnitRecord> {
    let missing = || Error::Layout {
        location: input.nearby.location().to_owned(),
        problem: format!(
            "shard {shard} has no record in units/; run the command that made the dataset again"
        ),
    };
    let mut record = output::read_record(&input.store, shard)?.ok_or_else(missing)?;
    record.arguments_sha256 = job.arguments_sha256();
    let bad = output::read_skipped(&input.store, shard)?;
    link(&input.dataset.path(shard), &output.shard(index))?;
    output.finish(index, &record, &bad)?;
    Ok(record)
}

/// Gives a file another name, or copies it where it cannot have two. Whole under that name, or not there.
fn link(from: &Path, to: &Path) -> Result<()> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let partial = to.with_file_name(format!(".{name}.partial"));
    let _ = fs::remove_file(&partial);
    if fs::hard_link(from, &partial).is_err() {
        let copied = fs::copy(from, &partial).and_then(|_| fs::File::open(&partial)?.sync_all());
        copied.map_err(Error::io("copy the shard to", &partial))?;
    }
    // a link that was there of the same file would stay beside its double
    let _ = fs::remove_file(to);
    fs::rename(&partial, to).map_err(Error::io("rename the shard to", to))
}
