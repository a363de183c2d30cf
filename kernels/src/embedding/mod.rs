//! Rows of a matrix by token, and the sum of their gradients.
//!
//! Where the output head is the same matrix, its gradient is there first, and as large as the matrix: the gradients of the
//! rows are added to it in place.

pub(crate) mod autodiff;
pub(crate) mod cpu;
pub(crate) mod reference;

use burn::tensor::{FloatDType, Int, Tensor, TensorPrimitive};

use crate::Kernels;

/// Row `tokens[i]` of the weight for each `i`, in the type `dtype` (f32 or bf16).
///
/// # Shapes
/// - `weight`: `[vocab, width]`, always f32, `tokens`: `[tokens]`, the result: `[tokens, width]`
///
/// # Panics
/// On a processor, if a token is not below `vocab`.
pub fn embedding<B: Kernels>(
    weight: Tensor<B, 2>,
    tokens: Tensor<B, 1, Int>,
    dtype: FloatDType,
) -> Tensor<B, 2> {
    let weight = weight.into_primitive().tensor();
    let out = <B as Kernels>::embedding(weight, tokens.into_primitive(), dtype);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

#[cfg(test)]
pub(crate) mod tests;
