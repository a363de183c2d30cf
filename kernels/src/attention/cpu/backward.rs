//! The backward pass: a task is some blocks of keys of a key head, and goes over the queries that see them.
//!
//! It owns the gradients of its keys and values. Gradients of queries are summed over keys: each task has sums of its own,
//! which are added up at the end. Keys are split into so few groups that this is cheap, and so that each has the same work.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use rayon::prelude::*;

use super::Call;
use super::pack::{self, Rows, padded};
use super::tile::{At, Factors, Finish, product, scores};
use super::unpack::unpack;
use crate::gemm::lanes::{Lanes, Op, dispatch};
use crate::gemm::math;
use crate::gemm::word::Word;

/// Queries of a block.
pub(super) const QUERIES: usize = 128;
/// Keys of a block.
pub(super) const KEYS: usize = 128;
/// Values from a row of scores to the next: not a power of 2, so that a column's rows do not compete for a part of the cache.
const STRIDE: usize = QUERIES + 16;
/// Tasks that are made, if there are so many blocks of keys.
const TASKS: usize = 16;
/// Sums of the queries' gradients, at most.
const GROUPS: usize = 4;

/// What the forward pass made, and the gradient of its result.
pub(super) struct Made<'a, W> {
    pub out: &'a [W],
    pub logsumexp: &'a [f32],
    pub upstream: &'a [W],
}

impl<W: Word> Call<'_, W> {
    /// Gradients of query, key and value, shaped like them.
    pub fn backward(&self, made: Made<W>) -> [Vec<W>; 3] {
        let sizes = self.sizes;
        let width = padded(sizes.head_dim);
        let queries = self.packed_queries(&made);
        let query_head = sizes.time.next_multiple_of(QUERIES) * width;
        let key_head = sizes.time.next_multiple_of(KEYS) * width;
        let kv_heads = sizes.batch * sizes.kv_heads;
        let groups = self.groups();
        let mut query_grads = vec![0.0; groups * sizes.batch * sizes.heads * query_head];
        let mut key_grads = vec![0.0; kv_heads * key_head];
        let mut value_grads = vec![0.0; kv_heads * key_head];
        let mut tasks: Vec<Task<W>> = query_grads
            .chunks_exact_mut(sizes.group() * query_head)
            .enumerate()
            .map(|(index, query_grads)| Task {
                call: self,
                batch: index % kv_heads / sizes.kv_heads,
                kv_head: index % sizes.kv_heads,
                queries: &queries,
                blocks: Vec::new(),
                query_grads,
            })
            .collect();
        let blocks = key_grads
            .chunks_exact_mut(KEYS * width)
            .zip(value_grads.chunks_exact_mut(KEYS * width));
        let per_head = sizes.time.div_ceil(KEYS);
        for (index, (key_grads, value_grads)) in blocks.enumerate() {
            let (head, block) = (index / per_head, index % per_head);
            // There and back, because earlier keys have more work.
            let turn = block % (2 * groups);
            let group = turn.min(2 * groups - 1 - turn);
            tasks[group * kv_heads + head].blocks.push(KeyBlock {
                first: block * KEYS,
                key_grads,
                value_grads,
            });
        }
        tasks
            .into_par_iter()
            .with_max_len(1)
            // SAFETY: the instruction set is available.
            .for_each(|task| unsafe { dispatch(self.isa, task) });
        let scale = sizes.scale();
        [
            unpack(self, &query_grads, [sizes.heads, QUERIES], scale),
            unpack(self, &key_grads, [sizes.kv_heads, KEYS], scale),
            unpack(self, &value_grads, [sizes.kv_heads, KEYS], 1.0),
        ]
    }

    /// Groups that the keys of a head are split into.
    fn groups(&self) -> usize {
        let sizes = self.sizes;
        let wanted = TASKS.div_ceil(sizes.batch * sizes.kv_heads);
        wanted.min(GROUPS).min(sizes.time.div_ceil(2 * KEYS))
    }

    /// The blocks of queries of all sequences and heads, each as [`Parts`].
    fn packed_queries(&self, made: &Made<W>) -> Vec<f32> {
        let sizes = self.sizes;
        let block = Parts::new::<W>(sizes.head_dim).len();
        let blocks = sizes.time.div_ceil(QUERIES);
        let mut packed = vec![0.0; sizes.batch * sizes.heads * blocks * block];
        let chunks = packed.par_chunks_exact_mut(block).enumerate();
        chunks.for_each(|(index, to)| {
            let head = index / blocks; // of all sequences
            let first = index % blocks * QUERIES;
            let rows = |values| {
                let rows = self.rows(
                    values,
                    head / sizes.heads,
                    [head % sizes.heads, sizes.heads],
                );
                rows.from(first)
            };
            let pack = PackQueries {
                query: rows(self.query),
                out: rows(made.out),
                upstream: rows(made.upstream),
                logsumexp: &made.logsumexp[head * sizes.time..][first..sizes.time],
                to,
            };
            // SAFETY: the instruction set is available.
            unsafe { dispatch(self.isa, pack) }
        });
        packed
    }
}

