//! The gather and its gradient on a processor.
//!
//! For the gradient, tokens are sorted by their rows, and a thread takes a range of rows: it writes where no other does, and
//! a row's sum has the order of the tokens.

use burn::tensor::{DType, FloatDType};
use burn_flex::FlexTensor;

use crate::gemm::lanes::{Isa, Lanes, Op};
use crate::gemm::word::Word;
use crate::pieces;
use crate::storage::{contiguous, filled, floats, indices, slice, slice_mut, tensor};

/// See [`super::embedding`].
pub(crate) fn forward(
    isa: Isa,
    weight: FlexTensor,
    tokens: FlexTensor,
    dtype: FloatDType,
) -> FlexTensor {
    match dtype {
        FloatDType::F32 => forward_of::<f32>(isa, weight, tokens),
        FloatDType::BF16 => forward_of::<u16>(isa, weight, tokens),
        other => panic!("embedding: rows are made in f32 or bf16, not {other:?}"),
    }
}

fn forward_of<W: Word>(isa: Isa, weight: FlexTensor, tokens: FlexTensor) -> FlexTensor {
    let weight = contiguous(weight);
    let [vocab, width] = *weight.layout().shape().as_slice() else {
        panic!("embedding: the weight is {:?}", weight.layout().shape());
    };
    let tokens = checked(&tokens, vocab);
    let weight = floats(&weight);
    let rows = pieces::rows(width);
    let work = |out: &mut [W]| {
        let piece = |(tokens, out)| Gather {
            weight,
            tokens,
            out,
        };
        let pieces = tokens.chunks(rows).zip(out.chunks_mut(rows * width));
        pieces::run(isa, pieces.map(piece).collect());
    };
    // SAFETY: every row is written.
    let out = unsafe { filled(tokens.len() * width, work) };
    tensor(out, [tokens.len(), width])
}

/// The gradient of the weight, in the place of the existing one.
pub(crate) fn backward(
    isa: Isa,
    upstream: FlexTensor,
    tokens: FlexTensor,
    existing: Option<FlexTensor>,
    vocab: usize,
) -> FlexTensor {
    match upstream.dtype() {
        DType::BF16 => backward_of::<u16>(isa, upstream, tokens, existing, vocab),
        _ => backward_of::<f32>(isa, upstream, tokens, existing, vocab),
    }
}

fn backward_of<W: Word>(
    isa: Isa,
    upstream: FlexTensor,
    tokens: FlexTensor,
    existing: Option<FlexTensor>,
    vocab: usize,
) -> FlexTensor {
    let upstream = contiguous(upstream);
    let width = upstream.layout().shape()[1];
    let scatter = Scatter {
        isa,
        upstream: slice::<W>(&upstream),
        tokens: &checked(&tokens, vocab),
        width,
    };
    match existing {
        Some(mut sum) => {
            scatter.run(slice_mut(&mut sum), false);
            sum
        }
        None => {
            // SAFETY: every row is set to 0 first.
            let sum = unsafe { filled(vocab * width, |sum| scatter.run(sum, true)) };
            tensor(sum, [vocab, width])
        }
    }
}

/// The tokens as indices.
fn checked(tokens: &FlexTensor, vocab: usize) -> Vec<usize> {
    let tokens = indices(tokens);
    if let Some(&token) = tokens.iter().find(|&&token| token >= vocab) {
        // As it was, where it was negative.
        let token = token as isize;
        panic!("embedding: token {token} in a vocabulary of {vocab}");
    }
    tokens
}

struct Gather<'a, W> {
    weight: &'a [f32],
    tokens: &'a [usize],
    out: &'a mut [W],
}

impl<W: Word> Op for Gather<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let width = self.out.len() / self.tokens.len();
        for (&token, out) in self.tokens.iter().zip(self.out.chunks_exact_mut(width)) {
            let row = &self.weight[token * width..][..width];
            for at in (0..width).step_by(L::N) {
                let count = L::N.min(width - at);
                unsafe {
                    let x = f32::load_part::<L>(row.as_ptr().add(at), count);
                    W::store_part::<L>(out.as_mut_ptr().add(at), x, count);
                }
            }
        }
    }
}

/// A sum of rows by token.
struct Scatter<'a, W> {
    isa: Isa,
    upstream: &'a [W],
    tokens: &'a [usize],
    width: usize,
}

impl<W: Word> Scatter<'_, W> {
    /// Adds the rows to `sum`, or to zeros if it is `fresh`.
    fn run(&self, sum: &mut [f32], fresh: bool) {
        let mut order: Vec<u32> = (0..self.tokens.len() as u32).collect();
        order.sort_by_key(|&index| self.tokens[index as usize]); // keeps the order within a row
        let rows = pieces::rows(self.width);
        let mut left = order.as_slice();
        let ranges = sum.chunks_mut(rows * self.width).enumerate();
        let ranges = ranges.map(|(range, sum)| {
            let end = (range + 1) * rows;
            let count = left.partition_point(|&index| self.tokens[index as usize] < end);
            let order = left.split_off(..count).expect("as many are left");
            Range {
                scatter: self,
                first: range * rows,
                order,
                sum,
                fresh,
            }
        });
        let touched = ranges.filter(|range| fresh || !range.order.is_empty());
        pieces::run(self.isa, touched.collect());
    }
}

struct Range<'a, W> {
    scatter: &'a Scatter<'a, W>,
    /// Row.
    first: usize,
    /// The tokens of these rows.
    order: &'a [u32],
    sum: &'a mut [f32],
    fresh: bool,
}

impl<W: Word> Op for Range<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Scatter {
            upstream,
            tokens,
            width,
            ..
        } = *self.scatter;
        if self.fresh {
            self.sum.fill(0.0);
        }
        for &index in self.order {
            let row = tokens[index as usize] - self.first;
            let row = &mut self.sum[row * width..][..width];
            let add = &upstream[index as usize * width..][..width];
            for at in (0..width).step_by(L::N) {
                let count = L::N.min(width - at);
                unsafe {
                    let to = row.as_mut_ptr().add(at);
                    let add = W::load_part::<L>(add.as_ptr().add(at), count);
                    let sum = L::add(f32::load_part::<L>(to, count), add);
                    f32::store_part::<L>(to, sum, count);
                }
            }
        }
    }
}
