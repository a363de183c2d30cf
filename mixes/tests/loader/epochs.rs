//! A component alone: every token once an epoch, and the same sequences after any restart.

use crate::common::*;
use mixes::*;
use shards::*;
use std::collections::{BTreeMap, BTreeSet};
use tempfile::TempDir;

/// The training renderings of `all`, or the validation ones.
fn renderings(
    all: &[Document],
    layout: &VocabLayout,
    view: View,
    validation: bool,
) -> Vec<Vec<u32>> {
    let mut out = Vec::new();
    for document in all
        .iter()
        .filter(|d| is_validation(&d.id, 0.2) == validation)
    {
        for order in view.variants() {
            let mut tokens = Vec::new();
            order.render(document, layout, CODEBOOKS, CODEBOOKS, &mut tokens);
            out.push(tokens);
        }
    }
    out
}

/// Every packed document of an epoch's sequences that lies whole within one sequence.
fn whole_documents(sequences: &[Sequence], layout: &VocabLayout) -> Vec<Vec<u32>> {
    let mut found = Vec::new();
    for sequence in sequences {
        for segment in 0..=*sequence.segment_ids.last().unwrap() {
            let ids = sequence.tokens.iter().zip(&sequence.segment_ids);
            let tokens: Vec<u32> = ids
                .filter(|(_, s)| **s == segment)
                .map(|(t, _)| *t)
                .collect();
            if tokens[0] == layout.bos && tokens[tokens.len() - 1] == layout.eos && tokens.len() > 1
            {
                found.push(tokens);
            }
        }
    }
    found
}

fn epoch(loader: &Loader, number: u64) -> Vec<Sequence> {
    let n = loader.summary().sequences_per_epoch;
    (number * n..(number + 1) * n)
        .map(|i| loader.sequence(i).unwrap())
        .collect()
}

#[test]
fn an_epoch_has_every_training_token_once_but_for_the_remainders() {
    let data = TempDir::new().unwrap();
    let all = dataset(data.path(), 3, 150);
    for view in [View::Both, View::TextFirst, View::AudioFirst] {
        let loader = load(&mixture(view), data.path());
        let (summary, layout) = (loader.summary(), loader.vocab().layout().clone());
        let expected = renderings(&all, &layout, view, false);
        let tokens: usize = expected.iter().map(Vec::len).sum();
        assert_eq!(summary.train_tokens as usize, tokens);
        let row_groups = summary.components[0].row_groups;
        assert!(row_groups > 8, "{row_groups} row groups");
        let served = summary.sequences_per_epoch as usize * SEQ_LEN;
        // small row groups are packed together
        assert!(served <= tokens && tokens - served < SEQ_LEN);

        let mut left: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        expected
            .into_iter()
            .for_each(|tokens| *left.entry(tokens).or_default() += 1);
        let sequences = epoch(&loader, 0);
        let mut histogram = vec![0i64; layout.vocab_size as usize];
        for tokens in whole_documents(&sequences, &layout) {
            let count = left.get_mut(&tokens).expect("a training document");
            *count = count.checked_sub(1).expect("each rendering once");
        }
        sequences
            .iter()
            .flat_map(|s| &s.tokens)
            .for_each(|&t| histogram[t as usize] += 1);
        for tokens in renderings(&all, &layout, view, false) {
            tokens.iter().for_each(|&t| histogram[t as usize] -= 1);
        }
        assert!(
            histogram.iter().all(|&n| n <= 0),
            "no token is served more often than it is stored"
        );
        assert_eq!(-histogram.iter().sum::<i64>(), (tokens - served) as i64);
    }
}

