//! Views: a document as a row of token ids. Nothing else decides the order of tokens.
//!
//! ```text
//! text-first   BOS  { TEXT_START text TEXT_END  AUDIO_START codes AUDIO_END }…  EOS
//! audio-first  BOS  { AUDIO_START codes AUDIO_END  TEXT_START text TEXT_END }…  EOS
//! audio        BOS  { AUDIO_START codes AUDIO_END }…  EOS
//! text         BOS  text  EOS
//! ```
//! with a pair of braces for each segment. Codes are frame-major: frame 0 of codebook 0, 1, …, frame 1, …. A segment without
//! text, or without audio, has no such block.

use crate::{Document, DocumentCounts, Result, Segment, Vocab, VocabLayout};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// How the documents of a component are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// Every document twice, once in each order.
    Both,
    /// Text before audio.
    TextFirst,
    /// Audio before text.
    AudioFirst,
    /// Speech synthesis: text before audio, and each text follows its speaker's number, as in `[0]Good morning`. Speakers
    /// are numbered as they appear in the document; where none is known, all is said by 0.
    Tts,
    /// Speech recognition: audio before text.
    Asr,
    /// Audio alone.
    Acoustic,
    /// Audio alone, of the first codebook, which is the semantic one.
    Semantic,
    /// Text alone, without markers; a document's segments on lines of their own.
    Text,
    /// Translation of speech by way of both texts: the four segments of a CVSS pair, as they are.
    #[serde(rename = "cvss-1")]
    Cvss1,
    /// Translation of speech into speech: the two sounds of a CVSS pair.
    #[serde(rename = "cvss-2")]
    Cvss2,
    /// Instruction tuning: the segments of the first one's speaker, up to another's, are the instruction and have no loss; where
    /// that speaker is not known, it is the first alone. The others are the response.
    Sft,
}

/// How one row is made of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Text before audio.
    TextFirst,
    /// Audio before text.
    AudioFirst,
    /// Audio without text.
    Audio,
    /// Text without audio, and without markers around it.
    Text,
    /// Text before audio; no loss on the instruction.
    Response,
}

