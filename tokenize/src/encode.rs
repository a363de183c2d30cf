//! One document from files to codes and token ids.

use std::fs;
use std::path::Path;

use encodec_rs::Codec;
use shards::{Document, Segment, Vocab};

use crate::skipped::BadRecord;
use crate::source::{RawDocument, RawSegment, Transcript};

/// Longest stretch of audio a codec sees at once. Longer recordings are encoded in pieces, whose codes are concatenated.
pub const PIECE_SECS: u32 = 60;

/// A document and how much audio it took.
pub struct Encoded {
    /// The document.
    pub document: Document,
    /// Length of its recordings.
    pub audio_secs: f64,
}

/// Turns raw documents into documents; shared by all threads.
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
    /// Encodes all segments; the first that cannot be used makes the whole document a bad record.
    pub fn encode(&self, raw: &RawDocument) -> Result<Encoded, BadRecord> {
        let mut segments = Vec::with_capacity(raw.segments.len());
        let mut audio_secs = 0.0;
        for segment in &raw.segments {
            let (segment, secs) =
                self.segment(segment)
                    .map_err(|Fault(reason, message)| BadRecord {
                        id: raw.id.clone(),
                        path: segment.origin.clone(),
                        reason: reason.to_owned(),
                        message,
                    })?;
            segments.push(segment);
            audio_secs += secs;
        }
        let document = Document {
            id: raw.id.clone(),
            source: self.source.to_owned(),
            lang: raw.lang.clone(),
            origin: raw
                .segments
                .first()
                .map(|s| s.origin.clone())
                .unwrap_or_default(),
            segments,
        };
        Ok(Encoded {
            document,
            audio_secs,
        })
    }

    fn segment(&self, raw: &RawSegment) -> Result<(Segment, f64), Fault> {
        // text first: a bad transcript is found without decoding audio
        let text = read_transcript(raw)?;
        let text_ids = match text.is_empty() {
            true => Vec::new(),
            false => self
                .vocab
                .encode_text(&text)
                .map_err(|e| Fault("text", format!("{}: {e}", raw.origin)))?,
        };
        let rate_hz = self.codec.spec().sample_rate_hz;
        let decoded =
            audio::load(&raw.audio, rate_hz).map_err(|e| Fault(e.reason(), e.to_string()))?;
        let samples = decoded.audio.samples;
        let codes = encode_pieces(self.codec, &samples)
            .map_err(|e| Fault("codec", format!("{}: {e}", raw.origin)))?;
        let segment = Segment {
            text,
            text_ids,
            codes,
            speaker: raw.speaker,
            ..Segment::default()
        };
        Ok((segment, samples.len() as f64 / f64::from(rate_hz)))
    }
}

/// Encodes pieces of [`PIECE_SECS`], each a whole number of frames, and concatenates their codes, `[frames * codebooks]`.
pub fn encode_pieces(codec: &dyn Codec, samples: &[f32]) -> encodec_rs::Result<Vec<u16>> {
    let spec = codec.spec();
    let frame = spec.samples_per_frame();
    let piece = (PIECE_SECS * spec.sample_rate_hz) as usize / frame * frame;
    let mut codes = Vec::with_capacity(samples.len().div_ceil(frame) * spec.codebooks);
    for piece in samples.chunks(piece) {
        codes.extend(codec.encode(piece)?.data);
    }
    Ok(codes)
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
mod tests {
    use super::*;
    use encodec_rs::MelRvq;

    #[test]
    fn long_audio_is_encoded_in_pieces_of_whole_frames() {
        let codec = MelRvq::embedded();
        let spec = codec.spec();
        let piece = spec.sample_rate_hz as usize * 60;
        let samples: Vec<f32> = (0..piece + 5_000)
            .map(|n| 0.2 * (n as f32 * 0.03).sin())
            .collect();
        let codes = encode_pieces(&codec, &samples).unwrap();
        let mut expected = codec.encode(&samples[..piece]).unwrap().data;
        expected.extend(codec.encode(&samples[piece..]).unwrap().data);
        assert_eq!(codes, expected);
        assert_eq!(
            codes.len(),
            samples.len().div_ceil(spec.samples_per_frame()) * spec.codebooks
        );
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
        assert!(
            matches!(transcript("\u{feff} héllo \n\r\n".as_bytes()), Ok(text) if text == "héllo")
        );
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
}
