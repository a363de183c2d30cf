//! The forward pass: a task is a block of queries of a sequence, and goes over the keys that it sees.

use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

use rayon::prelude::*;

use super::Call;
use super::element::Element;
use super::pack::{self, Rows, padded};
use super::tile::{At, Factors, Finish, product, scores};
use crate::gemm::lanes::{Lanes, Op, dispatch};
use crate::gemm::math;

/// Queries of a task.
const QUERIES: usize = 64;
/// Keys whose scores exist at a time, an even number.
const KEYS: usize = 128;

impl<E: Element> Call<'_, E> {
    /// Result `[batch, time, heads, head_dim]` and logsumexp `[batch, heads, time]`.
    pub fn forward(&self) -> (Vec<E>, Vec<f32>) {
        let sizes = self.sizes;
        let values = self.packed_values();
        let token = sizes.heads * sizes.head_dim;
        let mut out = vec![E::of_f32(0.0); sizes.batch * sizes.time * token];
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
        let places: Vec<_> = tasks.iter().map(|task| (task.batch, task.queries.clone())).collect();
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
            pack::by_token(self.rows(self.value, batch, [head, sizes.kv_heads]), to);
        });
        packed
    }

    fn packed_head(&self) -> usize {
        self.sizes.time.div_ceil(E::PER_WORD) * padded(self.sizes.head_dim)
    }

    /// The rows of one of `heads` heads.
    pub(super) fn rows<'b>(
        &self,
        values: &'b [E],
        batch: usize,
        [head, heads]: [usize; 2],
    ) -> Rows<'b, E> {
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

/// A block of queries, with all heads.
struct Task<'a, E> {
    call: &'a Call<'a, E>,
    values: &'a [f32],
    batch: usize,
    queries: Range<usize>,
    out: &'a mut [E],
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
    /// What sums so far are multiplied with when the largest score has changed.
    correction: [f32; QUERIES],
    /// Sums of the values, `[queries, padded width]`.
    out: Vec<f32>,
}

impl<E: Element> Task<'_, E> {
    /// Keys that the queries see.
    fn keys(&self) -> Range<usize> {
        self.call.documents[self.batch].keys(self.queries.clone())
    }

    fn work(&self) -> usize {
        self.keys().len()
    }
}