/// Where the parts of a packed block of queries lie, in words.
struct Parts {
    /// [Panels](pack::panels).
    query: Range<usize>,
    /// [By token](pack::by_token).
    query_rows: Range<usize>,
    upstream: Range<usize>,
    upstream_rows: Range<usize>,
    /// Σ_j P_ij dP_ij = dO_i · O_i
    means: Range<usize>,
    /// In units of ln 2.
    logsumexp: Range<usize>,
}

impl Parts {
    fn new<W: Word>(head_dim: usize) -> Self {
        let mut end = 0;
        let mut next = |len: usize| {
            end += len;
            end - len..end
        };
        let panels = QUERIES * head_dim / W::PER_WORD;
        let rows = QUERIES / W::PER_WORD * padded(head_dim);
        Self {
            query: next(panels),
            query_rows: next(rows),
            upstream: next(panels),
            upstream_rows: next(rows),
            means: next(QUERIES),
            logsumexp: next(QUERIES),
        }
    }

    fn len(&self) -> usize {
        self.logsumexp.end
    }
}

/// Packs a block of queries.
struct PackQueries<'a, W> {
    query: Rows<'a, W>,
    out: Rows<'a, W>,
    upstream: Rows<'a, W>,
    /// From the first query of the block on.
    logsumexp: &'a [f32],
    to: &'a mut [f32],
}

impl<W: Word> Op for PackQueries<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self {
            query,
            out,
            upstream,
            logsumexp,
            to,
        } = self;
        let parts = Parts::new::<W>(query.head_dim);
        pack::panels::<L, W>(query, &mut to[parts.query]);
        pack::panels::<L, W>(upstream, &mut to[parts.upstream]);
        unsafe {
            pack::by_token::<L, W>(query, &mut to[parts.query_rows]);
            pack::by_token::<L, W>(upstream, &mut to[parts.upstream_rows]);
        }
        let count = query.tokens.min(QUERIES);
        for (token, mean) in to[parts.means][..count].iter_mut().enumerate() {
            *mean = dot(out.row(token), upstream.row(token));
        }
        for (to, logsumexp) in to[parts.logsumexp].iter_mut().zip(logsumexp) {
            *to = logsumexp * LOG2_E;
        }
    }
}

/// In sums that fill vectors.
#[inline(always)]
fn dot<W: Word>(a: &[W], b: &[W]) -> f32 {
    let mut sums = [0f32; 16];
    for (a, b) in a.chunks(16).zip(b.chunks(16)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a.value() * b.value();
        }
    }
    sums.iter().sum()
}

/// A block of keys, and where their gradients are summed, `[KEYS, padded width]`.
struct KeyBlock<'a> {
    first: usize,
    key_grads: &'a mut [f32],
    value_grads: &'a mut [f32],
}

