//! Seeded permutations of 0..n that need no table.
//!
//! A Feistel network permutes the numbers of an even number of bits; numbers outside 0..n are permuted again until they fall
//! inside ("cycle walking", Black and Rogaway 2002), which takes four steps at worst on average. A linear permutation is
//! i → (a·i + b) mod n with a prime to n: cheaper, and far more regular. The recipe has experiments with either.

use serde::{Deserialize, Serialize};

/// Rounds of the Feistel network; four already make a pseudo-random permutation (Luby and Rackoff 1988).
const ROUNDS: usize = 6;

/// How sequences are shuffled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PermutationKind {
    /// By a Feistel network: without a pattern.
    #[default]
    Feistel,
    /// By a linear congruence.
    Linear,
}

/// A pseudo-random bijection of `0..len`, determined by its kind and key.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    map: Map,
}

#[derive(Clone, Debug)]
enum Map {
    Feistel { half_bits: u32, keys: [u64; ROUNDS] },
    Linear { factor: u64, offset: u64 },
}

impl Permutation {
    /// The permutation of `0..len` with this key; `len` is at most 2^62.
    pub fn new(kind: PermutationKind, len: u64, key: u64) -> Self {
        let map = match kind {
            PermutationKind::Feistel => feistel(len, key),
            PermutationKind::Linear => linear(len, key),
        };
        Self { len, map }
    }

    /// How many numbers are permuted.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is permuted.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where `at` goes; `at` must be below the length.
    pub fn apply(&self, at: u64) -> u64 {
        assert!(at < self.len, "{at} is outside 0..{}", self.len);
        match &self.map {
            Map::Linear { factor, offset } => {
                let product = u128::from(*factor) * u128::from(at) + u128::from(*offset);
                (product % u128::from(self.len)) as u64
            }
            Map::Feistel { half_bits, keys } => {
                let mut value = at;
                loop {
                    value = network(value, *half_bits, keys);
                    if value < self.len {
                        return value;
                    }
                }
            }
        }
    }
}

fn feistel(len: u64, key: u64) -> Map {
    let bits = 64 - len.saturating_sub(1).leading_zeros();
    let mut keys = [0; ROUNDS];
    let mut state = key;
    for round_key in &mut keys {
        state = mix(state);
        *round_key = state;
    }
    let half_bits = bits.div_ceil(2).max(1);
    Map::Feistel { half_bits, keys }
}

fn network(value: u64, half_bits: u32, keys: &[u64; ROUNDS]) -> u64 {
    let mask = (1 << half_bits) - 1;
    let (mut left, mut right) = (value >> half_bits, value & mask);
    for key in keys {
        (left, right) = (right, left ^ (mix(right ^ key) & mask));
    }
    left << half_bits | right
}

fn linear(len: u64, key: u64) -> Map {
    let offset = mix(key ^ 1) % len.max(1);
    let mut state = key;
    loop {
        state = mix(state);
        let factor = state % len.max(1);
        if gcd(factor, len) == 1 || len <= 1 {
            return Map::Linear { factor, offset };
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

/// A key derived from several numbers, each of which changes it.
pub(crate) fn derive_key(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |key, part| mix(key ^ *part))
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014): a bijection in which every input bit changes half the output bits.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = PermutationKind> {
        prop_oneof![
            Just(PermutationKind::Feistel),
            Just(PermutationKind::Linear)
        ]
    }

    proptest! {
        #[test]
        fn every_number_is_hit_once(len in 1u64..3000, key: u64, kind in kinds()) {
            let permutation = Permutation::new(kind, len, key);
            let mut seen = vec![false; len as usize];
            for at in 0..len {
                prop_assert!(!std::mem::replace(&mut seen[permutation.apply(at) as usize], true));
            }
        }

        #[test]
        fn large_domains_stay_inside(len in 1u64..1 << 62, key: u64, at: u64, kind in kinds()) {
            prop_assert!(Permutation::new(kind, len, key).apply(at % len) < len);
        }
    }

    #[test]
    fn keys_give_different_orders_without_a_pattern() {
        let order = |key| -> Vec<u64> {
            let permutation = Permutation::new(PermutationKind::Feistel, 1000, key);
            (0..1000).map(|at| permutation.apply(at)).collect()
        };
        let (a, b) = (order(1), order(2));
        let same = |x: &[u64], y: &[u64]| x.iter().zip(y).filter(|(x, y)| x == y).count();
        assert!(same(&a, &b) < 12 && same(&a, &(0..1000).collect::<Vec<_>>()) < 12);
        let neighbours = a
            .windows(2)
            .filter(|pair| pair[0].abs_diff(pair[1]) == 1)
            .count();
        assert!(neighbours < 15, "{neighbours} neighbours stay neighbours");
        assert_ne!(derive_key(&[1, 2]), derive_key(&[2, 1]));
    }
}
