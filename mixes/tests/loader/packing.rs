//! Whole documents in sequences, and losses on responses alone.

use crate::common::*;
use mixes::*;
use shards::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// Documents with an instruction and a response. The instruction is a sound; in every third one a text follows it, which
/// only the speakers tell from the response.
fn instructions(vocab: &Vocab, count: usize) -> Vec<Document> {
    let make = |number: usize| {
        let [mut instruction, mut response] =
            [document(number, vocab), document(number * 7, vocab)].map(|d| d.segments[0].clone());
        instruction.text_ids.clear();
        instruction.text.clear();
        if number.is_multiple_of(2) {
            response.codes.clear();
        }
        let mut segments = vec![instruction, response];
        if number.is_multiple_of(3) {
            let mut more = segments[1].clone();
            more.codes.clear();
            segments.insert(1, more);
            for (segment, speaker) in segments.iter_mut().zip([0, 0, 1]) {
                segment.speaker = Some(speaker);
            }
        }
        Document {
            id: format!("instruction-{number}"),
            segments,
            ..Document::default()
        }
    };
    (0..count).map(make).collect()
}

#[test]
fn best_fit_splits_no_document_and_trains_responses_alone() {
    let data = TempDir::new().unwrap();
    let vocab = vocabulary(&data.path().join("corpus/tokenizer"), 20);
    let all = instructions(&vocab, 3000);
    write(data.path(), "corpus", &vocab, &all, 1000);
    let mixture = Mixture {
        packing: Packing::BestFit,
        ..mixture(View::Sft)
    };
    let loader = load(&mixture, data.path());
    let layout = vocab.layout();
    // how often each is to come, and where its instruction ends
    let mut expected: BTreeMap<Vec<u32>, (usize, usize)> = BTreeMap::new();
    let (mut left_out, mut of_two_parts) = (0, 0);
    for document in all.iter().filter(|d| !is_validation(&d.id, 0.2)) {
        let mut tokens = Vec::new();
        Order::Response.render(document, layout, CODEBOOKS, CODEBOOKS, &mut tokens);
        match tokens.len() <= SEQ_LEN {
            true => {
                let has_text = document.segments.len() == 3;
                let end = if has_text {
                    layout.text_end
                } else {
                    layout.audio_end
                };
                let end = tokens.iter().position(|&token| token == end).unwrap();
                of_two_parts += usize::from(has_text);
                expected.entry(tokens).or_insert((0, end)).0 += 1;
            }
            false => left_out += 1,
        }
    }
    assert!(left_out > 10, "{left_out} documents are too long");
    assert!(of_two_parts > 100, "{of_two_parts}");
    let summary = loader.summary();
    let mut padding = 0;
    for index in 0..summary.sequences_per_epoch {
        let sequence = loader.sequence(index).unwrap();
        let positions = sequence.positions();
        let starts: Vec<usize> = (0..SEQ_LEN).filter(|&at| positions[at] == 0).collect();
        for (at, &start) in starts.iter().enumerate() {
            let end = starts.get(at + 1).copied().unwrap_or(SEQ_LEN);
            let tokens = &sequence.tokens[start..end];
            let weights = &sequence.loss_weights[start..end];
            if tokens[0] != layout.bos {
                assert!(
                    end == SEQ_LEN
                        && tokens.iter().all(|&t| t == layout.eos)
                        && weights.iter().all(|&w| w == 0.0)
                );
                padding += tokens.len();
                continue;
            }
            let (count, instruction) = expected.get_mut(tokens).expect("a whole document");
            *count = count.checked_sub(1).expect("each once");
            for (i, &weight) in weights.iter().enumerate() {
                let trained = i >= *instruction && i + 1 < tokens.len();
                assert_eq!(
                    weight,
                    f32::from(u8::from(trained)),
                    "position {i} of {tokens:?}"
                );
            }
        }
    }
    assert!(expected.values().all(|&(left, _)| left == 0));
    let share = padding as f64 / (summary.sequences_per_epoch as usize * SEQ_LEN) as f64;
    // many documents are a little over half a sequence
    assert!(share < 0.2, "{share} of all tokens are padding");
}

#[test]
fn packing_loses_less_than_a_thousandth() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 3, 3000);
    let loader = open(data.path());
    let summary = loader.summary();
    let served = summary.sequences_per_epoch * SEQ_LEN as u64;
    let lost = 1.0 - served as f64 / summary.train_tokens as f64;
    assert!(
        summary.train_tokens > 4 * 1000 * SEQ_LEN as u64,
        "several groups"
    );
    assert!(
        (0.0..0.001).contains(&lost),
        "{lost} of the tokens are lost"
    );
    // a document cut by the end of a sequence goes on in another one
    let first = loader.sequence(0).unwrap();
    assert!(first.tokens.contains(&loader.vocab().layout().bos));
}
