//! A linear layer without bias, `y = x Wᵀ`, whose products are made in the type of the activations.

pub(crate) mod autodiff;
pub(crate) mod cpu;
pub(crate) mod reference;

use burn::tensor::{Tensor, TensorPrimitive};

use crate::Kernels;

/// `x Wᵀ` in the type of `x`: f32, or bf16 with sums in f32.
///
/// The gradient of the weight is f32.
///
/// # Shapes
/// - `x`: `[rows, in]`, `weight`: `[out, in]` in f32, result: `[rows, out]`
pub fn linear<B: Kernels>(x: Tensor<B, 2>, weight: Tensor<B, 2>) -> Tensor<B, 2> {
    let [x, weight] = [x, weight].map(|tensor| tensor.into_primitive().tensor());
    Tensor::from_primitive(TensorPrimitive::Float(<B as Kernels>::linear(x, weight)))
}

#[cfg(test)]
mod tests;
