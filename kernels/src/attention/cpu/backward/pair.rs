//! A block of queries and one of keys: their scores, and what these contribute to the gradients.

use std::f32::consts::LOG2_E;
use std::marker::PhantomData;
use std::ops::Range;

use super::BLOCK;
use super::queries::Parts;
use crate::attention::cpu::Call;
use crate::attention::cpu::documents::{Window, hide};
use crate::attention::cpu::pack::padded;
use crate::attention::cpu::tile::{Left, Panels, Product, Strip, Sums, strips, vectors, words};
use crate::gemm::lanes::Lanes;
use crate::gemm::math;
use crate::gemm::word::Word;

/// Values from a row of scores to the next: not a power of 2, so that a column's rows do not compete for a part of the cache.
const STRIDE: usize = BLOCK + 16;

/// Intermediate results for a block of queries and one of keys.
pub(super) struct Scratch<W> {
    /// [Rows](pack::rows) of keys and values.
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
    /// The keys [by token](pack::by_token).
    pub keys_by_token: Vec<f32>,
    /// Gradients of the keys before scaling, and of the values, `[BLOCK, padded width]`.
    pub key_grads: Vec<f32>,
    pub value_grads: Vec<f32>,
    /// Products of the keys of a strip with all queries.
    strip: [f32; 8 * BLOCK],
    /// What each query takes of each value, then gradients of the scores before scaling, `[keys, STRIDE]`.
    scores: Vec<W>,
    /// Those gradients as words along the keys, where these hold two.
    grad_words: Vec<f32>,
}

impl<W: Word> Scratch<W> {
    pub fn new(head_dim: usize) -> Self {
        let words = match W::PER_WORD {
            1 => 0,
            _ => BLOCK / 2 * STRIDE,
        };
        Self {
            keys: vec![0.0; BLOCK * head_dim / W::PER_WORD],
            values: vec![0.0; BLOCK * head_dim / W::PER_WORD],
            keys_by_token: vec![0.0; BLOCK / W::PER_WORD * padded(head_dim)],
            key_grads: vec![0.0; BLOCK * padded(head_dim)],
            value_grads: vec![0.0; BLOCK * padded(head_dim)],
            strip: [0.0; 8 * BLOCK],
            scores: vec![W::default(); BLOCK * STRIDE],
            grad_words: vec![0.0; words],
        }
    }
}

/// A block of queries and one of keys.
pub(super) struct Pair<'a, W> {
    pub call: &'a Call<'a, W>,
    pub window: Window<'a>,
    /// The packed queries.
    pub queries: &'a [f32],
}

