//! Normalisation, over each item's own elements only.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::signal::{floats, mask};
use crate::network;

/// See [`network::GroupNorm`].
pub struct GroupNorm<B: Backend> {
    /// `[1, channels, 1]`
    weight: Tensor<B, 3>,
    /// `[1, channels, 1]`
    bias: Tensor<B, 3>,
    eps: f32,
}

impl<B: Backend> GroupNorm<B> {
    /// Copies the weights to `device`.
    pub fn new(norm: &network::GroupNorm, device: &B::Device) -> Self {
        let shape = [1, norm.weight.len(), 1];
        Self {
            weight: floats(norm.weight.clone(), shape, device),
            bias: floats(norm.bias.clone(), shape, device),
            eps: norm.eps,
        }
    }

    /// `[batch, channels, time]` of items with `lengths` elements each.
    pub fn forward(&self, data: Tensor<B, 3>, lengths: &[usize]) -> Tensor<B, 3> {
        let [batch, channels, _] = data.dims();
        let own = mask(&data, lengths);
        let masked = |data: Tensor<B, 3>| match &own {
            None => data,
            Some(own) => data * own.clone(),
        };
        let share = lengths
            .iter()
            .map(|&length| 1.0 / (channels * length) as f32)
            .collect();
        let share = floats(share, [batch, 1, 1], &data.device());
        let mean_of = |data: Tensor<B, 3>| data.sum_dim(2).sum_dim(1) * share.clone();
        let centred = data.clone() - mean_of(masked(data));
        let variance = mean_of(masked(centred.clone().square())); // [batch, 1, 1]
        centred / (variance + self.eps).sqrt() * self.weight.clone() + self.bias.clone()
    }
}

/// See [`network::LayerNorm`].
pub struct LayerNorm<B: Backend> {
    /// `[1, 1, channels]`
    weight: Tensor<B, 3>,
    /// `[1, 1, channels]`
    bias: Tensor<B, 3>,
    eps: f32,
}

impl<B: Backend> LayerNorm<B> {
    /// Copies the weights to `device`.
    pub fn new(norm: &network::LayerNorm, eps: f32, device: &B::Device) -> Self {
        let shape = [1, 1, norm.weight.len()];
        Self {
            weight: floats(norm.weight.clone(), shape, device),
            bias: floats(norm.bias.clone(), shape, device),
            eps,
        }
    }

    /// `[batch, time, channels]`
    pub fn forward(&self, data: Tensor<B, 3>) -> Tensor<B, 3> {
        let centred = data.clone() - data.mean_dim(2);
        let variance = centred.clone().square().mean_dim(2); // [batch, time, 1]
        centred / (variance + self.eps).sqrt() * self.weight.clone() + self.bias.clone()
    }
}
