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

    /// A recording of these samples.
    fn recording(&self, id: &str, samples: &[f32]) -> RawUtterance {
        let origin = format!("{id}.wav");
        let path = self.dir.path().join(&origin);
        let content = audio::Audio {
            samples: samples.to_vec(),
            channels: 1,
            sample_rate_hz: 24_000,
        };
        audio::write_wav(&path, &content).unwrap();
        RawUtterance {
            id: id.to_owned(),
            document: id.to_owned(),
            lang: "en".to_owned(),
            audio: RawAudio::Recording(audio::Input::File(path)),
            origin,
            ..RawUtterance::default()
        }
    }

    /// What becomes of utterances added to one group as long as it is not full.
    fn encode(&self, utterances: &[RawUtterance]) -> Vec<Outcome> {
        self.filter(utterances, &Filters::default())
    }

    fn filter(&self, utterances: &[RawUtterance], filters: &Filters) -> Vec<Outcome> {
        let encoder = Encoder {
            codec: Some(&self.codec),
            vocab: &self.vocab,
            filters,
        };
        let mut group = Group::new(&encoder);
        for utterance in utterances {
            if !group.is_full() {
                group.add(utterance.clone());
            }
        }
        group.finish()
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

fn encoded(outcome: &Outcome) -> &Encoded {
    match outcome {
        Outcome::Encoded(encoded) => encoded,
        other => panic!("{other:?}"),
    }
}

fn bad(outcome: &Outcome) -> &BadRecord {
    match outcome {
        Outcome::Bad(record) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn utterances_are_encoded_together_as_they_are_alone() {
    let bench = Bench::new();
    let secs = [4, 9, 12, 11, 1];
    let utterances: Vec<_> = (0..secs.len())
        .map(|n| bench.recording(&format!("{n}"), &tone(0.1, secs[n] * SECOND)))
        .collect();
    let together = bench.encode(&utterances);
    assert_eq!(together.len(), 4, "the fourth utterance fills the group");
    assert_eq!(bench.batches(), [[4, 9, 12, 11].map(|secs| secs * SECOND)]);
    for (utterance, together) in utterances.iter().zip(&together) {
        let alone = bench.encode(std::slice::from_ref(utterance)).remove(0);
        assert_eq!(together, &alone);
        let RawAudio::Recording(audio::Input::File(path)) = &utterance.audio else {
            panic!("a file")
        };
        let samples = audio::load(path, 24_000, 1).unwrap().audio.samples;
        assert_eq!(
            encoded(&alone).segment.codes,
            bench.codec.encode(&samples).unwrap().data
        );
    }
    assert_eq!(encoded(&together[2]).audio_secs, 12.0);
}

#[test]
fn many_short_recordings_are_not_encoded_at_once() {
    let bench = Bench::new();
    let short = bench.recording("a", &tone(0.1, 1_000));
    assert_eq!(bench.encode(&vec![short; 70]).len(), 32);
    assert_eq!(bench.batches(), [[1_000; 32]]);
}

#[test]
fn bad_utterances_are_told_and_spare_the_others() {
    let bench = Bench::new();
    let refused = bench.recording("refused", &tone(REFUSED, SECOND));
    let fine = bench.recording("fine", &tone(0.1, SECOND));
    let mut broken = bench.recording("broken", &tone(0.1, SECOND));
    broken.audio = RawAudio::Recording(audio::Input::Bytes {
        name: "a.tar/broken.wav".into(),
        data: b"not audio".as_slice().into(),
    });
    let mut short = fine.clone();
    short.declared_secs = Some(1.5);
    let outcomes = bench.encode(&[refused, fine, broken, short]);
    let refused = bad(&outcomes[0]);
    assert_eq!(
        (refused.id.as_str(), refused.reason.as_str()),
        ("refused", "codec")
    );
    assert_eq!(refused.path, "refused.wav");
    assert_eq!(encoded(&outcomes[1]).segment.codes.len(), 13 * 8);
    assert!(bad(&outcomes[2]).message.contains("a.tar/broken.wav"));
    let short = bad(&outcomes[3]);
    assert_eq!(short.reason, "duration");
    assert!(
        short.message.contains("1.500 s declared"),
        "{}",
        short.message
    );
}

#[test]
fn what_the_encoder_of_an_mp3_added_is_no_mismatch() {
    let bench = Bench::new();
    let mut piped = bench.recording("piped", &tone(0.1, SECOND));
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("audio/fixtures/piped.mp3");
    piped.audio = RawAudio::Recording(audio::Input::File(fixture));
    piped.declared_secs = Some(0.405);
    let mut shorter = piped.clone();
    shorter.declared_secs = Some(0.5);
    shorter.audio = bench.recording("shorter", &tone(0.1, 10_700)).audio;
    let outcomes = bench.encode(&[piped, shorter]);
    assert!(encoded(&outcomes[0]).audio_secs > 0.455);
    assert_eq!(bad(&outcomes[1]).reason, "duration");
}

#[test]
fn codes_and_texts_pass_without_a_codec() {
    let bench = Bench::new();
    let encoder = Encoder {
        codec: None,
        vocab: &bench.vocab,
        filters: &Filters::default(),
    };
    let mut group = Group::new(&encoder);
    group.add(RawUtterance {
        transcript: Transcript::Text(" hello ".into()),
        audio: RawAudio::Codes(vec![1, 2, 3, 4, 5, 6, 7, 8]),
        span_ms: Some((5, 85)),
        ..RawUtterance::default()
    });
    let outcomes = group.finish();
    let segment = &encoded(&outcomes[0]).segment;
    assert_eq!((segment.text.as_str(), segment.codes.len()), ("hello", 8));
    assert_eq!((segment.start_ms, segment.end_ms), (Some(5), Some(85)));
    assert_eq!(segment.text_ids, bench.vocab.encode_text("hello").unwrap());
}

#[test]
fn filters_see_text_length_and_sound() {
    let bench = Bench::new();
    let mut utterance = bench.recording("a", &tone(0.1, 2 * SECOND));
    utterance.transcript = Transcript::Text("ten chars.".into());
    let outcome = |filters: Filters| bench.filter(&[utterance.clone()], &filters).remove(0);
    let filters = Filters {
        max_chars_per_sec: Some(4.9),
        ..Filters::default()
    };
    assert_eq!(outcome(filters), Outcome::Filtered("max-chars-per-sec"));
    let filters = Filters {
        max_chars_per_sec: Some(5.0),
        max_silence: Some(0.0),
        min_chars: Some(10),
        ..Filters::default()
    };
    assert_eq!(encoded(&outcome(filters)).segment.text, "ten chars.");
    let filters = Filters {
        min_chars: Some(11),
        ..Filters::default()
    };
    assert_eq!(outcome(filters), Outcome::Filtered("min-chars"));
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
    // and so they are in shards
    let utterances = [
        bench.recording("short", &tone(0.1, SECOND)),
        bench.recording("long", &samples),
    ];
    let outcomes = bench.encode(&utterances);
    assert_eq!(encoded(&outcomes[1]).segment.codes, codes.data);
    assert_eq!(bench.batches(), [vec![SECOND, piece], vec![5_000]]);
}

#[test]
fn a_codec_that_cuts_audio_itself_is_given_all_of_it() {
    let mut bench = Bench::new();
    bench.codec.is_chunked = true;
    let samples = tone(0.1, SECOND * 61);
    let whole = bench.codec.encode(&samples).unwrap();
    assert_eq!(encode_pieces(&bench.codec, &samples).unwrap(), whole);
    let outcomes = bench.encode(&[bench.recording("long", &samples)]);
    assert_eq!(encoded(&outcomes[0]).segment.codes, whole.data);
    assert_eq!(bench.batches(), [[SECOND * 61]]);
}

fn transcript(content: &[u8]) -> Result<String, Fault> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, content).unwrap();
    read_transcript(&RawUtterance {
        origin: "a.wav".into(),
        transcript: Transcript::File(path),
        ..RawUtterance::default()
    })
}

#[test]
fn transcripts_are_trimmed_and_checked() {
    assert!(matches!(transcript("\u{feff} héllo \n\r\n".as_bytes()), Ok(text) if text == "héllo"));
    let Err(Fault::Bad(reason, message)) = transcript(b" \n\t") else {
        panic!("an empty transcript")
    };
    assert_eq!(reason, "empty-transcript");
    assert!(message.contains("a.txt"), "{message}");
    let Err(Fault::Bad(reason, message)) = transcript(b"abc\xff") else {
        panic!("not UTF-8")
    };
    assert_eq!(reason, "not-utf8");
    assert!(message.contains("a.txt: not UTF-8 at byte 3"), "{message}");
}
