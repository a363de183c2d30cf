//! The search for the best codeword, in 16-bit integers.
//!
//! Sums of integers are exact, so the vectorised search gives the same codes as the portable one.

/// Vectors searched together, so that a codeword is loaded once for all of them.
pub(super) const BLOCK: usize = 8;
/// Codewords searched side by side.
const LANES: usize = 8;

/// Codewords in the order in which they are searched.
pub(super) struct Search<const D: usize> {
    /// For each group of LANES codewords, pairs of dimensions: `[groups * D / 2][LANES][2]`
    pairs: Vec<[[i16; 2]; LANES]>,
    /// What is taken from each codeword's dot product: `[groups][LANES]`
    half_norms: Vec<[i32; LANES]>,
}

/// For each vector and lane, the best score so far and the group that has it.
struct Best {
    scores: [[i32; LANES]; BLOCK],
    groups: [[i32; LANES]; BLOCK],
}

impl<const D: usize> Search<D> {
    /// `words` are a multiple of 8 in number, and D is even.
    pub(super) fn new(words: &[[i8; D]], half_norms: impl Iterator<Item = i32>) -> Self {
        let half_norms: Vec<i32> = half_norms.collect();
        Self {
            pairs: words.chunks_exact(LANES).flat_map(interleave).collect(),
            half_norms: half_norms.as_chunks().0.to_vec(),
        }
    }

    /// The codeword of the highest dot product less half-norm for each vector; the lowest of equals.
    pub(super) fn best(&self, block: &[[i16; D]; BLOCK]) -> [u16; BLOCK] {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature
            return unsafe { self.best_avx2(block) }.codes();
        }
        self.best_portable(block).codes()
    }

    fn best_portable(&self, block: &[[i16; D]; BLOCK]) -> Best {
        let mut best = Best::new();
        for (group, (pairs, half_norms)) in self.groups().enumerate() {
            for (frame, vector) in block.iter().enumerate() {
                let mut scores = half_norms.map(|half_norm| -half_norm);
                for (words, pair) in pairs.iter().zip(vector.as_chunks::<2>().0) {
                    for (score, word) in scores.iter_mut().zip(words) {
                        *score += i32::from(word[0]) * i32::from(pair[0])
                            + i32::from(word[1]) * i32::from(pair[1]);
                    }
                }
                let found = best.scores[frame].iter_mut().zip(&mut best.groups[frame]);
                for ((best_score, best_group), score) in found.zip(scores) {
                    if score > *best_score {
                        (*best_score, *best_group) = (score, group as i32);
                    }
                }
            }
        }
        best
    }

    /// The same with one instruction for 16 multiplications and 8 additions.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn best_avx2(&self, block: &[[i16; D]; BLOCK]) -> Best {
        use std::arch::x86_64::*;
        use std::mem::transmute;

        let mut best_scores = [_mm256_set1_epi32(i32::MIN); BLOCK];
        let mut best_groups = [_mm256_setzero_si256(); BLOCK];
        for (group, (pairs, half_norms)) in self.groups().enumerate() {
            // SAFETY: eight i32, and below sixteen i16, are the 32 bytes of a vector; so is the inverse at the end
            let half_norms = unsafe { transmute::<[i32; LANES], __m256i>(*half_norms) };
            let mut scores = [_mm256_sub_epi32(_mm256_setzero_si256(), half_norms); BLOCK];
            for (i, words) in pairs.iter().enumerate() {
                let words = unsafe { transmute::<[[i16; 2]; LANES], __m256i>(*words) };
                for (vector, score) in block.iter().zip(&mut scores) {
                    let pair =
                        (i32::from(vector[2 * i]) & 0xffff) | (i32::from(vector[2 * i + 1]) << 16);
                    let products = _mm256_madd_epi16(words, _mm256_set1_epi32(pair));
                    *score = _mm256_add_epi32(*score, products);
                }
            }
            let group = _mm256_set1_epi32(group as i32);
            for frame in 0..BLOCK {
                let better = _mm256_cmpgt_epi32(scores[frame], best_scores[frame]);
                best_scores[frame] = _mm256_blendv_epi8(best_scores[frame], scores[frame], better);
                best_groups[frame] = _mm256_blendv_epi8(best_groups[frame], group, better);
            }
        }
        let lanes = |vector| unsafe { transmute::<__m256i, [i32; LANES]>(vector) };
        Best {
            scores: best_scores.map(lanes),
            groups: best_groups.map(lanes),
        }
    }

    /// Each group's pairs `[D / 2][LANES][2]` and half-norms `[LANES]`.
    fn groups(&self) -> impl Iterator<Item = (&[[[i16; 2]; LANES]], &[i32; LANES])> {
        self.pairs.chunks_exact(D / 2).zip(&self.half_norms)
    }
}

impl Best {
    fn new() -> Self {
        Self {
            scores: [[i32::MIN; LANES]; BLOCK],
            groups: [[0; LANES]; BLOCK],
        }
    }

    fn codes(&self) -> [u16; BLOCK] {
        std::array::from_fn(|frame| {
            let code = |lane: usize| self.groups[frame][lane] as usize * LANES + lane;
            let rank = |&lane: &usize| (self.scores[frame][lane], std::cmp::Reverse(code(lane)));
            code((0..LANES).max_by_key(rank).expect("there are lanes")) as u16
        })
    }
}

/// Words `[LANES][D]` to `[D / 2][LANES][2]`.
fn interleave<const D: usize>(words: &[[i8; D]]) -> Vec<[[i16; 2]; LANES]> {
    let pair = |lane: usize, i: usize| [words[lane][2 * i], words[lane][2 * i + 1]].map(i16::from);
    (0..D / 2)
        .map(|i| std::array::from_fn(|lane| pair(lane, i)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Case = (Vec<[i8; 4]>, Vec<i32>, [[i16; 4]; BLOCK]);

    fn cases() -> impl Strategy<Value = Case> {
        // few different values, so that equal scores occur
        let words = prop::collection::vec(prop::array::uniform4(-3i8..4), 64);
        let norms = prop::collection::vec(0..3i32, 64);
        (
            words,
            norms,
            prop::array::uniform8(prop::array::uniform4(prop_oneof![-3i16..4, any::<i16>()])),
        )
    }

    proptest! {
        #[test]
        fn both_searches_find_the_first_best_word((words, norms, block) in cases()) {
            let search = Search::new(&words, norms.iter().copied());
            let score = |vector: &[i16; 4], code: usize| {
                (0..4).map(|d| i32::from(vector[d]) * i32::from(words[code][d])).sum::<i32>() - norms[code]
            };
            let first = |vector: &[i16; 4]| (0..64).rev().max_by_key(|&code| score(vector, code)).unwrap() as u16;
            let expected = std::array::from_fn::<_, BLOCK, _>(|frame| first(&block[frame]));
            prop_assert_eq!(search.best_portable(&block).codes(), expected);
            prop_assert_eq!(search.best(&block), expected);
        }
    }
}
