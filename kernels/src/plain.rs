//! What the references in plain Burn operations share.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, Tensor, TensorMetadata, TensorPrimitive};

/// The tensor of a primitive.
pub(crate) fn tensor<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// A tensor of any rank as f32 rows `[rows, width]` of its last dimension.
pub(crate) fn rows<B: Backend>(primitive: FloatTensor<B>) -> Tensor<B, 2> {
    let shape = primitive.shape();
    let width = shape[shape.num_dims() - 1];
    let rows = shape.num_elements() / width;
    let rows = B::float_reshape(primitive, Shape::new([rows, width]));
    cast(tensor(rows), DType::F32)
}

/// Rows in another shape and type.
pub(crate) fn shaped<B: Backend>(
    rows: Tensor<B, 2>,
    (shape, dtype): (Shape, DType),
) -> FloatTensor<B> {
    B::float_reshape(cast(rows, dtype).into_primitive().tensor(), shape)
}

/// `x` in another type; itself if that is its own.
pub(crate) fn cast<B: Backend, const D: usize>(x: Tensor<B, D>, dtype: DType) -> Tensor<B, D> {
    match x.dtype() == dtype {
        true => x,
        false => x.cast(dtype),
    }
}
