//! The forward pass: a task is a block of queries of a sequence, and goes over the keys that it sees.

use std::cmp::Reverse;
use std::f32::consts::{LN_2, LOG2_E};
use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::Call;
use super::documents::{Window, hide};
use super::pack::{self, padded};
use super::rows::{Head, Output, Rows};
use super::tile::{Left, Panels, Product, Strip, Sums, strips, vectors, words};
use crate::gemm::lanes::{Lanes, Op, dispatch};
use crate::gemm::math;
use crate::gemm::word::Word;
use crate::storage::filled;

/// Queries of a task.
const QUERIES: usize = 64;
/// Keys whose scores exist at a time, an even number.
const KEYS: usize = 128;

impl<W: Word> Call<'_, W> {
    /// Result `[batch, time, heads, head_dim]` and logsumexp `[batch, heads, time]`.
    pub fn forward(&self) -> (Vec<W>, Vec<f32>) {
        let sizes = self.sizes;
        let mut logsumexp = vec![0.0; sizes.batch * sizes.heads * sizes.time];
        let fill = |out: &mut [W]| {
            let out = Output::new(out, [sizes.time, sizes.head_dim]);
            let heads = logsumexp.par_chunks_exact_mut(sizes.group() * sizes.time);
            heads
                .zip(self.kv_heads())
                .for_each(|(logsumexp, head)| self.forward_head(head, &out, logsumexp));
        };
        let len = sizes.batch * sizes.time * sizes.heads * sizes.head_dim;
        // SAFETY: the blocks of queries are written whole.
        (unsafe { filled(len, fill) }, logsumexp)
    }

    /// All queries of a key head; their logsumexp is `[query heads, time]`.
    fn forward_head(&self, kv_head: Head, out: &Output<W>, logsumexp: &mut [f32]) {
        let sizes = self.sizes;
        let packed = self.packed(kv_head);
        let mut tasks = Vec::new();
        for (index, logsumexp) in logsumexp.chunks_exact_mut(sizes.time).enumerate() {
            for (block, logsumexp) in logsumexp.chunks_mut(QUERIES).enumerate() {
                let start = block * QUERIES;
                tasks.push(Task {
                    call: self,
                    head: self.query_head(kv_head, index),
                    queries: start..start + logsumexp.len(),
                    packed: &packed,
                    out,
                    logsumexp,
                });
            }
        }
        // The longest first, so that the threads end together.
        tasks.sort_by_key(|task| Reverse(task.keys().len()));
        tasks
            .into_par_iter()
            .with_max_len(1)
            // SAFETY: the instruction set is available.
            .for_each(|task| unsafe { dispatch(self.isa, task) });
    }

    fn packed(&self, head: Head) -> Packed {
        let (keys, values) = (self.rows(self.key, head), self.rows(self.value, head));
        let steps = keys.head_dim / W::PER_WORD;
        let block = QUERIES / W::PER_WORD * padded(keys.head_dim);
        let mut packed = Packed {
            keys: Vec::new(),
            values: Vec::new(),
        };
        let fill = |to_keys: &mut [f32], to_values: &mut [f32]| {
            let to_keys = to_keys.par_chunks_mut(QUERIES * steps);
            let blocks = to_keys.zip(to_values.par_chunks_exact_mut(block));
            blocks
                .enumerate()
                .for_each(|(index, (to_keys, to_values))| {
                    let pack = Pack {
                        keys: keys.from(index * QUERIES),
                        values: values.from(index * QUERIES),
                        to_keys,
                        to_values,
                    };
                    // SAFETY: the instruction set is available.
                    unsafe { dispatch(self.isa, pack) }
                });
        };
        // SAFETY: the blocks are written whole.
        packed.keys = unsafe {
            filled(keys.tokens * steps, |to_keys| {
                let len = keys.tokens.div_ceil(QUERIES) * block;
                packed.values = filled(len, |to_values| fill(to_keys, to_values));
            })
        };
        packed
    }
}

/// The keys and values of a head.
struct Packed {
    /// [Rows](pack::rows).
    keys: Vec<f32>,
    /// [By token](pack::by_token).
    values: Vec<f32>,
}

/// Packs a block of keys and values.
struct Pack<'a, W> {
    keys: Rows<'a, W>,
    values: Rows<'a, W>,
    to_keys: &'a mut [f32],
    to_values: &'a mut [f32],
}

