//! Products of a linear layer, by the device's matrix library.

use burn::backend::libtorch::TchTensor;
use tch::Tensor;

use super::tensors::product;

/// See [`crate::linear::linear`].
pub(super) fn forward(x: &Tensor, weight: &Tensor) -> TchTensor {
    let weight = weight.to_kind(x.kind());
    TchTensor::new(x.linear(&weight, None::<&Tensor>))
}

/// `dx = dy W` if it is wanted, and `dW = dyᵀ x` in f32 if there is an `x`.
pub(super) fn backward(
    x: Option<TchTensor>,
    weight: &Tensor,
    upstream: &Tensor,
    of_x: bool,
) -> [Option<TchTensor>; 2] {
    let of_x = of_x.then(|| upstream.mm(&weight.to_kind(upstream.kind())));
    let of_weight = x.map(|x| product(&upstream.tr(), &x.tensor));
    [of_x, of_weight].map(|grad| grad.map(TchTensor::new))
}