impl View {
    /// All views.
    pub const ALL: [View; 11] = [
        View::Both,
        View::TextFirst,
        View::AudioFirst,
        View::Tts,
        View::Asr,
        View::Acoustic,
        View::Semantic,
        View::Text,
        View::Cvss1,
        View::Cvss2,
        View::Sft,
    ];

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
            View::TextFirst | View::Tts | View::Cvss1 => &[Order::TextFirst],
            View::AudioFirst | View::Asr => &[Order::AudioFirst],
            View::Acoustic | View::Semantic | View::Cvss2 => &[Order::Audio],
            View::Text => &[Order::Text],
            View::Sft => &[Order::Response],
        }
    }

    /// The orders in which one document is rendered: none if it has nothing that the view shows, and of [`View::Both`] one if it
    /// has only text or only audio, because both would be the same.
    pub fn renderings(self, counts: &DocumentCounts) -> &'static [Order] {
        let variants = self.variants();
        let (text, audio) = (counts.n_text_segments > 0, counts.n_audio_segments > 0);
        let shows = match variants[0] {
            Order::Audio => audio,
            Order::Text => text,
            Order::TextFirst | Order::AudioFirst | Order::Response => text || audio,
        };
        match (shows, text && audio) {
            (false, _) => &[],
            (true, false) => &variants[..1],
            (true, true) => variants,
        }
    }

    /// How many of `codebooks` the view uses.
    pub fn codebooks(self, codebooks: usize) -> usize {
        match self {
            View::Semantic => codebooks.min(1),
            _ => codebooks,
        }
    }

    /// What is wrong with showing a document so, if anything: it lacks the segments that the view is about. `instruction` is how
    /// many segments are the [instruction](Order::instruction).
    pub fn misfit(self, counts: &DocumentCounts, instruction: usize) -> Option<&'static str> {
        let segments = (
            counts.n_segments,
            counts.n_text_segments,
            counts.n_audio_segments,
        );
        match self {
            View::Cvss1 if segments != (4, 2, 2) => {
                Some("cvss-1 needs sound, text, text and sound, each a segment")
            }
            View::Cvss2 if counts.n_audio_segments != 2 => Some("cvss-2 needs two sounds"),
            View::Sft if counts.n_segments as usize <= instruction.max(1) => Some(
                "sft needs an instruction and a response: a segment at least, of another speaker",
            ),
            _ => None,
        }
    }

    /// Whether the texts of such a document are not shown as they are stored, so that its tokens cannot be counted without them.
    pub fn rewrites(self, counts: &DocumentCounts) -> bool {
        match self {
            View::Tts => counts.n_text_segments > 0,
            View::Text => counts.n_text_segments > 1,
            _ => false,
        }
    }

    /// The texts of a document's segments as the view shows them; those that are empty are not shown. Only where
    /// [`rewrites`](Self::rewrites).
    pub fn texts<'a>(self, stored: impl Iterator<Item = (&'a str, Option<u16>)>) -> Vec<String> {
        if self == View::Tts {
            return tagged(stored);
        }
        let mut texts: Vec<String> = stored.map(|(text, _)| text.to_owned()).collect();
        if self == View::Text {
            let lines: Vec<&str> = texts
                .iter()
                .map(String::as_str)
                .filter(|t| !t.is_empty())
                .collect();
            let all = lines.join("\n");
            texts.iter_mut().for_each(String::clear);
            texts[0] = all;
        }
        texts
    }

    /// `document` with its texts as the view shows them.
    ///
    /// # Errors
    /// If the tokenizer refuses such a text.
    pub fn rewrite<'a>(self, document: &'a Document, vocab: &Vocab) -> Result<Cow<'a, Document>> {
        let segments = &document.segments;
        let counts = DocumentCounts::of(document, 1)?;
        if !self.rewrites(&counts) {
            return Ok(Cow::Borrowed(document));
        }
        let texts = self.texts(segments.iter().map(|s| (s.text.as_str(), s.speaker)));
        let mut rewritten = document.clone();
        for (segment, text) in rewritten.segments.iter_mut().zip(texts) {
            if segment.text != text {
                segment.text_ids = vocab.encode_text(&text)?;
                segment.text = text;
            }
        }
        Ok(Cow::Owned(rewritten))
    }
}

/// Each text behind the number of its speaker.
fn tagged<'a>(stored: impl Iterator<Item = (&'a str, Option<u16>)>) -> Vec<String> {
    let mut speakers = Vec::new();
    let tag = |(text, speaker): (&str, Option<u16>)| {
        let known = speakers.iter().position(|other| *other == speaker);
        let number = known.unwrap_or_else(|| {
            speakers.push(speaker);
            speakers.len() - 1
        });
        match text.is_empty() {
            true => String::new(),
            false => format!("[{number}]{text}"),
        }
    };
    stored.map(tag).collect()
}

/// What a view takes of a segment.
#[derive(Clone, Copy, Debug)]
pub struct SegmentRef<'a> {
    /// The transcript.
    pub text: &'a str,
    /// Its ids.
    pub text_ids: &'a [u32],
    /// Codes, frame-major.
    pub codes: &'a [u16],
}

impl<'a> From<&'a Segment> for SegmentRef<'a> {
    fn from(segment: &'a Segment) -> Self {
        Self {
            text: &segment.text,
            text_ids: &segment.text_ids,
            codes: &segment.codes,
        }
    }
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
    /// A segment's codes, frame-major.
    Audio(&'a [u16]),
}

/// Takes the tokens of a rendering, in order. `has_loss` says whether predicting them is trained.
pub trait Sink {
    /// BOS, EOS or a marker.
    fn marker(&mut self, id: u32, has_loss: bool);
    /// Text ids.
    fn text(&mut self, ids: &[u32], has_loss: bool);
    /// Codes, frame-major.
    fn audio(&mut self, codes: &[u16], has_loss: bool);
    /// Whether it takes nothing any more, so that the rest need not be shown.
    fn is_full(&self) -> bool {
        false
    }
}

