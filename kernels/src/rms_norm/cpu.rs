//! The norm on a processor: pieces of rows over the threads, each row read from memory once.

use burn::tensor::DType;
use burn_flex::FlexTensor;

use super::NormInput;
use crate::gemm::lanes::{Isa, Lanes, Op};
use crate::gemm::word::Word;
use crate::pieces;
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
}

impl<'a> Norm<'a> {
    pub fn new(weight: &'a FlexTensor, epsilon: f64) -> Self {
        Self {
            weight: floats(weight),
            epsilon: epsilon as f32,
        }
    }

    /// Values of a piece.
    fn piece(&self) -> usize {
        pieces::rows(self.weight.len()) * self.weight.len()
    }

    /// `1 / √(mean + ε)` of a row with this sum of squares.
    #[inline(always)]
    pub fn scale(&self, squares: f32) -> f32 {
        (squares / self.weight.len() as f32 + self.epsilon)
            .sqrt()
            .recip()
    }

    #[inline(always)]
    unsafe fn row<L: Lanes, W: Word>(&self, x: &[W], out: &mut [W]) {
        let width = self.weight.len();
        unsafe {
            let mut squares = L::splat(0.0);
            for at in (0..width).step_by(L::N) {
                let x = W::load_part::<L>(x.as_ptr().add(at), L::N.min(width - at));
                squares = L::fma(x, x, squares);
            }
            let scale = L::splat(self.scale(L::sum(squares)));
            for at in (0..width).step_by(L::N) {
                let count = L::N.min(width - at);
                let x = W::load_part::<L>(x.as_ptr().add(at), count);
                let weight = f32::load_part::<L>(self.weight.as_ptr().add(at), count);
                let y = L::mul(L::mul(x, scale), weight);
                W::store_part::<L>(out.as_mut_ptr().add(at), y, count);
            }
        }
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
    unsafe fn run<L: Lanes>(self) {
        let width = self.norm.weight.len();
        let rows = self.x.chunks_exact(width);
        for (x, out) in rows.zip(self.out.chunks_exact_mut(width)) {
            unsafe { self.norm.row::<L, W>(x, out) };
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
        let width = self.norm.weight.len();
        let rows = self.x.chunks_exact(width);
        let outs = self
            .sum
            .chunks_exact_mut(width)
            .zip(self.out.chunks_exact_mut(width));
        for (x, (sum, out)) in rows.zip(outs) {
            unsafe {
                add::<L, W>(sum, x);
                // Of the sum as it is stored, because the backward pass sees that.
                self.norm.row::<L, W>(sum, out);
            }
        }
    }
}

/// `sum += x`
#[inline(always)]
unsafe fn add<L: Lanes, W: Word>(sum: &mut [W], x: &[W]) {
    for at in (0..x.len()).step_by(L::N) {
        let count = L::N.min(x.len() - at);
        unsafe {
            let to = sum.as_mut_ptr().add(at);
            let x = W::load_part::<L>(x.as_ptr().add(at), count);
            W::store_part::<L>(to, L::add(x, W::load_part::<L>(to, count)), count);
        }
    }
}

struct Backward<'a, W> {
    norm: Norm<'a>,
    x: &'a [W],
    existing: Option<&'a [W]>,
    /// The upstream gradient, then that of `x`.
    grad: &'a mut [W],
}

impl<W: Word> Op for Backward<'_, W> {
    /// The piece's part of the weight's gradient.
    type Out = Vec<f32>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> Vec<f32> {
        let width = self.norm.weight.len();
        let mut of_weight = vec![0f32; width];
        let rows = self.x.chunks_exact(width);
        for (row, (x, grad)) in rows.zip(self.grad.chunks_exact_mut(width)).enumerate() {
            let existing = self
                .existing
                .map(|existing| &existing[row * width..][..width]);
            unsafe {
                self.norm
                    .row_backward::<L, W>(x, existing, grad, &mut of_weight)
            };
        }
        of_weight
    }
}

impl Norm<'_> {
    #[inline(always)]
    unsafe fn row_backward<L: Lanes, W: Word>(
        &self,
        x: &[W],
        existing: Option<&[W]>,
        grad: &mut [W],
        of_weight: &mut [f32],
    ) {
        let width = self.weight.len();
        unsafe {
            let (mut squares, mut products) = (L::splat(0.0), L::splat(0.0));
            for at in (0..width).step_by(L::N) {
                let count = L::N.min(width - at);
                let x = W::load_part::<L>(x.as_ptr().add(at), count);
                let upstream = W::load_part::<L>(grad.as_ptr().add(at), count);
                let weight = f32::load_part::<L>(self.weight.as_ptr().add(at), count);
                squares = L::fma(x, x, squares);
                products = L::fma(L::mul(upstream, weight), x, products);
            }
            let scale = self.scale(L::sum(squares));
            let along = -scale * scale * scale * (L::sum(products) / width as f32);
            let (scale, along) = (L::splat(scale), L::splat(along));
            for at in (0..width).step_by(L::N) {
                let count = L::N.min(width - at);
                let x = W::load_part::<L>(x.as_ptr().add(at), count);
                let upstream = W::load_part::<L>(grad.as_ptr().add(at), count);
                let weight = f32::load_part::<L>(self.weight.as_ptr().add(at), count);
                let mut of_x = L::mul(x, along);
                if let Some(existing) = existing {
                    let existing = W::load_part::<L>(existing.as_ptr().add(at), count);
                    of_x = L::add(of_x, existing);
                }
                let scaled = L::mul(upstream, scale);
                let of_x = L::fma(scaled, weight, of_x);
                let sum = of_weight.as_mut_ptr().add(at);
                let of_weight = L::fma(scaled, x, f32::load_part::<L>(sum, count));
                f32::store_part::<L>(sum, of_weight, count);
                W::store_part::<L>(grad.as_mut_ptr().add(at), of_x, count);
            }
        }
    }
}
