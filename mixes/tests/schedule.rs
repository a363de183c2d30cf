//! Laws of schedules, on random mixtures with stages, against counting sequence by sequence.

use mixes::*;
use proptest::collection::vec;
use proptest::prelude::*;

const SEQ_LEN: usize = 16;
/// More blocks than the stages of a random mixture have.
const BLOCKS: u64 = 24;

fn component(number: usize) -> Component {
    Component {
        name: format!("c{number}"),
        sources: vec![format!("c{number}")],
        view: View::Both,
        codebooks: 8,
    }
}

fn normalised(weights: &[u32]) -> Vec<f64> {
    let sum: u32 = weights.iter().sum();
    weights
        .iter()
        .map(|&w| f64::from(w) / f64::from(sum))
        .collect()
}

/// Stages of 1 to 5 components, some of weight 0 for a time, starting at sequences or tokens within or at the end of blocks.
fn mixtures() -> impl Strategy<Value = Mixture> {
    let stage = (vec(0u32..9, 5), 1u64..6, 0u64..100, any::<bool>());
    let stop = prop_oneof![
        Just(StopStrategy::Restart),
        Just(StopStrategy::FirstExhausted),
        Just(StopStrategy::AllExhausted)
    ];
    let parts = (1usize..=5, 45u64..80, vec(stage, 1..5), any::<bool>(), stop);
    parts.prop_map(|(components, block_size, rows, by_tokens, stop)| {
        let weigh = |row: &[u32]| match row[..components].iter().sum::<u32>() {
            0 => normalised(&vec![1; components]),
            _ => normalised(&row[..components]),
        };
        let (mut stages, mut block) = (Vec::new(), 0);
        for (number, (row, blocks, back, interpolate)) in rows.iter().enumerate() {
            let sequences = (block * block_size).saturating_sub(back % block_size);
            let next = rows.get(number + 1).filter(|_| *interpolate);
            stages.push(Stage {
                start: match by_tokens {
                    true => Start::Tokens((sequences * SEQ_LEN as u64).saturating_sub(back % 16)),
                    false => Start::Sequences(sequences),
                },
                weights: weigh(row),
                until: next.map(|(row, ..)| weigh(row)),
            });
            block += blocks;
        }
        Mixture {
            name: "random".into(),
            validation_fraction: 0.0,
            permutation: PermutationKind::Feistel,
            stop,
            block_size,
            packing: Packing::Concat,
            components: (0..components).map(component).collect(),
            stages,
        }
    })
}

/// The first `sequences` sequences, one by one.
fn located(schedule: &Schedule, sequences: u64) -> Vec<(usize, u64)> {
    (0..sequences).map(|index| schedule.locate(index)).collect()
}

proptest! {
    #[test]
    fn whole_blocks_give_each_component_its_numbers_once_and_in_the_announced_counts(mixture in mixtures(), seed: u64) {
        let schedule = Schedule::new(&mixture, SEQ_LEN, seed).unwrap();
        let mut seen: Vec<Vec<bool>> = vec![Vec::new(); mixture.components.len()];
        let mut given = vec![0; seen.len()];
        for block in 0..BLOCKS {
            let counts = schedule.counts(block);
            prop_assert_eq!(counts.iter().sum::<u64>(), mixture.block_size);
            seen.iter_mut().zip(counts).for_each(|(seen, &count)| seen.resize(seen.len() + count as usize, false));
            let mut found = vec![0; counts.len()];
            for index in block * mixture.block_size..(block + 1) * mixture.block_size {
                prop_assert_eq!(&schedule.consumed(index), &given, "before {}", index);
                let (component, number) = schedule.locate(index);
                found[component] += 1;
                given[component] += 1;
                prop_assert!(!std::mem::replace(&mut seen[component][number as usize], true), "{} twice", number);
            }
            prop_assert_eq!(found.as_slice(), counts);
        }
        prop_assert!(seen.concat().into_iter().all(|seen| seen));
    }

    #[test]
    fn stages_begin_at_the_first_block_from_their_start_on(mixture in mixtures()) {
        let schedule = Schedule::new(&mixture, SEQ_LEN, 0).unwrap();
        for (number, stage) in mixture.stages.iter().enumerate() {
            let next = mixture.stages.get(number + 1);
            let first = |stage: &Stage| (0..).find(|block| match stage.start {
                Start::Sequences(sequences) => block * mixture.block_size >= sequences,
                Start::Tokens(tokens) => block * mixture.block_size * SEQ_LEN as u64 >= tokens,
            }).unwrap();
            let (begin, end) = (first(stage), next.map_or(BLOCKS, first));
            for block in begin..end {
                let way = (block - begin) as f64 + 0.5;
                let way = if stage.until.is_some() { way / (end - begin) as f64 } else { 0.0 };
                let until = stage.until.as_ref().unwrap_or(&stage.weights);
                let counts = schedule.counts(block);
                let largest = counts.iter().max().unwrap();
                for (component, &count) in counts.iter().enumerate() {
                    let weight = stage.weights[component] * (1.0 - way) + until[component] * way;
                    let least = (weight * mixture.block_size as f64 + 1e-9).floor() as u64;
                    prop_assert!(count == least || count > least && count == *largest, "{:?}", counts);
                }
            }
        }
    }

    #[test]
    fn the_end_is_that_of_counting(mixture in mixtures(), seed: u64, lengths in vec(0u64..300, 5)) {
        let schedule = Schedule::new(&mixture, SEQ_LEN, seed).unwrap();
        let lengths = &lengths[..mixture.components.len()];
        // Enough for any component that is not out of the last stage.
        let sequences = mixture.block_size * 330;
        let located = located(&schedule, sequences);
        let expected = match mixture.stop {
            StopStrategy::Restart => None,
            StopStrategy::FirstExhausted => {
                located.iter().position(|&(component, number)| number >= lengths[component])
            }
            StopStrategy::AllExhausted => {
                let mut missing: u64 = lengths.iter().sum();
                let mut needs = located.iter().map(|&(component, number)| {
                    missing -= u64::from(number < lengths[component]);
                    missing
                });
                match lengths.iter().sum() {
                    0u64 => Some(0),
                    _ => needs.position(|missing| missing == 0).map(|at| at + 1),
                }
            }
        };
        prop_assert_eq!(schedule.end(lengths), expected.map(|end| end as u64));
    }

    #[test]
    fn orders_differ_between_blocks_and_seeds_and_depend_on_nothing_else(mixture in mixtures(), seed: u64) {
        let schedule = |seed| Schedule::new(&mixture, SEQ_LEN, seed).unwrap();
        let all = located(&schedule(seed), 20 * mixture.block_size);
        let again = schedule(seed);
        for index in (0..all.len() as u64).rev() {
            prop_assert_eq!(again.locate(index), all[index as usize]);
        }
        prop_assert_ne!(located(&schedule(seed ^ 1), all.len() as u64), all);
    }
}