/// Some blocks of a key head.
struct Task<'a, W> {
    call: &'a Call<'a, W>,
    batch: usize,
    kv_head: usize,
    /// All blocks of queries, packed.
    queries: &'a [f32],
    blocks: Vec<KeyBlock<'a>>,
    /// `[query heads of the key head, padded time, padded width]`
    query_grads: &'a mut [f32],
}

/// Intermediate results for a block of queries and one of keys.
struct Scratch<W> {
    /// The keys [by token](pack::by_token).
    keys: Vec<f32>,
    /// What each query takes of each value, `[keys, STRIDE]`.
    shares: Vec<W>,
    /// Gradients of the scores before scaling, `[keys, STRIDE]`.
    grads: Vec<W>,
    /// The same as words along the keys, where they hold two.
    grad_words: Vec<f32>,
}

impl<W: Word> Op for Task<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(mut self) {
        let (call, sizes) = (self.call, self.call.sizes);
        let words = if W::PER_WORD == 1 {
            0
        } else {
            KEYS / W::PER_WORD * STRIDE
        };
        let mut scratch = Scratch {
            keys: vec![0.0; KEYS / W::PER_WORD * padded(sizes.head_dim)],
            shares: vec![W::default(); KEYS * STRIDE],
            grads: vec![W::default(); KEYS * STRIDE],
            grad_words: vec![0.0; words],
        };
        let documents = &call.documents[self.batch];
        for mut block in std::mem::take(&mut self.blocks) {
            let keys = block.first..sizes.time.min(block.first + KEYS);
            let rows = call.rows(call.key, self.batch, [self.kv_head, sizes.kv_heads]);
            unsafe { pack::by_token::<L, W>(rows.from(keys.start), &mut scratch.keys) };
            let seen = documents.queries(keys.clone());
            for head in 0..sizes.group() {
                for block_of_queries in seen.start / QUERIES..seen.end.div_ceil(QUERIES) {
                    let first = block_of_queries * QUERIES;
                    let pair = Pair {
                        head,
                        keys: keys.clone(),
                        queries: first..sizes.time.min(first + QUERIES),
                    };
                    unsafe { self.add_pair::<L>(&pair, &mut block, &mut scratch) };
                }
            }
        }
    }
}

/// A block of queries and one of keys, in tokens.
struct Pair {
    /// Among those of the key head.
    head: usize,
    keys: Range<usize>,
    queries: Range<usize>,
}