impl Order {
    /// How many segments, from the first on, have no loss: the instruction, told by the `speakers` of a document's segments.
    pub fn instruction(self, mut speakers: impl Iterator<Item = Option<u16>>) -> usize {
        match (self, speakers.next()) {
            (Order::Response, Some(None)) => 1,
            (Order::Response, Some(first)) => 1 + speakers.take_while(|s| *s == first).count(),
            _ => 0,
        }
    }

    /// The blocks of a document's segments in this order, each with the number of its segment.
    pub fn blocks<'a>(
        self,
        segments: impl Iterator<Item = SegmentRef<'a>>,
    ) -> impl Iterator<Item = (usize, Block<'a>)> {
        segments.enumerate().flat_map(move |(number, segment)| {
            let SegmentRef {
                text,
                text_ids: ids,
                codes,
            } = segment;
            let text = (!ids.is_empty()).then_some(Block::Text { text, ids });
            let audio = (!codes.is_empty()).then_some(Block::Audio(codes));
            let blocks = match self {
                Order::TextFirst | Order::Response => [text, audio],
                Order::AudioFirst => [audio, text],
                Order::Audio => [audio, None],
                Order::Text => [text, None],
            };
            blocks
                .into_iter()
                .flatten()
                .map(move |block| (number, block))
        })
    }

    /// Whether blocks stand between markers.
    pub fn has_markers(self) -> bool {
        self != Order::Text
    }

    /// Shows a document's segments to `sink`, of which the first `instruction` have no loss.
    pub fn show<'a>(
        self,
        segments: impl Iterator<Item = SegmentRef<'a>>,
        instruction: usize,
        layout: &VocabLayout,
        sink: &mut impl Sink,
    ) {
        // BOS follows another document, or nothing
        sink.marker(layout.bos, false);
        for (number, block) in self.blocks(segments) {
            if sink.is_full() {
                return;
            }
            let has_loss = number >= instruction;
            let (start, end) = match block {
                Block::Text { .. } => (layout.text_start, layout.text_end),
                Block::Audio(_) => (layout.audio_start, layout.audio_end),
            };
            if self.has_markers() {
                sink.marker(start, has_loss);
            }
            match block {
                Block::Text { ids, .. } => sink.text(ids, has_loss),
                Block::Audio(codes) => sink.audio(codes, has_loss),
            }
            if self.has_markers() {
                sink.marker(end, has_loss);
            }
        }
        sink.marker(layout.eos, true);
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
        let mut sink = Tokens {
            layout,
            stored,
            codebooks,
            out,
        };
        // tokens are the same for any
        let instruction = 0;
        let segments = document.segments.iter().map(SegmentRef::from);
        self.show(segments, instruction, layout, &mut sink);
    }

    /// Tokens of a rendering of a document with these counts: BOS, EOS, two markers a block, text, and `codebooks` codes a frame.
    /// `n_text` counts as stored, so it must be corrected where a view [rewrites](View::rewrites).
    pub fn tokens(self, counts: &DocumentCounts, codebooks: usize) -> u64 {
        let n_text = u64::from(counts.n_text);
        let audio = u64::from(counts.n_frames) * codebooks as u64;
        let text_blocks = u64::from(counts.n_text_segments);
        let audio_blocks = u64::from(counts.n_audio_segments);
        2 + match self {
            Order::Text => n_text,
            Order::Audio => 2 * audio_blocks + audio,
            Order::TextFirst | Order::AudioFirst | Order::Response => {
                2 * (text_blocks + audio_blocks) + n_text + audio
            }
        }
    }
}

/// Collects tokens.
struct Tokens<'a> {
    layout: &'a VocabLayout,
    stored: usize,
    codebooks: usize,
    out: &'a mut Vec<u32>,
}

impl Sink for Tokens<'_> {
    fn marker(&mut self, id: u32, _: bool) {
        self.out.push(id);
    }

    fn text(&mut self, ids: &[u32], _: bool) {
        self.out.extend_from_slice(ids);
    }

    fn audio(&mut self, codes: &[u16], _: bool) {
        for frame in codes.chunks_exact(self.stored) {
            let kept = frame.iter().take(self.codebooks).enumerate();
            let ids = kept.map(|(codebook, &code)| self.layout.audio_id(codebook, code));
            self.out.extend(ids);
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests;
