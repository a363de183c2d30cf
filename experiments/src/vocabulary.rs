//! The recipe's two vocabularies, as far as a plan needs them: how many rows a model has.

use serde::{Deserialize, Serialize};

/// Begin and end of a text and of an audio block.
const MARKERS: usize = 4;
/// Eight codebooks of Mimi, 2,048 entries each.
const AUDIO: usize = 8 * 2_048;

/// Whose text tokens the audio tokens are added to. Ids are never taken from here: they are the tokenizer folder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vocabulary {
    /// Llama 3's tokenizer.
    Marin,
    /// Qwen3's tokenizer, with a token that begins documents.
    Qwen3x,
}

impl Vocabulary {
    /// Ids, and so rows of the embedding.
    pub fn size(self) -> usize {
        let text = match self {
            Self::Marin => 128_256,
            Self::Qwen3x => 151_669 + 1,
        };
        text + MARKERS + AUDIO
    }
}