impl<W: Word> Task<'_, W> {
    /// Adds what the scores of a pair of blocks contribute to the gradients.
    #[inline(always)]
    unsafe fn add_pair<L: Lanes>(
        &mut self,
        pair: &Pair,
        block: &mut KeyBlock,
        scratch: &mut Scratch<W>,
    ) {
        let sizes = self.call.sizes;
        let width = padded(sizes.head_dim);
        unsafe {
            self.shares_and_grads::<L>(pair, scratch);
        }
        let packed = self.packed(pair);
        let parts = Parts::new::<W>(sizes.head_dim);
        let columns = |rows: Range<usize>| {
            let seen = self.columns(pair, rows);
            seen.start / W::PER_WORD..seen.end.div_ceil(W::PER_WORD)
        };
        let by_key = |a: &[W], b: Range<usize>| Factors {
            a: a.as_ptr().cast(),
            a_row: STRIDE / W::PER_WORD,
            a_step: 1,
            b: packed[b].as_ptr(),
            b_step: width,
        };
        let keys = pair.keys.len();
        unsafe {
            let factors = by_key(&scratch.shares, parts.upstream_rows);
            let add = Add::to(block.value_grads, width);
            product::<L, W, _>(factors, keys, width, columns, &add);
            let factors = by_key(&scratch.grads, parts.query_rows);
            let add = Add::to(block.key_grads, width);
            product::<L, W, _>(factors, keys, width, columns, &add);
        }
        let documents = &self.call.documents[self.batch];
        let rows = |rows: Range<usize>| {
            let first = pair.queries.start;
            let seen = documents.keys(first + rows.start..first + rows.end);
            let row = |key: usize| key.clamp(pair.keys.start, pair.keys.end) - pair.keys.start;
            row(seen.start) / W::PER_WORD..row(seen.end).div_ceil(W::PER_WORD)
        };
        let factors = Factors {
            a: match W::PER_WORD {
                1 => scratch.grads.as_ptr().cast(),
                _ => scratch.grad_words.as_ptr(),
            },
            a_row: 1,
            a_step: STRIDE,
            b: scratch.keys.as_ptr(),
            b_step: width,
        };
        let head = sizes.time.next_multiple_of(QUERIES) * pair.head;
        let grads = &mut self.query_grads[(head + pair.queries.start) * width..];
        let add = Add::to(&mut grads[..QUERIES * width], width);
        unsafe { product::<L, W, _>(factors, pair.queries.len(), width, rows, &add) };
    }

    /// Shares of a pair of blocks and gradients of its scores, 0 where a key is hidden.
    #[inline(always)]
    unsafe fn shares_and_grads<L: Lanes>(&self, pair: &Pair, scratch: &mut Scratch<W>) {
        let (call, sizes) = (self.call, self.call.sizes);
        let packed = self.packed(pair);
        let parts = Parts::new::<W>(sizes.head_dim);
        let factors = |values, b: Range<usize>| {
            let rows = call.rows(values, self.batch, [self.kv_head, sizes.kv_heads]);
            Factors {
                a: rows.row(pair.keys.start).as_ptr().cast(),
                a_row: rows.stride / W::PER_WORD,
                a_step: 1,
                b: packed[b].as_ptr(),
                b_step: L::PANEL * L::N,
            }
        };
        let columns = |rows: Range<usize>| self.columns(pair, rows);
        let (keys, steps) = (pair.keys.len(), sizes.head_dim / W::PER_WORD);
        let hidden = !call.documents[self.batch].all(pair.queries.clone(), pair.keys.clone());
        let hidden = hidden || pair.queries.len() < QUERIES;
        let store = StoreShares {
            to: scratch.shares.as_mut_ptr(),
            scale: sizes.scale() * LOG2_E,
            logsumexp: packed[parts.logsumexp].as_ptr(),
        };
        unsafe {
            let factors = factors(call.key, parts.query);
            scores::<L, W, _>(factors, keys, steps, columns, &store, QUERIES);
        }
        if hidden {
            self.hide(pair, 1, &mut scratch.shares);
        }
        let store = StoreGrads {
            shares: scratch.shares.as_ptr(),
            means: packed[parts.means].as_ptr(),
            to: scratch.grads.as_mut_ptr(),
            words: scratch.grad_words.as_mut_ptr(),
        };
        unsafe {
            let factors = factors(call.value, parts.upstream);
            scores::<L, W, _>(factors, keys, steps, columns, &store, QUERIES);
        }
        if hidden {
            self.hide(pair, 1, &mut scratch.grads);
            self.hide(pair, 2, &mut scratch.grad_words);
        }
    }

    fn packed(&self, pair: &Pair) -> &[f32] {
        let sizes = self.call.sizes;
        let len = Parts::new::<W>(sizes.head_dim).len();
        let head = self.batch * sizes.heads + self.kv_head * sizes.group() + pair.head;
        let block = head * sizes.time.div_ceil(QUERIES) + pair.queries.start / QUERIES;
        &self.queries[block * len..][..len]
    }

    /// Of the pair's queries, those that see some of its keys.
    #[inline(always)]
    fn columns(&self, pair: &Pair, rows: Range<usize>) -> Range<usize> {
        let keys = pair.keys.start + rows.start..pair.keys.start + rows.end;
        let seen = self.call.documents[self.batch].queries(keys);
        let Range { start, end } = pair.queries;
        let column = |query: usize| query.clamp(start, end) - start;
        column(seen.start)..column(seen.end)
    }

    /// Zeros for the queries that see none of the `keys` of a row.
    #[inline(always)]
    fn hide<T: Word>(&self, pair: &Pair, keys: usize, rows: &mut [T]) {
        for (row, to) in rows.chunks_exact_mut(STRIDE).enumerate() {
            let first = row * keys;
            if first >= pair.keys.len() {
                return;
            }
            let seen = self.columns(pair, first..pair.keys.len().min(first + keys));
            to[..seen.start].fill(T::default());
            to[seen.end..].fill(T::default());
        }
    }
}

