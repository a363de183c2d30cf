//! The ids of the words that were encoded lately, in a fixed amount of memory.

use super::merges::Merges;
use std::ops::Range;

/// Of 2 lines each: 2 MiB in all.
const SETS: usize = 1 << 14;
/// The longest word that is kept, in bytes.
const WORD: usize = 31;
/// The most ids that are kept of a word.
const IDS: usize = 7;

/// The bytes of a word, then zeros, then its length.
type Key = [u64; 4];

/// One word: exactly a line of the processor's cache.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line {
    key: Key,
    ids: [u32; IDS],
    n: u32,
}

/// Words by hash, two to a set. In a set the first is the last that was used, so a rare word drives out a rare word.
pub(super) struct Cache {
    sets: Vec<[Line; 2]>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            sets: vec![Default::default(); SETS],
        }
    }
}

impl Cache {
    /// Appends the ids of `word`, a range of bytes of `text`, to `ids`.
    #[inline]
    pub(super) fn encode(
        &mut self,
        text: &[u8],
        word: Range<usize>,
        merges: &Merges,
        ids: &mut Vec<u32>,
    ) {
        if word.len() > WORD {
            return merges.encode(&text[word], ids);
        }
        let key = key(text, word.clone());
        let [first, second] = &mut self.sets[set(&key)];
        if first.key != key {
            if second.key != key {
                let start = ids.len();
                merges.encode(&text[word], ids);
                let new = &ids[start..];
                if new.len() <= IDS {
                    second.key = key;
                    second.ids[..new.len()].copy_from_slice(new);
                    second.n = new.len() as u32;
                    std::mem::swap(first, second);
                }
                return;
            }
            std::mem::swap(first, second);
        }
        // All of them and then fewer: a copy of a length that the compiler knows.
        let end = ids.len() + first.n as usize;
        ids.extend_from_slice(&first.ids);
        ids.truncate(end);
    }
}

/// The key of at most [`WORD`] bytes of `text`.
#[inline]
fn key(text: &[u8], word: Range<usize>) -> Key {
    let n = word.len();
    let mut bytes = [0; 32];
    match text.get(word.start..word.start + 32) {
        Some(window) => bytes.copy_from_slice(window),
        None => bytes[..n].copy_from_slice(&text[word]),
    }
    let mut key = [0; 4];
    for (at, (part, bytes)) in key.iter_mut().zip(bytes.as_chunks().0).enumerate() {
        *part = u64::from_le_bytes(*bytes) & MASKS[n][at];
    }
    key[3] |= (n as u64) << 56;
    key
}

/// For each length, the bits of a key that belong to the word.
const MASKS: [Key; WORD + 1] = {
    let mut masks = [[0; 4]; WORD + 1];
    let mut n = 0;
    while n <= WORD {
        let mut byte = 0;
        while byte < n {
            masks[n][byte / 8] |= 0xFF << (byte % 8 * 8);
            byte += 1;
        }
        n += 1;
    }
    masks
};

#[inline]
fn set(key: &Key) -> usize {
    // Odd constants without pattern, from the digits of pi.
    const FACTORS: Key = [
        0x243F_6A88_85A3_08D3,
        0x1319_8A2E_0370_7345,
        0xA409_3822_299F_31D1,
        0x082E_FA98_EC4E_6C89,
    ];
    let sum = key.iter().zip(FACTORS).fold(0, |sum: u64, (part, factor)| {
        sum.wrapping_add((part ^ (part >> 32)).wrapping_mul(factor))
    });
    (sum >> (64 - SETS.ilog2())) as usize
}