impl<E: Element> Op for Task<'_, E> {
    /// Logsumexp `[heads, queries]`.
    type Out = Vec<f32>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(mut self) -> Vec<f32> {
        let sizes = self.call.sizes;
        let mut state = State {
            query: vec![0.0; QUERIES * sizes.head_dim / E::PER_WORD],
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

impl<E: Element> Task<'_, E> {
    #[inline(always)]
    unsafe fn head<L: Lanes>(&self, head: usize, state: &mut State) {
        let (call, sizes) = (self.call, self.call.sizes);
        let queries = call.rows(call.query, self.batch, [head, sizes.heads]);
        pack::panels::<L, E>(queries.from(self.queries.start), &mut state.query);
        state.max.fill(f32::MIN);
        state.sum.fill(0.0);
        state.out.fill(0.0);
        let keys = self.keys();
        // Words of values hold tokens from an even one on.
        for start in (keys.start / E::PER_WORD * E::PER_WORD..keys.end).step_by(KEYS) {
            let keys = start..keys.end.min(start + KEYS);
            unsafe {
                self.scores::<L>(head, keys.clone(), state);
                softmax::<L, E>(keys.len(), sizes.scale(), state);
                self.add_values::<L>(head, keys, state);
            }
        }
    }

    /// Scores of the keys, -∞ where they are hidden.
    #[inline(always)]
    unsafe fn scores<L: Lanes>(&self, head: usize, keys: Range<usize>, state: &mut State) {
        let (call, sizes) = (self.call, self.call.sizes);
        let documents = &call.documents[self.batch];
        let rows = call.rows(call.key, self.batch, [head / sizes.group(), sizes.kv_heads]);
        let factors = Factors {
            a: rows.row(keys.start).as_ptr().cast(),
            a_row: rows.stride / E::PER_WORD,
            a_step: 1,
            b: state.query.as_ptr(),
            b_step: L::PANEL * L::N,
        };
        let columns = |rows: Range<usize>| {
            let keys = keys.start + rows.start..keys.start + rows.end;
            self.columns(documents.queries(keys))
        };
        let steps = sizes.head_dim / E::PER_WORD;
        let store = Store(state.scores.as_mut_ptr());
        unsafe { scores::<L, E, _>(factors, keys.len(), steps, columns, &store, QUERIES) };
        if self.queries.len() < QUERIES || !documents.all(self.queries.clone(), keys.clone()) {
            for (row, scores) in state.scores.chunks_exact_mut(QUERIES).take(keys.len()).enumerate() {
                let seen = columns(row..row + 1);
                scores[..seen.start].fill(f32::NEG_INFINITY);
                scores[seen.end..].fill(f32::NEG_INFINITY);
            }
        }
        if !keys.len().is_multiple_of(2) {
            state.scores[keys.len() * QUERIES..][..QUERIES].fill(f32::NEG_INFINITY);
        }
    }

    /// Of this block, which of the queries.
    #[inline(always)]
    fn columns(&self, queries: Range<usize>) -> Range<usize> {
        let Range { start, end } = self.queries;
        let column = |query: usize| query.clamp(start, end) - start;
        column(queries.start)..column(queries.end)
    }

    /// Corrects the sums, and adds the values of these keys, weighted.
    #[inline(always)]
    unsafe fn add_values<L: Lanes>(&self, head: usize, keys: Range<usize>, state: &mut State) {
        let (call, sizes) = (self.call, self.call.sizes);
        let documents = &call.documents[self.batch];
        let width = padded(sizes.head_dim);
        let packed = (self.batch * sizes.kv_heads + head / sizes.group()) * call.packed_head();
        let factors = Factors {
            a: state.scores.as_ptr(),
            a_row: 1,
            a_step: QUERIES * E::PER_WORD,
            b: self.values[packed + keys.start / E::PER_WORD * width..].as_ptr(),
            b_step: width,
        };
        let first = self.queries.start;
        let steps = |rows: Range<usize>| {
            let seen = documents.keys(first + rows.start..first + rows.end);
            let step = |key: usize| key.clamp(keys.start, keys.end) - keys.start;
            step(seen.start) / E::PER_WORD..step(seen.end).div_ceil(E::PER_WORD)
        };
        let add = CorrectAndAdd {
            to: state.out.as_mut_ptr(),
            stride: width,
            correction: &state.correction,
        };
        unsafe { product::<L, E, _>(factors, self.queries.len(), width, steps, &add) };
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
                *to = E::of_f32(x * inverse);
            }
            logsumexp.push(max * LN_2 + sum.ln());
        }
    }
}

/// Turns scores into shares that are not yet divided by their sum, as words along the keys, and takes them into the sums.
#[inline(always)]
unsafe fn softmax<L: Lanes, E: Element>(keys: usize, scale: f32, state: &mut State) {
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
                let share = |row: *const f32| {
                    math::exp2::<L>(L::fma(L::load(row), scale, minus_max))
                };
                let shares = [share(row), share(row.add(QUERIES))];
                sum = L::add(sum, L::add(shares[0], shares[1]));
                E::store_words::<L>(row, QUERIES, shares);
            }
            let sums = state.sum.as_mut_ptr().add(column);
            L::store(sums, L::fma(L::load(sums), correction, sum));
            L::store(state.max.as_mut_ptr().add(column), max);
            L::store(state.correction.as_mut_ptr().add(column), correction);
        }
    }
}

/// Stores scores.
struct Store(*mut f32);

impl Finish for Store {
    #[inline(always)]
    unsafe fn finish<L: Lanes, const ROWS: usize, const VECTORS: usize>(
        &self,
        sums: &[[L::V; VECTORS]; ROWS],
        at: At,
    ) {
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                let place = (at.row + row) * QUERIES + at.column + vector * L::N;
                unsafe { L::store(self.0.add(place), *sum) };
            }
        }
    }
}

/// `to ← to · correction + sums`
struct CorrectAndAdd<'a> {
    to: *mut f32,
    stride: usize,
    correction: &'a [f32; QUERIES],
}

impl Finish for CorrectAndAdd<'_> {
    #[inline(always)]
    unsafe fn finish<L: Lanes, const ROWS: usize, const VECTORS: usize>(
        &self,
        sums: &[[L::V; VECTORS]; ROWS],
        at: At,
    ) {
        for (row, sums) in sums.iter().enumerate() {
            unsafe {
                let correction = L::splat(self.correction[at.row + row]);
                for (vector, sum) in sums.iter().enumerate() {
                    let place = (at.row + row) * self.stride + at.column + vector * L::N;
                    let to = self.to.add(place);
                    L::store(to, L::fma(L::load(to), correction, *sum));
                }
            }
        }
    }
}
