//! Blocks of queries in the order in which products read them.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use rayon::prelude::*;

use super::{BLOCK, Made};
use crate::attention::cpu::Call;
use crate::attention::cpu::pack::{self, padded};
use crate::attention::cpu::rows::{Head, Rows};
use crate::gemm::lanes::{Lanes, Op, dispatch};
use crate::gemm::word::Word;
use crate::storage::filled;

/// Where the parts of a packed block of queries lie, in words.
pub(super) struct Parts {
    /// [Panels](pack::panels).
    pub query: Range<usize>,
    /// [By token](pack::by_token).
    pub query_rows: Range<usize>,
    pub upstream: Range<usize>,
    pub upstream_rows: Range<usize>,
    /// Σ_j P_ij dP_ij = dO_i · O_i
    pub means: Range<usize>,
    /// In units of ln 2.
    pub logsumexp: Range<usize>,
}

impl Parts {
    pub fn new<W: Word>(head_dim: usize) -> Self {
        let mut end = 0;
        let mut next = |len: usize| {
            end += len;
            end - len..end
        };
        let panels = BLOCK * head_dim / W::PER_WORD;
        let rows = BLOCK / W::PER_WORD * padded(head_dim);
        Self {
            query: next(panels),
            query_rows: next(rows),
            upstream: next(panels),
            upstream_rows: next(rows),
            means: next(BLOCK),
            logsumexp: next(BLOCK),
        }
    }

    pub fn len(&self) -> usize {
        self.logsumexp.end
    }
}

impl<W: Word> Call<'_, W> {
    /// The blocks of queries of a key head, `[query heads, blocks]`, each as [`Parts`].
    pub(super) fn packed_queries(&self, kv_head: Head, made: &Made<W>) -> Vec<f32> {
        let sizes = self.sizes;
        let block = Parts::new::<W>(sizes.head_dim).len();
        let blocks = sizes.time.div_ceil(BLOCK); // of a head
        let pack = |(index, to): (usize, &mut [f32])| {
            let head = self.query_head(kv_head, index / blocks);
            let first = index % blocks * BLOCK;
            let row = (head.batch * head.heads + head.head) * sizes.time;
            let pack = Pack {
                query: self.rows(self.query, head).from(first),
                out: self.rows(made.out, head).from(first),
                upstream: self.rows(made.upstream, head).from(first),
                logsumexp: &made.logsumexp[row + first..row + sizes.time],
                to,
            };
            // SAFETY: the instruction set is available.
            unsafe { dispatch(self.isa, pack) }
        };
        let fill = |packed: &mut [f32]| {
            let blocks = packed.par_chunks_exact_mut(block).enumerate();
            blocks.for_each(pack);
        };
        // SAFETY: the blocks are written whole.
        unsafe { filled(sizes.group() * blocks * block, fill) }
    }
}

/// Packs a block of queries.
struct Pack<'a, W> {
    query: Rows<'a, W>,
    out: Rows<'a, W>,
    upstream: Rows<'a, W>,
    /// From the first query of the block on.
    logsumexp: &'a [f32],
    to: &'a mut [f32],
}

impl<W: Word> Op for Pack<'_, W> {
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
        unsafe {
            pack::panels::<L, W>(query, &mut to[parts.query]);
            pack::panels::<L, W>(upstream, &mut to[parts.upstream]);
            pack::by_token::<L, W>(query, &mut to[parts.query_rows]);
            pack::by_token::<L, W>(upstream, &mut to[parts.upstream_rows]);
        }
        for (token, mean) in to[parts.means].iter_mut().enumerate() {
            *mean = match token < query.tokens {
                true => unsafe { dot::<L, W>(out.row(token), upstream.row(token)) },
                false => 0.0,
            };
        }
        for (token, to) in to[parts.logsumexp].iter_mut().enumerate() {
            *to = logsumexp.get(token).map_or(0.0, |x| x * LOG2_E);
        }
    }
}

/// `a · b`
#[inline(always)]
unsafe fn dot<L: Lanes, W: Word>(a: &[W], b: &[W]) -> f32 {
    unsafe {
        let mut sums = L::splat(0.0);
        for (a, b) in a.chunks(L::N).zip(b.chunks(L::N)) {
            let a_part = W::load_part::<L>(a.as_ptr(), a.len());
            sums = L::fma(a_part, W::load_part::<L>(b.as_ptr(), b.len()), sums);
        }
        L::sum(sums)
    }
}
