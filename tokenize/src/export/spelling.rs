//! A document as text: markers spelled out, an audio token a character.
//!
//! The tokenizer of the dataset makes of it the ids of the view. That cannot be so where a transcript itself has a character
//! that stands for an audio token (U+E000 to U+11FFF for 8 codebooks of 2,048 codes, in which are also the full-width
//! punctuation and the Arabic presentation forms) or spells a special token: such documents are not written.

use std::collections::HashMap;
use std::fs;

use aho_corasick::AhoCorasick;
use serde::Deserialize;
use shards::{Block, Dataset, Document, Order, SegmentRef, VocabLayout, pua_char};

use crate::error::{Error, Result};

/// Why a document has no text: a short key, and a message.
pub type Unfit = (&'static str, String);

/// How ids are spelled.
pub struct Spelling {
    layout: VocabLayout,
    /// BOS, EOS, text start, text end, audio start, audio end.
    markers: [String; 6],
    /// Tokens that tokenizers find in texts, and which a transcript's ids never are.
    special: AhoCorasick,
}

/// The part of tokenizer.json that is needed.
#[derive(Deserialize)]
struct TokenizerFile {
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    special: bool,
}

impl Spelling {
    /// Of the dataset's tokenizer.
    pub fn load(dataset: &Dataset) -> Result<Self> {
        let layout = dataset.vocab()?.layout().clone();
        let path = dataset.tokenizer_dir().join("tokenizer.json");
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let unlike = |problem: String| Error::Layout {
            location: path.display().to_string(),
            problem,
        };
        let file: TokenizerFile =
            serde_json::from_slice(&bytes).map_err(|error| unlike(error.to_string()))?;
        let by_id: HashMap<u32, &str> = file
            .added_tokens
            .iter()
            .map(|token| (token.id, token.content.as_str()))
            .collect();
        let mut markers = [const { String::new() }; 6];
        for (marker, id) in markers.iter_mut().zip(layout.markers()) {
            let content = by_id.get(&id);
            let content = content.ok_or_else(|| unlike(format!("it has no added token {id}")))?;
            (*content).clone_into(marker);
        }
        let special = file
            .added_tokens
            .iter()
            .filter(|token| token.special || layout.markers().contains(&token.id));
        let special = AhoCorasick::new(special.map(|token| &token.content));
        Ok(Spelling {
            layout,
            markers,
            special: special.map_err(|error| unlike(error.to_string()))?,
        })
    }

    /// The text of `document`, with the first `codebooks` of the `stored` codes of each frame; or why it
    /// has none.
    pub fn spell(
        &self,
        order: Order,
        document: &Document,
        stored: usize,
        codebooks: usize,
    ) -> std::result::Result<String, Unfit> {
        let [bos, eos, text_start, text_end, audio_start, audio_end] = &self.markers;
        let mut out = bos.clone();
        for (_, block) in order.blocks(document.segments.iter().map(SegmentRef::from)) {
            match block {
                Block::Text { text, .. } => {
                    self.check(text)?;
                    match order.has_markers() {
                        true => out.extend([text_start.as_str(), text, text_end]),
                        false => out += text,
                    }
                }
                Block::Audio(codes) => {
                    out += audio_start;
                    for frame in codes.chunks_exact(stored) {
                        let kept = frame.iter().take(codebooks).enumerate();
                        out.extend(kept.map(|(codebook, &code)| {
                            pua_char(codebook, code, self.layout.codebook_size)
                        }));
                    }
                    out += audio_end;
                }
            }
        }
        out += eos;
        Ok(out)
    }

    fn check(&self, text: &str) -> std::result::Result<(), Unfit> {
        let size = self.layout.codebook_size;
        let audio =
            pua_char(0, 0, size)..=pua_char(self.layout.codebooks - 1, (size - 1) as u16, size);
        if let Some(found) = text.chars().find(|char| audio.contains(char)) {
            let code_point = u32::from(found);
            let message =
                format!("its text has U+{code_point:04X}, which stands for an audio token");
            return Err(("audio-character", message));
        }
        match self.special.find(text) {
            None => Ok(()),
            Some(found) => {
                let message = format!("its text spells the token {}", &text[found.range()]);
                Err(("special-token", message))
            }
        }
    }
}
