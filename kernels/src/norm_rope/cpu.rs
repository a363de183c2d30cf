//! Norm and rotation on a processor: pieces of tokens over the threads, each head read from memory once.

use burn::tensor::DType;
use burn_flex::FlexTensor;

use super::{NormRopeInput, Tables};
use crate::gemm::lanes::{Isa, Lanes, Op};
use crate::gemm::word::Word;
use crate::pieces::{self, vectors};
use crate::rms_norm::cpu::{BLOCK, Norm};
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
        of_weight: vec![0.0; heads.norm.weight.len()],
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

    /// The angles of each head of the piece.
    #[inline(always)]
    fn angles(&self) -> Angles<'a> {
        let head_dim = self.norm.weight.len();
        Angles {
            tables: self.tables,
            half: head_dim / 2,
            position: self.first % self.time,
            time: self.time,
            head: 0,
            heads: self.width / head_dim,
        }
    }
}

/// Goes through the heads, without a division for each.
struct Angles<'a> {
    tables: Tables<&'a [f32]>,
    half: usize,
    /// Of the next head.
    position: usize,
    time: usize,
    /// The next one, of its token.
    head: usize,
    /// Of a token.
    heads: usize,
}

impl<'a> Angles<'a> {
    /// Those of the next heads.
    #[inline(always)]
    fn next<const COUNT: usize>(&mut self) -> [Tables<&'a [f32]>; COUNT] {
        let mut next = [self.tables; COUNT];
        for Tables { cos, sin } in &mut next {
            let start = self.position * self.half;
            *cos = &cos[start..][..self.half];
            *sin = &sin[start..][..self.half];
            self.head += 1;
            if self.head == self.heads {
                self.head = 0;
                self.position += 1;
                if self.position == self.time {
                    self.position = 0;
                }
            }
        }
        next
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
    unsafe fn run<L: Lanes>(mut self) {
        let count = self.x.len() / self.heads.norm.weight.len();
        let blocks = count / BLOCK * BLOCK;
        let mut angles = self.heads.angles();
        unsafe {
            for head in (0..blocks).step_by(BLOCK) {
                self.heads::<L, BLOCK>(head, angles.next());
            }
            for head in blocks..count {
                self.heads::<L, 1>(head, angles.next());
            }
        }
    }
}

impl<W: Word> Forward<'_, W> {
    /// `COUNT` heads.
    #[inline(always)]
    unsafe fn heads<L: Lanes, const COUNT: usize>(
        &mut self,
        first: usize,
        tables: [Tables<&[f32]>; COUNT],
    ) {
        let norm = self.heads.norm;
        let head_dim = norm.weight.len();
        let half = head_dim / 2;
        let x = &self.x[first * head_dim..][..COUNT * head_dim];
        let out = &mut self.out[first * head_dim..][..COUNT * head_dim];
        unsafe {
            let mut scales = [L::splat(0.0); COUNT];
            for (head, scale) in scales.iter_mut().enumerate() {
                let x = x.as_ptr().add(head * head_dim);
                let mut squares = [L::splat(0.0); 2];
                vectors!(L, half, |at, count| {
                    let [a, b] = pair::<L, W>(x.add(at), half, count);
                    squares = [L::fma(a, a, squares[0]), L::fma(b, b, squares[1])];
                });
                let squares = L::sum(L::add(squares[0], squares[1]));
                *scale = L::splat(norm.scale(squares));
            }
            vectors!(L, half, |at, count| {
                let weight = pair::<L, f32>(norm.weight.as_ptr().add(at), half, count);
                for (head, (scale, tables)) in scales.iter().zip(tables).enumerate() {
                    let [a, b] = pair::<L, W>(x.as_ptr().add(head * head_dim + at), half, count);
                    let a = L::mul(L::mul(a, *scale), weight[0]);
                    let b = L::mul(L::mul(b, *scale), weight[1]);
                    let [cos, sin] = angles::<L>(tables, at, count);
                    let first = L::sub(L::mul(a, cos), L::mul(b, sin));
                    let second = L::fma(a, sin, L::mul(b, cos));
                    let out = out.as_mut_ptr().add(head * head_dim + at);
                    store_pair::<L, W>(out, half, [first, second], count);
                }
            });
        }
    }
}

/// Values of both halves of a head at the same place.
#[inline(always)]
unsafe fn pair<L: Lanes, W: Word>(first: *const W, half: usize, count: usize) -> [L::V; 2] {
    unsafe {
        [
            W::load_part::<L>(first, count),
            W::load_part::<L>(first.add(half), count),
        ]
    }
}

