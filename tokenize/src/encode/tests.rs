//! Groups of recordings, pieces of long ones, transcripts.

use std::sync::Mutex;

use encodec_rs::{CodecSpec, MelRvq};

use super::*;

/// mel-RVQ that notes the lengths of the utterances of each batch, and refuses those that start with [`REFUSED`].
struct Recorder {
    codec: MelRvq,
    is_chunked: bool,
    batches: Mutex<Vec<Vec<usize>>>,
}

const REFUSED: f32 = 0.75;

impl Codec for Recorder {
    fn spec(&self) -> &CodecSpec {
        self.codec.spec()
    }

    fn is_chunked(&self) -> bool {
        self.is_chunked
    }

    fn encode(&self, samples: &[f32]) -> encodec_rs::Result<Codes> {
        if samples[0] == REFUSED {
            return Err(encodec_rs::Error::EmptyAudio);
        }
        self.codec.encode(samples)
    }

    fn encode_batch(&self, utterances: &[&[f32]]) -> Vec<encodec_rs::Result<Codes>> {
        let lengths = utterances.iter().map(|samples| samples.len()).collect();
        self.batches.lock().unwrap().push(lengths);
        utterances
            .iter()
            .map(|samples| self.encode(samples))
            .collect()
    }

    fn decode(&self, codes: &Codes) -> encodec_rs::Result<Vec<f32>> {
        self.codec.decode(codes)
    }
}

/// Recordings in a folder, and the batches that encoding them took.
struct Bench {
    dir: tempfile::TempDir,
    codec: Recorder,
    vocab: Vocab,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tokenizer.json");
        shards::extend_tokenizer(&base, &dir.path().join("vocab"), 8, 2048).unwrap();
        let codec = Recorder {
            codec: MelRvq::embedded(),
            is_chunked: false,
            batches: Mutex::default(),
        };
        Bench {
            vocab: Vocab::load(&dir.path().join("vocab")).unwrap(),
            dir,
            codec,
        }
    }

    /// Recordings of these samples as the segments of a document.
    fn document(&self, id: &str, recordings: &[Vec<f32>]) -> RawDocument {
        let segment = |(n, samples): (usize, &Vec<f32>)| {
            let origin = format!("{id}-{n}.wav");
            let audio = self.dir.path().join(&origin);
            let content = audio::Audio {
                samples: samples.clone(),
                channels: 1,
                sample_rate_hz: 24_000,
            };
            audio::write_wav(&audio, &content).unwrap();
            RawSegment {
                audio,
                origin,
                bytes: 1,
                transcript: Transcript::None,
                speaker: None,
            }
        };
        RawDocument {
            id: id.to_owned(),
            lang: "en".to_owned(),
            segments: recordings.iter().enumerate().map(segment).collect(),
        }
    }

    /// What becomes of documents added to one group as long as it is not full, and how many those are.
    fn encode(&self, documents: &[RawDocument]) -> Vec<Result<Encoded, BadRecord>> {
        let encoder = Encoder {
            codec: &self.codec,
            vocab: &self.vocab,
            source: "test",
        };
        let mut group = Group::new(&encoder);
        for document in documents {
            if !group.is_full() {
                group.add(document.clone());
            }
        }
        group
            .finish()
            .into_iter()
            .map(|(_, result)| result)
            .collect()
    }

    fn batches(&self) -> Vec<Vec<usize>> {
        std::mem::take(&mut self.codec.batches.lock().unwrap())
    }
}

/// A tone of levels that 16 bits hold exactly, the first one given.
fn tone(first: f32, samples: usize) -> Vec<f32> {
    let level = |n: usize| (6_000.0 * (n as f32 * 0.03).sin()).round() / 32_768.0;
    std::iter::once(first)
        .chain((1..samples).map(level))
        .collect()
}

const SECOND: usize = 24_000;

#[test]
fn documents_are_encoded_together_as_they_are_alone() {
    let bench = Bench::new();
    let recordings = |secs: &[usize]| -> Vec<Vec<f32>> {
        secs.iter().map(|secs| tone(0.1, secs * SECOND)).collect()
    };
    let documents = [
        bench.document("a", &recordings(&[4])),
        bench.document("b", &recordings(&[9, 12, 11, 1])),
        bench.document("c", &recordings(&[20])),
    ];
    let together = bench.encode(&documents);
    assert_eq!(together.len(), 2, "the second document fills the group");
    assert_eq!(
        bench.batches(),
        [
            vec![4 * SECOND, 9 * SECOND, 12 * SECOND, 11 * SECOND],
            vec![SECOND]
        ]
    );
    for (document, together) in documents.iter().zip(&together) {
        let together = together.as_ref().unwrap();
        let alone = bench
            .encode(std::slice::from_ref(document))
            .remove(0)
            .unwrap();
        assert_eq!(together.document, alone.document);
        assert_eq!(together.audio_secs, alone.audio_secs);
        for (raw, segment) in document.segments.iter().zip(&alone.document.segments) {
            let samples = audio::load(&raw.audio, 24_000, 1).unwrap().audio.samples;
            assert_eq!(segment.codes, bench.codec.encode(&samples).unwrap().data);
        }
    }
    assert_eq!(together[1].as_ref().unwrap().audio_secs, 33.0);
}

