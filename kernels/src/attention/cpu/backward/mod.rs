//! The backward pass, one key head after the other, so that what is packed stays in cache.
//!
//! A task has some blocks of its keys, and goes over the queries that see them. It owns the gradients of its keys and values.
//! Gradients of queries are summed over keys: each task has sums of its own, which are added up at the end. Keys are split
//! into so few groups that this is cheap, and so that each has the same work.

mod pair;
mod queries;

use rayon::prelude::*;

use self::pair::{Pair, Scratch};
use self::queries::Parts;
use super::Call;
use super::documents::Window;
use super::pack::{self, padded};
use super::rows::{Head, Output};
use crate::gemm::lanes::{Lanes, Op, dispatch};
use crate::gemm::word::Word;
use crate::storage::filled;

/// Tokens of a block of queries, and of one of keys. Both start at its multiples, so that each key of a block is seen by a
/// query of the same block.
const BLOCK: usize = 128;
/// Tasks that are made, if there are so many blocks of keys.
const TASKS: usize = 16;
/// Groups of a head's keys, at most.
const GROUPS: usize = 4;

/// What the forward pass made, and the gradient of its result.
pub(super) struct Made<'a, W> {
    pub out: &'a [W],
    pub logsumexp: &'a [f32],
    pub upstream: &'a [W],
}

/// Gradients of query, key and value.
struct Grads<'a, W> {
    query: Output<'a, W>,
    key: Output<'a, W>,
    value: Output<'a, W>,
}

impl<W: Word> Call<'_, W> {
    /// Gradients of query, key and value, shaped like them.
    pub fn backward(&self, made: Made<W>) -> [Vec<W>; 3] {
        let shape = [self.sizes.time, self.sizes.head_dim];
        let run = |query: &mut [W], key: &mut [W], value: &mut [W]| {
            let [query, key, value] = [query, key, value].map(|to| Output::new(to, shape));
            let grads = Grads { query, key, value };
            let heads = self.kv_heads().with_max_len(1);
            heads.for_each(|head| self.backward_head(head, &made, &grads));
        };
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let (of_queries, of_keys) = (self.query.len(), self.key.len());
        // SAFETY: the rows of all tokens are written.
        let queries = unsafe {
            filled(of_queries, |query| {
                keys = filled(of_keys, |key| {
                    values = filled(of_keys, |value| run(query, key, value));
                });
            })
        };
        [queries, keys, values]
    }

    fn backward_head(&self, kv_head: Head, made: &Made<W>, grads: &Grads<W>) {
        let sizes = self.sizes;
        let queries = self.packed_queries(kv_head, made);
        let groups = self.groups();
        let len = sizes.group() * sizes.time.next_multiple_of(BLOCK) * padded(sizes.head_dim);
        let fill = |sums: &mut [f32]| {
            let sums = sums.par_chunks_exact_mut(len).enumerate().with_max_len(1);
            sums.for_each(|(index, query_grads)| {
                let task = Task {
                    call: self,
                    kv_head,
                    queries: &queries,
                    group: [index, groups],
                    query_grads,
                    grads,
                };
                // SAFETY: the instruction set is available.
                unsafe { dispatch(self.isa, task) }
            });
        };
        // SAFETY: a task begins with zeros.
        let sums = unsafe { filled(groups * len, fill) };
        let blocks = sizes.time.div_ceil(BLOCK); // of a head
        (0..sizes.group() * blocks)
            .into_par_iter()
            .for_each(|index| {
                let add = AddUp {
                    sums: &sums[index * BLOCK * padded(sizes.head_dim)..],
                    len,
                    head: self.query_head(kv_head, index / blocks),
                    first: index % blocks * BLOCK,
                    call: self,
                    grads,
                };
                // SAFETY: the instruction set is available.
                unsafe { dispatch(self.isa, add) }
            });
    }

    /// Groups that the keys of a head are split into.
    fn groups(&self) -> usize {
        let sizes = self.sizes;
        let wanted = TASKS.div_ceil(sizes.batch * sizes.kv_heads);
        wanted.min(GROUPS).min(sizes.time.div_ceil(2 * BLOCK))
    }
}

