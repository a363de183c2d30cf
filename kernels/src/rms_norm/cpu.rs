//! The norm on a processor: pieces of rows over the threads, each row read from memory once.

use burn::tensor::DType;
use burn_flex::FlexTensor;

use super::NormInput;
use crate::gemm::lanes::{Isa, Lanes, Op};
use crate::gemm::word::Word;
use crate::pieces::{self, vectors};
use crate::storage::{contiguous, filled, floats, slice, slice_mut, tensor};

/// See [`super::rms_norm`].
pub(crate) fn forward(isa: Isa, input: NormInput<FlexTensor>) -> FlexTensor {
    match input.x.dtype() {
        DType::BF16 => forward_of::<u16>(isa, input),
        _ => forward_of::<f32>(isa, input),
    }
}

fn forward_of<W: Word>(isa: Isa, input: NormInput<FlexTensor>) -> FlexTensor {
    let NormInput { x, weight, epsilon } = input.contiguous();
    let norm = Norm::new(&weight, epsilon);
    let values = slice::<W>(&x);
    let work = |out: &mut [W]| {
        let piece = |(x, out)| Forward { norm, x, out };
        let pieces = values
            .chunks(norm.piece())
            .zip(out.chunks_mut(norm.piece()));
        pieces::run(isa, pieces.map(piece).collect());
    };
    // SAFETY: every row is written.
    let out = unsafe { filled(values.len(), work) };
    tensor(out, x.layout().shape().clone())
}

/// See [`super::add_rms_norm`]. The sum takes the place of `delta`.
pub(crate) fn add_forward(
    isa: Isa,
    delta: FlexTensor,
    input: NormInput<FlexTensor>,
) -> [FlexTensor; 2] {
    match input.x.dtype() {
        DType::BF16 => add_forward_of::<u16>(isa, delta, input),
        _ => add_forward_of::<f32>(isa, delta, input),
    }
}

fn add_forward_of<W: Word>(
    isa: Isa,
    delta: FlexTensor,
    input: NormInput<FlexTensor>,
) -> [FlexTensor; 2] {
    let NormInput { x, weight, epsilon } = input.contiguous();
    let norm = Norm::new(&weight, epsilon);
    let (values, mut sum) = (slice::<W>(&x), delta);
    let sums = slice_mut::<W>(&mut sum);
    let work = |out: &mut [W]| {
        let piece = |((x, sum), out)| AddForward { norm, x, sum, out };
        let rows = values
            .chunks(norm.piece())
            .zip(sums.chunks_mut(norm.piece()));
        let pieces = rows.zip(out.chunks_mut(norm.piece())).map(piece);
        pieces::run(isa, pieces.collect());
    };
    // SAFETY: every row is written.
    let out = unsafe { filled(values.len(), work) };
    [sum, tensor(out, x.layout().shape().clone())]
}

/// Gradients of `x`, which takes the place of the upstream gradient, and of the weight.
pub(crate) fn backward(
    isa: Isa,
    upstream: FlexTensor,
    input: NormInput<FlexTensor>,
    existing: Option<FlexTensor>,
    need: [bool; 2],
) -> [Option<FlexTensor>; 2] {
    let [x, weight] = match input.x.dtype() {
        DType::BF16 => backward_of::<u16>(isa, upstream, input, existing),
        _ => backward_of::<f32>(isa, upstream, input, existing),
    };
    [need[0].then_some(x), need[1].then_some(weight)]
}

fn backward_of<W: Word>(
    isa: Isa,
    upstream: FlexTensor,
    input: NormInput<FlexTensor>,
    existing: Option<FlexTensor>,
) -> [FlexTensor; 2] {
    let NormInput { x, weight, epsilon } = input.contiguous();
    let existing = existing.map(contiguous);
    let norm = Norm::new(&weight, epsilon);
    let mut grad = upstream;
    let piece = norm.piece();
    let grads = slice_mut::<W>(&mut grad).chunks_mut(piece);
    let pieces = grads.zip(slice::<W>(&x).chunks(piece)).enumerate();
    let pieces = pieces.map(|(index, (grad, x))| Backward {
        norm,
        existing: existing.as_ref().map(|existing| {
            let rows = &slice::<W>(existing)[index * piece..];
            &rows[..x.len()]
        }),
        x,
        grad,
        of_weight: vec![0.0; norm.weight.len()],
    });
    let sums = pieces::run(isa, pieces.collect());
    let channels = norm.weight.len();
    let of_weight = tensor(pieces::sum(sums), [channels]);
    [grad, of_weight]
}

