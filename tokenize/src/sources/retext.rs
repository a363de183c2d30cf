//! A finished dataset as a source: the same documents with the text ids of another tokenizer, the audio untouched.
//!
//! A unit is a shard. Documents keep id, source, language, origin, texts, codes, times and speakers exactly.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use shards::{Dataset, Document, Job};
use stores::Store;

use crate::error::{Error, Result};
use crate::job::Coding;
use crate::output;
use crate::skipped::BadRecord;
use crate::source::{Emit, Grouping, RawUtterance, Source, Stored, Unit};

/// A dataset, planned.
pub struct Retext {
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
    pub fn open(dir: &Path, out: &Store) -> Result<Self> {
        let dataset = Dataset::open(dir)?;
        let absolute = |dir: &Path| dir.canonicalize().ok();
        if let (Some(dir), Some(out)) = (absolute(dir), out.local().and_then(absolute))
            && dir.starts_with(&out)
        {
            return Err(Error::InputInsideOutput { dir, out });
        }
        let (_, job) = output::open_job(dir)?;
        let folder = || {
            let dir = absolute(dir).unwrap_or_else(|| dir.to_owned());
            dir.file_name()
                .map_or(String::new(), |name| name.to_string_lossy().into_owned())
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
