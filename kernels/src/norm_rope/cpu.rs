//! Norm and rotation on a processor: pieces of tokens over the threads, each head read from memory once.

use burn::tensor::DType;
use burn_flex::FlexTensor;

use super::{NormRopeInput, Tables};
use crate::gemm::lanes::{Isa, Lanes, Op};
use crate::gemm::word::Word;
use crate::pieces;
use crate::rms_norm::cpu::Norm;
use crate::storage::{contiguous, filled, floats, slice, slice_mut, tensor};

/// See [`super::norm_rope`].
pub(crate) fn forward(isa: Isa, input: NormRopeInput<FlexTensor>) -> FlexTensor {
    match input.x.dtype() {
        DType::BF16 => forward_of::<u16>(isa, input),
        _ => forward_of::<f32>(isa, input),
    }
}

fn forward_of<W: Word>(isa: Isa, input: NormRopeInput<FlexTensor>) -> FlexTensor {
    let input = input.contiguous();
    let heads = Heads::new(&input);
    let values = slice::<W>(&input.x);
    let work = |out: &mut [W]| {
        let pieces = values
            .chunks(heads.piece())
            .zip(out.chunks_mut(heads.piece()));
        let pieces = pieces.enumerate().map(|(index, (x, out))| Forward {
            heads: heads.at(index),
            x,
            out,
        });
        pieces::run(isa, pieces.collect());
    };
    // SAFETY: every head is written.
    let out = unsafe { filled(values.len(), work) };
    tensor(out, input.x.layout().shape().clone())
}

/// Gradients of `x`, which takes the place of the upstream gradient, and of the weight.
pub(crate) fn backward(
    isa: Isa,
    upstream: FlexTensor,
    input: NormRopeInput<FlexTensor>,
    need: [bool; 2],
) -> [Option<FlexTensor>; 2] {
    let [x, weight] = match input.x.dtype() {
        DType::BF16 => backward_of::<u16>(isa, upstream, input),
        _ => backward_of::<f32>(isa, upstream, input),
    };
    [need[0].then_some(x), need[1].then_some(weight)]
}

fn backward_of<W: Word>(
    isa: Isa,
    upstream: FlexTensor,
    input: NormRopeInput<FlexTensor>,
) -> [FlexTensor; 2] {
    let input = input.contiguous();
    let heads = Heads::new(&input);
    let mut grad = upstream;
    let grads = slice_mut::<W>(&mut grad).chunks_mut(heads.piece());
    let pieces = grads.zip(slice::<W>(&input.x).chunks(heads.piece()));
    let pieces = pieces.enumerate().map(|(index, (grad, x))| Backward {
        heads: heads.at(index),
        x,
        grad,
    });
    let sums = pieces::run(isa, pieces.collect());
    let of_weight = tensor(pieces::sum(sums), [heads.norm.weight.len()]);
    [grad, of_weight]
}

impl NormRopeInput<FlexTensor> {
    fn contiguous(self) -> Self {
        Self {
            x: contiguous(self.x),
            weight: contiguous(self.weight),
            tables: Tables {
                cos: contiguous(self.tables.cos),
                sin: contiguous(self.tables.sin),
            },
            epsilon: self.epsilon,
        }
    }
}

/// What is the same for all heads, and where a piece begins.
#[derive(Clone, Copy)]
struct Heads<'a> {
    norm: Norm<'a>,
    tables: Tables<&'a [f32]>,
    /// Of a sequence.
    time: usize,
    /// Values of a token.
    width: usize,
    /// First token of the piece, of all sequences.
    first: usize,
}

impl<'a> Heads<'a> {
    fn new(input: &'a NormRopeInput<FlexTensor>) -> Self {
        let shape = input.x.layout().shape();
        Self {
            norm: Norm::new(&input.weight, input.epsilon),
            tables: Tables {
                cos: floats(&input.tables.cos),
                sin: floats(&input.tables.sin),
            },
            time: shape[1],
            width: shape[2] * shape[3],
            first: 0,
        }
    }

    /// Values of a piece.
    fn piece(&self) -> usize {
        pieces::rows(self.width) * self.width
    }

    /// Those of a piece.
    fn at(self, piece: usize) -> Self {
        let first = piece * pieces::rows(self.width);
        Self { first, ..self }
    }

    /// Angles of a token of the piece.
    #[inline(always)]
    fn angles(&self, token: usize) -> Tables<&'a [f32]> {
        let half = self.norm.weight.len() / 2;
        let start = (self.first + token) % self.time * half;
        Tables {
            cos: &self.tables.cos[start..][..half],
            sin: &self.tables.sin[start..][..half],
        }
    }
}

struct Forward<'a, W> {
    heads: Heads<'a>,
    x: &'a [W],
    out: &'a mut [W],
}

impl<W: Word> Op for Forward<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (width, head_dim) = (self.heads.width, self.heads.norm.weight.len());
        let tokens = self
            .x
            .chunks_exact(width)
            .zip(self.out.chunks_exact_mut(width));
        for (token, (x, out)) in tokens.enumerate() {
            let angles = self.heads.angles(token);
            let heads = x.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim));
            for (x, out) in heads {
                unsafe { head::<L, W>(self.heads.norm, angles, x, out) };
            }
        }
    }
}

/// Values of both halves of a head at the same place.
#[inline(always)]
unsafe fn pair<L: Lanes, W: Word>(head: &[W], at: usize, count: usize) -> [L::V; 2] {
    unsafe {
        let first = head.as_ptr().add(at);
        [first, first.add(head.len() / 2)].map(
            #[inline(always)]
            |from| W::load_part::<L>(from, count),
        )
    }
}

