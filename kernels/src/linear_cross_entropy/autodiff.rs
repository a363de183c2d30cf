//! The kernel as one node of Burn's autodiff graph.

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;

use super::{LossInput, LossOutput};
use crate::KernelsWithGrads;

#[derive(Debug)]
struct LinearCrossEntropy;

impl<B: KernelsWithGrads> Backward<B, 2> for LinearCrossEntropy {
    /// Gradients of hidden states and weight for an upstream gradient of 1.
    type State = [Option<FloatTensor<B>>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        for (parent, grad) in ops.parents.into_iter().zip(ops.state) {
            if let (Some(node), Some(grad)) = (parent, grad) {
                grads.register::<B>(node.id, B::times_scalar(grad, upstream.clone()));
            }
        }
    }
}

/// See [`super::linear_cross_entropy`].
pub(crate) fn linear_cross_entropy<B: KernelsWithGrads, C: CheckpointStrategy>(
    input: LossInput<Autodiff<B, C>>,
) -> LossOutput<FloatTensor<Autodiff<B, C>>> {
    let LossInput {
        hidden,
        weight,
        targets,
        token_weights,
        z_loss,
    } = input;
    let parents = [hidden.node.clone(), weight.node.clone()];
    let need = [hidden.is_tracked(), weight.is_tracked()];
    let inner = LossInput {
        hidden: hidden.primitive,
        weight: weight.primitive,
        targets,
        token_weights: token_weights.primitive,
        z_loss,
    };
    match LinearCrossEntropy
        .prepare::<C>(parents)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prepared) => {
            let out = B::linear_cross_entropy_with_grads(inner, need);
            let loss = prepared.finish([out.hidden, out.weight], out.output.loss);
            LossOutput {
                loss,
                nll: Autodiff::<B, C>::from_inner(out.output.nll),
                logit_square: Autodiff::<B, C>::from_inner(out.output.logit_square),
            }
        }
        OpsKind::UnTracked(prepared) => {
            let out = B::linear_cross_entropy_with_grads(inner, [false; 2]).output;
            LossOutput {
                loss: prepared.finish(out.loss),
                nll: Autodiff::<B, C>::from_inner(out.nll),
                logit_square: Autodiff::<B, C>::from_inner(out.logit_square),
            }
        }
    }
}
