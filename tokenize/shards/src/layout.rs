//! Which token id means what: text, markers and audio codes.
//!
//! Ids below `audio_base` are the text tokenizer's and the six markers; above them codebook 0, codebook 1, … follow,
//! `codebook_size` ids each. No id is a constant of the code: everything is read from `audio_vocab.json`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of `audio_vocab.json` that this code reads and writes.
const FORMAT: u32 = 1;
/// How the tokenizer spells the first token of a document.
pub(crate) const BOS: &str = "<|begin_of_text|>";
/// How it spells the last.
pub(crate) const EOS: &str = "<|end_of_text|>";
/// How it spells the markers around text and around audio.
pub(crate) const BLOCK_MARKERS: [&str; 4] = [
    "<|text_start|>",
    "<|text_end|>",
    "<|audio_start|>",
    "<|audio_end|>",
];
/// The character of codebook 0, code 0: the start of Unicode's Private Use Area.
const FIRST_AUDIO_CHAR: u32 = 0xE000;
/// Largest number of audio characters that fit between U+E000 and the last Unicode character.
const MAX_AUDIO_CHARS: usize = (0x10FFFF - FIRST_AUDIO_CHAR + 1) as usize;

/// Token ids of the markers and of the audio codes; the content of `audio_vocab.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LayoutFile", into = "LayoutFile")]
pub struct VocabLayout {
    /// `<|begin_of_text|>`, the first token of every document.
    pub bos: u32,
    /// `<|end_of_text|>`, the last token of every document.
    pub eos: u32,
    /// `<|text_start|>`
    pub text_start: u32,
    /// `<|text_end|>`
    pub text_end: u32,
    /// `<|audio_start|>`
    pub audio_start: u32,
    /// `<|audio_end|>`
    pub audio_end: u32,
    /// Id of codebook 0, code 0. Every text id and marker is below it.
    pub audio_base: u32,
    /// Codebooks with ids.
    pub codebooks: usize,
    /// Codes in each codebook.
    pub codebook_size: usize,
    /// Rows of the embedding: `audio_base + codebooks * codebook_size`.
    pub vocab_size: u32,
}

/// What a token id stands for; losses are reported for each kind apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenKind {
    /// A token of the text tokenizer.
    Text,
    /// BOS, EOS or one of the four block markers.
    Marker,
    /// A code of the given codebook; codebook 0 is the semantic one.
    Audio(usize),
}

/// The file form of [`VocabLayout`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutFile {
    format: u32,
    bos: u32,
    eos: u32,
    text_start: u32,
    text_end: u32,
    audio_start: u32,
    audio_end: u32,
    audio_base: u32,
    codebooks: usize,
    codebook_size: usize,
    vocab_size: u32,
}

impl VocabLayout {
    /// The id of `code` of `codebook`; both must be within the layout.
    pub fn audio_id(&self, codebook: usize, code: u16) -> u32 {
        debug_assert!(codebook < self.codebooks && usize::from(code) < self.codebook_size);
        self.audio_base + (codebook * self.codebook_size) as u32 + u32::from(code)
    }

    /// What `id` stands for; `id` must be below `vocab_size`.
    pub fn kind(&self, id: u32) -> TokenKind {
        if id >= self.audio_base {
            TokenKind::Audio((id - self.audio_base) as usize / self.codebook_size)
        } else if self.markers().contains(&id) {
            TokenKind::Marker
        } else {
            TokenKind::Text
        }
    }

    /// BOS, EOS, text start, text end, audio start, audio end.
    pub fn markers(&self) -> [u32; 6] {
        [
            self.bos,
            self.eos,
            self.text_start,
            self.text_end,
            self.audio_start,
            self.audio_end,
        ]
    }

    /// How a marker, BOS or EOS is spelled; none of any other id.
    pub fn spelling(&self, id: u32) -> Option<&'static str> {
        let marker = self.markers().iter().position(|marker| *marker == id)?;
        let [text_start, text_end, audio_start, audio_end] = BLOCK_MARKERS;
        Some([BOS, EOS, text_start, text_end, audio_start, audio_end][marker])
    }

    /// What makes the layout unusable, if anything.
    fn problem(&self) -> Option<String> {
        if self.codebooks == 0 || self.codebook_size == 0 {
            return Some("codebooks and codebook_size must be at least 1".into());
        }
        if let Err(problem) = check_audio_size(self.codebooks, self.codebook_size) {
            return Some(problem);
        }
        let rows = u64::from(self.audio_base) + (self.codebooks * self.codebook_size) as u64;
        if u64::from(self.vocab_size) != rows {
            return Some(format!(
                "vocab_size is {}, but audio_base + codebooks * codebook_size is {rows}",
                self.vocab_size
            ));
        }
        let mut markers = self.markers();
        markers.sort_unstable();
        if markers[5] >= self.audio_base || markers.windows(2).any(|pair| pair[0] == pair[1]) {
            return Some(format!(
                "the markers {:?} must differ and lie below audio_base {}",
                self.markers(),
                self.audio_base
            ));
        }
        None
    }
}

/// Whether the audio codes have a character each, and fit the codes' 16 bits.
pub(crate) fn check_audio_size(codebooks: usize, codebook_size: usize) -> Result<(), String> {
    let fits = codebooks >= 1
        && (1..=1 << 16).contains(&codebook_size)
        && codebooks.saturating_mul(codebook_size) <= MAX_AUDIO_CHARS;
    if fits {
        return Ok(());
    }
    Err(format!(
        "{codebooks} codebooks of {codebook_size} codes are not possible: at least 1 codebook, 1 to 65536 codes each, \
         and at most {MAX_AUDIO_CHARS} in all"
    ))
}

