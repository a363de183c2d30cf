//! One codebook: 8-bit codewords, and the search for the nearest one.
//!
//! The search is in 16-bit integers, whose sums are exact: it gives the same code on every machine, however wide its
//! vectors are.

use super::CODEBOOK_SIZE;
use super::search::{BLOCK, Search};

/// Vectors are resolved up to this many times the largest codeword; beyond it they are limited.
const HEADROOM: f32 = 4.0;

/// 2048 codewords of D dimensions: codeword(code)\[d\] = scale\[d\] · word\[code\]\[d\].
pub(super) struct Codebook<const D: usize> {
    /// `[D]`
    pub(super) scales: [f32; D],
    /// `[CODEBOOK_SIZE][D]`, -127..=127
    pub(super) words: Vec<[i8; D]>,
    search: Search<D>,
    /// From a vector to the integers of the search: `[D]`
    gains: [f32; D],
}

impl<const D: usize> Codebook<D> {
    /// Rounds centroids `[CODEBOOK_SIZE][D]` to 8 bits, with a scale for each dimension.
    pub(super) fn quantize(centroids: &[[f32; D]]) -> Self {
        let largest = |d: usize| centroids.iter().map(|c| c[d].abs()).fold(0.0, f32::max);
        let scales: [f32; D] = std::array::from_fn(|d| (largest(d) / 127.0).max(f32::MIN_POSITIVE));
        let word = |c: &[f32; D]| std::array::from_fn(|d| (c[d] / scales[d]).round() as i8);
        Self::new(scales, centroids.iter().map(word).collect())
    }

    /// A codebook from its stored parts; `scales` are finite and positive.
    pub(super) fn new(scales: [f32; D], words: Vec<[i8; D]>) -> Self {
        debug_assert_eq!(words.len(), CODEBOOK_SIZE);
        // score = unit · (x·c − |c|²/2) = Σ gain[d]·x[d] · word[d] − half_norm, with gain·x filling 16 bits
        let largest = scales.iter().fold(0.0, |a: f32, &b| a.max(b));
        let unit = f32::from(i16::MAX) / (HEADROOM * 127.0 * largest) / largest;
        let half_norm = |word: &[i8; D]| {
            let squares = scales
                .iter()
                .zip(word)
                .map(|(&s, &w)| f64::from(s * f32::from(w)).powi(2));
            (squares.sum::<f64>() * f64::from(unit) / 2.0).round() as i32
        };
        Self {
            scales,
            search: Search::new(&words, words.iter().map(half_norm)),
            gains: scales.map(|scale| scale * unit),
            words,
        }
    }

    /// The codeword of `code`: `[D]`.
    pub(super) fn codeword(&self, code: u16) -> [f32; D] {
        let word = &self.words[usize::from(code)];
        std::array::from_fn(|d| self.scales[d] * f32::from(word[d]))
    }

    /// Nearest codeword of each vector by Euclidean distance; the lower code where two are as near.
    pub(super) fn nearest(&self, vectors: &[[f32; D]], codes: &mut [u16]) {
        for (vectors, codes) in vectors.chunks(BLOCK).zip(codes.chunks_mut(BLOCK)) {
            let mut block = [[0i16; D]; BLOCK];
            for (integers, vector) in block.iter_mut().zip(vectors) {
                // the cast limits values out of range
                *integers = std::array::from_fn(|d| (vector[d] * self.gains[d]) as i16);
            }
            let best = self.search.best(&block);
            codes.copy_from_slice(&best[..codes.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    fn vectors(count: usize, seed: u64) -> Vec<[f32; 16]> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut value = || rng.next_u32() as f32 / u32::MAX as f32 - 0.5;
        (0..count)
            .map(|_| std::array::from_fn(|d| value() * 8.0 / (d + 1) as f32))
            .collect()
    }

    fn distance(a: &[f32; 16], b: &[f32; 16]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
    }

    #[test]
    fn codewords_find_themselves() {
        let codebook = Codebook::quantize(&vectors(CODEBOOK_SIZE, 1));
        let words: Vec<[f32; 16]> = (0..2048).map(|code| codebook.codeword(code)).collect();
        let mut codes = vec![0; 2048];
        codebook.nearest(&words, &mut codes);
        assert!(
            codes
                .iter()
                .enumerate()
                .all(|(i, &code)| i == usize::from(code))
        );
    }

    #[test]
    fn the_search_agrees_with_floats() {
        let codebook = Codebook::quantize(&vectors(CODEBOOK_SIZE, 1));
        let queries = vectors(100, 2);
        let mut codes = vec![0; 100];
        codebook.nearest(&queries, &mut codes);
        for (query, &code) in queries.iter().zip(&codes) {
            let nearest = (0..2048)
                .map(|c| distance(query, &codebook.codeword(c)))
                .fold(f32::MAX, f32::min);
            assert!(distance(query, &codebook.codeword(code)) <= nearest * 1.001 + 1e-4);
        }
    }

    #[test]
    fn far_and_flat_inputs_are_defined() {
        let codebook = Codebook::quantize(&[[0.0; 16]; CODEBOOK_SIZE]);
        let mut codes = [9; 3];
        codebook.nearest(&[[f32::MAX; 16], [0.0; 16], [-1e30; 16]], &mut codes);
        assert_eq!(codes, [0; 3]);
    }
}
