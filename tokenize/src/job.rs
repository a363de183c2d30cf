//! Runs a job: every unit of a source becomes one shard, in parallel within and across units.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use encodec_rs::{BackendKind, Codec, Precision};
use shards::{CodecInfo, Document, Job, ShardMeta, ShardWriter, Vocab};
use stores::Store;

use crate::assemble::Assembler;
use crate::encode::{Encoded, Encoder, Group, Outcome, PIECE_SECS};
use crate::error::{Error, Result};
use crate::feed::{Close, Feed, Step};
use crate::filter::Filters;
use crate::heartbeat::Pulse;
use crate::output::{OutputDir, UnitRecord};
use crate::pipeline::{Limits, ordered_map};
use crate::progress::Progress;
use crate::skipped::{self, BadRecord};
use crate::source::{Counter, Source};
use crate::summary::Summary;
use crate::worker::Worker;

/// Utterances that may wait for a slow one before them, for each thread: more than are encoded together.
const WINDOW_PER_THREAD: usize = 64;
/// As many, where all are text: they are small and many.
const TEXT_WINDOW_PER_THREAD: usize = 1024;

/// A source with everything that turns it into shards.
pub struct Tokenization<'a> {
    /// The corpus.
    pub source: &'a dyn Source,
    /// What its audio becomes.
    pub coding: Coding<'a>,
    /// The text tokenizer.
    pub vocab: &'a Vocab,
    /// Its folder.
    pub tokenizer_dir: PathBuf,
    /// What is left out.
    pub filters: Filters,
}

/// Where codes come from.
#[derive(Clone)]
pub enum Coding<'a> {
    /// A codec encodes recordings, in this precision, on which codes depend.
    Codec(&'a dyn Codec, Precision),
    /// The source has codes of this codec already.
    Codes(CodecInfo),
    /// There is no audio.
    Text,
}

/// What changes how a job runs and not what it makes.
#[derive(Clone)]
pub struct RunOptions {
    /// Output folder.
    pub out: Store,
    /// Worker threads.
    pub threads: usize,
    /// Which part of the job this process does.
    pub worker: Worker,
    /// Replace what another job made in the folder.
    pub overwrite: bool,
    /// Largest fraction of bad utterances with which a job still finishes.
    pub max_bad: f64,
}

impl Coding<'_> {
    /// The codec as shards record it.
    pub fn info(&self) -> Option<CodecInfo> {
        match self {
            Coding::Codec(codec, _) => Some(codec_info(*codec)),
            Coding::Codes(info) => Some(info.clone()),
            Coding::Text => None,
        }
    }

    fn codec(&self) -> Option<&dyn Codec> {
        match self {
            Coding::Codec(codec, _) => Some(*codec),
            Coding::Codes(_) | Coding::Text => None,
        }
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        let Coding::Codec(codec, precision) = self else {
            return BTreeMap::new();
        };
        let precision = match precision {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        };
        let mut arguments = BTreeMap::from([
            ("piece_secs".to_owned(), PIECE_SECS.to_string()),
            ("precision".to_owned(), precision.to_owned()),
        ]);
        // the codes of near-ties depend on it
        let backend = codec.backend();
        if backend != BackendKind::Cpu {
            arguments.insert("backend".to_owned(), backend.to_string());
        }
        arguments
    }
}

