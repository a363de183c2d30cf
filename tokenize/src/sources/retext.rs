//! A finished dataset as a source: the same documents with the text ids of another tokenizer, the audio untouched.
//!
//! A unit is a shard. Documents keep id, source, language, origin, texts, codes, times and speakers exactly.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use shards::{Dataset, Document, Job};
use stores::Store;

use crate::error::{Error, Result};
use crate::job::Coding;
use crate::nearby::Nearby;
use crate::output;
use crate::skipped::BadRecord;
use crate::source::{Emit, Grouping, RawUtterance, Source, Stored, Unit};

/// A dataset, planned.
pub struct Retext {
    /// Holds the shards.
    _nearby: Nearby,
    dataset: Dataset,
    job: Job,
    name: String,
    units: Vec<Unit>,
}

impl Retext {
    /// Opens a finished dataset, to make another in `out`.
    ///
    /// # Errors
    /// [`Error::InputInsideOutput`] if it lies in `out`.
    pub fn open(location: &str, out: &Store) -> Result<Self> {
        let store = Store::open(location)?;
        let (input, output) = (place(&store), place(out));
        if input.starts_with(&output) {
            return Err(Error::InputInsideOutput {
                dir: input,
                out: output,
            });
        }
        let nearby = Nearby::open(location)?;
        let dataset = Dataset::open(nearby.dir())?;
        let (_, job) = output::open_job(nearby.dir())?;
        let folder = || {
            let name = input.file_name();
            name.map_or(String::new(), |name| name.to_string_lossy().into_owned())
        };
        let name = job.arguments.get("name").cloned().unwrap_or_else(folder);
        let units = dataset.shards().iter().map(|shard| Unit {
            label: format!(
                "{}, {} bytes, sha256 {}",
                shard.file, shard.summary.bytes, shard.summary.sha256
            ),
            bytes: shard.summary.bytes,
        });
        Ok(Retext {
            units: units.collect(),
            _nearby: nearby,
            dataset,
            job,
            name,
        })
    }

    /// The codes are those of the dataset's codec.
    pub fn coding(&self) -> Coding<'static> {
        match &self.job.codec {
            Some(codec) => Coding::Codes(codec.clone()),
            None => Coding::Text,
        }
    }
}

/// A location in the one form that it has.
fn place(store: &Store) -> PathBuf {
    match store.local() {
        Some(dir) => dir.canonicalize().unwrap_or_else(|_| dir.to_owned()),
        None => store.location().into(),
    }
}

impl Source for Retext {
    fn kind(&self) -> &'static str {
        "retext"
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        let before = ("dataset".to_owned(), self.job.arguments_sha256());
        BTreeMap::from([before])
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn grouping(&self) -> Grouping {
        // ids differ within a shard
        Grouping::Adjacent
    }

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> Result<()> {
        let reader = self.dataset.reader(unit)?;
        let groups = reader.row_groups();
        let counter = emit.counter();
        for group in 0..groups {
            for document in reader.documents(group)? {
                emit_document(document, emit)?;
            }
            let bytes = self.units[unit].bytes / groups as u64;
            counter.fetch_add(bytes, Relaxed);
        }
        Ok(())
    }
}

fn emit_document(document: Document, emit: &mut dyn Emit) -> Result<()> {
    let Document {
        id,
        source,
        lang,
        origin,
        segments,
    } = document;
    if segments.is_empty() {
        return emit.bad(BadRecord {
            message: format!("document {id:?} has no segments"),
            id,
            path: origin,
            reason: "empty".to_owned(),
        });
    }
    for segment in segments {
        emit.utterance(RawUtterance {
            id: id.clone(),
            document: id.clone(),
            lang: lang.clone(),
            origin: origin.clone(),
            stored: Some(Box::new(Stored {
                source: source.clone(),
                segment,
            })),
            ..RawUtterance::default()
        })?;
    }
    Ok(())
}
