//! Products with a weight.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module::linear;

use super::signal::{upload, upload_vector};
use crate::network;

/// See [`network::Linear`].
pub struct Linear<B: Backend> {
    /// `[in, out]`
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
}

impl<B: Backend> Linear<B> {
    /// Copies the weights to `device`.
    pub fn new(layer: &network::Linear, device: &B::Device) -> Self {
        Self {
            weight: upload::<B, 2>(&layer.weight, device).transpose(),
            bias: layer.bias.as_ref().map(|bias| upload_vector(bias, device)),
        }
    }

    /// `[.., in]` to `[.., out]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        linear(input, self.weight.clone(), self.bias.clone())
    }
}
