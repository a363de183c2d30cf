//! What a corpus must offer to be tokenized.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A corpus, planned: its documents in a fixed order, cut into units.
pub trait Source: Sync {
    /// The kind of source, e.g. `folder`; part of the job's identity.
    fn kind(&self) -> &'static str;

    /// The name documents carry, e.g. `yodas2/en`.
    fn name(&self) -> &str;

    /// Everything that decides which documents there are and what is in them, by name; part of the job's identity.
    fn arguments(&self) -> BTreeMap<String, String>;

    /// The units, in order. Unit i becomes shard i.
    fn units(&self) -> &[Unit];

    /// The documents of a unit, in order. They are pulled one by one, and only as fast as they are encoded.
    fn documents(&self, unit: usize) -> Box<dyn Iterator<Item = RawDocument> + Send + '_>;
}

/// A part of a corpus that is done whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// What it holds, for `job.json`.
    pub label: String,
    /// Size of its input.
    pub bytes: u64,
}

/// A document before decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawDocument {
    /// Unique within the source.
    pub id: String,
    /// Language code.
    pub lang: String,
    /// Its segments, in order.
    pub segments: Vec<RawSegment>,
}

/// One utterance: a recording with or without a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSegment {
    /// The recording's file.
    pub audio: PathBuf,
    /// The same, as the source names it: this goes into shards and lists.
    pub origin: String,
    /// Size of the recording's file.
    pub bytes: u64,
    /// What is said.
    pub transcript: Transcript,
    /// Speaker, numbered within the document by first appearance.
    pub speaker: Option<u16>,
}

/// Where the text of a segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transcript {
    /// There is none: an audio-only segment.
    None,
    /// In a UTF-8 text file.
    File(PathBuf),
    /// Here.
    Text(String),
}

impl RawDocument {
    /// Size of the recordings' files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// Cuts documents of the given sizes into units of about `unit_bytes`: a unit ends before it would exceed that, and holds
/// at least one document. Returns the end of each unit.
pub fn plan_units(sizes: impl IntoIterator<Item = u64>, unit_bytes: u64) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut held, mut total) = (0u64, 0usize);
    for (index, size) in sizes.into_iter().enumerate() {
        if index > ends.last().copied().unwrap_or(0) && held + size > unit_bytes {
            ends.push(index);
            held = 0;
        }
        held += size;
        total = index + 1;
    }
    if total > ends.last().copied().unwrap_or(0) {
        ends.push(total);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::plan_units;

    #[test]
    fn units_are_full_but_not_over_full() {
        assert_eq!(plan_units([4, 4, 4, 4, 4], 10), [2, 4, 5]);
        assert_eq!(plan_units([5, 5, 5], 10), [2, 3]);
        assert_eq!(plan_units([], 10), [0; 0]);
    }

    #[test]
    fn a_document_larger_than_a_unit_gets_one_of_its_own() {
        assert_eq!(plan_units([1, 99, 1, 1], 10), [1, 2, 4]);
        assert_eq!(plan_units([99, 99], 10), [1, 2]);
        assert_eq!(plan_units([0, 0, 0], 0), [3]);
    }
}