impl Tokenization<'_> {
    /// The job's identity.
    pub fn job(&self) -> Job {
        let mut arguments = self.source.arguments();
        arguments.extend(self.coding.arguments());
        arguments.extend(self.filters.arguments());
        arguments.insert("name".to_owned(), self.source.name().to_owned());
        let layout = serde_json::to_vec(self.vocab.layout()).expect("plain data has a JSON form");
        arguments.insert("vocab_sha256".to_owned(), shards::sha256_hex(&layout));
        let units = self.source.units();
        Job::new(
            self.source.kind(),
            arguments,
            self.coding.info(),
            self.vocab.info().clone(),
            units.iter().map(|unit| unit.label.clone()).collect(),
        )
        .with_unit_bytes(units.iter().map(|unit| unit.bytes).collect())
    }

    /// Refuses a tokenizer without ids for the codec's codes.
    pub fn check(&self) -> Result<()> {
        let Some(codec) = self.coding.info() else {
            return Ok(());
        };
        let layout = self.vocab.layout();
        if (codec.codebooks, codec.codebook_size) == (layout.codebooks, layout.codebook_size) {
            return Ok(());
        }
        Err(Error::CodecVocabulary {
            codec: codec.name,
            codec_codebooks: codec.codebooks,
            codec_size: codec.codebook_size,
            tokenizer: self.tokenizer_dir.clone(),
            codebooks: layout.codebooks,
            size: layout.codebook_size,
        })
    }

    /// The encoder of this job.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder {
            codec: self.coding.codec(),
            vocab: self.vocab,
            filters: &self.filters,
        }
    }

    /// Tokenizes what is not finished of this worker's units, and completes the dataset if all units are.
    pub fn run(&self, options: &RunOptions) -> Result<Summary> {
        self.check()?;
        let job = self.job();
        let sizes: Vec<u64> = self.source.units().iter().map(|unit| unit.bytes).collect();
        let own = options.worker.units(&sizes);
        let output = OutputDir::open(&options.out, &job, options.worker, &own, options.overwrite)?;
        let mut pending = Vec::new();
        for &unit in &own {
            if output.finished(unit)?.is_none() {
                pending.push(unit);
            }
        }
        let total = pending.iter().map(|&unit| sizes[unit]).sum();
        let counter = Counter::default();
        let mut sink = Sink {
            job: self,
            output: &output,
            meta: self.meta(&job),
            progress: Progress::new(total, counter.clone()),
            pulse: Pulse::start(output.store(), options.worker)?,
            audio_secs: 0.0,
            open: None,
        };
        if let Err(error) = self.encode_units(&pending, options.threads, &counter, &mut sink) {
            sink.pulse.fail(&error);
            return Err(error);
        }
        let audio_secs = sink.audio_secs;
        sink.pulse.finish()?;
        let elapsed_secs = sink.progress.finish();

        let mut records = Vec::new();
        for unit in 0..sizes.len() {
            records.extend(output.finished(unit)?);
        }
        let mut summary = Summary::new(&records, self.coding.info().as_ref());
        summary.shards_kept = own.len() - pending.len();
        summary.shards_missing = sizes.len() - records.len();
        summary.elapsed_secs = elapsed_secs;
        summary.times_real_time = (audio_secs > 0.0).then(|| audio_secs / elapsed_secs);
        summary.input_bytes = counter.load(Relaxed);
        if summary.shards_missing == 0 {
            self.complete(&output, options, &records, &summary)?;
        }
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

    /// Feeds the utterances of all pending units through one pipeline, so that no thread waits at the end of a unit.
    fn encode_units(
        &self,
        pending: &[usize],
        threads: usize,
        counter: &Counter,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let encoder = self.encoder();
        let window = match self.coding {
            Coding::Text => TEXT_WINDOW_PER_THREAD,
            Coding::Codec(..) | Coding::Codes(_) => WINDOW_PER_THREAD,
        };
        let limits = Limits {
            threads,
            window: window * threads,
        };
        let feed = Feed::default();
        std::thread::scope(|scope| {
            scope.spawn(|| feed.fill(self.source, pending, counter));
            let _close = Close(&feed);
            let steps = std::iter::from_fn(|| feed.next());
            let map = |first, more: &mut dyn FnMut() -> _| encode_steps(&encoder, first, more);
            ordered_map(limits, steps, map, |done| sink.take(done))
        })
    }

    /// Merges the lists of bad records and, unless there are too many, declares the dataset finished.
    fn complete(
        &self,
        output: &OutputDir,
        options: &RunOptions,
        records: &[UnitRecord],
        summary: &Summary,
    ) -> Result<()> {
        let list_file = output.merge_skipped(records)?;
        let bad: u64 = summary.skipped.values().sum();
        let total = summary.utterances + bad;
        if bad as f64 > options.max_bad * total as f64 {
            return Err(Error::TooManyBad {
                bad,
                total,
                max_bad: options.max_bad,
                reasons: summary.skipped.clone(),
                list_file,
            });
        }
        output.complete(&self.tokenizer_dir, records)
    }
}

/// What comes out of the pipeline, in the order of the steps that went in.
enum Done {
    Begin(usize),
    Utterance(Outcome),
    End,
    Failed(Box<Error>),
}

/// Takes steps until there is enough to encode together.
fn encode_steps(
    encoder: &Encoder<'_>,
    first: Step,
    more: &mut dyn FnMut() -> Option<Step>,
) -> Vec<Done> {
    let mut group = Group::new(encoder);
    // `None` for an utterance
    let mut taken = Vec::new();
    let mut next = Some(first);
    while let Some(step) = next {
        taken.push(match step {
            Step::Begin(unit) => Some(Done::Begin(unit)),
            Step::End => Some(Done::End),
            Step::Bad(record) => Some(Done::Utterance(Outcome::Bad(record))),
            Step::Failed(error) => Some(Done::Failed(error)),
            Step::Utterance(raw) => {
                group.add(*raw);
                None
            }
        });
        next = if group.is_full() { None } else { more() };
    }
    let mut outcomes = group.finish().into_iter();
    let mut outcome = || Done::Utterance(outcomes.next().expect("an outcome for each utterance"));
    taken
        .into_iter()
        .map(|done| done.unwrap_or_else(&mut outcome))
        .collect()
}

