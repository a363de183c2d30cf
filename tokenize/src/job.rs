//! Runs a job: every unit of a source becomes one shard, in parallel within and across units.

use std::path::PathBuf;

use encodec_rs::{Codec, Precision};
use shards::{CodecInfo, Dataset, Job, Manifest, ShardEntry, ShardMeta, ShardWriter, Vocab};

use crate::encode::{Encoded, Encoder, Group, PIECE_SECS};
use crate::error::{Error, Result};
use crate::output::{OutputDir, UnitSummary};
use crate::pipeline::{Limits, ordered_map};
use crate::progress::Progress;
use crate::skipped::{self, BadRecord};
use crate::source::{RawDocument, Source};
use crate::summary::Summary;

/// Documents that may wait for a slow one before them, for each thread: more than are encoded together.
const WINDOW_PER_THREAD: usize = 64;

/// A source with everything that turns it into shards.
pub struct Tokenization<'a> {
    /// The corpus.
    pub source: &'a dyn Source,
    /// The codec.
    pub codec: &'a dyn Codec,
    /// The text tokenizer.
    pub vocab: &'a Vocab,
    /// Its folder.
    pub tokenizer_dir: PathBuf,
    /// The numbers the codec computes with, which its codes depend on.
    pub precision: Precision,
}

/// What changes how a job runs and not what it makes.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Output folder.
    pub out: PathBuf,
    /// Worker threads.
    pub threads: usize,
    /// Largest fraction of bad documents with which a job still finishes.
    pub max_bad: f64,
}

impl Tokenization<'_> {
    /// The job's identity.
    pub fn job(&self) -> Job {
        let mut arguments = self.source.arguments();
        arguments.insert("piece_secs".to_owned(), PIECE_SECS.to_string());
        let precision = match self.precision {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        };
        arguments.insert("precision".to_owned(), precision.to_owned());
        let layout = serde_json::to_vec(self.vocab.layout()).expect("plain data has a JSON form");
        arguments.insert("vocab_sha256".to_owned(), shards::sha256_hex(&layout));
        let units = self
            .source
            .units()
            .iter()
            .map(|unit| unit.label.clone())
            .collect();
        let codec = Some(codec_info(self.codec));
        Job::new(
            self.source.kind(),
            arguments,
            codec,
            self.vocab.info().clone(),
            units,
        )
    }

    /// Refuses a tokenizer without ids for the codec's codes.
    pub fn check(&self) -> Result<()> {
        let (spec, layout) = (self.codec.spec(), self.vocab.layout());
        if (spec.codebooks, spec.codebook_size) == (layout.codebooks, layout.codebook_size) {
            return Ok(());
        }
        Err(Error::CodecVocabulary {
            codec: spec.name.clone(),
            codec_codebooks: spec.codebooks,
            codec_size: spec.codebook_size,
            tokenizer: self.tokenizer_dir.clone(),
            codebooks: layout.codebooks,
            size: layout.codebook_size,
        })
    }

    /// Tokenizes what is not finished yet and completes the dataset.
    pub fn run(&self, options: &RunOptions) -> Result<Summary> {
        self.check()?;
        let job = self.job();
        let output = OutputDir::open(&options.out, &job)?;
        let mut units = Vec::new();
        for index in 0..self.source.units().len() {
            units.push(output.finished(index)?);
        }
        let pending: Vec<usize> = (0..units.len())
            .filter(|&index| units[index].is_none())
            .collect();
        let shards_kept = units.len() - pending.len();
        let total = pending
            .iter()
            .map(|&unit| self.source.units()[unit].bytes)
            .sum();
        let mut sink = Sink {
            output: &output,
            meta: self.meta(&job),
            progress: Progress::new(total),
            audio_secs: 0.0,
            open: None,
            finished: &mut units,
        };
        self.encode_units(&pending, options.threads, &mut sink)?;
        let audio_secs = sink.audio_secs;
        let elapsed_secs = sink.progress.finish();
        let units: Vec<UnitSummary> = units.into_iter().flatten().collect();

        let spec = self.codec.spec();
        let mut summary = Summary::new(&units, spec.codebooks, spec.frame_rate_hz);
        summary.shards_kept = shards_kept;
        summary.elapsed_secs = elapsed_secs;
        summary.times_real_time = (!pending.is_empty()).then(|| audio_secs / elapsed_secs);
        self.complete(&output, options, &units, &mut summary)?;
        Ok(summary)
    }

    fn meta(&self, job: &Job) -> ShardMeta {
        ShardMeta {
            codec: job.codec.clone(),
            tokenizer: job.tokenizer.clone(),
            vocab: self.vocab.layout().clone(),
            arguments_sha256: job.arguments_sha256(),
        }
    }

    /// Feeds the documents of all pending units through one pipeline, so that no thread waits at the end of a unit.
    fn encode_units(&self, pending: &[usize], threads: usize, sink: &mut Sink<'_>) -> Result<()> {
        let encoder = Encoder {
            codec: self.codec,
            vocab: self.vocab,
            source: self.source.name(),
        };
        let steps = pending.iter().flat_map(|&unit| {
            let documents = self.source.documents(unit).map(Step::Document);
            std::iter::once(Step::Begin(unit))
                .chain(documents)
                .chain([Step::End])
        });
        let limits = Limits {
            threads,
            window: WINDOW_PER_THREAD * threads,
        };
        let map = |first, more: &mut dyn FnMut() -> _| encode_steps(&encoder, first, more);
        ordered_map(limits, steps, map, |done| sink.take(done))
    }

    /// Merges the lists of bad records and, unless there are too many, declares the dataset finished.
    fn complete(
        &self,
        output: &OutputDir,
        options: &RunOptions,
        units: &[UnitSummary],
        summary: &mut Summary,
    ) -> Result<()> {
        let mut bad = Vec::new();
        for index in 0..units.len() {
            bad.extend(skipped::read(&output.skipped(index))?);
        }
        skipped::write(&output.all_skipped(), &bad)?;
        summary.skipped = skipped::count(&bad);
        let (bad, total) = (bad.len() as u64, summary.documents + bad.len() as u64);
        if bad as f64 > options.max_bad * total as f64 {
            return Err(Error::TooManyBad {
                bad,
                total,
                max_bad: options.max_bad,
                reasons: summary.skipped.clone(),
                list_file: output.all_skipped(),
            });
        }
        output.copy_tokenizer(&self.tokenizer_dir)?;
        let entry = |(index, unit): (usize, &UnitSummary)| ShardEntry {
            file: Dataset::shard_file_name(index),
            summary: unit.shard.clone(),
        };
        let entries = units.iter().enumerate().map(entry).collect();
        Ok(Manifest::new(entries, summary.skipped.clone()).write(&options.out)?)
    }
}

