//! What the tests of kernels share.

use burn::backend::Autodiff;
use burn::backend::autodiff::{checkpoint::strategy::CheckpointStrategy, grads::Gradients};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, Tensor, TensorData, TensorMetadata};
use burn_flex::Flex;

use crate::plain::{cast, tensor};

#[cfg(feature = "cubecl")]
pub(crate) use device::{fetched, sent};

/// To a GPU and back.
#[cfg(feature = "cubecl")]
mod device {
    use burn::tensor::backend::Backend;
    use burn::tensor::ops::{FloatTensor, FloatTensorOps};
    use burn::tensor::{Shape, TensorMetadata};
    use burn_flex::{Flex, FlexTensor};

    use crate::plain::tensor;

    /// A tensor of the processor on a backend's device.
    pub(crate) fn sent<B: Backend>(primitive: &FlexTensor) -> FloatTensor<B> {
        let shape = primitive.shape();
        let flat = Flex::float_reshape(primitive.clone(), Shape::new([shape.num_elements()]));
        let mut data = tensor::<Flex, 1>(flat).into_data();
        data.shape = shape;
        B::float_from_data(data, &Default::default())
    }

    /// A tensor of a backend on the processor.
    pub(crate) fn fetched<B: Backend>(primitive: FloatTensor<B>) -> FlexTensor {
        let shape = primitive.shape();
        let flat = B::float_reshape(primitive, Shape::new([shape.num_elements()]));
        let mut data = tensor::<B, 1>(flat).into_data();
        data.shape = shape;
        Flex::float_from_data(data, &Default::default())
    }
}

/// Numbers between -1 and 1.
pub(crate) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let number = |i: usize| {
        let hash = (i as u32 ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        let hash = (hash ^ hash >> 15).wrapping_mul(0xc2b2_ae35);
        let hash = hash ^ hash >> 13;
        (hash >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(number).collect()
}

/// A tensor of [`numbers`], rounded to `dtype`.
pub(crate) fn random<const D: usize>(
    shape: [usize; D],
    seed: u32,
    dtype: DType,
) -> Tensor<Flex, D> {
    let data = TensorData::new(numbers(shape.iter().product(), seed), shape);
    cast(Tensor::from_data(data, &Default::default()), dtype)
}

/// The primitive of a tensor.
pub(crate) fn primitive<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> FloatTensor<B> {
    tensor.clone().into_primitive().tensor()
}

/// The values of a tensor of any type.
pub(crate) fn values(primitive: &FloatTensor<Flex>) -> Vec<f64> {
    let count = primitive.shape().num_elements();
    let flat = primitive.to_contiguous().reshape(Shape::new([count]));
    tensor::<Flex, 1>(flat).into_data().iter::<f64>().collect()
}

/// An f64 of each value of a tensor.
pub(crate) fn doubles<const D: usize>(tensor: &Tensor<Flex, D>) -> Vec<f64> {
    values(&primitive(tensor))
}

/// Runs with this many threads.
pub(crate) fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(run)
}

/// Partial derivatives of `f` by central differences.
pub(crate) fn differences(f: impl Fn(&[f64]) -> f64, at: &[f64]) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let moved = |i: usize, by: f64| {
        let mut at = at.to_vec();
        at[i] += by;
        f(&at)
    };
    let slope = |i| (moved(i, STEP) - moved(i, -STEP)) / (2.0 * STEP);
    (0..at.len()).map(slope).collect()
}

/// As a leaf of the graph, with a gradient or without.
pub(crate) fn leaf<C: CheckpointStrategy, const D: usize>(
    tensor: &Tensor<Flex, D>,
    tracked: bool,
) -> Tensor<Autodiff<Flex, C>, D> {
    Tensor::from_inner(tensor.clone()).set_require_grad(tracked)
}

/// Within `tolerance` of the scale of the wanted numbers: their largest, or the size of what was added up where that is more.
pub(crate) fn assert_close(what: &str, got: &[f64], want: &[f64], terms: f64, tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(terms, |max, x| max.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= tolerance * scale,
            "{what} {i}: {got}, not {want}"
        );
    }
}

/// The gradient of a leaf, if it has one.
pub(crate) fn gradient<C: CheckpointStrategy, const D: usize>(
    leaf: &Tensor<Autodiff<Flex, C>, D>,
    grads: &Gradients,
) -> Option<Vec<f64>> {
    leaf.grad(grads).map(|grad| values(&primitive(&grad)))
}
