//! What a corpus must offer to be tokenized.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use shards::{Segment, WriterOptions};
use stores::Object;

use crate::error::Result;
use crate::skipped::BadRecord;

/// A corpus, planned: units of input in a fixed order, of which each is read once, from start to end.
pub trait Source: Sync {
    /// The kind of source, e.g. `folder`; part of the job's identity.
    fn kind(&self) -> &'static str;

    /// The name documents carry, which is that of a component in mixes, e.g. `yodas2-en`.
    fn name(&self) -> &str;

    /// Everything but the units that decides which documents there are and what is in them, by name; part of the job's
    /// identity.
    fn arguments(&self) -> BTreeMap<String, String>;

    /// The units, in order. Unit i becomes shard i.
    fn units(&self) -> &[Unit];

    /// How utterances become documents.
    fn grouping(&self) -> Grouping;

    /// How shards are cut.
    fn shard_options(&self) -> WriterOptions {
        WriterOptions::default()
    }

    /// Emits the utterances of a unit, always in the same order. What cannot be used is emitted as a bad record; an error
    /// ends the job, for trouble that another attempt may not have (the network, a disk), and passes on those of `emit`.
    fn read(&self, unit: usize, emit: &mut dyn Emit) -> Result<()>;
}

/// Takes what a source reads. It blocks while there is enough to encode.
pub trait Emit {
    /// An utterance.
    fn utterance(&mut self, utterance: RawUtterance) -> Result<()>;

    /// A record that cannot be used.
    fn bad(&mut self, record: BadRecord) -> Result<()>;

    /// Where the bytes read from units are counted; see [`Counted`].
    fn counter(&self) -> Counter;
}

/// Bytes of input read so far.
pub type Counter = Arc<AtomicU64>;

/// How the utterances of a unit become documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Utterances that follow one another with the same key.
    Adjacent,
    /// The same, of those that have the same origin, too, and stand or fall together: where one is bad or left out by a filter,
    /// the `others` are dropped.
    Complete,
    /// All utterances of a key, by their position; documents in the order of their keys. Where a position, then the start
    /// in milliseconds, is further than `gap_ms` from the end before it, a new document begins, whose name has the start.
    Sorted {
        /// Largest distance within a document; any, if there is none.
        gap_ms: Option<u32>,
    },
}

/// A part of a corpus that is done whole or not at all: mostly one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// What it holds, with what tells one version of it from another: size, hash.
    pub label: String,
    /// Size of its input.
    pub bytes: u64,
}

impl From<&Object> for Unit {
    fn from(object: &Object) -> Self {
        let Object { path, size, etag } = object;
        let etag = etag
            .as_ref()
            .map_or(String::new(), |etag| format!(", {etag}"));
        Unit {
            label: format!("{path}, {size} bytes{etag}"),
            bytes: *size,
        }
    }
}

/// An utterance before decoding: a recording, a text or both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawUtterance {
    /// Names it in lists of bad records.
    pub id: String,
    /// Key of its document.
    pub document: String,
    /// Its place in the document, for [`Grouping::Sorted`].
    pub position: u64,
    /// How many other utterances its document has, for [`Grouping::Complete`].
    pub others: usize,
    /// Language code.
    pub lang: String,
    /// The file or archive member, as the source names it: this goes into shards and lists.
    pub origin: String,
    /// What is said.
    pub transcript: Transcript,
    /// How it sounds.
    pub audio: RawAudio,
    /// Seconds of audio that the corpus declares, against which the recording is checked.
    pub declared_secs: Option<f64>,
    /// Start and end within what was recorded, in milliseconds.
    pub span_ms: Option<(u32, u32)>,
    /// Speaker, by any name; numbered within the document by first appearance.
    pub speaker: Option<String>,
    /// What a shard has already, of which only the text is tokenized again. It stands for transcript, audio, span and
    /// speaker.
    pub stored: Option<Box<Stored>>,
}

/// A segment of a finished dataset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The source that its document names.
    pub source: String,
    /// The segment.
    pub segment: Segment,
}

/// The audio of an utterance.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RawAudio {
    /// There is none: only text.
    #[default]
    None,
    /// To be decoded and encoded.
    Recording(audio::Input),
    /// Encoded already, `[frames, codebooks]`.
    Codes(Vec<u16>),
}

/// Where the text of an utterance is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Transcript {
    /// There is none: only audio.
    #[default]
    None,
    /// In a UTF-8 text file.
    File(PathBuf),
    /// Here.
    Text(String),
}

impl RawUtterance {
    /// Bytes it holds in memory, for the most part.
    pub fn bytes(&self) -> usize {
        let text = match &self.transcript {
            Transcript::Text(text) => text.len(),
            Transcript::None | Transcript::File(_) => 0,
        };
        let stored = self.stored.as_ref().map_or(0, |stored| {
            stored.segment.text.len() + 2 * stored.segment.codes.len()
        });
        text + stored
            + match &self.audio {
                RawAudio::Recording(audio::Input::Bytes { data, .. }) => data.len(),
                RawAudio::Codes(codes) => 2 * codes.len(),
                RawAudio::None | RawAudio::Recording(audio::Input::File(_)) => 0,
            }
    }
}

/// A reader that counts its bytes.
pub struct Counted<R> {
    inner: R,
    counter: Counter,
}

impl<R> Counted<R> {
    /// Counts what is read from `inner` in `counter`.
    pub fn new(inner: R, counter: Counter) -> Self {
        Counted { inner, counter }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.counter.fetch_add(n as u64, Relaxed);
        Ok(n)
    }
}

/// Cuts inputs of the given sizes into units of about `unit_bytes`: a unit ends before it would exceed that, and holds
/// at least one input. Returns the end of each unit.
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
    use super::*;

    #[test]
    fn units_are_full_but_not_over_full() {
        assert_eq!(plan_units([4, 4, 4, 4, 4], 10), [2, 4, 5]);
        assert_eq!(plan_units([5, 5, 5], 10), [2, 3]);
        assert_eq!(plan_units([], 10), [0; 0]);
    }

    #[test]
    fn an_input_larger_than_a_unit_gets_one_of_its_own() {
        assert_eq!(plan_units([1, 99, 1, 1], 10), [1, 2, 4]);
        assert_eq!(plan_units([99, 99], 10), [1, 2]);
        assert_eq!(plan_units([0, 0, 0], 0), [3]);
    }

    #[test]
    fn bytes_are_counted() {
        let counter = Counter::default();
        let mut reader = Counted::new(&b"abcdef"[..], counter.clone());
        reader.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(counter.load(Relaxed), 4);
        reader.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(counter.load(Relaxed), 6);
    }
}