impl<W: Word> Op for Pack<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        pack::rows(self.keys, self.to_keys);
        unsafe { pack::by_token::<L, W>(self.values, self.to_values) }
    }
}

/// A block of queries of a head.
struct Task<'a, W> {
    call: &'a Call<'a, W>,
    head: Head,
    queries: Range<usize>,
    packed: &'a Packed,
    out: &'a Output<'a, W>,
    logsumexp: &'a mut [f32],
}

/// What is known of a block of queries after some of its keys.
struct State {
    /// The queries in [panels](pack::panels).
    query: Vec<f32>,
    /// `[keys, queries]`
    scores: Vec<f32>,
    /// Largest score of each query, in units of ln 2.
    max: [f32; QUERIES],
    /// Sums of `2^(score - max)`.
    sum: [f32; QUERIES],
    /// What sums so far are multiplied with, as the largest score has changed.
    correction: [f32; QUERIES],
    /// Sums of the values, `[queries, padded width]`.
    out: Vec<f32>,
}

impl State {
    /// Multiplies sums of values, where the largest score has changed.
    #[inline(always)]
    fn correct(&mut self, width: usize) {
        for (out, &correction) in self.out.chunks_exact_mut(width).zip(&self.correction) {
            if correction != 1.0 {
                out.iter_mut().for_each(|x| *x *= correction);
            }
        }
    }
}

impl<W: Word> Task<'_, W> {
    /// Keys that the queries see.
    fn keys(&self) -> Range<usize> {
        self.call.documents[self.head.batch].keys(self.queries.clone())
    }
}

impl<W: Word> Op for Task<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let sizes = self.call.sizes;
        let mut state = State {
            query: vec![0.0; QUERIES * sizes.head_dim / W::PER_WORD],
            scores: vec![0.0; KEYS * QUERIES],
            max: [f32::MIN; QUERIES],
            sum: [0.0; QUERIES],
            correction: [0.0; QUERIES],
            out: vec![0.0; QUERIES * padded(sizes.head_dim)],
        };
        let queries = self.call.rows(self.call.query, self.head);
        unsafe { pack::panels::<L, W>(queries.from(self.queries.start), &mut state.query) };
        let keys = self.keys();
        // Words of values hold tokens from an even one on.
        for start in (keys.start / W::PER_WORD * W::PER_WORD..keys.end).step_by(KEYS) {
            let keys = start..keys.end.min(start + KEYS);
            let documents = &self.call.documents[self.head.batch];
            let window = Window::new(documents, self.queries.clone(), keys);
            unsafe {
                self.scores::<L>(&window, &mut state);
                softmax::<L, W>(window.keys.len(), sizes.scale(), &mut state);
                state.correct(padded(sizes.head_dim));
                self.add_values::<L>(&window, &mut state);
            }
        }
        unsafe { self.write::<L>(&state) };
    }
}