impl NormInput<FlexTensor> {
    fn contiguous(self) -> Self {
        Self {
            x: contiguous(self.x),
            weight: contiguous(self.weight),
            epsilon: self.epsilon,
        }
    }
}

/// What is the same for all rows.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub weight: &'a [f32],
    pub epsilon: f32,
    /// `1 / channels`
    share: f32,
}

/// Rows whose sums are made at a time: so many wait for their square roots together, and share what is read of the weight.
pub(crate) const BLOCK: usize = 4;

impl<'a> Norm<'a> {
    pub fn new(weight: &'a FlexTensor, epsilon: f64) -> Self {
        let weight = floats(weight);
        Self {
            weight,
            epsilon: epsilon as f32,
            share: (weight.len() as f32).recip(),
        }
    }

    /// Values of a piece.
    fn piece(&self) -> usize {
        pieces::rows(self.weight.len()) * self.weight.len()
    }

    /// `1 / √(mean + ε)` of a row with this sum of squares.
    #[inline(always)]
    pub fn scale(&self, squares: f32) -> f32 {
        (squares * self.share + self.epsilon).sqrt().recip()
    }

    /// The factors `[s, −s³ · mean(u · w · x)]` of `u · w` and `x` in the gradient of `x`, from the sums of `x²` and `u · w · x`.
    #[inline(always)]
    pub fn factors(&self, squares: f32, products: f32) -> [f32; 2] {
        let scale = self.scale(squares);
        [scale, -scale * scale * scale * (products * self.share)]
    }
}

struct Forward<'a, W> {
    norm: Norm<'a>,
    x: &'a [W],
    out: &'a mut [W],
}

impl<W: Word> Op for Forward<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(mut self) {
        let rows = self.x.len() / self.norm.weight.len();
        let blocks = rows / BLOCK * BLOCK;
        unsafe {
            for row in (0..blocks).step_by(BLOCK) {
                self.rows::<L, BLOCK>(row);
            }
            for row in blocks..rows {
                self.rows::<L, 1>(row);
            }
        }
    }
}

impl<W: Word> Forward<'_, W> {
    /// `ROWS` rows.
    #[inline(always)]
    unsafe fn rows<L: Lanes, const ROWS: usize>(&mut self, first: usize) {
        let width = self.norm.weight.len();
        let x = &self.x[first * width..][..ROWS * width];
        let out = &mut self.out[first * width..][..ROWS * width];
        unsafe {
            let mut scales = [L::splat(0.0); ROWS];
            for (row, scale) in scales.iter_mut().enumerate() {
                let x = x.as_ptr().add(row * width);
                let mut squares = L::splat(0.0);
                vectors!(L, width, |at, count| {
                    let x = W::load_part::<L>(x.add(at), count);
                    squares = L::fma(x, x, squares);
                });
                *scale = L::splat(self.norm.scale(L::sum(squares)));
            }
            vectors!(L, width, |at, count| {
                let weight = f32::load_part::<L>(self.norm.weight.as_ptr().add(at), count);
                for (row, scale) in scales.iter().enumerate() {
                    let x = W::load_part::<L>(x.as_ptr().add(row * width + at), count);
                    let y = L::mul(L::mul(x, *scale), weight);
                    W::store_part::<L>(out.as_mut_ptr().add(row * width + at), y, count);
                }
            });
        }
    }
}

struct AddForward<'a, W> {
    norm: Norm<'a>,
    x: &'a [W],
    /// Of `x` and what is in it before.
    sum: &'a mut [W],
    out: &'a mut [W],
}