/// What goes into the pipeline.
enum Step {
    Begin(usize),
    Document(RawDocument),
    End,
}

/// What comes out of it, in the same order; a document with the size of its input.
enum Done {
    Begin(usize),
    Document(u64, std::result::Result<Box<Encoded>, BadRecord>),
    End,
}

/// Takes steps until there is enough audio to encode together.
fn encode_steps(
    encoder: &Encoder<'_>,
    first: Step,
    more: &mut dyn FnMut() -> Option<Step>,
) -> Vec<Done> {
    let mut group = Group::new(encoder);
    // `None` for a document
    let mut taken = Vec::new();
    let mut next = Some(first);
    while let Some(step) = next {
        taken.push(match step {
            Step::Begin(unit) => Some(Done::Begin(unit)),
            Step::End => Some(Done::End),
            Step::Document(raw) => {
                group.add(raw);
                None
            }
        });
        next = if group.is_full() { None } else { more() };
    }
    let mut documents = group.finish().into_iter();
    let mut document = || {
        let (bytes, encoded) = documents.next().expect("a result for each document");
        Done::Document(bytes, encoded.map(Box::new))
    };
    taken
        .into_iter()
        .map(|done| done.unwrap_or_else(&mut document))
        .collect()
}

/// Receives documents in order and writes one shard after another.
struct Sink<'a> {
    output: &'a OutputDir,
    meta: ShardMeta,
    progress: Progress,
    audio_secs: f64,
    open: Option<OpenUnit>,
    finished: &'a mut [Option<UnitSummary>],
}

/// The unit being written.
struct OpenUnit {
    index: usize,
    writer: ShardWriter,
    bad: Vec<BadRecord>,
    audio_only: u64,
}

impl Sink<'_> {
    fn take(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Begin(index) => {
                let writer = ShardWriter::create(&self.output.shard(index), &self.meta)?;
                self.open = Some(OpenUnit {
                    index,
                    writer,
                    bad: Vec::new(),
                    audio_only: 0,
                });
                Ok(())
            }
            Done::Document(bytes, encoded) => self.document(bytes, encoded),
            Done::End => self.end(),
        }
    }

    fn document(
        &mut self,
        bytes: u64,
        encoded: std::result::Result<Box<Encoded>, BadRecord>,
    ) -> Result<()> {
        let unit = self
            .open
            .as_mut()
            .expect("a unit begins before its documents");
        let audio_secs = match encoded {
            Ok(encoded) => {
                unit.writer.write(&encoded.document)?;
                unit.audio_only += u64::from(
                    encoded
                        .document
                        .segments
                        .iter()
                        .all(|s| s.text_ids.is_empty()),
                );
                encoded.audio_secs
            }
            Err(record) => {
                unit.bad.push(record);
                0.0
            }
        };
        self.audio_secs += audio_secs;
        self.progress.add(bytes, audio_secs);
        Ok(())
    }

    /// The list of bad records goes first: a unit counts as finished once its shard is there.
    fn end(&mut self) -> Result<()> {
        let unit = self.open.take().expect("a unit begins before it ends");
        skipped::write(&self.output.skipped(unit.index), &unit.bad)?;
        self.finished[unit.index] = Some(UnitSummary {
            shard: unit.writer.finish()?,
            audio_only: unit.audio_only,
        });
        Ok(())
    }
}

/// The codec's identity as shards record it.
pub fn codec_info(codec: &dyn Codec) -> CodecInfo {
    let spec = codec.spec();
    CodecInfo {
        name: spec.name.clone(),
        sha256: spec.sha256.clone(),
        sample_rate_hz: spec.sample_rate_hz,
        frame_rate_hz: spec.frame_rate_hz,
        codebooks: spec.codebooks,
        codebook_size: spec.codebook_size,
    }
}

#[cfg(test)]
mod tests;
