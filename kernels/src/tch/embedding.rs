//! Rows of a matrix by token, and the sum of their gradients.

use burn::backend::libtorch::TchTensor;
use burn::tensor::FloatDType;
use tch::{Kind, Tensor};

use super::tensors::own;

/// See [`crate::embedding::embedding`].
pub(super) fn forward(weight: &Tensor, tokens: &Tensor, dtype: FloatDType) -> TchTensor {
    let rows = weight.index_select(0, tokens);
    TchTensor::new(match dtype {
        FloatDType::BF16 => rows.to_kind(Kind::BFloat16),
        FloatDType::F32 => rows,
        other => panic!("embedding: rows in f32 or bf16, not {other:?}"),
    })
}

/// The gradient of the weight `[vocab, width]`: `existing`, or zeros, with each token's row of `upstream` added to its row.
///
/// On a GPU the tokens are sorted first, so that the order of a row's terms is always the same.
pub(super) fn backward(
    upstream: &Tensor,
    tokens: &Tensor,
    existing: Option<TchTensor>,
    vocab: usize,
) -> TchTensor {
    let upstream = upstream.to_kind(Kind::Float);
    let mut sum = match existing {
        Some(existing) => own(existing),
        None => {
            let shape = [vocab as i64, upstream.size()[1]];
            Tensor::zeros(shape, (Kind::Float, upstream.device()))
        }
    };
    let _ = sum.index_put_(&[Some(tokens)], &upstream, true);
    TchTensor::new(sum)
}
