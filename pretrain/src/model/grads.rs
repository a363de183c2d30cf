//! Loss and gradients of a batch, either with all activations in memory or recomputed layer by layer.

use std::cmp::Reverse;

use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor};
use kernels::Kernels;
use kernels::linear_cross_entropy::LossOutput;

use super::layers::Residual;
use super::{Batch, Context, Qwen3, Setup};

/// A batch's loss and the gradients of every parameter.
pub struct LossAndGrads<B: AutodiffBackend> {
    /// The loss and what it is made of.
    pub output: LossOutput<Tensor<B::InnerBackend, 1>>,
    /// By parameter.
    pub grads: GradientsParams,
}

/// How the forward pass keeps what the backward pass needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graph {
    /// As one graph, whose gradients are there when all of it was passed.
    Whole,
    /// As one graph a layer, so that each layer's gradients can be used while those before it are computed.
    ByLayer,
    /// Only the input of each layer, which the backward pass runs a second time (activation checkpointing; Chen et al., arXiv
    /// 1604.06174): a third more work, and memory for one layer's activations instead of all.
    Recomputed,
}

/// A part of the model whose gradients are complete at the same time, in the order of the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// An untied head.
    Head,
    /// A layer; the final norm goes with the last one.
    Layer(Reverse<usize>),
    /// The embedding, and with it a head that is tied to it.
    Embedding,
}

impl Segment {
    /// That of a parameter of a model of so many layers.
    pub fn of(name: &str, layers: usize) -> Self {
        let layer = |name: &str| name.split_once('.')?.0.parse().ok();
        match name.strip_prefix("model.layers.") {
            Some(rest) => Self::Layer(Reverse(layer(rest).expect("layers have numbers"))),
            None if name.starts_with("lm_head.") => Self::Head,
            None if name.starts_with("model.norm.") => Self::Layer(Reverse(layers - 1)),
            None => Self::Embedding,
        }
    }
}

/// What is between the forward and the backward pass of a batch.
pub struct Forward<B: AutodiffBackend> {
    output: LossOutput<Tensor<B, 1>>,
    /// Unless it is one graph.
    kept: Option<Kept<B>>,
}

struct Kept<B: AutodiffBackend> {
    tokens: Tensor<B, 2, Int>,
    context: Context<B>,
    embedded: Option<Tensor<B, 3>>,
    layers: Vec<KeptLayer<B>>,
    /// Output of the last layer, from which the loss was computed.
    last: Tensor<B, 3>,
}

struct KeptLayer<B: AutodiffBackend> {
    input: Tensor<B, 3>,
    /// Unless it is computed again.
    output: Option<Tensor<B, 3>>,
}

impl<B> Qwen3<B>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels,
{
    /// The forward pass of a batch.
    pub fn forward(&self, batch: &Batch<B>, setup: &Setup<B>, graph: Graph) -> Forward<B> {
        let kept = match graph {
            Graph::Whole => {
                return Forward {
                    output: self.loss(batch, setup),
                    kept: None,
                };
            }
            Graph::ByLayer => self.keep_layers(batch.tokens.clone(), setup.context(batch)),
            Graph::Recomputed => self.keep_inputs(batch.tokens.clone(), setup.context(batch)),
        };
        let hidden = self.model.norm.forward(kept.last.clone());
        Forward {
            output: self.head_loss(hidden, batch, setup.z_loss_weight),
            kept: Some(kept),
        }
    }

    fn keep_layers(&self, tokens: Tensor<B, 2, Int>, context: Context<B>) -> Kept<B> {
        let embedded = self.embed(tokens.clone(), context.precision).sum();
        let mut x = embedded.clone().inner();
        let mut layers = Vec::with_capacity(self.model.layers.len());
        for layer in &self.model.layers {
            let input = Tensor::from_inner(x).require_grad();
            let output = layer
                .forward(Residual::new(input.clone()), &context, None)
                .sum();
            x = output.clone().inner();
            layers.push(KeptLayer {
                input,
                output: Some(output),
            });
        }
        Kept {
            tokens,
            context,
            embedded: Some(embedded),
            layers,
            last: Tensor::from_inner(x).require_grad(),
        }
    }