/// Stores `exp(score - logsumexp)`.
struct StoreShares<W> {
    to: *mut W,
    /// Of the scores, in units of ln 2.
    scale: f32,
    logsumexp: *const f32,
}

impl<W: Word> Finish for StoreShares<W> {
    #[inline(always)]
    unsafe fn finish<L: Lanes, const ROWS: usize, const VECTORS: usize>(
        &self,
        sums: &[[L::V; VECTORS]; ROWS],
        at: At,
    ) {
        unsafe {
            let scale = L::splat(self.scale);
            for vector in 0..VECTORS {
                let column = at.column + vector * L::N;
                let minus = L::sub(L::splat(0.0), L::load(self.logsumexp.add(column)));
                for (row, sums) in sums.iter().enumerate() {
                    let share = math::exp2::<L>(L::fma(sums[vector], scale, minus));
                    W::store::<L>(self.to.add((at.row + row) * STRIDE + column), share);
                }
            }
        }
    }
}

/// Stores `share · (sum - mean)`, also as words along the keys where they hold two.
struct StoreGrads<W> {
    shares: *const W,
    means: *const f32,
    to: *mut W,
    words: *mut f32,
}

impl<W: Word> Finish for StoreGrads<W> {
    #[inline(always)]
    unsafe fn finish<L: Lanes, const ROWS: usize, const VECTORS: usize>(
        &self,
        sums: &[[L::V; VECTORS]; ROWS],
        at: At,
    ) {
        unsafe {
            for vector in 0..VECTORS {
                let column = at.column + vector * L::N;
                let mean = L::load(self.means.add(column));
                let mut grads = [L::splat(0.0); ROWS];
                for (row, (grad, sums)) in grads.iter_mut().zip(sums).enumerate() {
                    let place = (at.row + row) * STRIDE + column;
                    let share = W::load::<L>(self.shares.add(place));
                    *grad = L::mul(share, L::sub(sums[vector], mean));
                    W::store::<L>(self.to.add(place), *grad);
                }
                if W::PER_WORD == 1 {
                    continue;
                }
                // Only the last tile has an odd number of rows, one.
                for row in (0..ROWS).step_by(2) {
                    let second = if row + 1 < ROWS {
                        grads[row + 1]
                    } else {
                        L::splat(0.0)
                    };
                    let to = self.words.add((at.row + row) / 2 * STRIDE + column);
                    L::store(to, W::words::<L>(grads[row], second));
                }
            }
        }
    }
}

/// Adds sums.
struct Add {
    to: *mut f32,
    stride: usize,
}

impl Add {
    fn to(rows: &mut [f32], stride: usize) -> Self {
        Self {
            to: rows.as_mut_ptr(),
            stride,
        }
    }
}

impl Finish for Add {
    #[inline(always)]
    unsafe fn finish<L: Lanes, const ROWS: usize, const VECTORS: usize>(
        &self,
        sums: &[[L::V; VECTORS]; ROWS],
        at: At,
    ) {
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                unsafe {
                    let place = (at.row + row) * self.stride + at.column + vector * L::N;
                    let to = self.to.add(place);
                    L::store(to, L::add(L::load(to), *sum));
                }
            }
        }
    }
}
