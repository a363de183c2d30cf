use super::*;
use crate::TokenKind;
use proptest::collection::vec;
use proptest::option;
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
    let frames = vec(vec(0..SIZE as u16, STORED), 0..4);
    let segment = (vec(0u32..50, 0..5), frames, option::of(0u16..2));
    let segment = segment.prop_map(|(text_ids, frames, speaker)| Segment {
        text: "x".repeat(text_ids.len()),
        text_ids,
        codes: frames.concat(),
        speaker,
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
            prop_assert_eq!(tokens.len() as u64, order.tokens(&counts, codebooks));
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
    fn one_sided_orders_hold_their_side_alone(document in documents(), codebooks in 1..=STORED) {
        let counts = DocumentCounts::of(&document, STORED).unwrap();
        let render = |order: Order| {
            let mut tokens = Vec::new();
            order.render(&document, &layout(), STORED, codebooks, &mut tokens);
            tokens
        };
        for order in [Order::Audio, Order::Text, Order::Response] {
            prop_assert_eq!(render(order).len() as u64, order.tokens(&counts, codebooks));
        }
        let sounds = |blocks: Vec<Block>| blocks.into_iter().filter(|(is_text, ..)| !is_text).collect::<Vec<_>>();
        prop_assert_eq!(parse(&render(Order::Audio)), sounds(parse(&render(Order::TextFirst))));
        prop_assert_eq!(render(Order::Response), render(Order::TextFirst));
        let ids = document.segments.iter().flat_map(|s| s.text_ids.clone());
        let framed: Vec<u32> = [layout().bos].into_iter().chain(ids).chain([layout().eos]).collect();
        prop_assert_eq!(render(Order::Text), framed);
    }

    #[test]
    fn a_response_has_loss_behind_the_instruction(document in documents()) {
        #[derive(Default)]
        struct Losses(Vec<(u32, bool)>);
        impl Sink for Losses {
            fn marker(&mut self, id: u32, has_loss: bool) {
                self.0.push((id, has_loss));
            }
            fn text(&mut self, ids: &[u32], has_loss: bool) {
                self.0.extend(ids.iter().map(|id| (*id, has_loss)));
            }
            fn audio(&mut self, codes: &[u16], has_loss: bool) {
                self.0.extend(codes.iter().map(|_| (99, has_loss)));
            }
        }
        let losses = |order: Order, segments: &[Segment]| {
            let mut sink = Losses::default();
            let instruction = order.instruction(segments.iter().map(|s| s.speaker));
            order.show(segments.iter().map(SegmentRef::from), instruction, &layout(), &mut sink);
            sink.0
        };
        // the response begins with the second segment, or, if the first speaker is known, with the first of another
        let speakers: Vec<_> = document.segments.iter().map(|s| s.speaker).collect();
        let is_response = |at: &usize| *at > 0 && (speakers[0].is_none() || speakers[*at] != speakers[0]);
        let response = (0..speakers.len()).find(is_response).unwrap_or(speakers.len());
        let masked = losses(Order::TextFirst, &document.segments[..response]).len() - 1;
        let found = losses(Order::Response, &document.segments);
        prop_assert!(found[..masked].iter().all(|(_, has_loss)| !has_loss));
        prop_assert!(found[masked..].iter().all(|(_, has_loss)| *has_loss));
        // elsewhere only BOS has none
        let all = losses(Order::AudioFirst, &document.segments);
        prop_assert!(all.iter().enumerate().all(|(at, (_, has_loss))| *has_loss == (at > 0)));
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
fn speakers_are_numbered_as_they_appear() {
    let texts =
        |segments: &[(&'static str, Option<u16>)]| View::Tts.texts(segments.iter().copied());
    let conversation = [
        ("a", Some(3)),
        ("b", None),
        ("", Some(7)),
        ("c", Some(3)),
        ("d", Some(1)),
    ];
    assert_eq!(texts(&conversation), ["[0]a", "[1]b", "", "[0]c", "[3]d"]);
    assert_eq!(texts(&[("a", None), ("b", None)]), ["[0]a", "[0]b"]);
}

#[test]
fn a_documents_texts_are_lines_of_one() {
    let texts = View::Text.texts([("a", None), ("", None), ("b", Some(1))].into_iter());
    assert_eq!(texts, ["a\nb", "", ""]);
}

#[test]
fn views_refuse_documents_that_lack_what_they_show() {
    let counts = |n_segments, n_text_segments, n_audio_segments| DocumentCounts {
        id: "d".into(),
        n_text: 1,
        n_frames: 1,
        n_segments,
        n_text_segments,
        n_audio_segments,
    };
    let pair = counts(4, 2, 2);
    let fits = |view: &View| view.misfit(&pair, 3).is_none();
    assert!(View::ALL.iter().all(fits));
    assert!(View::Sft.misfit(&pair, 4).is_some());
    let odd = counts(1, 1, 1);
    let refusing: Vec<View> = View::ALL
        .into_iter()
        .filter(|view| view.misfit(&odd, 1).is_some())
        .collect();
    assert_eq!(refusing, [View::Cvss1, View::Cvss2, View::Sft]);
    let silent = counts(1, 1, 0);
    let showing: Vec<View> = View::ALL
        .into_iter()
        .filter(|view| !view.renderings(&silent).is_empty())
        .collect();
    let without = [View::Acoustic, View::Semantic, View::Cvss2];
    assert!(
        View::ALL
            .iter()
            .all(|view| showing.contains(view) != without.contains(view))
    );
}

#[test]
fn names_are_those_of_mixtures() {
    for view in View::ALL {
        assert_eq!(serde_json::to_value(view).unwrap(), view.name());
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
