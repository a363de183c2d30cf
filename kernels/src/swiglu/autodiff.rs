//! The gate as one node of Burn's autodiff graph.

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

use crate::KernelsWithGrads;

#[derive(Debug)]
struct SwiGlu;

impl<B: KernelsWithGrads> Backward<B, 2> for SwiGlu {
    /// Gate and up.
    type State = [NodeId; 2];

    fn backward(self, ops: Ops<[NodeId; 2], 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let [gate, up] = ops.state.map(|node| saved.retrieve_node_output(node));
        let found = B::swiglu_backward(upstream, gate, up);
        for (parent, grad) in ops.parents.into_iter().zip(found) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

/// The gate once more, when its output is needed in the backward pass.
#[derive(Debug)]
struct Again<B> {
    inputs: [NodeId; 2],
    backend: PhantomData<B>,
}

impl<B: KernelsWithGrads> RetroForward for Again<B> {
    fn forward(&self, states: &mut BackwardStates, out: NodeId) {
        let [gate, up] = self.inputs.map(|node| states.get_state(&node));
        states.save(out, B::swiglu_forward(gate, up));
    }
}

/// See [`super::swiglu`].
pub(crate) fn swiglu<B: KernelsWithGrads, C: CheckpointStrategy>(
    gate: FloatTensor<Autodiff<B, C>>,
    up: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let out = B::swiglu_forward(gate.primitive.clone(), up.primitive.clone());
    let again = Again::<B> {
        inputs: [gate.node.id, up.node.id],
        backend: PhantomData,
    };
    match SwiGlu
        .prepare::<C>([gate.node.clone(), up.node.clone()])
        .memory_bound()
        .retro_forward(again)
        .parents([&gate, &up])
        .stateful()
    {
        OpsKind::Tracked(mut prepared) => {
            let saved = [&gate, &up].map(|tensor| prepared.checkpoint(tensor));
            prepared.finish(saved, out)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}
