//! Documents from files to codes and token ids.

use std::fs;
use std::path::Path;

use encodec_rs::{Codec, Codes};
use shards::{Document, Segment, Vocab};

use crate::skipped::BadRecord;
use crate::source::{RawDocument, RawSegment, Transcript};

/// Longest stretch of audio a codec sees at once. Longer recordings are encoded in pieces, whose codes are concatenated.
pub const PIECE_SECS: u32 = 60;

/// Audio that is encoded together: enough for a codec to read its weights seldom, little enough to hold.
const GROUP_SECS: u32 = 30;
/// Pieces that are encoded together at most.
const GROUP_PIECES: usize = 32;

/// A document and how much audio it took.
#[derive(Debug)]
pub struct Encoded {
    /// The document.
    pub document: Document,
    /// Length of its recordings.
    pub audio_secs: f64,
}

/// What turns raw documents into documents; shared by all threads.
pub struct Encoder<'a> {
    /// The codec.
    pub codec: &'a dyn Codec,
    /// The text tokenizer.
    pub vocab: &'a Vocab,
    /// The name documents carry.
    pub source: &'a str,
}

/// Why a segment cannot be used: reason and message.
struct Fault(&'static str, String);

impl Encoder<'_> {
    /// A segment without its codes, and its samples.
    fn prepare(&self, raw: &RawSegment) -> Result<(Segment, Vec<f32>), Fault> {
        // text first: a bad transcript is found without decoding audio
        let text = read_transcript(raw)?;
        let text_ids = match text.is_empty() {
            true => Vec::new(),
            false => self
                .vocab
                .encode_text(&text)
                .map_err(|e| Fault("text", format!("{}: {e}", raw.origin)))?,
        };
        let spec = self.codec.spec();
        let decoded = audio::load(&raw.audio, spec.sample_rate_hz, spec.channels)
            .map_err(|e| Fault(e.reason(), e.to_string()))?;
        let segment = Segment {
            text,
            text_ids,
            speaker: raw.speaker,
            ..Segment::default()
        };
        Ok((segment, decoded.audio.samples))
    }

    /// Samples of `secs` of audio, in all channels.
    fn samples(&self, secs: u32) -> usize {
        let spec = self.codec.spec();
        (secs * spec.sample_rate_hz) as usize * spec.channels
    }
}

/// Neighbouring documents of one thread, whose recordings are encoded together: [`Codec::encode_batch`] is faster for
/// several. What a document becomes does not depend on the others.
pub struct Group<'a> {
    encoder: &'a Encoder<'a>,
    drafts: Vec<Draft>,
    /// Audio to be encoded next.
    waiting: Vec<Piece>,
    /// Samples and pieces taken in, encoded or not.
    taken: (usize, usize),
}

/// A document whose segments may still lack codes.
struct Draft {
    raw: RawDocument,
    segments: Vec<Segment>,
    audio_secs: f64,
    /// The first segment that cannot be used.
    fault: Option<(usize, Fault)>,
}

/// Audio of a segment.
struct Piece {
    draft: usize,
    segment: usize,
    samples: Vec<f32>,
}

impl<'a> Group<'a> {
    /// No documents.
    pub fn new(encoder: &'a Encoder<'a>) -> Self {
        Group {
            encoder,
            drafts: Vec::new(),
            waiting: Vec::new(),
            taken: (0, 0),
        }
    }

    /// Whether there is enough audio in it.
    pub fn is_full(&self) -> bool {
        let (samples, pieces) = self.taken;
        samples >= self.encoder.samples(GROUP_SECS) || pieces >= GROUP_PIECES
    }

    /// Adds a document. The first segment that cannot be used makes all of it a bad record.
    pub fn add(&mut self, raw: RawDocument) {
        let (draft, segments) = (self.drafts.len(), raw.segments.len());
        self.drafts.push(Draft {
            raw,
            segments: Vec::with_capacity(segments),
            audio_secs: 0.0,
            fault: None,
        });
        for index in 0..segments {
            let document = &mut self.drafts[draft];
            match self.encoder.prepare(&document.raw.segments[index]) {
                Err(fault) => document.fail(index, fault),
                Ok((segment, samples)) => {
                    document.segments.push(segment);
                    document.audio_secs += samples.len() as f64 / self.encoder.samples(1) as f64;
                    self.add_audio(draft, index, samples);
                }
            }
            if self.drafts[draft].fault.is_some() {
                break;
            }
        }
    }

