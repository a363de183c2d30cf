//! Norm and rotation in plain Burn operations: the default of every backend, and the tests' reference.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor, TensorMetadata};

use super::{NormRopeInput, Tables};
use crate::plain::{rows, shaped, tensor};
use crate::rms_norm::reference as norm;

/// See [`super::norm_rope`].
pub(crate) fn forward<B: Backend>(input: NormRopeInput<FloatTensor<B>>) -> FloatTensor<B> {
    let kind = (input.x.shape(), input.x.dtype());
    let x = rows::<B>(input.x);
    let scale = norm::scale(&x, input.epsilon);
    let normed = x * scale * tensor::<B, 1>(input.weight).unsqueeze();
    let tables = Tables {
        cos: tensor(input.tables.cos),
        sin: tensor(input.tables.sin),
    };
    shaped(rotate(normed, &kind.0, tables), kind)
}

/// Gradients of `x` and the weight: the upstream gradient is rotated back, and goes through the norm.
pub(crate) fn backward<B: Backend>(
    upstream: FloatTensor<B>,
    input: NormRopeInput<FloatTensor<B>>,
    need: [bool; 2],
) -> [Option<FloatTensor<B>>; 2] {
    let kind = (input.x.shape(), input.x.dtype());
    let back = Tables {
        cos: tensor(input.tables.cos),
        sin: -tensor(input.tables.sin),
    };
    let upstream = rotate(rows::<B>(upstream), &kind.0, back);
    let weight = tensor(input.weight);
    let [x, weight] = norm::gradients(upstream, rows(input.x), weight, input.epsilon);
    let [_, head_dim] = weight.dims();
    let weight = weight.reshape([head_dim]).into_primitive().tensor();
    [need[0].then(|| shaped(x, kind)), need[1].then_some(weight)]
}

/// Rotates heads `[batch · time · heads, head_dim]` of `shape`.
fn rotate<B: Backend>(
    heads: Tensor<B, 2>,
    shape: &Shape,
    tables: Tables<Tensor<B, 2>>,
) -> Tensor<B, 2> {
    let [count, head_dim] = heads.dims();
    let half = head_dim / 2;
    let heads = heads.reshape::<4, _>(shape.clone());
    let [cos, sin] = [tables.cos, tables.sin].map(|table| table.reshape([1, shape[1], 1, half]));
    let (a, b) = (
        heads.clone().narrow(3, 0, half),
        heads.narrow(3, half, half),
    );
    let first = a.clone() * cos.clone() - b.clone() * sin.clone();
    let second = b * cos + a * sin;
    Tensor::cat(vec![first, second], 3).reshape([count, head_dim])
}
