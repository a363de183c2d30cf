//! The gate of SwiGLU (Shazeer, arXiv 2002.05202).

pub(crate) mod autodiff;
pub(crate) mod cpu;
pub(crate) mod reference;

use burn::tensor::{Tensor, TensorPrimitive};

use crate::Kernels;

/// `silu(gate) · up` with `silu(x) = x / (1 + exp(−x))`, computed in f32; in the type of the operands.
///
/// # Shapes
/// `[...]`, the same for both.
///
/// # Panics
/// If shapes or types differ.
pub fn swiglu<B: Kernels, const D: usize>(gate: Tensor<B, D>, up: Tensor<B, D>) -> Tensor<B, D> {
    let kinds = [&gate, &up].map(|tensor| (tensor.dims(), tensor.dtype()));
    let [of_gate, of_up] = &kinds;
    assert!(
        of_gate == of_up,
        "swiglu: gate is {of_gate:?}, up {of_up:?}"
    );
    let out = B::swiglu(gate.into_primitive().tensor(), up.into_primitive().tensor());
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

#[cfg(test)]
pub(crate) mod tests;