impl<W: Word> Op for AddForward<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let block = BLOCK * self.norm.weight.len();
        let outs = self.sum.chunks_mut(block).zip(self.out.chunks_mut(block));
        for (x, (sum, out)) in self.x.chunks(block).zip(outs) {
            unsafe {
                vectors!(L, x.len(), |at, count| {
                    let to = sum.as_mut_ptr().add(at);
                    let x = W::load_part::<L>(x.as_ptr().add(at), count);
                    W::store_part::<L>(to, L::add(x, W::load_part::<L>(to, count)), count);
                });
                // Of the sum as it is stored, because the backward pass sees that.
                let norm = self.norm;
                Forward { norm, x: sum, out }.run::<L>();
            }
        }
    }
}

struct Backward<'a, W> {
    norm: Norm<'a>,
    x: &'a [W],
    existing: Option<&'a [W]>,
    /// The upstream gradient, then that of `x`.
    grad: &'a mut [W],
    /// The piece's part of the weight's gradient.
    of_weight: Vec<f32>,
}

impl<W: Word> Op for Backward<'_, W> {
    type Out = Vec<f32>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(mut self) -> Vec<f32> {
        let rows = self.x.len() / self.norm.weight.len();
        let blocks = rows / BLOCK * BLOCK;
        unsafe {
            for row in (0..blocks).step_by(BLOCK) {
                self.rows::<L, BLOCK>(row);
            }
            for row in blocks..rows {
                self.rows::<L, 1>(row);
            }
        }
        self.of_weight
    }
}

impl<W: Word> Backward<'_, W> {
    /// `ROWS` rows.
    #[inline(always)]
    unsafe fn rows<L: Lanes, const ROWS: usize>(&mut self, first: usize) {
        let width = self.norm.weight.len();
        let x = &self.x[first * width..][..ROWS * width];
        let grad = &mut self.grad[first * width..][..ROWS * width];
        let existing = self
            .existing
            .map(|existing| &existing[first * width..][..ROWS * width]);
        let weight = self.norm.weight.as_ptr();
        let of_weight = self.of_weight.as_mut_ptr();
        unsafe {
            let mut factors = [[L::splat(0.0); 2]; ROWS];
            for (row, factors) in factors.iter_mut().enumerate() {
                let (x, grad) = (x.as_ptr().add(row * width), grad.as_ptr().add(row * width));
                let (mut squares, mut products) = (L::splat(0.0), L::splat(0.0));
                vectors!(L, width, |at, count| {
                    let x = W::load_part::<L>(x.add(at), count);
                    let upstream = W::load_part::<L>(grad.add(at), count);
                    let weight = f32::load_part::<L>(weight.add(at), count);
                    squares = L::fma(x, x, squares);
                    products = L::fma(L::mul(upstream, weight), x, products);
                });
                let [scale, along] = self.norm.factors(L::sum(squares), L::sum(products));
                *factors = [L::splat(scale), L::splat(along)];
            }
            vectors!(L, width, |at, count| {
                let weight = f32::load_part::<L>(weight.add(at), count);
                let mut sum = f32::load_part::<L>(of_weight.add(at), count);
                for (row, [scale, along]) in factors.iter().enumerate() {
                    let place = row * width + at;
                    let grad = grad.as_mut_ptr().add(place);
                    let x = W::load_part::<L>(x.as_ptr().add(place), count);
                    let scaled = L::mul(W::load_part::<L>(grad, count), *scale);
                    sum = L::fma(scaled, x, sum);
                    let mut of_x = L::mul(x, *along);
                    if let Some(existing) = existing {
                        let existing = W::load_part::<L>(existing.as_ptr().add(place), count);
                        of_x = L::add(of_x, existing);
                    }
                    W::store_part::<L>(grad, L::fma(scaled, weight, of_x), count);
                }
                f32::store_part::<L>(of_weight.add(at), sum, count);
            });
        }
    }
}
