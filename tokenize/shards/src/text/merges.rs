//! The merges of byte-level BPE: the ids of one word (Sennrich et al. 2016, <https://arxiv.org/abs/1508.07909>).

use rustc_hash::FxHashMap;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Words up to so many bytes are searched for their next merge from end to end, which is faster than a heap while they are short.
const SHORT: usize = 64;
/// No merge, no neighbour.
const NONE: u32 = u32::MAX;

/// What becomes of a pair of ids.
#[derive(Clone, Copy)]
struct Merge {
    /// Position in the list of merges: the lowest goes first.
    rank: u32,
    id: u32,
}

/// A model's vocabulary and merges, over bytes.
pub(super) struct Merges {
    bytes: [u32; 256],
    pairs: FxHashMap<(u32, u32), Merge>,
    /// The words that are tokens whatever the merges say; empty unless the model ignores merges for them.
    whole: FxHashMap<Box<[u8]>, u32>,
}

impl Merges {
    /// Reads `model` of tokenizer.json. `None` if a byte has no token or an id has two, where merging follows other rules.
    pub(super) fn of(model: &Value, ignore_merges: bool) -> Option<Self> {
        let byte_of = alphabet();
        let mut ids: FxHashMap<&str, u32> = FxHashMap::default();
        let mut bytes = [NONE; 256];
        let mut whole = FxHashMap::default();
        for (token, id) in model["vocab"].as_object()? {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok())?;
            ids.insert(token, id);
            // A token with any other character cannot be a word.
            let spelled = token.chars().map(|char| byte_of.get(&char).copied());
            let Some(spelled) = spelled.collect::<Option<Box<[u8]>>>() else {
                continue;
            };
            if let [byte] = *spelled {
                bytes[usize::from(byte)] = id;
            }
            if ignore_merges {
                whole.insert(spelled, id);
            }
        }
        let mut distinct: Vec<u32> = ids.values().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < ids.len() || bytes.contains(&NONE) {
            return None;
        }
        let merges = model["merges"].as_array()?;
        let mut pairs = FxHashMap::with_capacity_and_hasher(merges.len(), Default::default());
        let mut joined = String::new();
        // The older form of a merge is a string, and such a list may begin with its version.
        let version = |merge: &&Value| {
            merge
                .as_str()
                .is_some_and(|line| line.starts_with("#version"))
        };
        for (rank, merge) in merges.iter().filter(|merge| !version(merge)).enumerate() {
            let (left, right) = match merge {
                Value::String(line) => line.split_once(' ')?,
                _ => (merge[0].as_str()?, merge[1].as_str()?),
            };
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            let merge = Merge {
                rank: u32::try_from(rank).ok()?,
                id: *ids.get(joined.as_str())?,
            };
            pairs.insert((*ids.get(left)?, *ids.get(right)?), merge);
        }
        Some(Self {
            bytes,
            pairs,
            whole,
        })
    }

    /// Appends the ids of `word` to `ids`.
    pub(super) fn encode(&self, word: &[u8], ids: &mut Vec<u32>) {
        if let Some(&id) = self.whole.get(word) {
            ids.push(id);
        } else if word.len() <= SHORT {
            self.encode_short(word, ids);
        } else {
            self.encode_long(word, ids);
        }
    }

    fn pair(&self, left: u32, right: u32) -> Option<Merge> {
        self.pairs.get(&(left, right)).copied()
    }

    fn encode_short(&self, word: &[u8], ids: &mut Vec<u32>) {
        const NO_MERGE: Merge = Merge {
            rank: NONE,
            id: NONE,
        };
        let mut tokens = [0; SHORT];
        // merges[i] is what becomes of tokens i and i + 1
        let mut merges = [NO_MERGE; SHORT];
        let mut n = word.len();
        for (token, &byte) in tokens.iter_mut().zip(word) {
            *token = self.bytes[usize::from(byte)];
        }
        let merge_at = |tokens: &[u32; SHORT], at: usize| {
            self.pair(tokens[at], tokens[at + 1]).unwrap_or(NO_MERGE)
        };
        for (at, merge) in merges[..n - 1].iter_mut().enumerate() {
            *merge = merge_at(&tokens, at);
        }
        while n > 1 {
            // The first of equals, so that "aaa" is merged from the left.
            let mut best = 0;
            for at in 1..n - 1 {
                if merges[at].rank < merges[best].rank {
                    best = at;
                }
            }
            if merges[best].rank == NONE {
                break;
            }
            tokens[best] = merges[best].id;
            tokens.copy_within(best + 2..n, best + 1);
            merges.copy_within(best + 1..n - 1, best);
            n -= 1;
            if best > 0 {
                merges[best - 1] = merge_at(&tokens, best - 1);
            }
            if best + 1 < n {
                merges[best] = merge_at(&tokens, best);
            }
        }
        ids.extend_from_slice(&tokens[..n]);
    }

    /// In time n log n, for words of any length.
    fn encode_long(&self, word: &[u8], ids: &mut Vec<u32>) {
        let n = word.len();
        let mut tokens: Vec<u32> = word
            .iter()
            .map(|&byte| self.bytes[usize::from(byte)])
            .collect();
        // A list of the places that still begin a token; a place inside a token is its own successor.
        let mut next: Vec<usize> = (1..=n).collect();
        let mut previous: Vec<usize> = (0..n).map(|at| at.wrapping_sub(1)).collect();
        let mut queue = BinaryHeap::with_capacity(n);
        let candidate = |tokens: &[u32], left: usize, right: usize| {
            let merge = self.pair(tokens[left], tokens[right])?;
            Some(Reverse((
                merge.rank,
                left,
                right,
                tokens[left],
                tokens[right],
            )))
        };
        queue.extend((1..n).filter_map(|at| candidate(&tokens, at - 1, at)));
        while let Some(Reverse((_, left, right, left_token, right_token))) = queue.pop() {
            let current =
                next[left] == right && tokens[left] == left_token && tokens[right] == right_token;
            let Some(merge) = self.pair(left_token, right_token).filter(|_| current) else {
                continue;
            };
            tokens[left] = merge.id;
            let after = next[right];
            next[left] = after;
            next[right] = right;
            if after < n {
                previous[after] = left;
                queue.extend(candidate(&tokens, left, after));
            }
            if left > 0 {
                queue.extend(candidate(&tokens, previous[left], left));
            }
        }
        let mut at = 0;
        while at < n {
            ids.push(tokens[at]);
            at = next[at];
        }
    }
}

/// The byte that each character of byte-level BPE stands for: printable ones for themselves, the others from U+0100 on.
fn alphabet() -> FxHashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let (itself, others): (Vec<u8>, Vec<u8>) = (0..=255).partition(printable);
    let itself = itself.into_iter().map(|byte| (char::from(byte), byte));
    itself.chain(('\u{100}'..).zip(others)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static MERGES: LazyLock<Merges> = LazyLock::new(|| {
        let text = include_str!("../../tests/fixtures/text/qwen3.json");
        let json: Value = serde_json::from_str(text).unwrap();
        Merges::of(&json["model"], false).unwrap()
    });

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Few different letters, so that many merges compete.
        #[test]
        fn both_ways_through_a_word_agree(word in "[ aeinrst]{1,64}|[-= ]{1,64}|[ก-ฮ]{1,21}|[а-д]{1,32}") {
            let (mut short, mut long) = (Vec::new(), Vec::new());
            MERGES.encode_short(word.as_bytes(), &mut short);
            MERGES.encode_long(word.as_bytes(), &mut long);
            prop_assert_eq!(short, long);
        }
    }
}
