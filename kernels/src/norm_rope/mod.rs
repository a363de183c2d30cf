//! QK-norm and rotary positions: what queries and keys pass through before attention, in one pass.
//!
//! The norm of each head (Henry et al., arXiv 2010.04245, with the root mean square for the length, as in Qwen3) and the
//! rotation of Su et al. (arXiv 2104.09864), of the pairs (c, c + head_dim / 2) as in transformers.

pub(crate) mod autodiff;
pub(crate) mod cpu;
pub(crate) mod reference;

use burn::tensor::{Tensor, TensorPrimitive};

use crate::Kernels;

/// Operands of [`norm_rope`].
#[derive(Clone, Debug)]
pub struct NormRopeInput<F> {
    /// `[batch, time, heads, head_dim]`, f32 or bf16.
    pub x: F,
    /// `[head_dim]`, f32.
    pub weight: F,
    /// Angles of the rotation.
    pub tables: Tables<F>,
    /// Added to the mean square.
    pub epsilon: f64,
}

/// Cosines and sines of the angles of each position, `[time, head_dim / 2]` each, f32.
#[derive(Clone, Copy, Debug)]
pub struct Tables<F> {
    /// Cosines.
    pub cos: F,
    /// Sines.
    pub sin: F,
}

/// The root-mean-square norm of each head, rotated by the angles of its position; computed in f32, in the type of `x`.
///
/// With `n = x / √(mean(x²) + ε) · weight` and `h = head_dim / 2`, element `c < h` is `n_c cos_c − n_{c+h} sin_c`, and
/// element `c + h` is `n_{c+h} cos_c + n_c sin_c`. The tables get no gradient.
///
/// # Shapes
/// - `x`: `[batch, time, heads, head_dim]`, `weight`: `[head_dim]`, `cos`, `sin`: `[time, head_dim / 2]`; all but `x` are f32
///
/// # Panics
/// If the shapes do not fit, or `head_dim` is odd.
pub fn norm_rope<B: Kernels>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 1>,
    cos: Tensor<B, 2>,
    sin: Tensor<B, 2>,
    epsilon: f64,
) -> Tensor<B, 4> {
    let [_, time, _, head_dim] = x.dims();
    let table = [time, head_dim / 2];
    assert!(
        head_dim % 2 == 0 && weight.dims() == [head_dim] && [cos.dims(), sin.dims()] == [table; 2],
        "norm_rope: x is {:?}, the weight {:?}, the tables {:?} and {:?}",
        x.dims(),
        weight.dims(),
        cos.dims(),
        sin.dims()
    );
    let out = B::norm_rope(NormRopeInput {
        x: x.into_primitive().tensor(),
        weight: weight.into_primitive().tensor(),
        tables: Tables {
            cos: cos.into_primitive().tensor(),
            sin: sin.into_primitive().tensor(),
        },
        epsilon,
    });
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

#[cfg(test)]
pub(crate) mod tests;
