//! Root-mean-square norm (Zhang & Sennrich, arXiv 1910.07467), alone or with the residual addition before it.

pub(crate) mod autodiff;
pub(crate) mod cpu;
pub(crate) mod reference;

use burn::tensor::{Tensor, TensorPrimitive};

use crate::Kernels;

/// Operands of a norm.
#[derive(Clone, Debug)]
pub struct NormInput<F> {
    /// `[..., channels]`, f32 or bf16.
    pub x: F,
    /// `[channels]`, f32.
    pub weight: F,
    /// Added to the mean square.
    pub epsilon: f64,
}

/// `x / √(mean(x²) + ε) · weight` over the last dimension, computed in f32; in the type of `x`.
///
/// # Shapes
/// - `x`: `[..., channels]`, `weight`: `[channels]`, always f32
///
/// # Panics
/// If the weight has another length than the rows of `x`.
pub fn rms_norm<B: Kernels, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, D> {
    check("rms_norm", &x.dims(), &weight);
    let out = B::rms_norm(NormInput {
        x: x.into_primitive().tensor(),
        weight: weight.into_primitive().tensor(),
        epsilon,
    });
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

/// `x + delta`, and the [`rms_norm`] of the sum: a residual stream and what the next layer reads of it, in one pass.
///
/// # Shapes
/// - `x`, `delta`: `[..., channels]` of one type, `weight`: `[channels]`, always f32
///
/// # Panics
/// If shapes or types differ.
pub fn add_rms_norm<B: Kernels, const D: usize>(
    x: Tensor<B, D>,
    delta: Tensor<B, D>,
    weight: Tensor<B, 1>,
    epsilon: f64,
) -> (Tensor<B, D>, Tensor<B, D>) {
    check("add_rms_norm", &x.dims(), &weight);
    let kinds = [&x, &delta].map(|tensor| (tensor.dims(), tensor.dtype()));
    let [of_x, of_delta] = &kinds;
    assert!(
        of_x == of_delta,
        "add_rms_norm: x is {of_x:?}, delta {of_delta:?}"
    );
    let delta = delta.into_primitive().tensor();
    let [sum, out] = B::add_rms_norm(
        delta,
        NormInput {
            x: x.into_primitive().tensor(),
            weight: weight.into_primitive().tensor(),
            epsilon,
        },
    )
    .map(|primitive| Tensor::from_primitive(TensorPrimitive::Float(primitive)));
    (sum, out)
}

fn check<B: Kernels>(name: &str, x: &[usize], weight: &Tensor<B, 1>) {
    let [channels] = weight.dims();
    assert!(
        x.last() == Some(&channels),
        "{name}: x is {x:?}, the weight [{channels}]"
    );
}

#[cfg(test)]
pub(crate) mod tests;
