//! The gather as one node of Burn's autodiff graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{FloatDType, TensorMetadata};

use crate::KernelsWithGrads;
use crate::slot::Slot;

#[derive(Debug)]
struct Embedding;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved<B: KernelsWithGrads> {
    tokens: IntTensor<B>,
    vocab: usize,
    weight_grad: Slot<B>,
}

impl<B: KernelsWithGrads> Backward<B, 1> for Embedding {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Saved<B>, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(node) = parent {
            let Saved {
                tokens,
                vocab,
                weight_grad,
            } = ops.state;
            // That of a tied head, whose memory is added to.
            let existing = weight_grad.take(grads);
            let grad =
                <B as KernelsWithGrads>::embedding_backward(upstream, tokens, existing, vocab);
            grads.register::<B>(node.id, grad);
        }
    }
}

/// See [`super::embedding`].
pub(crate) fn embedding<B: KernelsWithGrads, C: CheckpointStrategy>(
    weight: FloatTensor<Autodiff<B, C>>,
    tokens: IntTensor<B>,
    dtype: FloatDType,
) -> FloatTensor<Autodiff<B, C>> {
    let prepared = Embedding.prepare::<C>([weight.node.clone()]);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let saved = Saved {
                tokens: tokens.clone(),
                vocab: weight.primitive.shape()[0],
                weight_grad: Slot::of::<C>(&weight),
            };
            let out = B::embedding_forward(weight.primitive, tokens, dtype);
            prepared.finish(saved, out)
        }
        OpsKind::UnTracked(prepared) => {
            prepared.finish(B::embedding_forward(weight.primitive, tokens, dtype))
        }
    }
}