#[inline(always)]
unsafe fn store_pair<L: Lanes, W: Word>(first: *mut W, half: usize, pair: [L::V; 2], count: usize) {
    unsafe {
        W::store_part::<L>(first, pair[0], count);
        W::store_part::<L>(first.add(half), pair[1], count);
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

struct Backward<'a, W> {
    heads: Heads<'a>,
    x: &'a [W],
    /// The upstream gradient, then that of `x`.
    grad: &'a mut [W],
    /// The piece's part of the weight's gradient.
    of_weight: Vec<f32>,
}

impl<W: Word> Op for Backward<'_, W> {
    type Out = Vec<f32>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(mut self) -> Vec<f32> {
        let count = self.x.len() / self.heads.norm.weight.len();
        let blocks = count / BLOCK * BLOCK;
        let mut angles = self.heads.angles();
        unsafe {
            for head in (0..blocks).step_by(BLOCK) {
                self.heads::<L, BLOCK>(head, angles.next());
            }
            for head in blocks..count {
                self.heads::<L, 1>(head, angles.next());
            }
        }
        self.of_weight
    }
}

impl<W: Word> Backward<'_, W> {
    /// `COUNT` heads.
    #[inline(always)]
    unsafe fn heads<L: Lanes, const COUNT: usize>(
        &mut self,
        first: usize,
        tables: [Tables<&[f32]>; COUNT],
    ) {
        let norm = self.heads.norm;
        let head_dim = norm.weight.len();
        let half = head_dim / 2;
        let x = &self.x[first * head_dim..][..COUNT * head_dim];
        let grad = &mut self.grad[first * head_dim..][..COUNT * head_dim];
        let of_weight = self.of_weight.as_mut_ptr();
        unsafe {
            let mut factors = [[L::splat(0.0); 2]; COUNT];
            for (head, (factors, tables)) in factors.iter_mut().zip(tables).enumerate() {
                let x = x.as_ptr().add(head * head_dim);
                let grad = grad.as_ptr().add(head * head_dim);
                let (mut squares, mut products) = (L::splat(0.0), L::splat(0.0));
                vectors!(L, half, |at, count| {
                    let upstream = back::<L, W>(grad.add(at), tables, at, count);
                    let x = pair::<L, W>(x.add(at), half, count);
                    let weight = pair::<L, f32>(norm.weight.as_ptr().add(at), half, count);
                    for part in 0..2 {
                        squares = L::fma(x[part], x[part], squares);
                        products = L::fma(L::mul(upstream[part], weight[part]), x[part], products);
                    }
                });
                let [scale, along] = norm.factors(L::sum(squares), L::sum(products));
                *factors = [L::splat(scale), L::splat(along)];
            }
            vectors!(L, half, |at, count| {
                let weight = pair::<L, f32>(norm.weight.as_ptr().add(at), half, count);
                let mut sum = pair::<L, f32>(of_weight.add(at), half, count);
                for (head, ([scale, along], tables)) in factors.iter().zip(tables).enumerate() {
                    let grad = grad.as_mut_ptr().add(head * head_dim + at);
                    let upstream = back::<L, W>(grad, tables, at, count);
                    let x = pair::<L, W>(x.as_ptr().add(head * head_dim + at), half, count);
                    let mut of_x = x;
                    for part in 0..2 {
                        let scaled = L::mul(upstream[part], *scale);
                        sum[part] = L::fma(scaled, x[part], sum[part]);
                        of_x[part] = L::fma(scaled, weight[part], L::mul(x[part], *along));
                    }
                    store_pair::<L, W>(grad, half, of_x, count);
                }
                store_pair::<L, f32>(of_weight.add(at), half, sum, count);
            });
        }
    }
}

/// An upstream gradient, rotated back.
#[inline(always)]
unsafe fn back<L: Lanes, W: Word>(
    grad: *const W,
    tables: Tables<&[f32]>,
    at: usize,
    count: usize,
) -> [L::V; 2] {
    unsafe {
        let [a, b] = pair::<L, W>(grad, tables.cos.len(), count);
        let [cos, sin] = angles::<L>(tables, at, count);
        [
            L::fma(a, cos, L::mul(b, sin)),
            L::sub(L::mul(b, cos), L::mul(a, sin)),
        ]
    }
}
