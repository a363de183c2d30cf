//! Norm and rotation as one node of Burn's autodiff graph.

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

use super::{NormRopeInput, Tables};
use crate::KernelsWithGrads;

#[derive(Debug)]
struct NormRope;

/// The operands: those that may be recomputed by their nodes.
#[derive(Clone, Debug)]
struct Saved<F> {
    x: NodeId,
    weight: NodeId,
    tables: Tables<F>,
    epsilon: f64,
}

impl<F: Clone + Send + 'static> Saved<F> {
    fn input(&self, mut output: impl FnMut(NodeId) -> F) -> NormRopeInput<F> {
        NormRopeInput {
            x: output(self.x),
            weight: output(self.weight),
            tables: self.tables.clone(),
            epsilon: self.epsilon,
        }
    }
}

impl<B: KernelsWithGrads> Backward<B, 2> for NormRope {
    type State = Saved<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let input = ops.state.input(|node| saved.retrieve_node_output(node));
        let need = [ops.parents[0].is_some(), ops.parents[1].is_some()];
        let found = B::norm_rope_backward(upstream, input, need);
        for (parent, grad) in ops.parents.into_iter().zip(found) {
            if let (Some(node), Some(grad)) = (parent, grad) {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

/// Norm and rotation once more, when their output is needed in the backward pass.
#[derive(Debug)]
struct Again<B: KernelsWithGrads>(Saved<FloatTensor<B>>);

impl<B: KernelsWithGrads> RetroForward for Again<B> {
    fn forward(&self, states: &mut BackwardStates, out: NodeId) {
        let input = self.0.input(|node| states.get_state(&node));
        states.save(out, B::norm_rope_forward(input));
    }
}

/// See [`super::norm_rope`].
pub(crate) fn norm_rope<B: KernelsWithGrads, C: CheckpointStrategy>(
    input: NormRopeInput<FloatTensor<Autodiff<B, C>>>,
) -> FloatTensor<Autodiff<B, C>> {
    let NormRopeInput {
        x,
        weight,
        tables,
        epsilon,
    } = input;
    let tables = Tables {
        cos: tables.cos.primitive,
        sin: tables.sin.primitive,
    };
    let saved = Saved {
        x: x.node.id,
        weight: weight.node.id,
        tables: tables.clone(),
        epsilon,
    };
    let out = B::norm_rope_forward(NormRopeInput {
        x: x.primitive.clone(),
        weight: weight.primitive.clone(),
        tables,
        epsilon,
    });
    match NormRope
        .prepare::<C>([x.node.clone(), weight.node.clone()])
        .memory_bound()
        .retro_forward(Again::<B>(saved.clone()))
        .parents([&x, &weight])
        .stateful()
    {
        OpsKind::Tracked(mut prepared) => {
            prepared.checkpoint(&x);
            prepared.checkpoint(&weight);
            prepared.finish(saved, out)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}
