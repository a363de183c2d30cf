//! The forward pass: a task is a block of queries of a sequence, and goes over the keys that it sees.

use std::f32::consts::{LN_2, LOG2_E};
use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::Call;
use super::documents::{hide, within};
use super::pack::{self, Rows, padded};
use super::tile::{Left, Panels, Product, Strip, Sums, strips, vectors, words};
use crate::gemm::lanes::{Lanes, Op, dispatch};
use crate::gemm::math;
use crate::gemm::word::Word;

/// Queries of a task.
const QUERIES: usize = 64;
/// Keys whose scores exist at a time, an even number.
const KEYS: usize = 128;

impl<W: Word> Call<'_, W> {
    /// Result `[batch, time, heads, head_dim]` and logsumexp `[batch, heads, time]`.
    pub fn forward(&self) -> (Vec<W>, Vec<f32>) {
        let sizes = self.sizes;
        let values = self.packed_values();
        let token = sizes.heads * sizes.head_dim;
        let mut out = vec![W::round(0.0); sizes.batch * sizes.time * token];
        let mut logsumexp = vec![0.0; sizes.batch * sizes.heads * sizes.time];
        let mut tasks = Vec::new();
        for (batch, out) in out.chunks_mut(sizes.time * token).enumerate() {
            for (block, out) in out.chunks_mut(QUERIES * token).enumerate() {
                let start = block * QUERIES;
                tasks.push(Task {
                    call: self,
                    values: &values,
                    batch,
                    queries: start..start + out.len() / token,
                    out,
                });
            }
        }
        // The longest first, so that the threads end together.
        tasks.sort_by_key(|task| std::cmp::Reverse(task.work()));
        let places: Vec<_> = tasks
            .iter()
            .map(|task| (task.batch, task.queries.clone()))
            .collect();
        let done: Vec<Vec<f32>> = tasks
            .into_par_iter()
            .with_max_len(1)
            // SAFETY: the instruction set is available.
            .map(|task| unsafe { dispatch(self.isa, task) })
            .collect();
        for ((batch, queries), done) in places.into_iter().zip(done) {
            for (head, done) in done.chunks_exact(queries.len()).enumerate() {
                let row = (batch * sizes.heads + head) * sizes.time;
                logsumexp[row + queries.start..row + queries.end].copy_from_slice(done);
            }
        }
        (out, logsumexp)
    }

    /// Values of each sequence and head, packed [by token](pack::by_token).
    fn packed_values(&self) -> Vec<f32> {
        let sizes = self.sizes;
        let mut packed = vec![0.0; sizes.batch * sizes.kv_heads * self.packed_head()];
        let heads = packed.par_chunks_mut(self.packed_head()).enumerate();
        heads.for_each(|(index, to)| {
            let (batch, head) = (index / sizes.kv_heads, index % sizes.kv_heads);
            let rows = self.rows(self.value, batch, [head, sizes.kv_heads]);
            // SAFETY: the instruction set is available.
            unsafe { dispatch(self.isa, Pack { rows, to }) }
        });
        packed
    }

    fn packed_head(&self) -> usize {
        self.sizes.time.div_ceil(W::PER_WORD) * padded(self.sizes.head_dim)
    }

    /// The rows of one of `heads` heads.
    pub(super) fn rows<'b>(
        &self,
        values: &'b [W],
        batch: usize,
        [head, heads]: [usize; 2],
    ) -> Rows<'b, W> {
        let sizes = self.sizes;
        let stride = heads * sizes.head_dim;
        Rows {
            values: &values[batch * sizes.time * stride + head * sizes.head_dim..],
            stride,
            tokens: sizes.time,
            head_dim: sizes.head_dim,
        }
    }
}

/// Packs the values of a head.
struct Pack<'a, W> {
    rows: Rows<'a, W>,
    to: &'a mut [f32],
}

impl<W: Word> Op for Pack<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        unsafe { pack::by_token::<L, W>(self.rows, self.to) }
    }
}

/// A block of queries, with all heads.
struct Task<'a, W> {
    call: &'a Call<'a, W>,
    values: &'a [f32],
    batch: usize,
    queries: Range<usize>,
    out: &'a mut [W],
}

/// What is known of a block of queries of one head after some of its keys.
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
        self.call.documents[self.batch].keys(self.queries.clone())
    }

    fn work(&self) -> usize {
        self.keys().len()
    }
}

impl<W: Word> Op for Task<'_, W> {
    /// Logsumexp `[heads, queries]`.
    type Out = Vec<f32>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(mut self) -> Vec<f32> {
        let sizes = self.call.sizes;
        let mut state = State {
            query: vec![0.0; QUERIES * sizes.head_dim / W::PER_WORD],
            scores: vec![0.0; KEYS * QUERIES],
            max: [0.0; QUERIES],
            sum: [0.0; QUERIES],
            correction: [0.0; QUERIES],
            out: vec![0.0; QUERIES * padded(sizes.head_dim)],
        };
        let mut logsumexp = Vec::with_capacity(sizes.heads * self.queries.len());
        for head in 0..sizes.heads {
            unsafe { self.head::<L>(head, &mut state) };
            self.write(head, &state, &mut logsumexp);
        }
        logsumexp
    }
}