/// The character that stands for `code` of `codebook` in a text form of audio: U+E000 + codebook·size + code.
///
/// # Panics
/// If the character would lie past the end of Unicode, which no valid [`VocabLayout`] allows.
pub fn pua_char(codebook: usize, code: u16, size: usize) -> char {
    let offset = codebook * size + usize::from(code);
    assert!(
        offset < MAX_AUDIO_CHARS,
        "codebook {codebook}, code {code} of {size} is past the end of Unicode"
    );
    char::from_u32(FIRST_AUDIO_CHAR + offset as u32).expect("no surrogates from U+E000 on")
}

impl TokenKind {
    /// Every kind of a layout with `codebooks` codebooks, in a fixed order: text, marker, semantic, acoustic-1, …
    pub fn all(codebooks: usize) -> Vec<TokenKind> {
        let audio = (0..codebooks).map(TokenKind::Audio);
        [TokenKind::Text, TokenKind::Marker]
            .into_iter()
            .chain(audio)
            .collect()
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenKind::Text => f.pad("text"),
            TokenKind::Marker => f.pad("marker"),
            TokenKind::Audio(0) => f.pad("semantic"),
            TokenKind::Audio(codebook) => f.pad(&format!("acoustic-{codebook}")),
        }
    }
}

impl TryFrom<LayoutFile> for VocabLayout {
    type Error = String;

    fn try_from(file: LayoutFile) -> Result<Self, String> {
        if file.format != FORMAT {
            return Err(format!(
                "vocabulary layout format {} is not the supported format {FORMAT}",
                file.format
            ));
        }
        let layout = VocabLayout {
            bos: file.bos,
            eos: file.eos,
            text_start: file.text_start,
            text_end: file.text_end,
            audio_start: file.audio_start,
            audio_end: file.audio_end,
            audio_base: file.audio_base,
            codebooks: file.codebooks,
            codebook_size: file.codebook_size,
            vocab_size: file.vocab_size,
        };
        match layout.problem() {
            Some(problem) => Err(problem),
            None => Ok(layout),
        }
    }
}

impl From<VocabLayout> for LayoutFile {
    fn from(layout: VocabLayout) -> Self {
        Self {
            format: FORMAT,
            bos: layout.bos,
            eos: layout.eos,
            text_start: layout.text_start,
            text_end: layout.text_end,
            audio_start: layout.audio_start,
            audio_end: layout.audio_end,
            audio_base: layout.audio_base,
            codebooks: layout.codebooks,
            codebook_size: layout.codebook_size,
            vocab_size: layout.vocab_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The Marin vocabulary: the Llama 3 tokenizer, four markers, eight codebooks.
    fn marin() -> VocabLayout {
        VocabLayout {
            bos: 128_000,
            eos: 128_001,
            text_start: 128_256,
            text_end: 128_257,
            audio_start: 128_258,
            audio_end: 128_259,
            audio_base: 128_260,
            codebooks: 8,
            codebook_size: 2048,
            vocab_size: 144_644,
        }
    }

    #[test]
    fn kinds_partition_the_vocabulary() {
        let layout = marin();
        let kinds = TokenKind::all(layout.codebooks);
        let mut counts = vec![0; kinds.len()];
        for id in 0..layout.vocab_size {
            counts[kinds.iter().position(|k| *k == layout.kind(id)).unwrap()] += 1;
        }
        let mut expected = vec![128_256 - 2, 6];
        expected.extend([2048; 8]);
        assert_eq!(counts, expected);
        let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        assert_eq!(names[..4], ["text", "marker", "semantic", "acoustic-1"]);
        assert_eq!(names[9], "acoustic-7");
    }

    #[test]
    fn audio_characters_follow_the_recipe() {
        assert_eq!(pua_char(0, 0, 2048), '\u{E000}');
        assert_eq!(pua_char(7, 2047, 2048), '\u{11FFF}');
    }

    #[test]
    fn unusable_layouts_are_refused() {
        let json = serde_json::to_value(marin()).unwrap();
        for (key, value, expected) in [
            ("format", 2.into(), "format 2"),
            ("vocab_size", 144_645.into(), "is 144644"),
            ("eos", 128_000.into(), "must differ"),
            ("bos", 140_000.into(), "below audio_base"),
            ("codebooks", 0.into(), "at least 1"),
            ("codebooks", u64::MAX.into(), "not possible"),
            ("colour", serde_json::json!("red"), "unknown field"),
        ] {
            let mut changed = json.clone();
            changed[key] = value;
            let error = serde_json::from_value::<VocabLayout>(changed)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{key}: {error}");
        }
    }

    proptest! {
        #[test]
        fn audio_ids_are_dense_and_invertible(
            base in 10u32..200_000, codebooks in 1usize..32, size in 1usize..4096, at in 0usize..1 << 17,
        ) {
            let layout = VocabLayout {
                bos: 0, eos: 1, text_start: 2, text_end: 3, audio_start: 4, audio_end: 5, audio_base: base,
                codebooks, codebook_size: size, vocab_size: base + (codebooks * size) as u32,
            };
            let text = serde_json::to_string(&layout).unwrap();
            prop_assert_eq!(&serde_json::from_str::<VocabLayout>(&text).unwrap(), &layout);
            let (codebook, code) = ((at / size) % codebooks, (at % size) as u16);
            let id = layout.audio_id(codebook, code);
            prop_assert!(id < layout.vocab_size);
            prop_assert_eq!(layout.kind(id), TokenKind::Audio(codebook));
            let offset = id - base;
            prop_assert_eq!(pua_char(codebook, code, size) as u32, 0xE000 + offset);
        }
    }
}
