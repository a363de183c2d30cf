//! The kernel as one node of Burn's autodiff graph.
//!
//! It keeps its result and the scores' logsumexp. Query, key and value are checkpoints: with a strategy that recomputes
//! what is bound by memory, they are made again from what they were made of.

use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::ops::{FloatTensor, IntTensor};

use super::AttentionInput;
use crate::KernelsWithGrads;

#[derive(Debug)]
struct Attention;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct State<F, I> {
    input: AttentionInput<NodeId, I>,
    out: F,
    logsumexp: F,
}

impl<B: KernelsWithGrads> Backward<B, 3> for Attention {
    type State = State<FloatTensor<B>, IntTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let upstream = grads.consume::<B>(&ops.node);
        let State {
            input,
            out,
            logsumexp,
        } = ops.state;
        let mut tensor = |id| checkpointer.retrieve_node_output::<FloatTensor<B>>(id);
        let input = AttentionInput {
            query: tensor(input.query),
            key: tensor(input.key),
            value: tensor(input.value),
            starts: input.starts,
        };
        let parents = B::attention_backward(input, out, logsumexp, upstream);
        for (node, grad) in ops.parents.into_iter().zip(parents) {
            if let Some(node) = node {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

pub(crate) fn attention<B: KernelsWithGrads, C: CheckpointStrategy>(
    input: AttentionInput<FloatTensor<Autodiff<B, C>>, IntTensor<B>>,
) -> FloatTensor<Autodiff<B, C>> {
    let AttentionInput {
        query,
        key,
        value,
        starts,
    } = input;
    let parents = [&query, &key, &value].map(|tensor| tensor.node.clone());
    let inner = AttentionInput {
        query: query.primitive.clone(),
        key: key.primitive.clone(),
        value: value.primitive.clone(),
        starts: starts.clone(),
    };
    let (out, logsumexp) = B::attention_forward(inner);
    match Attention.prepare::<C>(parents).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let input = AttentionInput {
                query: prepared.checkpoint(&query),
                key: prepared.checkpoint(&key),
                value: prepared.checkpoint(&value),
                starts,
            };
            let state = State {
                input,
                out: out.clone(),
                logsumexp,
            };
            prepared.finish(state, out)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}
