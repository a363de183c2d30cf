//! The gate in plain Burn operations: the default of every backend, and the tests' reference.

use burn::tensor::TensorMetadata;
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use crate::plain::{rows, shaped};

/// See [`super::swiglu`].
pub(crate) fn forward<B: Backend>(gate: FloatTensor<B>, up: FloatTensor<B>) -> FloatTensor<B> {
    let kind = (gate.shape(), gate.dtype());
    let gate = rows::<B>(gate);
    shaped(gate.clone() * sigmoid(gate) * rows(up), kind)
}

/// Gradients of gate and up. With `σ` the sigmoid of the gate `g` and the upstream gradient `u`: `u · up · σ (1 + g (1 − σ))`
/// and `u · g · σ`.
pub(crate) fn backward<B: Backend>(
    upstream: FloatTensor<B>,
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
) -> [FloatTensor<B>; 2] {
    let kind = (gate.shape(), gate.dtype());
    let (upstream, gate, up) = (rows::<B>(upstream), rows::<B>(gate), rows::<B>(up));
    let sigma = sigmoid(gate.clone());
    let silu = gate * sigma.clone();
    let slope = sigma.clone() + silu.clone() * (-sigma + 1.0);
    [
        shaped(upstream.clone() * up * slope, kind.clone()),
        shaped(upstream * silu, kind),
    ]
}