/// A group of blocks of keys.
struct Task<'a, W> {
    call: &'a Call<'a, W>,
    kv_head: Head,
    /// All blocks of queries, packed.
    queries: &'a [f32],
    /// Which one of how many.
    group: [usize; 2],
    /// `[query heads of the key head, padded time, padded width]`
    query_grads: &'a mut [f32],
    grads: &'a Grads<'a, W>,
}

impl<W: Word> Op for Task<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (call, sizes) = (self.call, self.call.sizes);
        let rows = [call.key, call.value].map(|x| call.rows(x, self.kv_head));
        let width = padded(sizes.head_dim);
        let parts = Parts::new::<W>(sizes.head_dim);
        let documents = &call.documents[self.kv_head.batch];
        let mut scratch = Scratch::new(sizes.head_dim);
        self.query_grads.fill(0.0);
        for start in (0..sizes.time).step_by(BLOCK) {
            if !self.has(start / BLOCK) {
                continue;
            }
            let keys = start..sizes.time.min(start + BLOCK);
            let seen = documents.queries(keys.clone());
            scratch.key_grads.fill(0.0);
            scratch.value_grads.fill(0.0);
            pack::rows(rows[0].from(start), &mut scratch.keys);
            pack::rows(rows[1].from(start), &mut scratch.values);
            unsafe { pack::by_token::<L, W>(rows[0].from(start), &mut scratch.keys_by_token) };
            for head in 0..sizes.group() {
                for first in (start..seen.end).step_by(BLOCK) {
                    let queries = first..sizes.time.min(first + BLOCK);
                    let block = head * sizes.time.div_ceil(BLOCK) + first / BLOCK;
                    let pair = Pair {
                        call,
                        window: Window::new(documents, queries, keys.clone()),
                        queries: &self.queries[block * parts.len()..][..parts.len()],
                    };
                    let query_grads = &mut self.query_grads[block * BLOCK * width..];
                    unsafe { pair.add::<L>(&mut query_grads[..BLOCK * width], &mut scratch) };
                }
            }
            let sums = scratch.key_grads.chunks_exact(width);
            for ((key, of_key), of_value) in
                keys.zip(sums).zip(scratch.value_grads.chunks_exact(width))
            {
                let Grads {
                    key: keys,
                    value: values,
                    ..
                } = self.grads;
                // SAFETY: no other task has this key.
                unsafe {
                    keys.write::<L>(self.kv_head, key, of_key, sizes.scale());
                    values.write::<L>(self.kv_head, key, of_value, 1.0);
                }
            }
        }
    }
}

impl<W: Word> Task<'_, W> {
    /// Whether a block is of this group: there and back, because earlier keys have more work.
    fn has(&self, block: usize) -> bool {
        let [index, groups] = self.group;
        let turn = block % (2 * groups);
        index == turn.min(2 * groups - 1 - turn)
    }
}

/// Adds up what the tasks made of the gradients of a block of queries.
struct AddUp<'a, W> {
    /// From the first query on, `len` for each task.
    sums: &'a [f32],
    len: usize,
    head: Head,
    first: usize,
    call: &'a Call<'a, W>,
    grads: &'a Grads<'a, W>,
}

impl<W: Word> Op for AddUp<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let sizes = self.call.sizes;
        let width = padded(sizes.head_dim);
        let mut row = vec![0.0; width];
        for (index, query) in (self.first..sizes.time.min(self.first + BLOCK)).enumerate() {
            row.fill(0.0);
            for sums in self.sums[index * width..].chunks(self.len) {
                row.iter_mut().zip(sums).for_each(|(row, x)| *row += x);
            }
            // SAFETY: no other block has this query.
            unsafe {
                self.grads
                    .query
                    .write::<L>(self.head, query, &row, sizes.scale())
            };
        }
    }
}