    fn keep_inputs(&self, tokens: Tensor<B, 2, Int>, context: Context<B>) -> Kept<B> {
        let (inner, inner_context) = (self.valid(), context.inner());
        let mut x = inner.embed(tokens.clone().inner(), context.precision).sum();
        let mut layers = Vec::with_capacity(inner.model.layers.len());
        for layer in &inner.model.layers {
            layers.push(KeptLayer {
                input: Tensor::from_inner(x.clone()).require_grad(),
                output: None,
            });
            x = layer.forward(Residual::new(x), &inner_context, None).sum();
        }
        Kept {
            tokens,
            context,
            embedded: None,
            layers,
            last: Tensor::from_inner(x).require_grad(),
        }
    }

    /// The backward pass.
    pub fn backward(&self, forward: Forward<B>) -> LossAndGrads<B> {
        // Added up, because a tied head has a part of the embedding's gradient.
        let mut all = GradientsAccumulator::new();
        let output = self.backward_by_segment(forward, |_, grads| all.accumulate(self, grads));
        LossAndGrads {
            output,
            grads: all.grads(),
        }
    }

    /// The backward pass, with its gradients as soon as they are complete up to a segment; one graph has only the last.
    pub fn backward_by_segment(
        &self,
        forward: Forward<B>,
        mut done: impl FnMut(Segment, GradientsParams),
    ) -> LossOutput<Tensor<B::InnerBackend, 1>> {
        let Forward { output, kept } = forward;
        let mut grads = output.loss.backward();
        let inner = LossOutput {
            loss: output.loss.inner(),
            nll: output.nll.inner(),
            logit_square: output.logit_square.inner(),
        };
        let Some(kept) = kept else {
            done(Segment::Embedding, GradientsParams::from_grads(grads, self));
            return inner;
        };
        let mut of_output = kept
            .last
            .grad_remove(&mut grads)
            .expect("the loss depends on the last layer");
        done(Segment::Head, GradientsParams::from_grads(grads, self));
        let layers = self.model.layers.iter().zip(kept.layers).enumerate();
        for (number, (layer, kept_layer)) in layers.rev() {
            let KeptLayer { input, output } = kept_layer;
            let output = output.unwrap_or_else(|| {
                let residual = Residual::new(input.clone());
                layer.forward(residual, &kept.context, None).sum()
            });
            let mut grads = pull(output, of_output);
            of_output = input
                .grad_remove(&mut grads)
                .expect("a layer depends on its input");
            let grads = GradientsParams::from_grads(grads, self);
            done(Segment::Layer(Reverse(number)), grads);
        }
        // a frozen embedding is behind nothing that is trained
        let grads = match self.model.embed_tokens.weight.val().is_require_grad() {
            true => {
                let embedded = kept
                    .embedded
                    .unwrap_or_else(|| self.embed(kept.tokens, kept.context.precision).sum());
                GradientsParams::from_grads(pull(embedded, of_output), self)
            }
            false => GradientsParams::new(),
        };
        done(Segment::Embedding, grads);
        inner
    }
}

/// Gradients of what `output` was computed from, for the gradient of `output`: those of Σ output · gradient.
fn pull<B: AutodiffBackend>(
    output: Tensor<B, 3>,
    gradient: Tensor<B::InnerBackend, 3>,
) -> B::Gradients {
    (output * Tensor::from_inner(gradient)).sum().backward()
}

impl<B: AutodiffBackend> Context<B> {
    /// The same without autodiff.
    fn inner(&self) -> Context<B::InnerBackend> {
        Context {
            rope: self.rope.inner(),
            starts: self.starts.clone().inner(),
            precision: self.precision,
        }
    }
}

impl<B: AutodiffBackend> Batch<B> {
    /// The same without autodiff.
    pub fn inner(self) -> Batch<B::InnerBackend> {
        Batch {
            tokens: self.tokens.inner(),
            targets: self.targets.inner(),
            weights: self.weights.inner(),
            starts: self.starts.inner(),
        }
    }
}

impl<B: AutodiffBackend> Setup<B> {
    /// The same without autodiff.
    pub fn inner(&self) -> Setup<B::InnerBackend> {
        Setup {
            rope: self.rope.inner(),
            precision: self.precision,
            z_loss_weight: self.z_loss_weight,
        }
    }
}
