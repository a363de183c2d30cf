//! The norm, and the addition before it, as nodes of Burn's autodiff graph.

use std::marker::PhantomData;

use burn::backend::Autodiff;
use burn::backend::autodiff::{
    NodeId,
    checkpoint::{
        base::Checkpointer, retro_forward::RetroForward, state::BackwardStates,
        strategy::CheckpointStrategy,
    },
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::ops::FloatTensor;

use super::NormInput;
use crate::KernelsWithGrads;
use crate::slot::Slot;

#[derive(Debug)]
struct RmsNorm;

/// What the norm's backward pass needs.
#[derive(Clone, Debug)]
struct Saved<B: KernelsWithGrads> {
    x: NodeId,
    weight: NodeId,
    epsilon: f64,
    x_grad: Slot<B>,
}

impl<B: KernelsWithGrads> Backward<B, 2> for RmsNorm {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Saved<B>, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let input = NormInput {
            x: saved.retrieve_node_output(ops.state.x),
            weight: saved.retrieve_node_output(ops.state.weight),
            epsilon: ops.state.epsilon,
        };
        let need = [ops.parents[0].is_some(), ops.parents[1].is_some()];
        // The residual stream goes around the norm, and its gradient is already there.
        let existing = ops.state.x_grad.take(grads);
        let found = B::rms_norm_backward(upstream, input, existing, need);
        for (parent, grad) in ops.parents.into_iter().zip(found) {
            if let (Some(node), Some(grad)) = (parent, grad) {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

/// The norm once more, when its output is needed in the backward pass.
#[derive(Debug)]
struct Again<B> {
    x: NodeId,
    weight: NodeId,
    epsilon: f64,
    backend: PhantomData<B>,
}

impl<B: KernelsWithGrads> RetroForward for Again<B> {
    fn forward(&self, states: &mut BackwardStates, out: NodeId) {
        let input = NormInput {
            x: states.get_state::<FloatTensor<B>>(&self.x),
            weight: states.get_state::<FloatTensor<B>>(&self.weight),
            epsilon: self.epsilon,
        };
        states.save(out, B::rms_norm_forward(input));
    }
}

#[derive(Debug)]
struct Add;

impl<B: KernelsWithGrads> Backward<B, 2> for Add {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        for parent in ops.parents.into_iter().flatten() {
            grads.register::<B>(parent.id, upstream.clone());
        }
    }
}

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

/// See [`super::rms_norm`].
pub(crate) fn rms_norm<B: KernelsWithGrads, C: CheckpointStrategy>(
    input: NormInput<Tracked<B, C>>,
) -> Tracked<B, C> {
    let out = B::rms_norm_forward(NormInput {
        x: input.x.primitive.clone(),
        weight: input.weight.primitive.clone(),
        epsilon: input.epsilon,
    });
    node::<B, C>(input, out)
}

/// See [`super::add_rms_norm`]: two nodes, of which the sum is kept for the backward pass.
pub(crate) fn add_rms_norm<B: KernelsWithGrads, C: CheckpointStrategy>(
    delta: Tracked<B, C>,
    input: NormInput<Tracked<B, C>>,
) -> [Tracked<B, C>; 2] {
    let parents = [input.x.node.clone(), delta.node.clone()];
    let [sum, out] = B::add_rms_norm_forward(
        delta.primitive,
        NormInput {
            x: input.x.primitive,
            weight: input.weight.primitive.clone(),
            epsilon: input.epsilon,
        },
    );
    let sum = Add.prepare::<C>(parents).compute_bound().stateless(sum);
    let of_sum = NormInput {
        x: sum.clone(),
        ..input
    };
    [sum, node::<B, C>(of_sum, out)]
}

/// The node of the norm `out` of `input`.
fn node<B: KernelsWithGrads, C: CheckpointStrategy>(
    input: NormInput<Tracked<B, C>>,
    out: FloatTensor<B>,
) -> Tracked<B, C> {
    let NormInput { x, weight, epsilon } = input;
    let again = Again::<B> {
        x: x.node.id,
        weight: weight.node.id,
        epsilon,
        backend: PhantomData,
    };
    match RmsNorm
        .prepare::<C>([x.node.clone(), weight.node.clone()])
        .memory_bound()
        .retro_forward(again)
        .parents([&x, &weight])
        .stateful()
    {
        OpsKind::Tracked(mut prepared) => {
            let saved = Saved {
                x: prepared.checkpoint(&x),
                weight: prepared.checkpoint(&weight),
                epsilon,
                x_grad: Slot::of::<C>(&x),
            };
            prepared.finish(saved, out)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}