/// Receives utterances in order and writes one shard after another.
struct Sink<'a> {
    job: &'a Tokenization<'a>,
    output: &'a OutputDir,
    meta: ShardMeta,
    progress: Progress,
    pulse: Pulse,
    audio_secs: f64,
    open: Option<OpenUnit<'a>>,
}

/// The unit being written.
struct OpenUnit<'a> {
    index: usize,
    assembler: Assembler<'a>,
    writer: ShardWriter,
    bad: Vec<BadRecord>,
    /// Hashes of the texts so far, if they must be unique.
    texts: HashSet<u64>,
    record: UnitRecord,
}

impl<'a> Sink<'a> {
    fn take(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Begin(index) => self.begin(index)?,
            Done::Utterance(outcome) => self.utterance(outcome)?,
            Done::End => self.end()?,
            Done::Failed(error) => return Err(*error),
        }
        let unit = self.open.as_ref().map(|unit| unit.index);
        self.progress.show(self.audio_secs);
        self.pulse
            .beat(unit, self.progress.bytes(), self.audio_secs)
    }

    fn begin(&mut self, index: usize) -> Result<()> {
        let source = self.job.source;
        self.open = Some(OpenUnit {
            index,
            assembler: Assembler::new(source.name(), source.grouping()),
            writer: ShardWriter::create_with(
                &self.output.shard(index),
                &self.meta,
                source.shard_options(),
            )?,
            bad: Vec::new(),
            texts: HashSet::new(),
            record: UnitRecord {
                input: source.units()[index].label.clone(),
                arguments_sha256: self.meta.arguments_sha256.clone(),
                ..UnitRecord::default()
            },
        });
        Ok(())
    }

    fn unit(&mut self) -> &mut OpenUnit<'a> {
        self.open
            .as_mut()
            .expect("a unit begins before its utterances")
    }

    fn utterance(&mut self, outcome: Outcome) -> Result<()> {
        let is_unique = self.job.filters.unique_text;
        match outcome {
            Outcome::Encoded(encoded) => {
                self.audio_secs += encoded.audio_secs;
                let unit = self.unit();
                let has_text = !encoded.segment.text.is_empty();
                if is_unique && has_text && !unit.texts.insert(text_hash(&encoded)) {
                    unit.filtered("unique-text");
                    return Ok(());
                }
                unit.record.audio_secs += encoded.audio_secs;
                match unit.assembler.push(*encoded) {
                    Some(document) => unit.write(&document),
                    None => Ok(()),
                }
            }
            Outcome::Bad(record) => {
                self.unit().bad.push(*record);
                Ok(())
            }
            Outcome::Filtered(name) => {
                self.unit().filtered(name);
                Ok(())
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        let mut unit = self.open.take().expect("a unit begins before it ends");
        let source = self.job.source;
        let rest = Assembler::new(source.name(), source.grouping());
        for assembled in std::mem::replace(&mut unit.assembler, rest).finish() {
            match assembled {
                Ok(document) => unit.write(&document)?,
                Err(bad) => unit.bad.push(*bad),
            }
        }
        let mut record = unit.record;
        record.shard = unit.writer.finish()?;
        record.skipped = skipped::count(&unit.bad);
        self.output.finish(unit.index, &record, &unit.bad)
    }
}

impl OpenUnit<'_> {
    fn filtered(&mut self, name: &str) {
        *self.record.filtered.entry(name.to_owned()).or_insert(0) += 1;
    }

    /// Writes a document, unless its shard has one of that name.
    fn write(&mut self, document: &Document) -> Result<()> {
        match self.writer.write(document) {
            Ok(()) => {
                let is_audio_only = document.segments.iter().all(|s| s.text_ids.is_empty());
                self.record.audio_only += u64::from(is_audio_only);
                Ok(())
            }
            Err(error @ shards::Error::DuplicateId { .. }) => {
                self.bad.push(BadRecord {
                    id: document.id.clone(),
                    path: document.origin.clone(),
                    reason: "repeated".to_owned(),
                    message: error.to_string(),
                });
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn text_hash(encoded: &Encoded) -> u64 {
    let mut hasher = DefaultHasher::new();
    encoded.segment.text.hash(&mut hasher);
    hasher.finish()
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
