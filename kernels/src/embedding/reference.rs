//! The gather and its gradient in plain Burn operations: the default of every backend, and the tests' reference.

use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{FloatDType, Shape, TensorMetadata};

use crate::plain::rows;

/// See [`super::embedding`].
pub(crate) fn forward<B: Backend>(
    weight: FloatTensor<B>,
    tokens: IntTensor<B>,
    dtype: FloatDType,
) -> FloatTensor<B> {
    let rows = B::float_select(weight, 0, tokens);
    match rows.dtype() == dtype.into() {
        true => rows,
        false => B::float_cast(rows, dtype),
    }
}

/// The gradient of the weight `[vocab, width]`: `existing`, or zeros, with each token's row of `upstream` added to its row.
pub(crate) fn backward<B: Backend>(
    upstream: FloatTensor<B>,
    tokens: IntTensor<B>,
    existing: Option<FloatTensor<B>>,
    vocab: usize,
) -> FloatTensor<B> {
    let upstream = rows::<B>(upstream);
    let [_, width] = upstream.dims();
    let upstream = upstream.into_primitive().tensor();
    let sum = existing.unwrap_or_else(|| {
        let device = B::float_device(&upstream);
        B::float_zeros(Shape::new([vocab, width]), &device, FloatDType::F32)
    });
    B::float_select_add(sum, 0, tokens, upstream)
}
