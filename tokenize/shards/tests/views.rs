//! Every view against rows that scripts/make_view_fixtures.py spells out and Hugging Face's `tokenizers` encodes; and documents
//! read back from their rows.

mod common;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::Deserialize;
use shards::{
    Document, DocumentCounts, Order, Segment, SegmentRef, Sink, TokenKind, View, Vocab,
    VocabLayout, extend_tokenizer,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Codes of a frame, and of a codebook.
const STORED: usize = 8;
const SIZE: usize = 2048;

#[derive(Deserialize)]
struct Golden {
    documents: Vec<GoldenDocument>,
    rows: Vec<GoldenRow>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct GoldenDocument {
    id: String,
    segments: Vec<GoldenSegment>,
}

#[derive(Deserialize)]
struct GoldenSegment {
    text: String,
    frames: Vec<[u16; STORED]>,
    speaker: Option<u16>,
}

/// A row's ids by the name of the tokenizer.
#[derive(Deserialize)]
struct GoldenRow {
    ids: HashMap<String, Vec<u32>>,
}

/// What a view makes of a document with the first so many codebooks; `None` if the document is not for the view.
#[derive(Deserialize)]
struct Case {
    document: String,
    view: View,
    codebooks: usize,
    rows: Option<Vec<CaseRow>>,
}

#[derive(Deserialize)]
struct CaseRow {
    row: usize,
    /// A digit a token, by tokenizer; where the view says nothing of the loss, only BOS has none.
    loss: Option<HashMap<String, String>>,
}

impl GoldenDocument {
    fn document(&self, vocab: &Vocab) -> Document {
        let segment = |golden: &GoldenSegment| Segment {
            text: golden.text.clone(),
            text_ids: vocab.encode_text(&golden.text).unwrap(),
            codes: golden.frames.concat(),
            speaker: golden.speaker,
            ..Segment::default()
        };
        Document {
            id: self.id.clone(),
            segments: self.segments.iter().map(segment).collect(),
            ..Document::default()
        }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The base tokenizer, extended.
fn vocab(base: &Path) -> Vocab {
    let dir = tempfile::tempdir().unwrap();
    extend_tokenizer(base, dir.path(), STORED, SIZE).unwrap();
    Vocab::load(dir.path()).unwrap()
}

/// Writes down for each token whether it has loss, `0` or `1`.
struct Losses {
    codebooks: usize,
    digits: String,
}

impl Losses {
    fn push(&mut self, count: usize, has_loss: bool) {
        let digit = if has_loss { "1" } else { "0" };
        self.digits += &digit.repeat(count);
    }
}

impl Sink for Losses {
    fn marker(&mut self, _: u32, has_loss: bool) {
        self.push(1, has_loss);
    }

    fn text(&mut self, ids: &[u32], has_loss: bool) {
        self.push(ids.len(), has_loss);
    }

    fn audio(&mut self, codes: &[u16], has_loss: bool) {
        self.push(codes.len() / STORED * self.codebooks, has_loss);
    }
}

/// How many segments have no loss.
fn instruction(order: Order, document: &Document) -> usize {
    order.instruction(document.segments.iter().map(|segment| segment.speaker))
}

/// The renderings of a document: ids, and the losses of each.
fn renderings(
    view: View,
    document: &Document,
    vocab: &Vocab,
    codebooks: usize,
) -> Vec<(Vec<u32>, String)> {
    let shown = view.rewrite(document, vocab).unwrap();
    let counts = DocumentCounts::of(&shown, STORED).unwrap();
    let codebooks = view.codebooks(codebooks);
    let layout = vocab.layout();
    let render = |order: &Order| {
        let mut ids = Vec::new();
        order.render(&shown, layout, STORED, codebooks, &mut ids);
        assert_eq!(ids.len() as u64, order.tokens(&counts, codebooks));
        let mut losses = Losses {
            codebooks,
            digits: String::new(),
        };
        let segments = shown.segments.iter().map(SegmentRef::from);
        order.show(segments, instruction(*order, &shown), layout, &mut losses);
        (ids, losses.digits)
    };
    view.renderings(&counts).iter().map(render).collect()
}

fn check(tokenizer: &str) {
    let vocab = vocab(&fixtures().join(format!("text/{tokenizer}.json")));
    let golden = std::fs::read(fixtures().join("views.json")).unwrap();
    let golden: Golden = serde_json::from_slice(&golden).unwrap();
    let documents: HashMap<&str, Document> = golden
        .documents
        .iter()
        .map(|document| (document.id.as_str(), document.document(&vocab)))
        .collect();
    for case in &golden.cases {
        let name = format!("{} as {}, {}", case.document, case.view, case.codebooks);
        let document = &documents[case.document.as_str()];
        let counts = DocumentCounts::of(document, STORED).unwrap();
        let instruction = instruction(case.view.variants()[0], document);
        let misfit = case.view.misfit(&counts, instruction);
        let Some(rows) = &case.rows else {
            assert!(misfit.is_some(), "{name}");
            continue;
        };
        assert_eq!(misfit, None, "{name}");
        let expected: Vec<(Vec<u32>, String)> = rows
            .iter()
            .map(|row| {
                let ids = golden.rows[row.row].ids[tokenizer].clone();
                let without_bos = || format!("0{}", "1".repeat(ids.len() - 1));
                let losses = row.loss.as_ref().map(|losses| losses[tokenizer].clone());
                let losses = losses.unwrap_or_else(without_bos);
                (ids, losses)
            })
            .collect();
        let found = renderings(case.view, document, &vocab, case.codebooks);
        assert_eq!(found, expected, "{name}");
    }
    let cases = golden.documents.len() * View::ALL.len() * 3;
    assert_eq!(golden.cases.len(), cases);
}

#[test]
fn rows_are_the_recipes_with_llama3() {
    check("llama3");
}

#[test]
fn rows_are_the_recipes_with_qwen3() {
    check("qwen3");
}

/// What a row tells of a block.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// A transcript, and its speaker's number if that is said.
    Text(Option<usize>, String),
    /// The first codes of each frame.
    Audio(Vec<u16>),
}

/// Reads a row of a view back by its markers.
fn parse(ids: &[u32], view: View, vocab: &Vocab, codebooks: usize) -> Vec<Part> {
    let layout = vocab.layout();
    let [bos, inner @ .., eos] = ids else {
        panic!("{ids:?} has no ends");
    };
    assert_eq!((*bos, *eos), (layout.bos, layout.eos));
    if view == View::Text {
        let text = vocab.decode_text(inner).unwrap();
        let lines = text.split('\n');
        return lines
            .map(|line| Part::Text(None, line.to_owned()))
            .collect();
    }
    let is_end = |id: &u32| [layout.text_end, layout.audio_end].contains(id);
    let blocks = inner.split_inclusive(is_end);
    blocks
        .map(|block| {
            let [start, inner @ .., end] = block else {
                panic!("{block:?} has no ends");
            };
            match (*start, *end) {
                ends if ends == (layout.text_start, layout.text_end) => {
                    let text = vocab.decode_text(inner).unwrap();
                    match view {
                        View::Tts => untagged(&text),
                        _ => Part::Text(None, text),
                    }
                }
                ends if ends == (layout.audio_start, layout.audio_end) => {
                    Part::Audio(codes(inner, layout, codebooks))
                }
                _ => panic!("{block:?} is no block"),
            }
        })
        .collect()
}

/// `[0]Good morning`
fn untagged(text: &str) -> Part {
    let (number, said) = text.strip_prefix('[').unwrap().split_once(']').unwrap();
    Part::Text(Some(number.parse().unwrap()), said.to_owned())
}

fn codes(ids: &[u32], layout: &VocabLayout, codebooks: usize) -> Vec<u16> {
    assert_eq!(ids.len() % codebooks, 0);
    let code = |(at, &id): (usize, &u32)| {
        assert_eq!(layout.kind(id), TokenKind::Audio(at % codebooks));
        ((id - layout.audio_base) as usize % layout.codebook_size) as u16
    };
    ids.iter().enumerate().map(code).collect()
}

/// The parts of a document that a row in this order tells.
fn parts(document: &Document, view: View, order: Order, codebooks: usize) -> Vec<Part> {
    // the number of a speaker is how many others were there before
    let number = |at: usize| {
        let mut before: Vec<_> = document.segments.iter().map(|s| s.speaker).collect();
        let speaker = before[at];
        before.truncate(before.iter().position(|s| *s == speaker).unwrap());
        before.sort_unstable();
        before.dedup();
        before.len()
    };
    let segments = document.segments.iter().enumerate();
    segments
        .flat_map(|(at, segment)| {
            let speaker = (view == View::Tts).then(|| number(at));
            let text = Part::Text(speaker, segment.text.clone());
            let kept = |frame: &[u16]| frame[..codebooks].to_vec();
            let audio = Part::Audio(segment.codes.chunks(STORED).flat_map(kept).collect());
            let text = (!segment.text.is_empty()).then_some(text);
            let audio = (!segment.codes.is_empty()).then_some(audio);
            match order {
                Order::TextFirst | Order::Response => [text, audio],
                Order::AudioFirst => [audio, text],
                Order::Audio => [audio, None],
                Order::Text => [text, None],
            }
        })
        .flatten()
        .collect()
}

fn documents() -> impl Strategy<Value = Document> {
    let texts = "|[\\[\\]0-9]{1,3}|[a-c é，\u{e000}\u{301}]{1,6}|<\\|(audio_start|text_end|end_of_text)\\|>";
    let frames = vec([const { 0..SIZE as u16 }; STORED], 0..3);
    let segment = (texts, frames, option::of(0u16..3));
    let segment = segment.prop_map(|(text, frames, speaker)| Segment {
        text_ids: bytes().encode_text(&text).unwrap(),
        text,
        codes: frames.concat(),
        speaker,
        ..Segment::default()
    });
    vec(segment, 0..7).prop_map(|segments| Document {
        segments,
        ..Document::default()
    })
}

/// A tokenizer whose ids are bytes.
fn bytes() -> &'static Vocab {
    static VOCAB: OnceLock<Vocab> = OnceLock::new();
    VOCAB.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let base = common::byte_level(256, vec![]);
        vocab(&common::write(dir.path(), &base))
    })
}

proptest! {
    #[test]
    fn parts_come_back_from_every_view(document in documents(), codebooks in 1..=STORED) {
        for view in View::ALL {
            let shown = view.codebooks(codebooks);
            prop_assert_eq!(shown, if view == View::Semantic { 1 } else { codebooks });
            let counts = DocumentCounts::of(&document, STORED).unwrap();
            let rows = renderings(view, &document, bytes(), codebooks);
            let orders = view.renderings(&counts);
            prop_assert_eq!(rows.len(), orders.len());
            for ((ids, _), &order) in rows.iter().zip(orders) {
                let expected = parts(&document, view, order, shown);
                prop_assert_eq!(parse(ids, view, bytes(), shown), expected, "{}", view);
            }
        }
    }
}
