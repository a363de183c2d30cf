//! Sums in the order in which tasks made them, as a tensor.

use rayon::prelude::*;

use super::Call;
use super::pack::padded;
use crate::gemm::lanes::{Lanes, Op, dispatch};
use crate::gemm::word::Word;
use crate::storage::filled;

/// Tokens of a thread's part.
const TOKENS: usize = 64;

/// `[batch, time, heads, head_dim]`: the sum of `parts`, each `[batch, heads, time padded to blocks, padded head_dim]`,
/// multiplied by `scale`.
pub(super) fn unpack<W: Word>(
    call: &Call<W>,
    parts: &[f32],
    [heads, block]: [usize; 2],
    scale: f32,
) -> Vec<W> {
    let sizes = call.sizes;
    let token = heads * sizes.head_dim;
    let head = sizes.time.next_multiple_of(block) * padded(sizes.head_dim);
    let fill = |out: &mut [W]| {
        let per_sequence = sizes.time.div_ceil(TOKENS);
        let mut chunks = Vec::with_capacity(sizes.batch * per_sequence);
        for (batch, out) in out.chunks_mut(sizes.time * token).enumerate() {
            for (index, out) in out.chunks_mut(TOKENS * token).enumerate() {
                chunks.push(Unpack {
                    parts,
                    part: sizes.batch * heads * head,
                    first: batch * heads * head + index * TOKENS * padded(sizes.head_dim),
                    head,
                    heads,
                    head_dim: sizes.head_dim,
                    scale,
                    out,
                });
            }
        }
        chunks
            .into_par_iter()
            // SAFETY: the instruction set is available.
            .for_each(|chunk| unsafe { dispatch(call.isa, chunk) });
    };
    // SAFETY: each chunk writes all its values.
    unsafe { filled(sizes.batch * sizes.time * token, fill) }
}

/// Some tokens of a sequence.
struct Unpack<'a, W> {
    parts: &'a [f32],
    /// From one part to the next.
    part: usize,
    /// Where the first token's first head is, and how far it is to the next head.
    first: usize,
    head: usize,
    heads: usize,
    head_dim: usize,
    scale: f32,
    /// `[tokens, heads, head_dim]`
    out: &'a mut [W],
}

impl<W: Word> Op for Unpack<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let width = padded(self.head_dim);
        for (row, out) in self.out.chunks_exact_mut(self.head_dim).enumerate() {
            let from = self.first + row % self.heads * self.head + row / self.heads * width;
            for column in (0..self.head_dim).step_by(L::N) {
                let count = (self.head_dim - column).min(L::N);
                unsafe {
                    let mut sum = L::splat(0.0);
                    for part in self.parts[from + column..].chunks(self.part) {
                        sum = L::add(sum, L::load(part[..L::N].as_ptr()));
                    }
                    let x = L::mul(sum, L::splat(self.scale));
                    W::store_part::<L>(out[column..].as_mut_ptr(), x, count);
                }
            }
        }
    }
}