#[test]
fn sequences_are_a_pure_function_of_their_number() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 2, 150);
    let loader = open(data.path());
    let n = loader.summary().sequences_per_epoch;
    let forward: Vec<_> = (0..2 * n).map(|i| loader.sequence(i).unwrap()).collect();
    let fresh = open(data.path());
    for i in (0..2 * n).rev() {
        assert_eq!(
            fresh.sequence(i).unwrap(),
            forward[i as usize],
            "sequence {i} read backwards"
        );
    }
    // A stride visits windows and epochs in an order that no cache expects, from several threads.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (fresh, forward) = (&fresh, &forward);
            scope.spawn(move || {
                for step in 0..2 * n {
                    let i = (step * 37 + thread * 11) % (2 * n);
                    assert_eq!(fresh.sequence(i).unwrap(), forward[i as usize]);
                }
            });
        }
    });
    assert_ne!(
        forward[..n as usize],
        forward[n as usize..],
        "epochs differ in order"
    );
    let other = Loader::open(
        &mixture(View::Both),
        data.path().to_str().unwrap(),
        &LoaderOptions {
            seed: 8,
            ..options(data.path())
        },
    )
    .unwrap();
    assert_ne!(
        epoch(&other, 0),
        forward[..n as usize],
        "seeds differ in order"
    );
    loader.sequence((1 << 40) - 1).unwrap();
    assert!(
        loader
            .sequence(1 << 40)
            .unwrap_err()
            .to_string()
            .contains("2^40")
    );
}

#[test]
fn validation_is_apart_complete_and_in_order() {
    let data = TempDir::new().unwrap();
    let all = dataset(data.path(), 2, 150);
    let loader = open(data.path());
    let layout = loader.vocab().layout().clone();
    let expected = renderings(&all, &layout, View::Both, true);
    let mut sets = loader.validation(usize::MAX).unwrap();
    assert_eq!((sets.len(), sets[0].0.as_str()), (1, "corpus"));
    let sequences = sets.remove(0).1;
    assert_eq!(loader.validation(2).unwrap()[0].1, sequences[..2]);
    let tokens: Vec<u32> = sequences.iter().flat_map(|s| s.tokens.clone()).collect();
    let stored = expected.concat();
    assert_eq!(loader.summary().validation_tokens as usize, stored.len());
    assert!(!stored.is_empty() && tokens.len() - stored.len() < SEQ_LEN);
    assert_eq!(tokens[..stored.len()], stored);
    assert!(tokens[stored.len()..].iter().all(|&t| t == layout.eos));
    let weights: Vec<f32> = sequences
        .iter()
        .flat_map(|s| s.loss_weights.clone())
        .collect();
    assert!(weights[stored.len() - 1..].iter().all(|&w| w == 0.0));

    let kept: BTreeSet<_> = expected.into_iter().collect();
    let trained = whole_documents(&epoch(&loader, 0), &layout);
    assert!(trained.len() > 100 && trained.iter().all(|document| !kept.contains(document)));
}

#[test]
fn shapes_and_weights() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 100);
    let loader = open(data.path());
    let eos = loader.vocab().layout().eos;
    for sequence in epoch(&loader, 0) {
        assert_eq!(
            [
                sequence.tokens.len(),
                sequence.segment_ids.len(),
                sequence.loss_weights.len()
            ],
            [SEQ_LEN; 3]
        );
        for i in 0..SEQ_LEN - 1 {
            let ends = sequence.tokens[i] == eos;
            assert_eq!(sequence.loss_weights[i], if ends { 0.0 } else { 1.0 });
            assert_eq!(
                sequence.segment_ids[i + 1] - sequence.segment_ids[i],
                u32::from(ends)
            );
        }
        assert_eq!(
            (sequence.segment_ids[0], sequence.loss_weights[SEQ_LEN - 1]),
            (0, 0.0)
        );
    }
}

#[test]
fn fewer_codebooks_are_the_first_ones() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 100);
    let mut semantic = mixture(View::AudioFirst);
    semantic.components[0].codebooks = 1;
    let loader = load(&semantic, data.path());
    let layout = loader.vocab().layout().clone();
    let all = epoch(&loader, 0);
    let audio = all
        .iter()
        .flat_map(|s| &s.tokens)
        .filter(|&&t| t >= layout.audio_base);
    assert!(audio.clone().count() > 100);
    assert!(
        audio
            .into_iter()
            .all(|&t| layout.kind(t) == TokenKind::Audio(0))
    );
}