#[inline(always)]
unsafe fn store_pair<L: Lanes, W: Word>(head: &mut [W], at: usize, pair: [L::V; 2], count: usize) {
    unsafe {
        let first = head.as_mut_ptr().add(at);
        W::store_part::<L>(first, pair[0], count);
        W::store_part::<L>(first.add(head.len() / 2), pair[1], count);
    }
}

/// Cosines and sines.
#[inline(always)]
unsafe fn angles<L: Lanes>(tables: Tables<&[f32]>, at: usize, count: usize) -> [L::V; 2] {
    unsafe {
        [
            f32::load_part::<L>(tables.cos.as_ptr().add(at), count),
            f32::load_part::<L>(tables.sin.as_ptr().add(at), count),
        ]
    }
}

#[inline(always)]
unsafe fn head<L: Lanes, W: Word>(norm: Norm, tables: Tables<&[f32]>, x: &[W], out: &mut [W]) {
    let half = norm.weight.len() / 2;
    unsafe {
        let mut squares = [L::splat(0.0); 2];
        for at in (0..half).step_by(L::N) {
            let [a, b] = pair::<L, W>(x, at, L::N.min(half - at));
            squares = [L::fma(a, a, squares[0]), L::fma(b, b, squares[1])];
        }
        let squares = L::sum(L::add(squares[0], squares[1]));
        let scale = L::splat(norm.scale(squares));
        for at in (0..half).step_by(L::N) {
            let count = L::N.min(half - at);
            let [a, b] = pair::<L, W>(x, at, count);
            let [v, w] = pair::<L, f32>(norm.weight, at, count);
            let [a, b] = [L::mul(L::mul(a, scale), v), L::mul(L::mul(b, scale), w)];
            let [cos, sin] = angles::<L>(tables, at, count);
            let first = L::sub(L::mul(a, cos), L::mul(b, sin));
            let second = L::fma(a, sin, L::mul(b, cos));
            store_pair::<L, W>(out, at, [first, second], count);
        }
    }
}

struct Backward<'a, W> {
    heads: Heads<'a>,
    x: &'a [W],
    /// The upstream gradient, then that of `x`.
    grad: &'a mut [W],
}

impl<W: Word> Op for Backward<'_, W> {
    /// The piece's part of the weight's gradient.
    type Out = Vec<f32>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> Vec<f32> {
        let (width, head_dim) = (self.heads.width, self.heads.norm.weight.len());
        let mut of_weight = vec![0f32; head_dim];
        let tokens = self
            .x
            .chunks_exact(width)
            .zip(self.grad.chunks_exact_mut(width));
        for (token, (x, grad)) in tokens.enumerate() {
            let tables = self.heads.angles(token);
            let heads = x
                .chunks_exact(head_dim)
                .zip(grad.chunks_exact_mut(head_dim));
            for (x, grad) in heads {
                unsafe { head_backward::<L, W>(self.heads.norm, tables, x, grad, &mut of_weight) };
            }
        }
        of_weight
    }
}

/// The upstream gradient at `at`, rotated back.
#[inline(always)]
unsafe fn back<L: Lanes, W: Word>(
    tables: Tables<&[f32]>,
    grad: &[W],
    at: usize,
    count: usize,
) -> [L::V; 2] {
    unsafe {
        let [a, b] = pair::<L, W>(grad, at, count);
        let [cos, sin] = angles::<L>(tables, at, count);
        [
            L::fma(a, cos, L::mul(b, sin)),
            L::sub(L::mul(b, cos), L::mul(a, sin)),
        ]
    }
}

#[inline(always)]
unsafe fn head_backward<L: Lanes, W: Word>(
    norm: Norm,
    tables: Tables<&[f32]>,
    x: &[W],
    grad: &mut [W],
    of_weight: &mut [f32],
) {
    let half = norm.weight.len() / 2;
    unsafe {
        let (mut squares, mut products) = (L::splat(0.0), L::splat(0.0));
        for at in (0..half).step_by(L::N) {
            let count = L::N.min(half - at);
            let upstream = back::<L, W>(tables, grad, at, count);
            let x = pair::<L, W>(x, at, count);
            let weight = pair::<L, f32>(norm.weight, at, count);
            for part in 0..2 {
                squares = L::fma(x[part], x[part], squares);
                products = L::fma(L::mul(upstream[part], weight[part]), x[part], products);
            }
        }
        let scale = norm.scale(L::sum(squares));
        let along = -scale * scale * scale * (L::sum(products) / norm.weight.len() as f32);
        let (scale, along) = (L::splat(scale), L::splat(along));
        for at in (0..half).step_by(L::N) {
            let count = L::N.min(half - at);
            let upstream = back::<L, W>(tables, grad, at, count);
            let x = pair::<L, W>(x, at, count);
            let weight = pair::<L, f32>(norm.weight, at, count);
            let (mut of_x, mut sum) = (x, pair::<L, f32>(of_weight, at, count));
            for part in 0..2 {
                let scaled = L::mul(upstream[part], scale);
                of_x[part] = L::fma(scaled, weight[part], L::mul(x[part], along));
                sum[part] = L::fma(scaled, x[part], sum[part]);
            }
            store_pair::<L, f32>(of_weight, at, sum, count);
            store_pair::<L, W>(grad, at, of_x, count);
        }
    }
}
