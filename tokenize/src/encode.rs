//! Utterances from recordings and texts to codes and token ids.

use std::fs;
use std::path::Path;

use encodec_rs::{Codec, Codes};
use shards::{Segment, Vocab};

use crate::filter::{Filters, Loudness};
use crate::skipped::BadRecord;
use crate::source::{RawAudio, RawUtterance, Stored, Transcript};

/// Longest stretch of audio a codec sees at once. Longer recordings are encoded in pieces, whose codes are concatenated.
pub const PIECE_SECS: u32 = 60;

/// Audio that is encoded together: enough for a codec to read its weights seldom, little enough to hold.
const GROUP_SECS: u32 = 30;
/// Pieces that are encoded together at most.
const GROUP_PIECES: usize = 32;
/// Text that is tokenized together, in bytes.
const GROUP_TEXT: usize = 1 << 18;

/// What became of an utterance.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// It has codes and ids.
    Encoded(Box<Encoded>),
    /// It cannot be used.
    Bad(Box<BadRecord>),
    /// A filter, of this name, leaves it out.
    Filtered(&'static str),
}

/// An utterance, ready for its document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// Names it in lists of bad records.
    pub id: String,
    /// Key of its document.
    pub document: String,
    /// Its place in the document.
    pub position: u64,
    /// How many other utterances its document has.
    pub others: usize,
    /// Language code.
    pub lang: String,
    /// The file or archive member it came from.
    pub origin: String,
    /// Speaker, by any name.
    pub speaker: Option<String>,
    /// The document's source, where it is not the corpus at hand.
    pub source: Option<String>,
    /// Text and codes; its speaker is numbered with the document, unless it was before.
    pub segment: Segment,
    /// Length of the recording decoded for it.
    pub audio_secs: f64,
}

/// What turns utterances into codes and ids; shared by all threads.
pub struct Encoder<'a> {
    /// The codec; without one there can be no recordings.
    pub codec: Option<&'a dyn Codec>,
    /// The text tokenizer.
    pub vocab: &'a Vocab,
    /// What is left out.
    pub filters: &'a Filters,
}

/// Why an utterance is left out.
enum Fault {
    /// It cannot be used: reason and message.
    Bad(&'static str, String),
    /// A filter of this name.
    Filtered(&'static str),
}

impl Encoder<'_> {
    /// The codec for a recording.
    fn codec(&self) -> &dyn Codec {
        self.codec
            .expect("a source of recordings is run with a codec")
    }

    /// Samples of `secs` of audio, in all channels.
    fn samples(&self, secs: u32) -> usize {
        let spec = self.codec().spec();
        (secs * spec.sample_rate_hz) as usize * spec.channels
    }

    /// The trimmed text and its ids.
    fn text(&self, raw: &RawUtterance) -> Result<(String, Vec<u32>), Fault> {
        let text = read_transcript(raw)?;
        if text.is_empty() {
            return Ok((text, Vec::new()));
        }
        if let Some(name) = self.filters.of_text(&text, &raw.lang) {
            return Err(Fault::Filtered(name));
        }
        match self.vocab.encode_text(&text) {
            Ok(ids) => Ok((text, ids)),
            Err(error) => Err(Fault::Bad("text", format!("{}: {error}", raw.origin))),
        }
    }
}

/// Neighbouring utterances of one thread, whose recordings are encoded together: [`Codec::encode_batch`] is faster for
/// several. What an utterance becomes does not depend on the others.
pub struct Group<'a> {
    encoder: &'a Encoder<'a>,
    drafts: Vec<Draft>,
    /// Audio to be encoded next.
    waiting: Vec<Piece>,
    /// Samples, pieces and bytes of text taken in, encoded or not.
    taken: (usize, usize, usize),
}

/// An utterance that may still lack codes.
struct Draft {
    encoded: Encoded,
    fault: Option<Fault>,
}

/// Audio of an utterance.
struct Piece {
    draft: usize,
    samples: Vec<f32>,
}

impl<'a> Group<'a> {
    /// No utterances.
    pub fn new(encoder: &'a Encoder<'a>) -> Self {
        Group {
            encoder,
            drafts: Vec::new(),
            waiting: Vec::new(),
            taken: (0, 0, 0),
        }
    }

    /// Whether there is enough in it.
    pub fn is_full(&self) -> bool {
        let (samples, pieces, text) = self.taken;
        pieces >= GROUP_PIECES
            || text >= GROUP_TEXT
            || (samples > 0 && samples >= self.encoder.samples(GROUP_SECS))
    }

