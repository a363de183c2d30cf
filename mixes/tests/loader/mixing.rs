//! Several components: proportions, processes, restarts, and the ends of the data.

use crate::common::*;
use mixes::*;
use rayon::prelude::*;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Three corpora of different sizes, mixed 5 : 2 : 1 in blocks of 16, and later 1 : 2 : 5.
fn three(data: &Path) -> Mixture {
    dataset_of(data, "large", 2, 1500, 0);
    dataset_of(data, "middle", 1, 700, 1);
    dataset_of(data, "small", 1, 60, 2);
    Mixture {
        block_size: 16,
        components: vec![
            component("large", View::Both),
            component("middle", View::AudioFirst),
            component("small", View::TextFirst),
        ],
        stages: vec![
            stage(0, &[0.625, 0.25, 0.125]),
            stage(160, &[0.125, 0.25, 0.625]),
        ],
        ..mixture(View::Both)
    }
}

#[test]
fn every_block_has_the_counts_of_its_stage() {
    let data = TempDir::new().unwrap();
    let mixture = three(data.path());
    let loader = load(&mixture, data.path());
    for (block, expected) in [
        (0, [10, 4, 2]),
        (9, [10, 4, 2]),
        (10, [2, 4, 10]),
        (30, [2, 4, 10]),
    ] {
        let mut counts = [0; 3];
        for index in block * 16..(block + 1) * 16 {
            counts[corpus_of(&loader.sequence(index).unwrap(), loader.vocab())] += 1;
        }
        assert_eq!(counts, expected, "block {block}");
        assert_eq!(
            loader.schedule().counts(block),
            expected.map(|count| count as u64)
        );
    }
}

#[test]
fn batches_are_the_same_for_any_number_of_processes() {
    let data = TempDir::new().unwrap();
    let mixture = three(data.path());
    let loader = Arc::new(load(&mixture, data.path()));
    let expected: Vec<Sequence> = (0..24 * 8)
        .map(|index| loader.sequence(index).unwrap())
        .collect();
    for ranks in [1, 2, 4, 8] {
        let mut streams: Vec<Batches> = (0..ranks)
            .map(|rank| {
                // each process opens the data for itself
                let own = Arc::new(load(&mixture, data.path()));
                let share = Share {
                    batch_size: 8,
                    rank,
                    ranks,
                };
                Batches::start(own, share, 0, 2)
            })
            .collect();
        for step in 0..24 {
            let parts: Vec<Vec<Sequence>> = streams
                .iter_mut()
                .map(|s| s.next().unwrap().unwrap())
                .collect();
            for at in 0..8 {
                let found = &parts[at % ranks as usize][at / ranks as usize];
                assert_eq!(
                    found,
                    &expected[step * 8 + at],
                    "step {step}, {at} of {ranks} ranks"
                );
            }
        }
    }
}

#[test]
fn threads_that_share_a_pool_do_not_wait_for_each_other() {
    let data = TempDir::new().unwrap();
    let mixture = three(data.path());
    load(&mixture, data.path());
    let folder = data.path().to_path_buf();
    let (done, waits) = channel();
    // left to itself, so that a wait without end fails the test instead of stopping it
    thread::spawn(move || {
        for _ in 0..300 {
            let loader = load(&mixture, &folder);
            let read = |index: u64| drop(loader.sequence(index).unwrap());
            thread::scope(|scope| {
                scope.spawn(|| (0..24).for_each(read));
                (0..24).into_par_iter().for_each(read);
            });
        }
        done.send(()).unwrap();
    });
    let waited = waits.recv_timeout(Duration::from_secs(120));
    waited.expect("sequences asked for in a rayon pool arrive");
}

#[test]
fn a_run_restarted_at_random_steps_sees_the_same_stream() {
    let data = TempDir::new().unwrap();
    let mixture = three(data.path());
    let steps = 260u64;
    let share = Share::whole(4);
    let hash = |sequences: &[Sequence], digest: &mut u64| {
        for token in sequences.iter().flat_map(|s| &s.tokens) {
            *digest = digest.wrapping_mul(0x0000_0100_0000_01B3) ^ u64::from(*token);
        }
    };
    let mut undisturbed = 0;
    let mut whole = Batches::start(Arc::new(load(&mixture, data.path())), share, 0, 4);
    (0..steps).for_each(|_| hash(&whole.next().unwrap().unwrap(), &mut undisturbed));

    let (mut digest, mut step, mut restarts) = (0, 0, 0);
    let mut random = 7u64;
    while step < steps {
        let loader = Arc::new(load(&mixture, data.path()));
        let mut batches = Batches::start(loader, share, step * share.batch_size, 1 + restarts % 5);
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let until = (step + (random >> 33) % 8).min(steps);
        for _ in step..until {
            hash(&batches.next().unwrap().unwrap(), &mut digest);
        }
        step = until;
        restarts += 1;
    }
    assert!(restarts >= 50, "{restarts} restarts");
    assert_eq!(digest, undisturbed);
}

