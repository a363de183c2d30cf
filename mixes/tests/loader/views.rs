//! Sequences of every view are cut from the renderings that the view makes of the documents.

use crate::common::*;
use mixes::*;
use shards::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// Conversations: several segments, of which some have text, some audio, and some both; two speakers.
fn conversations(vocab: &Vocab, count: usize) -> Vec<Document> {
    let make = |number: usize| {
        let mut segments = Vec::new();
        for turn in 0..1 + number % 4 {
            let mut segment = document(number * 5 + turn, vocab).segments[0].clone();
            segment.speaker = (!number.is_multiple_of(3)).then_some((turn % 2) as u16);
            match (number + turn) % 7 {
                0 => segment.codes.clear(),
                1 => (segment.text, segment.text_ids) = Default::default(),
                _ => {}
            }
            segments.push(segment);
        }
        Document {
            id: format!("conversation-{number}"),
            segments,
            ..Document::default()
        }
    };
    (0..count).map(make).collect()
}

/// A tokenizer that knows digits, brackets and the line feed besides letters, and joins `]a`, so that a tagged text has other ids
/// than tag and text.
fn vocabulary_of_signs(dir: &std::path::Path) -> Vocab {
    let signs: Vec<char> = ('a'..='t')
        .chain('0'..='9')
        .chain(['[', ']', '\n'])
        .collect();
    let mut ids: serde_json::Map<_, _> = signs
        .iter()
        .enumerate()
        .map(|(id, sign)| (sign.to_string(), id.into()))
        .collect();
    ids.insert("]a".into(), signs.len().into());
    let model = serde_json::json!({"type": "BPE", "vocab": ids, "merges": [["]", "a"]]});
    let base = serde_json::json!({"version": "1.0", "added_tokens": [], "model": model});
    std::fs::create_dir_all(dir).unwrap();
    let path = dir.join("base.json");
    std::fs::write(&path, base.to_string()).unwrap();
    extend_tokenizer(&path, dir, CODEBOOKS, SIZE).unwrap();
    Vocab::load(dir).unwrap()
}

#[test]
fn an_epoch_has_the_renderings_of_its_view() {
    let data = TempDir::new().unwrap();
    let vocab = vocabulary_of_signs(&data.path().join("corpus/tokenizer"));
    let all = conversations(&vocab, 900);
    write(data.path(), "corpus", &vocab, &all, 300);
    for (view, codebooks) in [
        (View::Both, 1),
        (View::Tts, 2),
        (View::Asr, 2),
        (View::Acoustic, 2),
        (View::Acoustic, 1),
        (View::Semantic, 2),
        (View::Text, 2),
    ] {
        let mut mixture = mixture(view);
        mixture.validation_fraction = 0.0;
        mixture.components[0].codebooks = codebooks;
        // one sequence a document, so that each is there whole
        mixture.packing = Packing::BestFit;
        let data_path = data.path().to_str().unwrap();
        let options = LoaderOptions {
            seq_len: 256,
            ..options(data.path())
        };
        let loader = Loader::open(&mixture, data_path, &options).unwrap();
        let layout = vocab.layout();
        let mut expected: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        for document in &all {
            let shown = view.rewrite(document, &vocab).unwrap();
            let counts = DocumentCounts::of(&shown, CODEBOOKS).unwrap();
            for order in view.renderings(&counts) {
                let mut tokens = Vec::new();
                order.render(
                    &shown,
                    layout,
                    CODEBOOKS,
                    view.codebooks(codebooks),
                    &mut tokens,
                );
                *expected.entry(tokens).or_default() += 1;
            }
        }
        let tokens: usize = expected
            .iter()
            .map(|(tokens, count)| tokens.len() * count)
            .sum();
        let summary = loader.summary();
        assert_eq!(summary.train_tokens as usize, tokens, "{view}");
        for index in 0..summary.sequences_per_epoch {
            let sequence = loader.sequence(index).unwrap();
            let parts = sequence
                .tokens
                .split_inclusive(|&t| t == layout.eos)
                .filter(|part| part[0] == layout.bos);
            for part in parts {
                let left = expected
                    .get_mut(part)
                    .unwrap_or_else(|| panic!("{view}: {part:?}"));
                *left = left.checked_sub(1).expect("each once");
            }
        }
        assert!(expected.values().all(|&left| left == 0), "{view}");
    }
}

#[test]
fn a_tag_is_encoded_together_with_its_text() {
    let data = TempDir::new().unwrap();
    let vocab = vocabulary_of_signs(&data.path().join("corpus/tokenizer"));
    let mut said = document(0, &vocab);
    (said.segments[0].text, said.segments[0].text_ids) =
        ("ab".into(), vocab.encode_text("ab").unwrap());
    let shown = View::Tts.rewrite(&said, &vocab).unwrap();
    assert_eq!(shown.segments[0].text, "[0]ab");
    // "[", "0", "]a", "b"
    assert_eq!(shown.segments[0].text_ids, [30, 20, 33, 1]);
}

#[test]
fn documents_that_a_view_cannot_show_are_refused() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 40);
    let message = refusal(&mixture(View::Cvss1), data.path(), &options(data.path()));
    assert!(
        message.contains("document-0") && message.contains("cvss-1 needs"),
        "{message}"
    );
}
