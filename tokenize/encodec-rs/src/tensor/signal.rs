//! Signals of unequal lengths in one tensor, and weights on a device.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use crate::network;

/// Signals `[batch, channels, time]`. The first `lengths[i]` elements are item i's own, and `time` is the largest of the
/// lengths; what stands behind an item's own elements is finite and means nothing.
#[derive(Clone)]
pub struct Signal<B: Backend> {
    pub data: Tensor<B, 3>,
    pub lengths: Vec<usize>,
}

impl<B: Backend> Signal<B> {
    /// Applies a function that keeps each element at its place.
    pub fn map(self, function: impl FnOnce(Tensor<B, 3>) -> Tensor<B, 3>) -> Self {
        Self {
            data: function(self.data),
            lengths: self.lengths,
        }
    }

    /// The data, with zeros behind each item's own elements.
    pub fn masked(self) -> Tensor<B, 3> {
        match mask(&self.data, &self.lengths) {
            None => self.data,
            Some(mask) => self.data * mask,
        }
    }
}

/// `[batch, 1, time]`: 1 where `data` (`[batch, channels, time]`) has items' own elements, 0 behind them. `None` if there
/// is nothing behind them.
pub fn mask<B: Backend>(data: &Tensor<B, 3>, lengths: &[usize]) -> Option<Tensor<B, 3>> {
    let [batch, _, time] = data.dims();
    if lengths.iter().all(|&length| length == time) {
        return None;
    }
    let device = data.device();
    let position = Tensor::<B, 1, Int>::arange(0..time as i64, &device)
        .reshape([1, 1, time])
        .expand([batch, 1, time]);
    let length = indices(lengths.iter().copied(), [batch, 1, 1], &device).expand([batch, 1, time]);
    Some(position.lower(length).float())
}

/// An index tensor from its values, row-major.
pub fn indices<B: Backend, const D: usize>(
    values: impl Iterator<Item = usize>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D, Int> {
    let values: Vec<i64> = values.map(|value| value as i64).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A tensor of D axes from its values, row-major.
pub fn floats<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A copy of `weight`, which has D axes, on a device.
pub fn upload<B: Backend, const D: usize>(
    weight: &network::Tensor,
    device: &B::Device,
) -> Tensor<B, D> {
    let shape = std::array::from_fn(|axis| weight.shape[axis]);
    floats(weight.data.clone(), shape, device)
}

/// A copy of `values` on a device: `[values.len()]`.
pub fn upload_vector<B: Backend>(values: &[f32], device: &B::Device) -> Tensor<B, 1> {
    floats(values.to_vec(), [values.len()], device)
}