impl<W: Word> Pair<'_, W> {
    /// Adds what the scores contribute to the gradients; those of the queries are `[BLOCK, padded width]`.
    #[inline(always)]
    pub unsafe fn add<L: Lanes>(&self, query_grads: &mut [f32], scratch: &mut Scratch<W>) {
        let parts = Parts::new::<W>(self.call.sizes.head_dim);
        unsafe {
            self.shares::<L>(scratch);
            let upstream = &self.queries[parts.upstream_rows];
            self.add_by_key::<L>((&scratch.scores, upstream), &mut scratch.value_grads);
            self.grads::<L>(scratch);
            let queries = &self.queries[parts.query_rows];
            self.add_by_key::<L>((&scratch.scores, queries), &mut scratch.key_grads);
            self.add_by_query::<L>(query_grads, scratch);
        }
    }

    /// `to += scoresᵀ · right`, with a row for each key, summed over queries.
    #[inline(always)]
    unsafe fn add_by_key<L: Lanes>(&self, (scores, right): (&[W], &[f32]), to: &mut [f32]) {
        let width = padded(self.call.sizes.head_dim);
        let product = Product {
            left: Left {
                words: scores.as_ptr().cast(),
                row: STRIDE / W::PER_WORD,
                step: 1,
            },
            right: Panels::rows::<L>(right, width),
            rows: self.window.keys.len(),
            columns: width,
            sums: Sums {
                to: to.as_mut_ptr(),
                stride: width,
                add: true,
            },
        };
        let steps = |keys| words::<W>(self.window.columns(keys));
        unsafe { product.compute::<L, W>(self.call.isa, steps) };
    }

    /// `to += scores · keys`, with a row for each query, summed over keys.
    #[inline(always)]
    unsafe fn add_by_query<L: Lanes>(&self, to: &mut [f32], scratch: &Scratch<W>) {
        let width = padded(self.call.sizes.head_dim);
        let product = Product {
            left: Left {
                words: match W::PER_WORD {
                    1 => scratch.scores.as_ptr().cast(),
                    _ => scratch.grad_words.as_ptr(),
                },
                row: 1,
                step: STRIDE,
            },
            right: Panels::rows::<L>(&scratch.keys_by_token, width),
            rows: self.window.queries.len(),
            columns: width,
            sums: Sums {
                to: to.as_mut_ptr(),
                stride: width,
                add: true,
            },
        };
        let steps = |queries| words::<W>(self.window.rows(queries));
        unsafe { product.compute::<L, W>(self.call.isa, steps) };
    }

    /// What each query takes of each value: `exp(score - logsumexp)`, 0 where the key is hidden.
    #[inline(always)]
    unsafe fn shares<L: Lanes>(&self, scratch: &mut Scratch<W>) {
        let parts = Parts::new::<W>(self.call.sizes.head_dim);
        let logsumexp = self.queries[parts.logsumexp].as_ptr();
        let queries = &self.queries[parts.query];
        for (first, count) in strips::<L>(self.window.keys.len(), L::PANEL * L::N) {
            unsafe {
                let scale = L::splat(self.call.sizes.scale() * LOG2_E);
                let rows = first..first + count;
                self.strip::<L>(rows.clone(), [&scratch.keys, queries], &mut scratch.strip);
                let sums = scratch.strip.chunks_exact(BLOCK);
                let scores = scratch.scores[first * STRIDE..].chunks_exact_mut(STRIDE);
                for (row, (sums, scores)) in rows.zip(sums.zip(scores)) {
                    let seen = self.window.columns(row..row + 1);
                    for column in vectors::<L>(&seen).step_by(L::N) {
                        let sum = L::load(sums.as_ptr().add(column));
                        let minus = L::sub(L::splat(0.0), L::load(logsumexp.add(column)));
                        let share = math::exp2::<L>(L::fma(sum, scale, minus));
                        W::store::<L>(scores.as_mut_ptr().add(column), share);
                    }
                    hide(scores, seen, W::default());
                }
            }
        }
    }

    /// Gradients of the scores: `share · (upstream · value - mean)`, 0 where the key is hidden.
    #[inline(always)]
    unsafe fn grads<L: Lanes>(&self, scratch: &mut Scratch<W>) {
        let parts = Parts::new::<W>(self.call.sizes.head_dim);
        let means = self.queries[parts.means].as_ptr();
        let upstream = &self.queries[parts.upstream];
        for (first, count) in strips::<L>(self.window.keys.len(), L::PANEL * L::N) {
            unsafe {
                let rows = first..first + count;
                self.strip::<L>(
                    rows.clone(),
                    [&scratch.values, upstream],
                    &mut scratch.strip,
                );
                let sums = scratch.strip.chunks_exact_mut(BLOCK);
                let scores = scratch.scores[first * STRIDE..].chunks_exact_mut(STRIDE);
                for (row, (sums, scores)) in rows.zip(sums.zip(scores)) {
                    let seen = self.window.columns(row..row + 1);
                    for column in vectors::<L>(&seen).step_by(L::N) {
                        let score = scores.as_mut_ptr().add(column);
                        let sum = sums.as_mut_ptr().add(column);
                        let difference = L::sub(L::load(sum), L::load(means.add(column)));
                        let grad = L::mul(W::load::<L>(score), difference);
                        W::store::<L>(score, grad);
                        L::store(sum, grad);
                    }
                    hide(scores, seen.clone(), W::default());
                    hide(sums, seen, 0.0);
                }
                if W::PER_WORD == 2 {
                    // An odd key is paired with nothing.
                    scratch.strip[count * BLOCK..][..count % 2 * BLOCK].fill(0.0);
                    grad_words::<L, W>(first, count, scratch);
                }
            }
        }
    }

    /// Products of some of the keys or values with those queries, or what is upstream of them, that see the keys.
    #[inline(always)]
    unsafe fn strip<L: Lanes>(
        &self,
        rows: Range<usize>,
        [left, right]: [&[f32]; 2],
        to: &mut [f32],
    ) {
        let steps = self.call.sizes.head_dim / W::PER_WORD;
        let strip = Strip::<W> {
            left: Left::rows(&left[rows.start * steps..], steps),
            right: Panels::packed::<L>(right, steps),
            rows: rows.len(),
            columns: vectors::<L>(&self.window.columns(rows)),
            steps,
            sums: Sums {
                to: to.as_mut_ptr(),
                stride: BLOCK,
                add: false,
            },
            word: PhantomData,
        };
        unsafe { strip.compute(self.call.isa) };
    }
}

/// Gradients of a strip as words along the keys.
#[inline(always)]
unsafe fn grad_words<L: Lanes, W: Word>(first: usize, count: usize, scratch: &mut Scratch<W>) {
    let pairs = scratch.strip.chunks_exact(2 * BLOCK);
    let words = scratch.grad_words[first / 2 * STRIDE..].chunks_exact_mut(STRIDE);
    for (rows, words) in pairs.take(count.div_ceil(2)).zip(words) {
        for column in (0..BLOCK).step_by(L::N) {
            unsafe {
                let row = rows.as_ptr().add(column);
                let pairs = W::words::<L>(L::load(row), L::load(row.add(BLOCK)));
                L::store(words.as_mut_ptr().add(column), pairs);
            }
        }
    }
}
