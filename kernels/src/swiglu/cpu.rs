//! The gate on a processor: pieces over the threads, in one pass.

use burn::tensor::DType;
use burn_flex::FlexTensor;

use crate::gemm::lanes::{Isa, Lanes, Op};
use crate::gemm::math::sigmoid;
use crate::gemm::word::Word;
use crate::pieces::{self, PIECE};
use crate::storage::{contiguous, filled, slice, slice_mut, tensor};

/// See [`super::swiglu`].
pub(crate) fn forward(isa: Isa, gate: FlexTensor, up: FlexTensor) -> FlexTensor {
    match gate.dtype() {
        DType::BF16 => forward_of::<u16>(isa, gate, up),
        _ => forward_of::<f32>(isa, gate, up),
    }
}

fn forward_of<W: Word>(isa: Isa, gate: FlexTensor, up: FlexTensor) -> FlexTensor {
    let (gate, up) = (contiguous(gate), contiguous(up));
    let (gates, ups) = (slice::<W>(&gate), slice::<W>(&up));
    let work = |out: &mut [W]| {
        let piece = |((gate, up), out)| Forward { gate, up, out };
        let inputs = gates.chunks(PIECE).zip(ups.chunks(PIECE));
        let pieces = inputs.zip(out.chunks_mut(PIECE)).map(piece);
        pieces::run(isa, pieces.collect());
    };
    // SAFETY: every value is written.
    let out = unsafe { filled(gates.len(), work) };
    tensor(out, gate.layout().shape().clone())
}

/// Gradients of gate and up, which take their places.
pub(crate) fn backward(
    isa: Isa,
    upstream: FlexTensor,
    gate: FlexTensor,
    up: FlexTensor,
) -> [FlexTensor; 2] {
    match gate.dtype() {
        DType::BF16 => backward_of::<u16>(isa, upstream, gate, up),
        _ => backward_of::<f32>(isa, upstream, gate, up),
    }
}

fn backward_of<W: Word>(
    isa: Isa,
    upstream: FlexTensor,
    mut gate: FlexTensor,
    mut up: FlexTensor,
) -> [FlexTensor; 2] {
    let upstream = contiguous(upstream);
    let piece = |((gate, up), upstream)| Backward { gate, up, upstream };
    let gates = slice_mut::<W>(&mut gate).chunks_mut(PIECE);
    let inputs = gates.zip(slice_mut::<W>(&mut up).chunks_mut(PIECE));
    let pieces = inputs.zip(slice::<W>(&upstream).chunks(PIECE)).map(piece);
    pieces::run(isa, pieces.collect());
    [gate, up]
}

struct Forward<'a, W> {
    gate: &'a [W],
    up: &'a [W],
    out: &'a mut [W],
}

impl<W: Word> Op for Forward<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { gate, up, out } = self;
        for at in (0..gate.len()).step_by(L::N) {
            let count = L::N.min(gate.len() - at);
            unsafe {
                let gate = W::load_part::<L>(gate.as_ptr().add(at), count);
                let up = W::load_part::<L>(up.as_ptr().add(at), count);
                let y = L::mul(L::mul(gate, sigmoid::<L>(gate)), up);
                W::store_part::<L>(out.as_mut_ptr().add(at), y, count);
            }
        }
    }
}

/// Gate and up become their gradients.
struct Backward<'a, W> {
    upstream: &'a [W],
    gate: &'a mut [W],
    up: &'a mut [W],
}

impl<W: Word> Op for Backward<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { upstream, gate, up } = self;
        for at in (0..gate.len()).step_by(L::N) {
            let count = L::N.min(gate.len() - at);
            unsafe {
                let (to_gate, to_up) = (gate.as_mut_ptr().add(at), up.as_mut_ptr().add(at));
                let upstream = W::load_part::<L>(upstream.as_ptr().add(at), count);
                let gate = W::load_part::<L>(to_gate, count);
                let up = W::load_part::<L>(to_up, count);
                let sigma = sigmoid::<L>(gate);
                let silu = L::mul(gate, sigma);
                // σ + g σ (1 − σ)
                let slope = L::fma(silu, L::sub(L::splat(1.0), sigma), sigma);
                let of_gate = L::mul(L::mul(upstream, up), slope);
                W::store_part::<L>(to_gate, of_gate, count);
                W::store_part::<L>(to_up, L::mul(upstream, silu), count);
            }
        }
    }
}