#[test]
fn a_component_has_its_order_in_any_company() {
    let data = TempDir::new().unwrap();
    let mixture = three(data.path());
    let together = load(&mixture, data.path());
    let mut alone = mixture.clone();
    alone.components.remove(0);
    alone.components.remove(1);
    alone.block_size = 1;
    alone.stages = vec![stage(0, &[1.0])];
    let alone = load(&alone, data.path());
    let of_middle = (0..160).map(|index| together.sequence(index).unwrap());
    let mut of_middle: Vec<Sequence> = of_middle
        .filter(|s| corpus_of(s, together.vocab()) == 1)
        .collect();
    let mut expected: Vec<Sequence> = (0..40)
        .map(|index| alone.sequence(index).unwrap())
        .collect();
    // within a block the order is the block's
    let key = |sequence: &Sequence| sequence.tokens.clone();
    of_middle.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(of_middle, expected);
}

#[test]
fn data_end_where_the_strategy_says() {
    let data = TempDir::new().unwrap();
    let mut mixture = three(data.path());
    mixture.stages.truncate(1);
    let lengths = |loader: &Loader| -> Vec<u64> {
        loader
            .summary()
            .components
            .iter()
            .map(|c| c.sequences_per_epoch)
            .collect()
    };
    assert_eq!(load(&mixture, data.path()).len(), None);
    mixture.stop = StopStrategy::FirstExhausted;
    let first = load(&mixture, data.path());
    let (len, of_component) = (first.len().unwrap(), lengths(&first));
    let is_there = |index| {
        let (component, number) = first.schedule().locate(index);
        number < of_component[component]
    };
    assert!((0..len).all(is_there) && !is_there(len));
    first.sequence(len - 1).unwrap();
    let message = first.sequence(len).unwrap_err().to_string();
    assert!(
        message.contains("first_exhausted") && message.contains(&len.to_string()),
        "{message}"
    );
    mixture.stop = StopStrategy::AllExhausted;
    let all = load(&mixture, data.path());
    let consumed = all.schedule().consumed(all.len().unwrap());
    assert!(
        consumed
            .iter()
            .zip(&of_component)
            .all(|(consumed, length)| consumed >= length)
    );
    // a reader that is ahead of the end gets what there is, and then the reason
    let mut batches = Batches::start(Arc::new(first), Share::whole(len), 0, 2);
    assert_eq!(batches.next().unwrap().unwrap().len() as u64, len);
    assert!(batches.next().unwrap().is_err());
    assert!(batches.next().is_none());
}

#[test]
fn simulated_epoching_cuts_every_component_to_the_same_part() {
    let data = TempDir::new().unwrap();
    let mixture = three(data.path());
    let whole = load(&mixture, data.path()).summary();
    let simulated = SimulatedEpoching {
        target_tokens: 1e9,
        experiment_tokens: 1e8,
    };
    let options = LoaderOptions {
        simulated_epoching: Some(simulated),
        ..options(data.path())
    };
    let part = Loader::open(&mixture, data.path().to_str().unwrap(), &options).unwrap();
    for (whole, part) in whole.components.iter().zip(&part.summary().components) {
        assert_eq!(
            part.sequences_per_epoch,
            (whole.sequences_per_epoch / 10).max(1)
        );
    }
    // the few sequences of the middle corpus come again and again
    let sequences = (0..3200).map(|index| part.sequence(index).unwrap());
    let seen: HashSet<Vec<u32>> = sequences
        .filter(|s| corpus_of(s, part.vocab()) == 1)
        .map(|s| s.tokens)
        .collect();
    assert_eq!(
        seen.len() as u64,
        part.summary().components[1].sequences_per_epoch
    );
}
