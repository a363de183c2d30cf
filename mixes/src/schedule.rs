//! Which component each sequence of a run is from.
//!
//! Mixing is block-deterministic, as Levanter's: every block of `block_size` sequences has the same number of sequences of a
//! component, and only their order within the block is random. So the proportions hold at any time to within a block, and where
//! a sequence comes from is known without a look at those before it.
//!
//! A stage begins at a block. One that interpolates goes in stairs of equal weights, at most [`MAX_STAIRS`] of them, each with the
//! weights of its middle.

use crate::apportion::{counts, vanishing};
use crate::error::{Error, Result};
use crate::mixture::{Mixture, Stage, Start, StopStrategy};
use crate::permutation::{Permutation, PermutationKind, derive_key};

/// Stairs of a stage that interpolates: a step of under half a percent of the way.
const MAX_STAIRS: u64 = 256;
/// Marks the keys of the orders within blocks.
const BLOCK_ORDER: u64 = u64::from_be_bytes(*b"blkorder");
/// How far the weights of a stage may be from a sum of 1.
const SUM_TOLERANCE: f64 = 1e-6;

/// Says of each sequence from which component it is, and which one of that component's.
#[derive(Clone, Debug)]
pub struct Schedule {
    block_size: u64,
    seed: u64,
    stop: StopStrategy,
    /// First block of each stage.
    stages: Vec<u64>,
    stairs: Vec<Stair>,
}

/// Blocks with the same counts.
#[derive(Clone, Debug)]
struct Stair {
    first_block: u64,
    /// Sequences of each component in a block.
    counts: Vec<u64>,
    /// First permuted slot of each component in a block, and the block's size.
    slots: Vec<u64>,
    /// Sequences of each component in all blocks before.
    before: Vec<u64>,
}

impl Schedule {
    /// The schedule of a mixture whose sequences have `seq_len` tokens.
    pub fn new(mixture: &Mixture, seq_len: usize, seed: u64) -> Result<Self> {
        let refuse = |problem| Error::BadSchedule {
            mixture: mixture.name.clone(),
            problem,
        };
        check(mixture, seq_len).map_err(refuse)?;
        let starts = first_blocks(mixture, seq_len as u64).map_err(refuse)?;
        let mut stairs = Vec::new();
        for (number, stage) in mixture.stages.iter().enumerate() {
            let next = starts.get(number + 1).copied();
            for (first_block, weights) in steps(stage, starts[number], next) {
                let counts = counts(&weights, mixture.block_size);
                let stair = Stair::new(first_block, counts, stairs.last());
                stairs.push(stair);
            }
        }
        Ok(Self {
            block_size: mixture.block_size,
            seed,
            stop: mixture.stop,
            stages: starts,
            stairs,
        })
    }

    /// Sequences of a block.
    pub fn block_size(&self) -> u64 {
        self.block_size
    }

    /// The first sequence of each stage.
    pub fn stages(&self) -> impl ExactSizeIterator<Item = u64> {
        self.stages.iter().map(|block| block * self.block_size)
    }

    /// Runs of blocks that are divided alike: the first sequence of each, and the sequences of each component in its blocks.
    pub fn stairs(&self) -> impl ExactSizeIterator<Item = (u64, &[u64])> {
        let stairs = self.stairs.iter();
        stairs.map(|stair| (stair.first_block * self.block_size, stair.counts.as_slice()))
    }

    /// Sequences of each component in block number `block`; their sum is the block's size.
    pub fn counts(&self, block: u64) -> &[u64] {
        &self.stair(block).counts
    }

    /// The component of sequence number `index`, and its number within that component. Numbers run on through stages, and any
    /// number is given once.
    pub fn locate(&self, index: u64) -> (usize, u64) {
        let block = index / self.block_size;
        self.stair(block)
            .locate(block, self.order(block).apply(index % self.block_size))
    }

    /// How many of the first `sequences` sequences are of each component.
    pub fn consumed(&self, sequences: u64) -> Vec<u64> {
        let block = sequences / self.block_size;
        let (stair, order) = (self.stair(block), self.order(block));
        let mut consumed = stair.before(block);
        for slot in 0..sequences % self.block_size {
            consumed[stair.locate(block, order.apply(slot)).0] += 1;
        }
        consumed
    }

    /// How many sequences there are, if the components have `lengths` sequences and the mixture does not restart for ever: up to
    /// the first that a component does not have, or until all have given each of theirs. None if it does not end.
    pub fn end(&self, lengths: &[u64]) -> Option<u64> {
        let lengths = || lengths.iter().copied().enumerate();
        match self.stop {
            StopStrategy::Restart => None,
            StopStrategy::FirstExhausted => lengths()
                .filter_map(|(c, len)| self.first_past(c, len))
                .min(),
            StopStrategy::AllExhausted => {
                let ends = lengths().map(|(c, len)| self.behind_last(c, len));
                ends.collect::<Option<Vec<_>>>()?.into_iter().max()
            }
        }
    }

    /// The first sequence of `component` with a number of `len` or more.
    fn first_past(&self, component: usize, len: u64) -> Option<u64> {
        let begin = self.block_of(component, len)? * self.block_size;
        (begin..begin + self.block_size).find(|&index| {
            let (found, number) = self.locate(index);
            found == component && number >= len
        })
    }