#[test]
fn many_short_recordings_are_not_encoded_at_once() {
    let bench = Bench::new();
    let short = vec![tone(0.1, 1_000); 70];
    let documents = [bench.document("a", &short), bench.document("b", &short)];
    assert_eq!(bench.encode(&documents).len(), 1);
    let sizes: Vec<usize> = bench.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [32, 32, 6]);
}

#[test]
fn the_first_segment_at_fault_is_the_one_listed() {
    let bench = Bench::new();
    let good = tone(0.1, SECOND);
    let recordings = [
        good.clone(),
        tone(REFUSED, SECOND),
        good.clone(),
        tone(REFUSED, SECOND),
    ];
    let refused = bench.document("refused", &recordings);
    let mut broken = refused.clone();
    fs::write(bench.dir.path().join("broken.wav"), b"not audio").unwrap();
    broken.segments[2].audio = bench.dir.path().join("broken.wav");
    let fine = bench.document("fine", &[good]);
    // the codec's refusal of segment 1 is known only after segment 2 turned out to be no audio
    let outcomes = bench.encode(&[broken, fine, refused]);
    for at in [0, 2] {
        let record = outcomes[at].as_ref().unwrap_err();
        assert_eq!(
            (record.id.as_str(), record.reason.as_str()),
            ("refused", "codec")
        );
        assert_eq!(record.path, "refused-1.wav");
        assert!(
            record.message.contains("refused-1.wav"),
            "{}",
            record.message
        );
    }
    assert_eq!(
        outcomes[1].as_ref().unwrap().document.segments[0]
            .codes
            .len(),
        13 * 8
    );
}

#[test]
fn long_audio_is_encoded_in_pieces_of_whole_frames() {
    let bench = Bench::new();
    let spec = bench.codec.spec();
    let piece = SECOND * 60;
    let samples = tone(0.1, piece + 5_000);
    let codes = encode_pieces(&bench.codec, &samples).unwrap();
    let mut expected = bench.codec.encode(&samples[..piece]).unwrap().data;
    expected.extend(bench.codec.encode(&samples[piece..]).unwrap().data);
    assert_eq!(codes.data, expected);
    assert_eq!(
        codes.frames(),
        samples.len().div_ceil(spec.samples_per_frame())
    );
    // and so they are in documents
    let document = bench.document("long", &[tone(0.1, SECOND), samples]);
    let encoded = bench.encode(&[document]).remove(0).unwrap();
    assert_eq!(encoded.document.segments[1].codes, codes.data);
    assert_eq!(bench.batches(), [vec![SECOND, piece], vec![5_000]]);
}

#[test]
fn a_codec_that_cuts_audio_itself_is_given_all_of_it() {
    let mut bench = Bench::new();
    bench.codec.is_chunked = true;
    let samples = tone(0.1, SECOND * 61);
    let whole = bench.codec.encode(&samples).unwrap();
    assert_eq!(encode_pieces(&bench.codec, &samples).unwrap(), whole);
    let document = bench.document("long", &[samples]);
    let encoded = bench.encode(&[document]).remove(0).unwrap();
    assert_eq!(encoded.document.segments[0].codes, whole.data);
    assert_eq!(bench.batches(), [[SECOND * 61]]);
}

fn transcript(content: &[u8]) -> Result<String, Fault> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, content).unwrap();
    read_transcript(&RawSegment {
        audio: dir.path().join("a.wav"),
        origin: "a.wav".into(),
        bytes: 0,
        transcript: Transcript::File(path),
        speaker: None,
    })
}

#[test]
fn transcripts_are_trimmed_and_checked() {
    assert!(matches!(transcript("\u{feff} héllo \n\r\n".as_bytes()), Ok(text) if text == "héllo"));
    let Err(Fault(reason, message)) = transcript(b" \n\t") else {
        panic!("an empty transcript")
    };
    assert_eq!(reason, "empty-transcript");
    assert!(message.contains("a.txt"), "{message}");
    let Err(Fault(reason, message)) = transcript(b"abc\xff") else {
        panic!("not UTF-8")
    };
    assert_eq!(reason, "not-utf8");
    assert!(message.contains("a.txt: not UTF-8 at byte 3"), "{message}");
}