    /// Adds an utterance.
    pub fn add(&mut self, mut raw: RawUtterance) {
        let at = self.drafts.len();
        self.drafts.push(Draft {
            encoded: Encoded::default(),
            fault: None,
        });
        if let Some(stored) = raw.stored.take() {
            return self.add_stored(at, raw, *stored);
        }
        // text first: a bad transcript is found without decoding audio
        let segment = match self.encoder.text(&raw) {
            Ok((text, text_ids)) => {
                self.taken.2 += text.len();
                Ok(Segment {
                    text,
                    text_ids,
                    start_ms: raw.span_ms.map(|span| span.0),
                    end_ms: raw.span_ms.map(|span| span.1),
                    ..Segment::default()
                })
            }
            Err(fault) => Err(fault),
        };
        let done = segment.and_then(|segment| {
            self.drafts[at].encoded.segment = segment;
            self.add_audio(at, &raw)
        });
        let draft = &mut self.drafts[at];
        draft.fault = draft.fault.take().or(done.err());
        draft.encoded.describe(raw);
    }

    /// Gives a segment the ids of this tokenizer; its text is not even trimmed.
    fn add_stored(&mut self, at: usize, raw: RawUtterance, stored: Stored) {
        let Stored {
            source,
            mut segment,
        } = stored;
        self.taken.1 += usize::from(!segment.codes.is_empty());
        self.taken.2 += segment.text.len();
        let draft = &mut self.drafts[at];
        match self.encoder.vocab.encode_text(&segment.text) {
            Ok(ids) => segment.text_ids = ids,
            Err(error) => {
                let message = format!("{}: {error}", raw.origin);
                draft.fault = Some(Fault::Bad("text", message));
            }
        }
        draft.encoded.segment = segment;
        draft.encoded.source = Some(source);
        draft.encoded.describe(raw);
    }

    fn add_audio(&mut self, at: usize, raw: &RawUtterance) -> Result<(), Fault> {
        match &raw.audio {
            RawAudio::None => Ok(()),
            RawAudio::Codes(codes) => {
                self.taken.1 += 1;
                self.drafts[at].encoded.segment.codes.clone_from(codes);
                Ok(())
            }
            RawAudio::Recording(input) => self.add_recording(at, raw, input),
        }
    }

    /// Decodes a recording block by block and encodes it piece by piece, so that its length does not matter.
    fn add_recording(
        &mut self,
        at: usize,
        raw: &RawUtterance,
        input: &audio::Input,
    ) -> Result<(), Fault> {
        let codec = self.encoder.codec();
        let spec = codec.spec();
        let bad = |error: audio::Error| Fault::Bad(error.reason(), error.to_string());
        let blocks = audio::open(input, spec.sample_rate_hz, spec.channels).map_err(bad)?;
        let untold_secs = blocks.untold_secs();
        let length = piece_samples(codec);
        let mut loudness = self.encoder.filters.loudness(spec.sample_rate_hz);
        let (mut piece, mut total) = (Vec::new(), 0);
        for block in blocks {
            let mut block = block.map_err(bad)?;
            total += block.len();
            if let Some(loudness) = &mut loudness {
                loudness.push(&block);
            }
            while piece.len() + block.len() > length {
                let rest = block.split_off(length - piece.len());
                piece.append(&mut block);
                self.push(at, std::mem::take(&mut piece));
                block = rest;
            }
            piece.append(&mut block);
        }
        if !piece.is_empty() {
            self.push(at, piece);
        }
        let secs = total as f64 / self.encoder.samples(1) as f64;
        self.drafts[at].encoded.audio_secs = secs;
        self.check_duration(raw, secs, untold_secs)?;
        self.filter(at, secs, loudness.as_ref())
    }

    fn check_duration(&self, raw: &RawUtterance, secs: f64, untold_secs: f64) -> Result<(), Fault> {
        let Some(declared) = raw.declared_secs else {
            return Ok(());
        };
        audio::check_duration(declared, secs, untold_secs).map_err(|mismatch| {
            Fault::Bad(mismatch.reason(), format!("{}: {mismatch}", raw.origin))
        })
    }

    /// What can be said only once all of a recording is decoded.
    fn filter(&self, at: usize, secs: f64, loudness: Option<&Loudness>) -> Result<(), Fault> {
        let filters = self.encoder.filters;
        let text = &self.drafts[at].encoded.segment.text;
        let filtered = filters.of_speech(text, secs).or_else(|| {
            let loudness = loudness?;
            filters.of_sound(loudness)
        });
        filtered.map_or(Ok(()), |name| Err(Fault::Filtered(name)))
    }

