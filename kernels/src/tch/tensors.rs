//! What the operations share: memory that may be changed, and products whose sums are f32.

use burn::backend::libtorch::TchTensor;
use tch::{Device, Kind, Tensor};

/// The values to be changed: where they lie if nobody else holds them, else a copy of them.
pub(super) fn own(x: TchTensor) -> Tensor {
    match x.can_mut() {
        true => x.tensor,
        false => copy(&x.tensor),
    }
}

/// The same values elsewhere.
fn copy(x: &Tensor) -> Tensor {
    x.to_dtype(x.kind(), false, true)
}

/// A tensor without values.
pub(super) fn empty_like(x: &Tensor, kind: Kind) -> Tensor {
    Tensor::empty(x.size(), (kind, x.device()))
}

/// `x · factor` of `x` in f32, rounded once, to `kind`; in the memory of `x` where that is f32.
pub(super) fn times(mut x: Tensor, factor: &Tensor, kind: Kind) -> Tensor {
    if kind == Kind::Float {
        x *= factor;
        return x;
    }
    x.mul_out(&empty_like(&x, kind), factor)
}

/// Whether LibTorch makes products of bf16 in f32: on GPUs only.
fn are_wide(a: &Tensor) -> bool {
    a.kind() != Kind::Float && matches!(a.device(), Device::Cuda(_))
}

/// `a · b` in f32, of matrices of one type.
pub(super) fn product(a: &Tensor, b: &Tensor) -> Tensor {
    match are_wide(a) {
        true => a.mm_dtype(b, Kind::Float),
        false => a.mm(b).to_kind(Kind::Float),
    }
}

/// `sum ← sum + a · b` of an f32 sum and matrices of one type.
pub(super) fn add_product(sum: &mut Tensor, a: &Tensor, b: &Tensor) {
    if are_wide(a) {
        let _ = sum.addmm_dtype_out(sum, a, b, Kind::Float);
    } else if a.kind() == Kind::Float {
        let _ = sum.addmm_(a, b);
    } else {
        *sum += a.mm(b);
    }
}
