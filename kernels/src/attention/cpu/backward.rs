//! The backward pass: a task is some blocks of keys of a key head, and goes over the queries that see them.
//!
//! It owns the gradients of its keys and values. Gradients of queries are summed over keys: each task has sums of its own,
//! which are added up at the end. Keys are split into so few groups that this is cheap, and so that each has the same work.

use std::f32::consts::LOG2_E;
use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::Call;
use super::documents::{hide, within};
use super::pack::{self, Rows, padded};
use super::tile::{Left, Panels, Product, Strip, Sums, strips, vectors, words};
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
    /// Products of the keys of a strip with all queries.
    strip: [f32; 8 * QUERIES],
    /// What each query takes of each value, `[keys, STRIDE]`.
    shares: Vec<W>,
    /// Gradients of the scores before scaling, `[keys, STRIDE]`.
    grads: Vec<W>,
    /// The same as words along the keys, where these hold two.
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
            strip: [0.0; 8 * QUERIES],
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
        let (call, sizes) = (self.call, self.call.sizes);
        let width = padded(sizes.head_dim);
        let parts = Parts::new::<W>(sizes.head_dim);
        let packed = self.packed(pair);
        let by_key = |left: &[W], right: Range<usize>, to: &mut [f32]| Product {
            left: Left {
                words: left.as_ptr().cast(),
                row: STRIDE / W::PER_WORD,
                step: 1,
            },
            right: Panels::rows::<L>(&packed[right], width),
            rows: pair.keys.len(),
            columns: width,
            sums: Sums {
                to: to.as_mut_ptr(),
                stride: width,
                add: true,
            },
        };
        let queries = |rows: Range<usize>| {
            let first = pair.keys.start;
            words::<W>(self.columns(pair, first + rows.start..first + rows.end))
        };
        unsafe {
            self.shares::<L>(pair, scratch);
            let product = by_key(&scratch.shares, parts.upstream_rows, block.value_grads);
            product.compute::<L, W>(call.isa, queries);
            self.grads::<L>(pair, scratch);
            let product = by_key(&scratch.grads, parts.query_rows, block.key_grads);
            product.compute::<L, W>(call.isa, queries);
            self.add_query_grads::<L>(pair, scratch);
        }
    }

    #[inline(always)]
    unsafe fn add_query_grads<L: Lanes>(&mut self, pair: &Pair, scratch: &Scratch<W>) {
        let (call, sizes) = (self.call, self.call.sizes);
        let width = padded(sizes.head_dim);
        let head = sizes.time.next_multiple_of(QUERIES) * pair.head;
        let to = &mut self.query_grads[(head + pair.queries.start) * width..][..QUERIES * width];
        let documents = &call.documents[self.batch];
        let keys = |rows: Range<usize>| {
            let first = pair.queries.start;
            let seen = documents.keys(first + rows.start..first + rows.end);
            words::<W>(within(seen, &pair.keys))
        };
        let product = Product {
            left: Left {
                words: match W::PER_WORD {
                    1 => scratch.grads.as_ptr().cast(),
                    _ => scratch.grad_words.as_ptr(),
                },
                row: 1,
                step: STRIDE,
            },
            right: Panels::rows::<L>(&scratch.keys, width),
            rows: pair.queries.len(),
            columns: width,
            sums: Sums {
                to: to.as_mut_ptr(),
                stride: width,
                add: true,
            },
        };
        unsafe { product.compute::<L, W>(call.isa, keys) };
    }

    /// What each query takes of each value: `exp(score - logsumexp)`, 0 where the key is hidden.
    #[inline(always)]
    unsafe fn shares<L: Lanes>(&self, pair: &Pair, scratch: &mut Scratch<W>) {
        let sizes = self.call.sizes;
        let packed = self.packed(pair);
        let parts = Parts::new::<W>(sizes.head_dim);
        let logsumexp = packed[parts.logsumexp].as_ptr();
        let queries = &packed[parts.query];
        for (row, count) in strips::<L>(pair.keys.len(), L::PANEL * L::N) {
            let first = pair.keys.start + row;
            let keys = first..first + count;
            unsafe {
                let scale = L::splat(sizes.scale() * LOG2_E);
                self.strip::<L>(
                    pair,
                    keys.clone(),
                    self.call.key,
                    queries,
                    &mut scratch.strip,
                );
                let scores = scratch.strip.chunks_exact(QUERIES);
                let shares = scratch.shares[row * STRIDE..].chunks_exact_mut(STRIDE);
                for ((key, scores), shares) in keys.zip(scores).zip(shares) {
                    let seen = self.columns(pair, key..key + 1);
                    for column in vectors::<L>(&seen).step_by(L::N) {
                        let score = L::load(scores.as_ptr().add(column));
                        let minus = L::sub(L::splat(0.0), L::load(logsumexp.add(column)));
                        let share = math::exp2::<L>(L::fma(score, scale, minus));
                        W::store::<L>(shares.as_mut_ptr().add(column), share);
                    }
                    hide(shares, seen, W::default());
                }
            }
        }
    }

    /// Gradients of the scores: `share · (upstream · value - mean)`, 0 where the key is hidden.
    #[inline(always)]
    unsafe fn grads<L: Lanes>(&self, pair: &Pair, scratch: &mut Scratch<W>) {
        let packed = self.packed(pair);
        let parts = Parts::new::<W>(self.call.sizes.head_dim);
        let means = packed[parts.means].as_ptr();
        let upstream = &packed[parts.upstream];
        for (row, count) in strips::<L>(pair.keys.len(), L::PANEL * L::N) {
            let first = pair.keys.start + row;
            let keys = first..first + count;
            unsafe {
                self.strip::<L>(
                    pair,
                    keys.clone(),
                    self.call.value,
                    upstream,
                    &mut scratch.strip,
                );
                for (index, key) in keys.clone().enumerate() {
                    let seen = self.columns(pair, key..key + 1);
                    let of_shares = &mut scratch.strip[index * QUERIES..][..QUERIES];
                    let shares = &scratch.shares[(row + index) * STRIDE..][..STRIDE];
                    let grads = &mut scratch.grads[(row + index) * STRIDE..][..STRIDE];
                    for column in vectors::<L>(&seen).step_by(L::N) {
                        let share = W::load::<L>(shares.as_ptr().add(column));
                        let to = of_shares.as_mut_ptr().add(column);
                        let difference = L::sub(L::load(to), L::load(means.add(column)));
                        let grad = L::mul(share, difference);
                        L::store(to, grad);
                        W::store::<L>(grads.as_mut_ptr().add(column), grad);
                    }
                    hide(of_shares, seen.clone(), 0.0);
                    hide(grads, seen, W::default());
                }
                if W::PER_WORD == 2 {
                    scratch.strip[count * QUERIES..][..count % 2 * QUERIES].fill(0.0);
                    self.grad_words::<L>(row, count, scratch);
                }
            }
        }
    }

    /// Gradients of a strip as words along the keys.
    #[inline(always)]
    unsafe fn grad_words<L: Lanes>(&self, row: usize, count: usize, scratch: &mut Scratch<W>) {
        let rows = scratch
            .strip
            .chunks_exact(2 * QUERIES)
            .take(count.div_ceil(2));
        let words = scratch.grad_words[row / 2 * STRIDE..].chunks_exact_mut(STRIDE);
        for (rows, words) in rows.zip(words) {
            for column in (0..QUERIES).step_by(L::N) {
                unsafe {
                    let row = rows.as_ptr().add(column);
                    let pairs = W::words::<L>(L::load(row), L::load(row.add(QUERIES)));
                    L::store(words.as_mut_ptr().add(column), pairs);
                }
            }
        }
    }

    /// Products of a strip of keys or values with the packed queries, or what is upstream of them, that see the keys.
    #[inline(always)]
    unsafe fn strip<L: Lanes>(
        &self,
        pair: &Pair,
        keys: Range<usize>,
        values: &[W],
        queries: &[f32],
        to: &mut [f32],
    ) {
        let (call, sizes) = (self.call, self.call.sizes);
        let rows = call.rows(values, self.batch, [self.kv_head, sizes.kv_heads]);
        let steps = sizes.head_dim / W::PER_WORD;
        let strip = Strip::<W> {
            left: Left::rows(rows.from(keys.start)),
            right: Panels::packed::<L>(queries, steps),
            rows: keys.len(),
            columns: vectors::<L>(&self.columns(pair, keys)),
            steps,
            sums: Sums {
                to: to.as_mut_ptr(),
                stride: QUERIES,
                add: false,
            },
            word: PhantomData,
        };
        unsafe { strip.compute(call.isa) };
    }

    fn packed(&self, pair: &Pair) -> &[f32] {
        let sizes = self.call.sizes;
        let len = Parts::new::<W>(sizes.head_dim).len();
        let head = self.batch * sizes.heads + self.kv_head * sizes.group() + pair.head;
        let block = head * sizes.time.div_ceil(QUERIES) + pair.queries.start / QUERIES;
        &self.queries[block * len..][..len]
    }

    /// Of the pair's queries, those that see some of the keys.
    #[inline(always)]
    fn columns(&self, pair: &Pair, keys: Range<usize>) -> Range<usize> {
        let seen = self.call.documents[self.batch].queries(keys);
        within(seen, &pair.queries)
    }
}
