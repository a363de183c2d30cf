//! The kernel in plain Burn operations: the default of every backend, and the tests' reference.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Tensor, TensorPrimitive};

fn tensor<B: Backend>(primitive: FloatTensor<B>) -> Tensor<B, 2> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// `x Wᵀ`.
pub(crate) fn forward<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    let (x, weight) = (tensor::<B>(x), tensor::<B>(weight));
    let weight = weight.cast(x.dtype());
    x.matmul(weight.transpose()).into_primitive().tensor()
}

/// `dx = dy W` if it is wanted, and `dW = dyᵀ x` if there is an `x`.
pub(crate) fn backward<B: Backend>(
    x: Option<FloatTensor<B>>,
    weight: FloatTensor<B>,
    upstream: FloatTensor<B>,
    of_x: bool,
) -> [Option<FloatTensor<B>>; 2] {
    let (weight, upstream) = (tensor::<B>(weight), tensor::<B>(upstream));
    let dtype = upstream.dtype();
    let of_x = of_x.then(|| upstream.clone().matmul(weight.cast(dtype)));
    let of_weight = x.map(|x| upstream.transpose().matmul(tensor(x)).cast(DType::F32));
    [of_x, of_weight].map(|grad| grad.map(|grad| grad.into_primitive().tensor()))
}
