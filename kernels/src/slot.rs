//! A place among the gradients of a backward pass.

use burn::backend::Autodiff;
use burn::backend::autodiff::{checkpoint::strategy::CheckpointStrategy, grads::Gradients};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{FloatDType, Shape};
use std::sync::Arc;

/// Where the gradient of a tensor gathers, for a step that adds to what is already there in one pass.
///
/// Burn finds gradients by tensor. A step that kept the tensor itself would keep its memory too, and its node in the graph:
/// nodes are freed when nobody refers to them. So this has its identity only.
#[derive(Clone, Debug)]
pub(crate) struct Slot<B: Backend>(FloatTensor<Autodiff<B>>);

impl<B: Backend> Slot<B> {
    pub fn of<C: CheckpointStrategy>(tensor: &FloatTensor<Autodiff<B, C>>) -> Self {
        let device = B::float_device(&tensor.primitive);
        let mut identity = tensor.clone();
        identity.primitive = B::float_empty(Shape::new([1]), &device, FloatDType::F32);
        identity.rc = Arc::new(identity.node.id);
        Self(identity)
    }

    /// Takes the gradient out.
    pub fn take(&self, grads: &mut Gradients) -> Option<FloatTensor<B>> {
        grads.remove::<B>(&self.0)
    }
}
