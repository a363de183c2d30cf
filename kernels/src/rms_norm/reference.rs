//! The norm in plain Burn operations: the default of every backend, and the tests' reference.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorMetadata};

use super::NormInput;
use crate::plain::{rows, shaped, tensor};

/// See [`super::rms_norm`].
pub(crate) fn forward<B: Backend>(input: NormInput<FloatTensor<B>>) -> FloatTensor<B> {
    let kind = (input.x.shape(), input.x.dtype());
    let x = rows::<B>(input.x);
    let scale = scale(&x, input.epsilon);
    let weight = tensor::<B, 1>(input.weight).unsqueeze();
    shaped(x * scale * weight, kind)
}

/// Gradients of `x`, added to what `existing` is of it, and of the weight. With `s = 1 / √(mean(x²) + ε)` and the upstream
/// gradient `u`: that of the weight is `Σ u · x · s` over the rows, that of `x` is `s · (u · w − x · s² · mean(u · w · x))`.
pub(crate) fn backward<B: Backend>(
    upstream: FloatTensor<B>,
    input: NormInput<FloatTensor<B>>,
    existing: Option<FloatTensor<B>>,
    need: [bool; 2],
) -> [Option<FloatTensor<B>>; 2] {
    let kind = (input.x.shape(), input.x.dtype());
    let grads = gradients(
        rows::<B>(upstream),
        rows(input.x),
        tensor(input.weight),
        input.epsilon,
    );
    let [x, weight] = grads;
    let x = match existing {
        Some(existing) => x + rows(existing),
        None => x,
    };
    let [_, channels] = weight.dims();
    let weight = weight.reshape([channels]).into_primitive().tensor();
    [need[0].then(|| shaped(x, kind)), need[1].then_some(weight)]
}

/// Gradients of rows `[rows, channels]` and of the weight `[1, channels]`, all in f32.
pub(crate) fn gradients<B: Backend>(
    upstream: Tensor<B, 2>,
    x: Tensor<B, 2>,
    weight: Tensor<B, 1>,
    epsilon: f64,
) -> [Tensor<B, 2>; 2] {
    let scale = scale(&x, epsilon);
    let of_weight = (upstream.clone() * x.clone() * scale.clone()).sum_dim(0);
    let weighted = upstream * weight.unsqueeze();
    let mean = (weighted.clone() * x.clone()).mean_dim(1); // [rows, 1]
    let of_x = scale.clone() * (weighted - x * scale.square() * mean);
    [of_x, of_weight]
}

/// `1 / √(mean(x²) + ε)`, `[rows, 1]`.
pub(crate) fn scale<B: Backend>(x: &Tensor<B, 2>, epsilon: f64) -> Tensor<B, 2> {
    (x.clone().square().mean_dim(1) + epsilon).sqrt().recip()
}
