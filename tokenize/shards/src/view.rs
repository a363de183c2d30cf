//! Views: a document as a row of token ids. Nothing else decides the order of tokens.
//!
//! ```text
//! text-first   BOS  { TEXT_START text TEXT_END  AUDIO_START codes AUDIO_END }…  EOS
//! audio-first  BOS  { AUDIO_START codes AUDIO_END  TEXT_START text TEXT_END }…  EOS
//! ```
//! Codes are frame-major: frame 0 of codebook 0, 1, …, frame 1, …. A segment without text, or without audio, has no such block.

use crate::{Document, DocumentCounts, Segment, VocabLayout};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the documents of a component are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// Every document twice, once in each order.
    Both,
    /// Text before audio.
    TextFirst,
    /// Audio before text.
    AudioFirst,
    /// Text before audio, each text after the number of its speaker.
    Tts,
    /// Audio before text, for recognition.
    Asr,
    /// Audio without text.
    Acoustic,
    /// The first codebook without text.
    Semantic,
    /// Text without audio.
    Text,
    /// Source sound, its text, the translated text, its sound.
    #[serde(rename = "cvss-1")]
    Cvss1,
    /// Source sound, translated sound.
    #[serde(rename = "cvss-2")]
    Cvss2,
    /// An instruction and its response.
    Sft,
}

/// The order of the two blocks of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Text before audio.
    TextFirst,
    /// Audio before text.
    AudioFirst,
}

impl View {
    /// All views.
    pub const ALL: [View; 3] = [View::Both, View::TextFirst, View::AudioFirst];

    /// Its name in mixtures and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            View::Both => "both",
            View::TextFirst => "text-first",
            View::AudioFirst => "audio-first",
            View::Tts => "tts",
            View::Asr => "asr",
            View::Acoustic => "acoustic",
            View::Semantic => "semantic",
            View::Text => "text",
            View::Cvss1 => "cvss-1",
            View::Cvss2 => "cvss-2",
            View::Sft => "sft",
        }
    }

    /// The orders of this view.
    pub fn variants(self) -> &'static [Order] {
        match self {
            View::Both => &[Order::TextFirst, Order::AudioFirst],
            View::TextFirst | View::Tts | View::Text => &[Order::TextFirst],
            View::AudioFirst | View::Asr | View::Acoustic | View::Semantic => &[Order::AudioFirst],
            View::Cvss1 | View::Cvss2 | View::Sft => &[Order::AudioFirst],
        }
    }

    /// The orders in which one document is rendered: none if it is empty, and one if it has only text or only audio, because
    /// both orders would be the same.
    pub fn renderings(self, counts: &DocumentCounts) -> &'static [Order] {
        match (counts.n_text_segments, counts.n_audio_segments) {
            (0, 0) => &[],
            (0, _) | (_, 0) => &self.variants()[..1],
            _ => self.variants(),
        }
    }
}

/// Tokens of one rendering, in any order: BOS, EOS, two markers a block, text, and `codebooks` codes a frame.
pub fn rendered_tokens(counts: &DocumentCounts, codebooks: usize) -> u64 {
    let blocks = u64::from(counts.n_text_segments) + u64::from(counts.n_audio_segments);
    2 + 2 * blocks + u64::from(counts.n_text) + u64::from(counts.n_frames) * codebooks as u64
}

/// What stands between two markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// A segment's text.
    Text {
        /// The transcript.
        text: &'a str,
        /// Its ids.
        ids: &'a [u32],
    },
    /// A segment's codes, frame-major `[frames * stored]`.
    Audio(&'a [u16]),
}

impl Order {
    /// The blocks of `document` in this order.
    pub fn blocks(self, document: &Document) -> impl Iterator<Item = Block<'_>> {
        let of_segment = move |segment| match (self, text_block(segment), audio_block(segment)) {
            (Order::TextFirst, text, audio) => [text, audio],
            (Order::AudioFirst, text, audio) => [audio, text],
        };
        document.segments.iter().flat_map(of_segment).flatten()
    }

    /// Appends the tokens of `document` to `out`, with the first `codebooks` of the `stored` codes of each frame.
    pub fn render(
        self,
        document: &Document,
        layout: &VocabLayout,
        stored: usize,
        codebooks: usize,
        out: &mut Vec<u32>,
    ) {
        out.push(layout.bos);
        for block in self.blocks(document) {
            match block {
                Block::Text { ids, .. } => {
                    out.push(layout.text_start);
                    out.extend_from_slice(ids);
                    out.push(layout.text_end);
                }
                Block::Audio(codes) => {
                    out.push(layout.audio_start);
                    push_audio(codes, layout, stored, codebooks, out);
                    out.push(layout.audio_end);
                }
            }
        }
        out.push(layout.eos);
    }
}

fn text_block(segment: &Segment) -> Option<Block<'_>> {
    let (text, ids) = (segment.text.as_str(), segment.text_ids.as_slice());
    (!ids.is_empty()).then_some(Block::Text { text, ids })
}

fn audio_block(segment: &Segment) -> Option<Block<'_>> {
    (!segment.codes.is_empty()).then_some(Block::Audio(&segment.codes))
}