impl<W: Word> Task<'_, W> {
    #[inline(always)]
    unsafe fn head<L: Lanes>(&self, head: usize, state: &mut State) {
        let (call, sizes) = (self.call, self.call.sizes);
        let queries = call.rows(call.query, self.batch, [head, sizes.heads]);
        pack::panels::<L, W>(queries.from(self.queries.start), &mut state.query);
        state.max.fill(f32::MIN);
        state.sum.fill(0.0);
        state.out.fill(0.0);
        let keys = self.keys();
        // Words of values hold tokens from an even one on.
        for start in (keys.start / W::PER_WORD * W::PER_WORD..keys.end).step_by(KEYS) {
            let keys = start..keys.end.min(start + KEYS);
            unsafe {
                self.scores::<L>(head, keys.clone(), state);
                softmax::<L, W>(keys.len(), sizes.scale(), state);
                state.correct(padded(sizes.head_dim));
                self.add_values::<L>(head, keys, state);
            }
        }
    }

    /// Scores of the keys, -∞ where they are hidden.
    #[inline(always)]
    unsafe fn scores<L: Lanes>(&self, head: usize, keys: Range<usize>, state: &mut State) {
        let (call, sizes) = (self.call, self.call.sizes);
        let rows = call.rows(call.key, self.batch, [head / sizes.group(), sizes.kv_heads]);
        let steps = sizes.head_dim / W::PER_WORD;
        let query = Panels::packed::<L>(&state.query, steps);
        for (row, count) in strips::<L>(keys.len(), query.width) {
            let first = keys.start + row;
            let seen = self.columns(first..first + count);
            let scores = &mut state.scores[row * QUERIES..][..count * QUERIES];
            let strip = Strip::<W> {
                left: Left::rows::<W>(rows.from(first)),
                right: query,
                rows: count,
                columns: vectors::<L>(&seen),
                steps,
                sums: Sums {
                    to: scores.as_mut_ptr(),
                    stride: QUERIES,
                    add: false,
                },
                word: PhantomData,
            };
            unsafe { strip.compute(call.isa) };
            for (key, scores) in scores.chunks_exact_mut(QUERIES).enumerate() {
                let seen = self.columns(first + key..first + key + 1);
                hide(scores, seen, f32::NEG_INFINITY);
            }
        }
        if !keys.len().is_multiple_of(2) {
            state.scores[keys.len() * QUERIES..][..QUERIES].fill(f32::NEG_INFINITY);
        }
    }

    /// Of this block, the queries that see some of the keys.
    #[inline(always)]
    fn columns(&self, keys: Range<usize>) -> Range<usize> {
        let seen = self.call.documents[self.batch].queries(keys);
        within(seen, &self.queries)
    }

    /// Adds the values of these keys, weighted.
    #[inline(always)]
    unsafe fn add_values<L: Lanes>(&self, head: usize, keys: Range<usize>, state: &mut State) {
        let (call, sizes) = (self.call, self.call.sizes);
        let documents = &call.documents[self.batch];
        let width = padded(sizes.head_dim);
        let packed = (self.batch * sizes.kv_heads + head / sizes.group()) * call.packed_head();
        let values = &self.values[packed + keys.start / W::PER_WORD * width..];
        let first = self.queries.start;
        let steps = |rows: Range<usize>| {
            let seen = documents.keys(first + rows.start..first + rows.end);
            words::<W>(within(seen, &keys))
        };
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
        unsafe { product.compute::<L, W>(call.isa, steps) };
    }

    /// Divides by the sums.
    #[inline(always)]
    fn write(&mut self, head: usize, state: &State, logsumexp: &mut Vec<f32>) {
        let sizes = self.call.sizes;
        let tokens = self.out.chunks_exact_mut(sizes.heads * sizes.head_dim);
        let rows = state.out.chunks_exact(padded(sizes.head_dim));
        for (((token, row), sum), max) in tokens.zip(rows).zip(state.sum).zip(state.max) {
            let inverse = sum.recip();
            let to = &mut token[head * sizes.head_dim..][..sizes.head_dim];
            for (to, x) in to.iter_mut().zip(row) {
                *to = W::round(x * inverse);
            }
            logsumexp.push(max * LN_2 + sum.ln());
        }
    }
}

/// Turns scores into shares that are not yet divided by their sum, as words along the keys, and takes them into the sums.
#[inline(always)]
unsafe fn softmax<L: Lanes, W: Word>(keys: usize, scale: f32, state: &mut State) {
    for column in (0..QUERIES).step_by(L::N) {
        unsafe {
            let scores = state.scores.as_mut_ptr().add(column);
            let mut largest = L::splat(f32::NEG_INFINITY);
            for key in 0..keys {
                // In this order NaN is left out here; it comes back from the exponential.
                largest = L::max(L::load(scores.add(key * QUERIES)), largest);
            }
            let scale = L::splat(scale * LOG2_E);
            let old = L::load(state.max.as_ptr().add(column));
            let max = L::max(L::mul(largest, scale), old);
            let correction = math::exp2::<L>(L::sub(old, max));
            let minus_max = L::sub(L::splat(0.0), max);
            let mut sum = L::splat(0.0);
            for key in (0..keys).step_by(2) {
                let row = scores.add(key * QUERIES);
                let mut shares = [minus_max; 2];
                for (index, share) in shares.iter_mut().enumerate() {
                    let score = L::load(row.add(index * QUERIES));
                    *share = math::exp2::<L>(L::fma(score, scale, minus_max));
                }
                let [first, second] = shares;
                sum = L::add(sum, L::add(first, second));
                L::store(row, W::words::<L>(first, second));
                if W::PER_WORD == 1 {
                    L::store(row.add(QUERIES), second);
                }
            }
            let sums = state.sum.as_mut_ptr().add(column);
            L::store(sums, L::fma(L::load(sums), correction, sum));
            L::store(state.max.as_mut_ptr().add(column), max);
            L::store(state.correction.as_mut_ptr().add(column), correction);
        }
    }
}