    /// The number of sequences that hold all of `component` with a number below `len`.
    fn behind_last(&self, component: usize, len: u64) -> Option<u64> {
        let Some(last) = len.checked_sub(1) else {
            return Some(0);
        };
        let begin = self.block_of(component, last)? * self.block_size;
        let holder = (begin..begin + self.block_size).rfind(|&index| {
            let (found, number) = self.locate(index);
            found == component && number < len
        });
        holder.map(|index| index + 1)
    }

    /// The block with sequence `number` of `component`, if it ever comes.
    fn block_of(&self, component: usize, number: u64) -> Option<u64> {
        let reached = |stair: &Stair| stair.before[component] <= number;
        let stair = &self.stairs[self.stairs.partition_point(reached) - 1];
        let blocks = (number - stair.before[component]).checked_div(stair.counts[component])?;
        Some(stair.first_block + blocks)
    }

    fn stair(&self, block: u64) -> &Stair {
        let begun = |stair: &Stair| stair.first_block <= block;
        &self.stairs[self.stairs.partition_point(begun) - 1]
    }

    fn order(&self, block: u64) -> Permutation {
        let key = derive_key(&[self.seed, BLOCK_ORDER, block]);
        Permutation::new(PermutationKind::Feistel, self.block_size, key)
    }
}

impl Stair {
    fn new(first_block: u64, counts: Vec<u64>, previous: Option<&Stair>) -> Self {
        let before = match previous {
            Some(previous) => previous.before(first_block),
            None => vec![0; counts.len()],
        };
        let mut slots = vec![0];
        for count in &counts {
            slots.push(slots[slots.len() - 1] + count);
        }
        Self {
            first_block,
            counts,
            slots,
            before,
        }
    }

    /// Sequences of each component before `block`, which is one of this stair's or its end.
    fn before(&self, block: u64) -> Vec<u64> {
        let pairs = self.before.iter().zip(&self.counts);
        pairs
            .map(|(before, count)| before + count * (block - self.first_block))
            .collect()
    }

    /// Component and number of a slot of the permuted block.
    fn locate(&self, block: u64, slot: u64) -> (usize, u64) {
        let component = self.slots.partition_point(|&first| first <= slot) - 1;
        let blocks = self.counts[component] * (block - self.first_block);
        let number = self.before[component] + blocks + slot - self.slots[component];
        (component, number)
    }
}

/// The first blocks and the weights of a stage's stairs; `next` is the first block of the next stage.
fn steps(stage: &Stage, first: u64, next: Option<u64>) -> Vec<(u64, Vec<f64>)> {
    let (Some(until), Some(next)) = (&stage.until, next) else {
        return vec![(first, stage.weights.clone())];
    };
    let blocks = next - first;
    let stairs = blocks.min(MAX_STAIRS);
    // A product of two numbers of 64 bits.
    let edge = |stair: u64| (u128::from(blocks) * u128::from(stair) / u128::from(stairs)) as u64;
    let step = |stair: u64| {
        let middle = (edge(stair) + edge(stair + 1)) as f64 / 2.0;
        let way = middle / blocks as f64;
        let pairs = stage.weights.iter().zip(until);
        let weights = pairs.map(|(from, to)| from * (1.0 - way) + to * way);
        (first + edge(stair), weights.collect())
    };
    (0..stairs).map(step).collect()
}

/// The first block of each stage.
fn first_blocks(mixture: &Mixture, seq_len: u64) -> Result<Vec<u64>, String> {
    let block_size = mixture.block_size;
    let first_block = |stage: &Stage| match stage.start {
        Start::Sequences(sequences) => sequences.div_ceil(block_size),
        Start::Tokens(tokens) => tokens.div_ceil(seq_len).div_ceil(block_size),
    };
    let starts: Vec<u64> = mixture.stages.iter().map(first_block).collect();
    match starts.windows(2).position(|pair| pair[0] >= pair[1]) {
        None => Ok(starts),
        Some(stage) => Err(format!(
            "stage {} has no block of {block_size} sequences of {seq_len} tokens before the next one starts; put them further \
             apart, or lower block_size",
            stage + 1
        )),
    }
}

/// What a mixture that was not read from a file may lack.
fn check(mixture: &Mixture, seq_len: usize) -> Result<(), String> {
    let (components, block_size) = (&mixture.components, mixture.block_size);
    if components.is_empty() || block_size == 0 || seq_len == 0 {
        return Err("components, block_size and the sequence length must not be empty or 0".into());
    }
    match mixture.stages.as_slice() {
        [first, ..] if matches!(first.start, Start::Sequences(0) | Start::Tokens(0)) => {}
        _ => return Err("the first stage must start at 0".into()),
    }
    for (number, stage) in mixture.stages.iter().enumerate() {
        for weights in [&stage.weights].into_iter().chain(&stage.until) {
            let sum: f64 = weights.iter().sum();
            let normal = (sum - 1.0).abs() < SUM_TOLERANCE && weights.iter().all(|w| *w >= 0.0);
            if !normal || weights.len() != components.len() {
                return Err(format!(
                    "the weights of stage {} must be {} numbers from 0 on with the sum 1, and are {weights:?}",
                    number + 1,
                    components.len()
                ));
            }
        }
        match stage.until {
            Some(_) if number + 1 == mixture.stages.len() => {
                return Err("the last stage has no next one to interpolate to".into());
            }
            Some(_) => {}
            None => vanishing(components, &stage.weights, block_size)
                .map_or(Ok(()), |(_, problem)| Err(problem))?,
        }
    }
    Ok(())
}
