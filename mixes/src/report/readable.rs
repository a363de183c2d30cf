//! A sequence as people read it.

use super::number::{thousands, trimmed};
use crate::error::Result;
use crate::loader::Loader;
use crate::sequence::Sequence;
use serde::Serialize;
use shards::{TokenKind, Vocab};
use std::fmt;

/// A sequence in readable form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Its number.
    pub sequence: u64,
    /// The component it is of.
    pub component: String,
    /// Its documents, or what it has of them, in order.
    pub documents: Vec<SampleDocument>,
}

/// What a sequence has of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SampleDocument {
    /// Tokens.
    pub tokens: usize,
    /// Text as it is, markers as the tokenizer spells them, and `[a:FRAMES]` for audio, where a frame that the sequence's edge
    /// divides counts for its part. Control characters are escaped, as in `\n`. `[padding]` stands for what fills a sequence up.
    pub text: String,
}

impl Sample {
    /// Sequence number `index` of `loader`, in readable form.
    ///
    /// # Errors
    /// As for the sequence itself, and if the tokenizer cannot decode a text.
    pub fn new(loader: &Loader, index: u64) -> Result<Self> {
        let (component, _) = loader.locate(index)?;
        let corpus = loader.corpora().nth(component).expect("it was located");
        let Sequence {
            tokens,
            segment_ids,
            ..
        } = loader.sequence(index)?;
        let mut documents = Vec::new();
        let mut begin = 0;
        for part in segment_ids.chunk_by(|a, b| a == b) {
            let tokens = &tokens[begin..begin + part.len()];
            // a document starts with BOS, unless it began in another sequence
            let is_padding = begin > 0 && tokens[0] == corpus.vocab.layout().eos;
            documents.push(SampleDocument {
                tokens: tokens.len(),
                text: match is_padding {
                    true => "[padding]".to_owned(),
                    false => readable(tokens, &corpus.vocab, corpus.look.codebooks)?,
                },
            });
            begin += part.len();
        }
        Ok(Self {
            sequence: index,
            component: corpus.component.name.clone(),
            documents,
        })
    }
}

/// Tokens in readable form, with `codebooks` of them a frame.
fn readable(tokens: &[u32], vocab: &Vocab, codebooks: usize) -> Result<String> {
    let layout = vocab.layout();
    let is_audio = |id: u32| matches!(layout.kind(id), TokenKind::Audio(_));
    let class = |id: u32| (is_audio(id), layout.spelling(id).is_some());
    let mut text = String::new();
    for run in tokens.chunk_by(|a, b| class(*a) == class(*b)) {
        if is_audio(run[0]) {
            let frames = run.len() as f64 / codebooks as f64;
            text += &format!("[a:{}]", trimmed(frames, 2));
        } else if layout.spelling(run[0]).is_some() {
            text.extend(run.iter().filter_map(|&id| layout.spelling(id)));
        } else {
            for character in vocab.decode_text(run)?.chars() {
                match character.is_control() {
                    true => text.extend(character.escape_default()),
                    false => text.push(character),
                }
            }
        }
    }
    Ok(text)
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sequence {}, {}", self.sequence, self.component)?;
        for (number, document) in self.documents.iter().enumerate() {
            let tokens = thousands(document.tokens as u64);
            let number = number + 1;
            write!(
                f,
                "\n  document {number}, {tokens} tokens: {}",
                document.text
            )?;
        }
        Ok(())
    }
}