    fn push(&mut self, draft: usize, samples: Vec<f32>) {
        self.taken.0 += samples.len();
        self.taken.1 += 1;
        self.waiting.push(Piece { draft, samples });
        let waiting: usize = self.waiting.iter().map(|piece| piece.samples.len()).sum();
        if waiting >= self.encoder.samples(GROUP_SECS) || self.waiting.len() >= GROUP_PIECES {
            self.encode_waiting();
        }
    }

    fn encode_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let samples: Vec<&[f32]> = waiting.iter().map(|piece| &piece.samples[..]).collect();
        let results = self.encoder.codec().encode_batch(&samples);
        assert_eq!(results.len(), waiting.len(), "codes of each piece");
        for (piece, result) in waiting.iter().zip(results) {
            let draft = &mut self.drafts[piece.draft];
            match result {
                Ok(codes) => draft.encoded.segment.codes.extend(codes.data),
                Err(error) => {
                    let fault = Fault::Bad("codec", error.to_string());
                    draft.fault.get_or_insert(fault);
                }
            }
        }
    }

    /// What became of each utterance, in the order added.
    pub fn finish(mut self) -> Vec<Outcome> {
        if !self.waiting.is_empty() {
            self.encode_waiting();
        }
        self.drafts.into_iter().map(Draft::finish).collect()
    }
}

impl Encoded {
    fn describe(&mut self, raw: RawUtterance) {
        self.id = raw.id;
        self.document = raw.document;
        self.position = raw.position;
        self.others = raw.others;
        self.lang = raw.lang;
        self.origin = raw.origin;
        self.speaker = raw.speaker;
    }
}

impl Draft {
    fn finish(self) -> Outcome {
        match self.fault {
            None => Outcome::Encoded(Box::new(self.encoded)),
            Some(Fault::Filtered(name)) => Outcome::Filtered(name),
            Some(Fault::Bad(reason, message)) => Outcome::Bad(Box::new(BadRecord {
                id: self.encoded.id,
                path: self.encoded.origin,
                reason: reason.to_owned(),
                message,
            })),
        }
    }
}

/// Encodes a recording in pieces and concatenates their codes: what a segment has in a shard.
pub fn encode_pieces(codec: &dyn Codec, samples: &[f32]) -> encodec_rs::Result<Codes> {
    let mut codes = Codes::new(codec.spec().codebooks, Vec::new());
    for piece in samples.chunks(piece_samples(codec)) {
        let piece = codec.encode(piece)?;
        codes.data.extend(piece.data);
        codes.scales.extend(piece.scales);
    }
    Ok(codes)
}

/// Samples of a piece, in all channels: whole frames of at most [`PIECE_SECS`]. A codec that cuts audio into chunks itself
/// is given all at once: one more cut would fall into a chunk, and the codes could not be told apart again.
fn piece_samples(codec: &dyn Codec) -> usize {
    let spec = codec.spec();
    let frame = spec.samples_per_frame();
    match codec.is_chunked() {
        true => usize::MAX,
        false => (PIECE_SECS * spec.sample_rate_hz) as usize / frame * frame * spec.channels,
    }
}

/// The trimmed transcript of an utterance, empty when there is none; or why it cannot be used.
pub fn transcript_of(raw: &RawUtterance) -> Result<String, String> {
    read_transcript(raw).map_err(|fault| match fault {
        Fault::Bad(_, message) => message,
        Fault::Filtered(name) => name.to_owned(),
    })
}

fn read_transcript(raw: &RawUtterance) -> Result<String, Fault> {
    let (text, place) = match &raw.transcript {
        Transcript::None => return Ok(String::new()),
        Transcript::Text(text) => (text.clone(), &raw.origin),
        Transcript::File(path) => (read_text(path)?, &path.display().to_string()),
    };
    let trimmed = text.trim_start_matches('\u{feff}').trim();
    if trimmed.is_empty() {
        let cure = "write the transcript, or remove it to make the recording audio-only";
        let message = format!("{place}: the transcript is empty; {cure}");
        return Err(Fault::Bad("empty-transcript", message));
    }
    Ok(match trimmed.len() == text.len() {
        true => text,
        false => trimmed.to_owned(),
    })
}

fn read_text(path: &Path) -> Result<String, Fault> {
    let bytes = fs::read(path)
        .map_err(|e| Fault::Bad("io", format!("cannot read {}: {e}", path.display())))?;
    String::from_utf8(bytes).map_err(|e| {
        let (at, path) = (e.utf8_error().valid_up_to(), path.display());
        let message = format!("{path}: not UTF-8 at byte {at}; save the transcript as UTF-8");
        Fault::Bad("not-utf8", message)
    })
}

#[cfg(test)]
mod tests;
