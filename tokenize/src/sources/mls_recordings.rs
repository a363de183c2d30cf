//! The second stage of MLS: utterances to documents; see [`mls`](super::mls).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use shards::{Dataset, Document, Manifest};
use stores::Store;

use super::mls::{Key, UTTERANCES};
use crate::error::{Error, Result};
use crate::nearby::Nearby;
use crate::source::{Emit, Grouping, RawAudio, RawUtterance, Source, Transcript, Unit};

/// Largest distance of an utterance from the one before it in a document.
const GAP_MS: u32 = 200;

/// The finished first stage, by bucket. A unit is a bucket.
pub struct Recordings {
    dataset: Dataset,
    units: Vec<Unit>,
    /// Shard and row group of all that hold a bucket's utterances.
    places: Vec<Vec<(usize, usize)>>,
    /// Holds the shards.
    _nearby: Nearby,
}

impl Recordings {
    /// Finds each bucket in the dataset of the first stage, which `store` holds. Of one in an object store a temporary copy is
    /// made on this machine.
    ///
    /// # Errors
    /// Those of reading it; [`Error::Layout`] for ids that the first stage does not write.
    pub fn open(store: &Store, buckets: usize) -> Result<Self> {
        let is_shard = |path: &str| path.starts_with("part-") && path.ends_with(".parquet");
        let nearby = Nearby::of(store, |path| path == Manifest::FILE || is_shard(path))?;
        let dataset = Dataset::open(nearby.dir())?;
        let mut places = vec![Vec::new(); buckets];
        let mut bytes = vec![0u64; buckets];
        for shard in 0..dataset.shards().len() {
            let reader = dataset.reader(shard)?;
            let frame_bytes = 2 * reader.meta().codebooks() as u64;
            for row_group in 0..reader.row_groups() {
                for counts in reader.counts(row_group)? {
                    let bucket = key(reader.path(), &counts.id)?.bucket;
                    let in_range = bytes
                        .get_mut(bucket)
                        .ok_or_else(|| foreign(reader.path(), &counts.id))?;
                    *in_range += u64::from(counts.n_frames) * frame_bytes;
                    if places[bucket].last() != Some(&(shard, row_group)) {
                        places[bucket].push((shard, row_group));
                    }
                }
            }
        }
        let content: String = dataset
            .shards()
            .iter()
            .map(|s| s.summary.sha256.as_str())
            .collect();
        let content = shards::sha256_hex(content.as_bytes());
        let unit = |(bucket, bytes): (usize, u64)| Unit {
            label: format!("{UTTERANCES} {content}, bucket {bucket} of {buckets}"),
            bytes,
        };
        Ok(Recordings {
            dataset,
            units: bytes.into_iter().enumerate().map(unit).collect(),
            places,
            _nearby: nearby,
        })
    }
}

fn key(shard: &Path, id: &str) -> Result<Key> {
    Key::parse(id).ok_or_else(|| foreign(shard, id))
}

fn foreign(shard: &Path, id: &str) -> Error {
    Error::Layout {
        location: shard.display().to_string(),
        problem: format!(
            "document {id:?} is none of {UTTERANCES}; remove that dataset and run again"
        ),
    }
}

/// A document of the first stage as an utterance of a recording.
fn utterance(key: Key, mut document: Document) -> RawUtterance {
    let segment = document.segments.swap_remove(0);
    RawUtterance {
        id: key.utterance(),
        position: u64::from(key.begin_ms),
        document: key.path,
        lang: document.lang,
        origin: document.origin,
        transcript: Transcript::Text(segment.text),
        audio: RawAudio::Codes(segment.codes),
        span_ms: segment.start_ms.zip(segment.end_ms),
        speaker: Some(key.speaker),
        ..RawUtterance::default()
    }
}

impl Source for Recordings {
    fn kind(&self) -> &'static str {
        "mls"
    }

    fn name(&self) -> &str {
        "mls-en"
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("gap_ms".to_owned(), GAP_MS.to_string())])
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn grouping(&self) -> Grouping {
        Grouping::Sorted {
            gap_ms: Some(GAP_MS),
        }
    }

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> Result<()> {
        let counter = emit.counter();
        let mut places = self.places[unit].iter().peekable();
        while let Some(&(shard, _)) = places.peek() {
            let reader = self.dataset.reader(*shard)?;
            while let Some((_, row_group)) = places.next_if(|(other, _)| other == shard) {
                for document in reader.documents(*row_group)? {
                    let key = key(reader.path(), &document.id)?;
                    if key.bucket == unit {
                        let bytes = 2 * document.segments[0].codes.len() as u64;
                        emit.utterance(utterance(key, document))?;
                        counter.fetch_add(bytes, Relaxed);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