fn even(stages: Vec<Stage>) -> Mixture {
    Mixture {
        name: "even".into(),
        validation_fraction: 0.0,
        permutation: PermutationKind::Feistel,
        stop: StopStrategy::Restart,
        block_size: 64,
        packing: Packing::Concat,
        components: vec![component(0), component(1)],
        stages,
    }
}

fn stage(start: u64, weights: [f64; 2]) -> Stage {
    Stage {
        start: Start::Sequences(start),
        weights: weights.to_vec(),
        until: None,
    }
}

#[test]
fn neighbouring_blocks_have_different_orders() {
    let schedule = Schedule::new(&even(vec![stage(0, [0.5, 0.5])]), SEQ_LEN, 1).unwrap();
    let block = |number: u64| -> Vec<usize> {
        let indices = number * 64..(number + 1) * 64;
        indices.map(|index| schedule.locate(index).0).collect()
    };
    assert_ne!(block(0), block(1));
    let runs = block(0)
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .count();
    assert!(
        (16..48).contains(&runs),
        "{runs} of 63 neighbours are of one component"
    );
}

#[test]
fn a_long_interpolation_has_256_stairs_and_costs_no_more() {
    let mut first = stage(0, [1.0, 0.0]);
    first.until = Some(vec![0.0, 1.0]);
    let end = 1 << 40;
    let mut mixture = even(vec![first, stage(end, [0.0, 1.0])]);
    mixture.block_size = 2048;
    let schedule = Schedule::new(&mixture, SEQ_LEN, 1).unwrap();
    let blocks = end / 2048;
    let stairs = (0..256).map(|stair| schedule.counts(stair * blocks / 256).to_vec());
    let stairs: Vec<_> = stairs.collect();
    assert_eq!(
        (stairs[0][1], stairs[128][1], stairs[255][1]),
        (4, 1028, 2044)
    );
    assert!(stairs.windows(2).all(|pair| pair[1][1] == pair[0][1] + 8));
    assert_eq!(schedule.counts(blocks / 256 - 1), stairs[0]);
    assert_eq!(schedule.consumed(end), [end / 2, end / 2]);
    assert_eq!(schedule.counts(blocks), [0, 2048]);
}

#[test]
fn what_cannot_be_scheduled_is_refused() {
    let mut until = stage(0, [0.5, 0.5]);
    until.until = Some(vec![1.0, 0.0]);
    for (stages, expected) in [
        (vec![], "first stage must start at 0"),
        (vec![stage(1, [0.5, 0.5])], "first stage must start at 0"),
        (vec![stage(0, [0.5, 0.6])], "weights of stage 1"),
        (vec![stage(0, [1.5, -0.5])], "weights of stage 1"),
        (vec![stage(0, [f64::NAN, 0.5])], "weights of stage 1"),
        (
            vec![stage(0, [0.99, 0.01])],
            "\"c1\" has a share of 1.000e-2, less than one of the 64 sequences of a block; raise its weight, or set block_size to at least 100",
        ),
        (vec![until], "no next one"),
        (
            vec![
                stage(0, [0.5, 0.5]),
                stage(63, [0.5, 0.5]),
                stage(64, [0.5, 0.5]),
            ],
            "stage 2 has no block of 64",
        ),
    ] {
        let error = Schedule::new(&even(stages), SEQ_LEN, 0)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"even\"") && error.contains(expected),
            "{error}"
        );
    }
    let mut three = even(vec![stage(0, [0.5, 0.5])]);
    three.components.push(component(2));
    let error = Schedule::new(&three, SEQ_LEN, 0).unwrap_err().to_string();
    assert!(error.contains("must be 3 numbers"), "{error}");
}
