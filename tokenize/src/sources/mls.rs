//! Multilingual LibriSpeech, English: utterances of audiobooks in `data/train-NNNNN-of-NNNNN.parquet`.
//!
//! The utterances of a recording lie in any of 1,416 files, in any order, and what follows one another is to be a document.
//! That is an external group-by, in two stages that hold a part of the corpus at a time:
//! 1. [`Utterances`] tokenizes each file as it is, a document an utterance. Its shards are sorted by *bucket*, which is a hash
//!    of the recording's path, and have small row groups.
//! 2. [`Recordings`](super::mls_recordings::Recordings) reads a bucket from all of those shards, which has whole recordings,
//!    and puts their documents together. No audio is read again.
//!
//! What the second stage must know is in the id of an utterance's document: see [`Key`].

use std::collections::BTreeMap;

use shards::WriterOptions;
use stores::{Object, Store};

use super::table::{self, Column, Kind, Row};
use crate::error::Result;
use crate::skipped::BadRecord;
use crate::source::{Emit, Grouping, RawAudio, RawUtterance, Source, Transcript, Unit};

/// Where the corpus is published.
pub const PUBLISHED: &str = "hf://datasets/parler-tts/mls_eng";

/// The name of the first stage's dataset.
pub const UTTERANCES: &str = "mls-en-utterances";

/// The language of all of it.
pub const LANG: &str = "en";

/// Files whose utterances make up a bucket: about 1.5 GB of flac an input file, 25 MB of codes.
const FILES_A_BUCKET: usize = 8;
/// Tokens of a row group, which are about those of one bucket in one file: so little else is read with a bucket.
const ROW_GROUP_TOKENS: usize = 1 << 16;

const COLUMNS: [Column; 7] = [
    Column::new("original_path", Kind::Text),
    Column::new("begin_time", Kind::Number),
    Column::new("end_time", Kind::Number),
    Column::new("speaker_id", Kind::Label),
    Column::new("transcript", Kind::Text),
    Column::new("audio", Kind::Audio),
    Column::new("audio_duration", Kind::Number),
];
const PATH: usize = 0;
const BEGIN: usize = 1;
const END: usize = 2;
const SPEAKER: usize = 3;
const TEXT: usize = 4;
const AUDIO: usize = 5;
const DURATION: usize = 6;

/// The id of an utterance's document: `{bucket:04}/{speaker}/{path}-{begin_ms:08}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Part of the corpus.
    pub bucket: usize,
    /// Speaker, empty if there is none.
    pub speaker: String,
    /// The recording.
    pub path: String,
    /// Where in it the utterance begins.
    pub begin_ms: u32,
}

impl Key {
    /// Writes the id.
    pub fn id(&self) -> String {
        format!("{:04}/{}/{}", self.bucket, self.speaker, self.utterance())
    }

    /// Names the utterance, as documents that begin with it are named.
    pub fn utterance(&self) -> String {
        format!("{}-{:08}", self.path, self.begin_ms)
    }

    /// Reads an id.
    pub fn parse(id: &str) -> Option<Self> {
        let (bucket, rest) = id.split_once('/')?;
        let (speaker, rest) = rest.split_once('/')?;
        let (path, begin) = rest.rsplit_once('-')?;
        Some(Key {
            bucket: bucket.parse().ok()?,
            speaker: speaker.to_owned(),
            path: path.to_owned(),
            begin_ms: begin.parse().ok()?,
        })
    }
}

/// The bucket of a recording: the same on every machine and in every version.
pub fn bucket(path: &str, buckets: usize) -> usize {
    let hash = &shards::sha256_hex(path.as_bytes())[..8];
    let hash = usize::from_str_radix(hash, 16).expect("a hash in hexadecimal digits");
    hash % buckets
}

/// The first stage, planned.
pub struct Utterances {
    store: Store,
    objects: Vec<Object>,
    units: Vec<Unit>,
}

impl Utterances {
    /// Plans the training part.
    ///
    /// # Errors
    /// [`Error::Layout`](crate::Error::Layout) if there are no such files.
    pub fn open(store: &Store) -> Result<Self> {
        let wanted = "data/train-*.parquet";
        let objects = table::list(store, "data", wanted, |path| path.starts_with("train-"))?;
        Ok(Utterances {
            store: store.clone(),
            units: objects.iter().map(Unit::from).collect(),
            objects,
        })
    }