    fn add_audio(&mut self, draft: usize, segment: usize, samples: Vec<f32>) {
        let length = piece_samples(self.encoder.codec);
        let mut push = |samples: Vec<f32>| {
            self.taken.0 += samples.len();
            self.taken.1 += 1;
            self.waiting.push(Piece {
                draft,
                segment,
                samples,
            });
            let waiting: usize = self.waiting.iter().map(|piece| piece.samples.len()).sum();
            if waiting >= self.encoder.samples(GROUP_SECS) || self.waiting.len() >= GROUP_PIECES {
                self.encode_waiting();
            }
        };
        if samples.len() <= length {
            return push(samples);
        }
        samples
            .chunks(length)
            .for_each(|piece| push(piece.to_vec()));
    }

    fn encode_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let samples: Vec<&[f32]> = waiting.iter().map(|piece| &piece.samples[..]).collect();
        let results = self.encoder.codec.encode_batch(&samples);
        assert_eq!(results.len(), waiting.len(), "codes of each piece");
        for (piece, result) in waiting.iter().zip(results) {
            let draft = &mut self.drafts[piece.draft];
            match result {
                Ok(codes) => draft.segments[piece.segment].codes.extend(codes.data),
                Err(error) => {
                    let origin = &draft.raw.segments[piece.segment].origin;
                    let fault = Fault("codec", format!("{origin}: {error}"));
                    draft.fail(piece.segment, fault);
                }
            }
        }
    }

    /// The size of each document's input and what became of it, in the order added.
    pub fn finish(mut self) -> Vec<(u64, Result<Encoded, BadRecord>)> {
        if !self.waiting.is_empty() {
            self.encode_waiting();
        }
        let source = self.encoder.source;
        let drafts = self.drafts.into_iter();
        drafts
            .map(|draft| (draft.raw.bytes(), draft.finish(source)))
            .collect()
    }
}

impl Draft {
    /// Notes a fault, unless an earlier segment has one: pieces of it may have been encoded later.
    fn fail(&mut self, segment: usize, fault: Fault) {
        if self
            .fault
            .as_ref()
            .is_none_or(|(first, _)| segment < *first)
        {
            self.fault = Some((segment, fault));
        }
    }

    fn finish(self, source: &str) -> Result<Encoded, BadRecord> {
        let raw = self.raw;
        if let Some((segment, Fault(reason, message))) = self.fault {
            return Err(BadRecord {
                id: raw.id,
                path: raw.segments[segment].origin.clone(),
                reason: reason.to_owned(),
                message,
            });
        }
        let first = raw.segments.into_iter().next();
        let document = Document {
            id: raw.id,
            source: source.to_owned(),
            lang: raw.lang,
            origin: first.map(|segment| segment.origin).unwrap_or_default(),
            segments: self.segments,
        };
        Ok(Encoded {
            document,
            audio_secs: self.audio_secs,
        })
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

/// The trimmed transcript; empty when there is none.
fn read_transcript(raw: &RawSegment) -> Result<String, Fault> {
    let (text, place) = match &raw.transcript {
        Transcript::None => return Ok(String::new()),
        Transcript::Text(text) => (text.clone(), format!("{} in the manifest", raw.origin)),
        Transcript::File(path) => (read_text(path)?, path.display().to_string()),
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        let cure = "write the transcript, or remove it to make the recording audio-only";
        return Err(Fault(
            "empty-transcript",
            format!("{place}: the transcript is empty; {cure}"),
        ));
    }
    Ok(text.to_owned())
}

fn read_text(path: &Path) -> Result<String, Fault> {
    let bytes =
        fs::read(path).map_err(|e| Fault("io", format!("cannot read {}: {e}", path.display())))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Fault(
            "not-utf8",
            format!(
                "{}: not UTF-8 at byte {at}; save the transcript as UTF-8",
                path.display()
            ),
        )
    })
}

#[cfg(test)]
mod tests;
