//! The kernel as one node of Burn's autodiff graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::{
    NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::ops::FloatTensor;

use crate::KernelsWithGrads;

#[derive(Debug)]
struct Linear;

impl<B: KernelsWithGrads> Backward<B, 2> for Linear {
    /// Activations, kept if the weight has a gradient, and the weight.
    type State = (Option<NodeId>, NodeId);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        let x = x.map(|node| saved.retrieve_node_output(node));
        let weight = saved.retrieve_node_output(weight);
        let [of_x, of_weight] = ops.parents;
        let found = B::linear_backward(x, weight, upstream, of_x.is_some());
        for (parent, grad) in [of_x, of_weight].into_iter().zip(found) {
            if let (Some(node), Some(grad)) = (parent, grad) {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

/// See [`super::linear`].
pub(crate) fn linear<B: KernelsWithGrads, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let out = B::linear_forward(x.primitive.clone(), weight.primitive.clone());
    match Linear
        .prepare::<C>([x.node.clone(), weight.node.clone()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prepared) => {
            let kept = weight.is_tracked().then(|| prepared.checkpoint(&x));
            let weight = prepared.checkpoint(&weight);
            prepared.finish((kept, weight), out)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}
