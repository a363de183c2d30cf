//! The text of a document with its audio as characters.
//!
//! `<|begin_of_text|>`, utterances, `<|end_of_text|>`; an utterance is `<|text_start|>`…`<|text_end|>` and
//! `<|audio_start|>`…`<|audio_end|>`, all in this order or all in the other. An audio token is the character
//! U+E000 + codebook · 2048 + code, a frame eight of them, in the order of the codebooks. So in UTF-8 a frame is always four
//! characters of three bytes and four of four bytes.
//!
//! Unicode normalisation replaces some of these characters by others, swaps some that are combining marks, and composes some
//! pairs into one. Each leaves a character out of its codebook's place, which is how it is found.

use std::fmt;

/// Codebooks of the published data.
pub const CODEBOOKS: usize = 8;
/// Codes in each of them.
pub const CODEBOOK_SIZE: usize = 2048;

/// The character of codebook 0, code 0.
const FIRST: u32 = 0xE000;
/// Codebooks whose characters have three bytes; those of the others have four.
const SHORT: usize = 4;
/// Bytes of a frame.
const FRAME_BYTES: usize = SHORT * 3 + (CODEBOOKS - SHORT) * 4;

const BOS: &str = "<|begin_of_text|>";
const EOS: &str = "<|end_of_text|>";
const TEXT: (&str, &str) = ("<|text_start|>", "<|text_end|>");
const AUDIO: (&str, &str) = ("<|audio_start|>", "<|audio_end|>");
const MARKERS: [&str; 6] = [BOS, EOS, TEXT.0, TEXT.1, AUDIO.0, AUDIO.1];

/// A text and its sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utterance {
    /// As it is there, with white space around it.
    pub text: String,
    /// `[frames, codebooks]`
    pub codes: Vec<u16>,
}

/// Why a row cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Markers are not where they belong.
    Structure {
        /// What belongs here.
        wanted: &'static str,
        /// Where, in bytes.
        at: usize,
    },
    /// Something else stands for an audio character.
    Altered {
        /// What stands there.
        found: char,
        /// Codebook of the character that belongs there.
        codebook: usize,
        /// Where, in bytes.
        at: usize,
    },
}

impl Fault {
    /// Short key under which such rows are counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Fault::Structure { .. } => "not-a-document",
            Fault::Altered { .. } => "altered-audio",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Structure { wanted, at } => {
                write!(f, "{wanted} belongs at byte {at} of the text")
            }
            Fault::Altered {
                found,
                codebook,
                at,
            } => write!(
                f,
                "U+{:04X} at byte {at} of the text is no audio character of codebook {codebook}; the text was changed, \
                 perhaps by Unicode normalisation: fetch the original",
                u32::from(*found)
            ),
        }
    }
}

/// The utterances of a row.
pub fn document(text: &str) -> Result<Vec<Utterance>, Fault> {
    let mut parser = Parser { text, at: 0 };
    // whoever trains on such a text adds these two, so that they may be absent
    let _ = parser.take(BOS);
    let is_text_first = parser.rest().starts_with(TEXT.0);
    let mut utterances = Vec::new();
    while !parser.rest().is_empty() && parser.rest() != EOS {
        utterances.push(match is_text_first {
            true => {
                let text = parser.text()?;
                let codes = parser.audio()?;
                Utterance { text, codes }
            }
            false => {
                let codes = parser.audio()?;
                let text = parser.text()?;
                Utterance { text, codes }
            }
        });
    }
    match utterances.is_empty() {
        true => Err(parser.belongs("an utterance")),
        false => Ok(utterances),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn belongs(&self, wanted: &'static str) -> Fault {
        let at = self.at;
        Fault::Structure { wanted, at }
    }

    fn take(&mut self, marker: &'static str) -> Result<(), Fault> {
        match self.rest().starts_with(marker) {
            true => {
                self.at += marker.len();
                Ok(())
            }
            false => Err(self.belongs(marker)),
        }
    }

    fn text(&mut self) -> Result<String, Fault> {
        self.take(TEXT.0)?;
        let start = self.at;
        // the next marker, which must be the end
        loop {
            let found = self.rest().find("<|").ok_or_else(|| self.belongs(TEXT.1))?;
            self.at += found;
            if MARKERS.iter().any(|marker| self.rest().starts_with(marker)) {
                break;
            }
            self.at += 2;
        }
        let text = self.text[start..self.at].to_owned();
        self.take(TEXT.1)?;
        Ok(text)
    }

    fn audio(&mut self) -> Result<Vec<u16>, Fault> {
        self.take(AUDIO.0)?;
        let mut codes = Vec::new();
        for bytes in self.rest().as_bytes().chunks_exact(FRAME_BYTES) {
            let Some(frame) = frame(bytes.try_into().expect("chunks of this size")) else {
                break;
            };
            codes.extend_from_slice(&frame);
            self.at += FRAME_BYTES;
        }
        if self.rest().starts_with(AUDIO.1) {
            self.take(AUDIO.1)?;
            return Ok(codes);
        }
        Err(self.broken_frame())
    }

    /// What is wrong with a frame that is none.
    fn broken_frame(&self) -> Fault {
        for (codebook, (offset, found)) in self.rest().char_indices().take(CODEBOOKS).enumerate() {
            let at = self.at + offset;
            let is_marker = |marker: &&str| self.text[at..].starts_with(*marker);
            // a frame that ends too early lost characters, but a text that goes on as another part was never closed
            if codebook > 0 && is_marker(&AUDIO.1) {
                return Fault::Altered {
                    found,
                    codebook,
                    at,
                };
            }
            if MARKERS.iter().any(|marker| is_marker(marker)) {
                let wanted = AUDIO.1;
                return Fault::Structure { wanted, at };
            }
            let code = u32::from(found).wrapping_sub(FIRST + (codebook * CODEBOOK_SIZE) as u32);
            if code >= CODEBOOK_SIZE as u32 {
                return Fault::Altered {
                    found,
                    codebook,
                    at,
                };
            }
        }
        self.belongs(AUDIO.1)
    }
}

/// The codes of a frame's characters; `None` if one is no character of its codebook.
///
/// All of them are decoded before any is judged, for that is what vector instructions can do.
fn frame(bytes: &[u8; FRAME_BYTES]) -> Option<[u16; CODEBOOKS]> {
    let low = |at: usize| u32::from(bytes[at] & 0x3F);
    let mut codes = [0; CODEBOOKS];
    let mut outside = 0;
    for (codebook, code) in codes.iter_mut().enumerate() {
        // the lead byte is not masked: any other than the right one puts the character out of range
        let (found, zero) = match codebook {
            0..SHORT => {
                let at = 3 * codebook;
                let lead = u32::from(bytes[at]) << 12;
                (lead + (low(at + 1) << 6) + low(at + 2), 0xE0 << 12)
            }
            _ => {
                let at = 3 * SHORT + 4 * (codebook - SHORT);
                let lead = u32::from(bytes[at]) << 18;
                (
                    lead + (low(at + 1) << 12) + (low(at + 2) << 6) + low(at + 3),
                    0xF0 << 18,
                )
            }
        };
        let value = found.wrapping_sub(zero + FIRST + (codebook * CODEBOOK_SIZE) as u32);
        outside |= value / CODEBOOK_SIZE as u32;
        *code = value as u16;
    }
    (outside == 0).then_some(codes)
}

#[cfg(test)]
mod tests;