    /// Buckets of the corpus, by its number of files.
    pub fn buckets(&self) -> usize {
        (self.objects.len() / FILES_A_BUCKET).max(1)
    }

    fn utterance(&self, row: &Row<'_>) -> Result<RawUtterance, BadRecord> {
        let origin = row.origin();
        let Some(path) = row.text(PATH).filter(|path| !path.is_empty()) else {
            return Err(row.bad(&origin, "bad-key", "original_path is null or empty"));
        };
        let [Some(begin_ms), Some(end_ms)] = [BEGIN, END].map(|at| milliseconds(row.number(at)))
        else {
            return Err(row.bad(&origin, "bad-time", "begin_time or end_time is no time"));
        };
        let key = Key {
            bucket: bucket(path, self.buckets()),
            // only told apart from others, and not to be taken for a part of the path
            speaker: row.text(SPEAKER).unwrap_or_default().replace('/', "_"),
            path: path.to_owned(),
            begin_ms,
        };
        let id = key.utterance();
        let text = row.text(TEXT);
        let text = text.ok_or_else(|| row.bad(&id, "missing-text", "the transcript is null"))?;
        let audio = row.audio(AUDIO);
        let audio = audio.ok_or_else(|| row.bad(&id, "missing-audio", "the recording is null"))?;
        Ok(RawUtterance {
            document: key.id(),
            id,
            lang: LANG.to_owned(),
            origin,
            transcript: Transcript::Text(text.to_owned()),
            audio: RawAudio::Recording(audio),
            declared_secs: row.number(DURATION),
            span_ms: Some((begin_ms, end_ms)),
            ..RawUtterance::default()
        })
    }
}

fn milliseconds(secs: Option<f64>) -> Option<u32> {
    let ms = (secs? * 1e3).round();
    (0.0..=f64::from(u32::MAX))
        .contains(&ms)
        .then_some(ms as u32)
}

impl Source for Utterances {
    fn kind(&self) -> &'static str {
        "mls-utterances"
    }

    fn name(&self) -> &str {
        UTTERANCES
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("buckets".to_owned(), self.buckets().to_string())])
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    /// By key, and so by bucket.
    fn grouping(&self) -> Grouping {
        Grouping::Sorted { gap_ms: None }
    }

    fn shard_options(&self) -> WriterOptions {
        WriterOptions {
            row_group_tokens: ROW_GROUP_TOKENS,
        }
    }

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> Result<()> {
        let each = &mut |row: &Row<'_>, emit: &mut dyn Emit| match self.utterance(row) {
            Ok(utterance) => emit.utterance(utterance),
            Err(bad) => emit.bad(bad),
        };
        table::read(&self.store, &self.objects[unit], &COLUMNS, emit, each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_were_written() {
        let key = Key {
            bucket: 12,
            speaker: "7447".to_owned(),
            path: "http://a.org/b-c/d_64kb.mp3".to_owned(),
            begin_ms: 1_034_960,
        };
        let id = "0012/7447/http://a.org/b-c/d_64kb.mp3-01034960";
        assert_eq!(key.id(), id);
        assert_eq!(Key::parse(id), Some(key.clone()));
        let nobody = Key {
            speaker: String::new(),
            begin_ms: 123_456_789,
            ..key
        };
        assert_eq!(Key::parse(&nobody.id()), Some(nobody));
        assert_eq!(Key::parse("en/interview-01"), None);
    }

    #[test]
    fn buckets_are_even_and_never_change() {
        assert_eq!(bucket("http://a.org/b.mp3", 1), 0);
        // `printf http://a.org/b.mp3 | sha256sum` begins with 03e289c2
        assert_eq!(bucket("http://a.org/b.mp3", 177), 0x03e2_89c2 % 177);
        let mut counts = [0; 10];
        (0..1000).for_each(|n| counts[bucket(&n.to_string(), 10)] += 1);
        assert!(counts.iter().all(|n| (70..140).contains(n)), "{counts:?}");
    }

    #[test]
    fn times_are_whole_milliseconds() {
        assert_eq!(milliseconds(Some(1034.96)), Some(1_034_960));
        assert_eq!(milliseconds(Some(f64::from(12.345f32))), Some(12_345));
        for bad in [None, Some(-0.1), Some(f64::NAN), Some(1e9)] {
            assert_eq!(milliseconds(bad), None);
        }
    }
}
