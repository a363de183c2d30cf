use shards::{
    CodecInfo, Segment, ShardEntry, ShardMeta, ShardWriter, TokenizerInfo, VocabLayout,
    WriterOptions,
};

use super::*;
use crate::skipped::BadRecord;
use crate::source::Counter;
use crate::sources::mls::bucket;

const BUCKETS: usize = 3;

/// Keeps what is read.
#[derive(Default)]
struct Heard(Vec<RawUtterance>);

impl Emit for Heard {
    fn utterance(&mut self, utterance: RawUtterance) -> Result<()> {
        self.0.push(utterance);
        Ok(())
    }

    fn bad(&mut self, record: BadRecord) -> Result<()> {
        panic!("{record:?}")
    }

    fn counter(&self) -> Counter {
        Counter::default()
    }
}

fn meta() -> ShardMeta {
    let vocab = VocabLayout {
        bos: 10,
        eos: 11,
        text_start: 12,
        text_end: 13,
        audio_start: 14,
        audio_end: 15,
        audio_base: 16,
        codebooks: 2,
        codebook_size: 8,
        vocab_size: 32,
    };
    let codec = CodecInfo {
        name: "test".to_owned(),
        sha256: "1".to_owned(),
        sample_rate_hz: 24_000,
        frame_rate_hz: 12.5,
        codebooks: 2,
        codebook_size: 8,
    };
    ShardMeta {
        codec: Some(codec),
        tokenizer: TokenizerInfo {
            name: "test".to_owned(),
            sha256: "2".to_owned(),
        },
        vocab,
        arguments_sha256: "3".to_owned(),
    }
}

/// What the first stage makes of an utterance of a frame.
fn document(id: String, begin_ms: u32) -> Document {
    let segment = Segment {
        text: "a".to_owned(),
        text_ids: vec![1],
        codes: vec![begin_ms as u16 % 8, 7],
        start_ms: Some(begin_ms),
        end_ms: Some(begin_ms + 80),
        speaker: None,
    };
    Document {
        id,
        lang: "en".to_owned(),
        origin: format!("file:{begin_ms}"),
        segments: vec![segment],
        ..Document::default()
    }
}

/// Writes a finished dataset of these shards, with row groups of two documents.
fn write(dir: &Path, shards: Vec<Vec<Document>>) {
    let mut entries = Vec::new();
    for (number, mut documents) in shards.into_iter().enumerate() {
        let file = Dataset::shard_file_name(number);
        let options = WriterOptions {
            row_group_tokens: 6,
        };
        let mut writer = ShardWriter::create_with(&dir.join(&file), &meta(), options).unwrap();
        documents.sort_by(|a, b| a.id.cmp(&b.id));
        documents.iter().for_each(|d| writer.write(d).unwrap());
        let summary = writer.finish().unwrap();
        entries.push(ShardEntry { file, summary });
    }
    let manifest = Manifest::new(entries, BTreeMap::new(), BTreeMap::new());
    std::fs::write(dir.join(Manifest::FILE), manifest.to_json()).unwrap();
}

fn open(dir: &Path) -> Result<Recordings> {
    Recordings::open(&Store::open(dir.to_str().unwrap()).unwrap(), BUCKETS)
}

/// Utterances of many recordings, dealt to two shards.
fn utterances() -> Vec<(String, u32)> {
    (0..40)
        .map(|n| (format!("book-{}.mp3", n % 9), 100 * n))
        .collect()
}

fn write_utterances(dir: &Path) {
    let mut shards = vec![Vec::new(), Vec::new()];
    for (number, (path, begin_ms)) in utterances().into_iter().enumerate() {
        let key = Key {
            bucket: bucket(&path, BUCKETS),
            speaker: "7".to_owned(),
            path,
            begin_ms,
        };
        shards[number % 2].push(document(key.id(), begin_ms));
    }
    write(dir, shards);
}

#[test]
fn each_bucket_has_its_recordings_and_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    write_utterances(dir.path());
    let source = open(dir.path()).unwrap();
    let mut all = Vec::new();
    for unit in 0..BUCKETS {
        let mut heard = Heard::default();
        source.read(unit, &mut heard).unwrap();
        // only row groups with something of the bucket are read: those of others lie between
        assert!(source.places[unit].len() < 20, "{:?}", source.places[unit]);
        assert_eq!(source.units()[unit].bytes, 4 * heard.0.len() as u64);
        for utterance in &heard.0 {
            assert_eq!(bucket(&utterance.document, BUCKETS), unit);
        }
        all.extend(heard.0);
    }
    all.sort_by_key(|utterance| utterance.position);
    let found: Vec<_> = all
        .iter()
        .map(|u| (u.document.clone(), u.position as u32))
        .collect();
    assert_eq!(found, utterances());
    let first = &all[1];
    assert_eq!(first.id, "book-1.mp3-00000100");
    assert_eq!(first.span_ms, Some((100, 180)));
    assert_eq!(first.audio, RawAudio::Codes(vec![4, 7]));
    assert_eq!(first.speaker.as_deref(), Some("7"));
    assert_eq!(
        (first.origin.as_str(), first.lang.as_str()),
        ("file:100", "en")
    );
}

#[test]
fn another_dataset_is_another_job() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_utterances(one.path());
    let key = Key::parse("0000/7/a.mp3-00000000").unwrap();
    write(other.path(), vec![vec![document(key.id(), 0)]]);
    let label = |dir: &Path| open(dir).unwrap().units()[0].label.clone();
    assert_ne!(label(one.path()), label(other.path()));
    assert_eq!(label(one.path()), label(one.path()));
}

#[test]
fn ids_of_another_kind_are_refused() {
    for id in ["a.mp3-00000100", "0003/7/a.mp3-00000100"] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), vec![vec![document(id.to_owned(), 100)]]);
        let text = open(dir.path()).err().unwrap().to_string();
        assert!(text.contains(id) && text.contains("run again"), "{text}");
    }
}
