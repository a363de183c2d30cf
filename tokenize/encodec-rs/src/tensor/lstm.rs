//! Uni-directional LSTM.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use burn::tensor::module::linear;

use super::signal::{upload, upload_vector};
use crate::network;

/// See [`network::Lstm`].
pub struct Lstm<B: Backend> {
    /// `[in, 4 * hidden]`
    weight_ih: Tensor<B, 2>,
    /// `[hidden, 4 * hidden]`
    weight_hh: Tensor<B, 2>,
    /// `[4 * hidden]`
    bias: Tensor<B, 1>,
}

impl<B: Backend> Lstm<B> {
    /// Copies the weights to `device`.
    pub fn new(lstm: &network::Lstm, device: &B::Device) -> Self {
        Self {
            weight_ih: upload::<B, 2>(&lstm.weight_ih, device).transpose(),
            weight_hh: upload::<B, 2>(&lstm.weight_hh, device).transpose(),
            bias: upload_vector(&lstm.bias, device),
        }
    }

    /// `[batch, time, in]` to `[batch, time, hidden]`. It looks back only, so that an item's output does not depend on
    /// what stands behind its own elements.
    pub fn forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, time, _] = input.dims();
        let [hidden, _] = self.weight_hh.dims();
        let device = input.device();
        // all steps' inputs in one product: [batch, time, 4 * hidden]
        let projected = linear(input, self.weight_ih.clone(), Some(self.bias.clone()));
        let mut state = Tensor::<B, 2>::zeros([batch, hidden], &device);
        let mut cell = state.clone();
        let mut outputs = Vec::with_capacity(time);
        for step in 0..time {
            let input = projected.clone().narrow(1, step, 1).squeeze_dim::<2>(1);
            let gates = input + state.matmul(self.weight_hh.clone()); // [batch, 4 * hidden]
            let gate = |index: usize| gates.clone().narrow(1, index * hidden, hidden);
            cell = sigmoid(gate(1)) * cell + sigmoid(gate(0)) * gate(2).tanh();
            state = sigmoid(gate(3)) * cell.clone().tanh();
            outputs.push(state.clone());
        }
        Tensor::stack(outputs, 1)
    }
}