impl<W: Word> Task<'_, W> {
    /// Scores of the keys, -∞ where they are hidden.
    #[inline(always)]
    unsafe fn scores<L: Lanes>(&self, window: &Window, state: &mut State) {
        let (call, keys) = (self.call, &window.keys);
        let steps = call.sizes.head_dim / W::PER_WORD;
        let query = Panels::packed::<L>(&state.query, steps);
        for (first, count) in strips::<L>(keys.len(), query.width) {
            let rows = first..first + count;
            let scores = &mut state.scores[first * QUERIES..][..count * QUERIES];
            let left = &self.packed.keys[(keys.start + first) * steps..];
            let strip = Strip::<W> {
                left: Left::rows(left, steps),
                right: query,
                rows: count,
                columns: vectors::<L>(&window.columns(rows.clone())),
                steps,
                sums: Sums {
                    to: scores.as_mut_ptr(),
                    stride: QUERIES,
                    add: false,
                },
                word: PhantomData,
            };
            unsafe { strip.compute(call.isa) };
            for (row, scores) in rows.zip(scores.chunks_exact_mut(QUERIES)) {
                hide(scores, window.columns(row..row + 1), f32::NEG_INFINITY);
            }
        }
        if !keys.len().is_multiple_of(2) {
            state.scores[keys.len() * QUERIES..][..QUERIES].fill(f32::NEG_INFINITY);
        }
    }

    /// Adds the values of these keys, weighted.
    #[inline(always)]
    unsafe fn add_values<L: Lanes>(&self, window: &Window, state: &mut State) {
        let width = padded(self.call.sizes.head_dim);
        let values = &self.packed.values[window.keys.start / W::PER_WORD * width..];
        let product = Product {
            left: Left {
                words: state.scores.as_ptr(),
                row: 1,
                step: QUERIES * W::PER_WORD,
            },
            right: Panels::rows::<L>(values, width),
            rows: self.queries.len(),
            columns: width,
            sums: Sums {
                to: state.out.as_mut_ptr(),
                stride: width,
                add: true,
            },
        };
        let steps = |queries| words::<W>(window.rows(queries));
        unsafe { product.compute::<L, W>(self.call.isa, steps) };
    }

    /// Divides by the sums.
    #[inline(always)]
    unsafe fn write<L: Lanes>(self, state: &State) {
        let rows = state.out.chunks_exact(padded(self.call.sizes.head_dim));
        for ((query, row), sum) in self.queries.zip(rows).zip(state.sum) {
            // SAFETY: no other task has this query.
            unsafe { self.out.write::<L>(self.head, query, row, sum.recip()) };
        }
        for ((to, sum), max) in self.logsumexp.iter_mut().zip(state.sum).zip(state.max) {
            *to = max * LN_2 + sum.ln();
        }
    }
}

/// Vectors of queries whose softmax is made at a time, so that whole lines of the cache are read.
const VECTORS: usize = 4;

/// Turns scores into shares that are not yet divided by their sum, as words along the keys, and takes them into the sums.
#[inline(always)]
unsafe fn softmax<L: Lanes, W: Word>(keys: usize, scale: f32, state: &mut State) {
    for column in (0..QUERIES).step_by(VECTORS * L::N) {
        unsafe {
            let scale = L::splat(scale * LOG2_E);
            let minus_max = raise_max::<L>(keys, column, scale, state);
            let scores = state.scores.as_mut_ptr().add(column);
            let mut sums = [L::splat(0.0); VECTORS];
            for key in (0..keys).step_by(2) {
                for (vector, (sum, minus)) in sums.iter_mut().zip(minus_max).enumerate() {
                    let row = scores.add(key * QUERIES + vector * L::N);
                    let first = math::exp2::<L>(L::fma(L::load(row), scale, minus));
                    let next = row.add(QUERIES);
                    let second = math::exp2::<L>(L::fma(L::load(next), scale, minus));
                    *sum = L::add(*sum, L::add(first, second));
                    L::store(row, W::words::<L>(first, second));
                    if W::PER_WORD == 1 {
                        L::store(next, second);
                    }
                }
            }
            for (vector, sum) in sums.into_iter().enumerate() {
                let to = state.sum.as_mut_ptr().add(column + vector * L::N);
                L::store(to, L::add(L::load(to), sum));
            }
        }
    }
}

/// Takes scores into the maxima of some vectors of queries, and corrects the sums; returns the negated maxima.
#[inline(always)]
unsafe fn raise_max<L: Lanes>(
    keys: usize,
    column: usize,
    scale: L::V,
    state: &mut State,
) -> [L::V; VECTORS] {
    unsafe {
        let scores = state.scores.as_ptr().add(column);
        let mut largest = [L::splat(f32::NEG_INFINITY); VECTORS];
        for key in 0..keys {
            for (vector, largest) in largest.iter_mut().enumerate() {
                // In this order NaN is left out here; it comes back from the exponential.
                *largest = L::max(L::load(scores.add(key * QUERIES + vector * L::N)), *largest);
            }
        }
        for (vector, largest) in largest.iter_mut().enumerate() {
            let at = column + vector * L::N;
            let old = L::load(state.max.as_ptr().add(at));
            let max = L::max(L::mul(*largest, scale), old);
            let correction = math::exp2::<L>(L::sub(old, max));
            let sums = state.sum.as_mut_ptr().add(at);
            L::store(sums, L::mul(L::load(sums), correction));
            L::store(state.max.as_mut_ptr().add(at), max);
            L::store(state.correction.as_mut_ptr().add(at), correction);
            *largest = L::sub(L::splat(0.0), max);
        }
        largest
    }
}
