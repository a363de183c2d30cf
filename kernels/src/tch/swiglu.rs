//! The gate of SwiGLU, in f32 from operand to result.

use burn::backend::libtorch::TchTensor;
use tch::{Kind, Tensor};

use super::tensors::{empty_like, times};

/// See [`crate::swiglu::swiglu`].
pub(super) fn forward(gate: &Tensor, up: &Tensor) -> TchTensor {
    TchTensor::new(times(silu(gate), up, gate.kind()))
}

/// Gradients of gate and up.
pub(super) fn backward(upstream: &Tensor, gate: &Tensor, up: &Tensor) -> [TchTensor; 2] {
    let kind = gate.kind();
    let of_up = times(silu(gate), upstream, kind);
    let of_silu = upstream.to_kind(Kind::Float) * up;
    let of_gate = empty_like(gate, kind);
    let _ = gate
        .to_kind(Kind::Float)
        .silu_backward_grad_input(&of_gate, &of_silu);
    [of_gate, of_up].map(TchTensor::new)
}

/// In f32, in memory of its own.
fn silu(gate: &Tensor) -> Tensor {
    match gate.kind() {
        Kind::Float => gate.silu(),
        _ => gate.to_kind(Kind::Float).silu_(),
    }
}