/// `codes`: `[frames * stored]`, frame-major.
fn push_audio(
    codes: &[u16],
    layout: &VocabLayout,
    stored: usize,
    codebooks: usize,
    out: &mut Vec<u32>,
) {
    for frame in codes.chunks_exact(stored) {
        let kept = frame.iter().take(codebooks).enumerate();
        out.extend(kept.map(|(codebook, &code)| layout.audio_id(codebook, code)));
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenKind;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const STORED: usize = 3;
    const SIZE: usize = 7;

    fn layout() -> VocabLayout {
        VocabLayout {
            bos: 50,
            eos: 51,
            text_start: 52,
            text_end: 53,
            audio_start: 54,
            audio_end: 55,
            audio_base: 56,
            codebooks: STORED,
            codebook_size: SIZE,
            vocab_size: 56 + (STORED * SIZE) as u32,
        }
    }

    fn documents() -> impl Strategy<Value = Document> {
        let segment = (vec(0u32..50, 0..5), vec(vec(0..SIZE as u16, STORED), 0..4));
        let segment = segment.prop_map(|(text_ids, frames)| Segment {
            text: "x".repeat(text_ids.len()),
            text_ids,
            codes: frames.concat(),
            ..Segment::default()
        });
        vec(segment, 0..5).prop_map(|segments| Document {
            segments,
            ..Document::default()
        })
    }

    /// Reads a rendering back by its markers: the blocks of text ids and of (codebook, code).
    type Block = (bool, Vec<u32>, Vec<(usize, u16)>);
    fn parse(tokens: &[u32]) -> Vec<Block> {
        let layout = layout();
        assert_eq!(
            (tokens[0], tokens[tokens.len() - 1]),
            (layout.bos, layout.eos)
        );
        let mut blocks: Vec<Block> = Vec::new();
        let mut end = None;
        for &token in &tokens[1..tokens.len() - 1] {
            match (layout.kind(token), end) {
                (TokenKind::Marker, None) => {
                    let text = token == layout.text_start;
                    assert!(text || token == layout.audio_start);
                    end = Some(if text {
                        layout.text_end
                    } else {
                        layout.audio_end
                    });
                    blocks.push((text, vec![], vec![]));
                }
                (TokenKind::Marker, Some(expected)) => {
                    assert_eq!(token, expected);
                    end = None;
                }
                (TokenKind::Text, Some(_)) => blocks.last_mut().unwrap().1.push(token),
                (TokenKind::Audio(codebook), Some(_)) => {
                    let code = token - layout.audio_id(codebook, 0);
                    blocks.last_mut().unwrap().2.push((codebook, code as u16));
                }
                (kind, None) => panic!("{kind} outside a block"),
            }
        }
        assert_eq!(end, None);
        blocks
    }

    proptest! {
        #[test]
        fn a_rendering_holds_the_document_and_has_the_counted_length(document in documents(), codebooks in 1..=STORED) {
            let counts = DocumentCounts::of(&document, STORED).unwrap();
            for order in View::Both.variants() {
                let mut tokens = Vec::new();
                order.render(&document, &layout(), STORED, codebooks, &mut tokens);
                prop_assert_eq!(tokens.len() as u64, rendered_tokens(&counts, codebooks));
                let mut expected = Vec::new();
                for segment in &document.segments {
                    let text = (true, segment.text_ids.clone(), vec![]);
                    let numbered = |frame: &[u16]| frame[..codebooks].iter().copied().enumerate().collect::<Vec<_>>();
                    let audio = (false, vec![], segment.codes.chunks(STORED).flat_map(numbered).collect());
                    let blocks = if *order == Order::TextFirst { [text, audio] } else { [audio, text] };
                    expected.extend(blocks.into_iter().filter(|(_, ids, codes)| !ids.is_empty() || !codes.is_empty()));
                }
                prop_assert_eq!(parse(&tokens), expected);
            }
        }

        #[test]
        fn both_renders_twice_only_what_differs(document in documents()) {
            let counts = DocumentCounts::of(&document, STORED).unwrap();
            let text = document.segments.iter().any(|s| !s.text_ids.is_empty());
            let audio = document.segments.iter().any(|s| !s.codes.is_empty());
            prop_assert_eq!(View::Both.renderings(&counts).len(), usize::from(text || audio) + usize::from(text && audio));
            prop_assert_eq!(View::AudioFirst.renderings(&counts).len(), usize::from(text || audio));
        }
    }

    #[test]
    fn the_order_is_the_recipes() {
        let segment = Segment {
            text: "a".into(),
            text_ids: vec![9],
            codes: vec![1, 2, 3],
            ..Segment::default()
        };
        let document = Document {
            segments: vec![segment],
            ..Document::default()
        };
        let render = |order: Order| {
            let mut tokens = Vec::new();
            order.render(&document, &layout(), 3, 2, &mut tokens);
            tokens
        };
        assert_eq!(
            render(Order::TextFirst),
            [50, 52, 9, 53, 54, 57, 65, 55, 51]
        );
        assert_eq!(
            render(Order::AudioFirst),
            [50, 54, 57, 65, 55, 52, 9, 53, 51]
        );
    }
}
