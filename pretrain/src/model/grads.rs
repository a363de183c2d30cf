//! Loss and gradients of a batch, either with all activations in memory or recomputed layer by layer.

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

/// What is between the forward and the backward pass of a batch.
pub struct Forward<B: AutodiffBackend> {
    output: LossOutput<Tensor<B, 1>>,
    /// With recomputation only.
    kept: Option<Kept<B>>,
}

struct Kept<B: AutodiffBackend> {
    tokens: Tensor<B, 2, Int>,
    context: Context<B>,
    /// Of each layer.
    inputs: Vec<Tensor<B::InnerBackend, 3>>,
    /// Output of the last layer, from which the loss was computed.
    last: Tensor<B, 3>,
}

impl<B> Qwen3<B>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels,
{
    /// The forward pass of a batch. With `recompute` only the input of each layer is kept, and [`backward`](Self::backward)
    /// runs each layer a second time (activation checkpointing; Chen et al., arXiv 1604.06174): a third more work, and
    /// memory for one layer's activations instead of all.
    pub fn forward(&self, batch: &Batch<B>, setup: &Setup<B>, recompute: bool) -> Forward<B> {
        if !recompute {
            return Forward {
                output: self.loss(batch, setup),
                kept: None,
            };
        }
        let (tokens, context) = (batch.tokens.clone(), setup.context(batch));
        let (inner, inner_context) = (self.valid(), context.inner());
        let mut inputs = Vec::with_capacity(inner.model.layers.len());
        let mut x = inner.embed(tokens.clone().inner(), context.precision).sum();
        for layer in &inner.model.layers {
            inputs.push(x.clone());
            x = layer.forward(Residual::new(x), &inner_context, None).sum();
        }
        let last = Tensor::from_inner(x).require_grad();
        let hidden = self.model.norm.forward(last.clone());
        Forward {
            output: self.head_loss(hidden, batch, setup.z_loss_weight),
            kept: Some(Kept {
                tokens,
                context,
                inputs,
                last,
            }),
        }
    }

    /// The backward pass.
    pub fn backward(&self, forward: Forward<B>) -> LossAndGrads<B> {
        let Forward { output, kept } = forward;
        let mut grads = output.loss.backward();
        let inner = LossOutput {
            loss: output.loss.inner(),
            nll: output.nll.inner(),
            logit_square: output.logit_square.inner(),
        };
        let Some(kept) = kept else {
            return LossAndGrads {
                output: inner,
                grads: GradientsParams::from_grads(grads, self),
            };
        };
        let mut of_output = kept
            .last
            .grad_remove(&mut grads)
            .expect("the loss depends on the last layer");
        // Added up, because a tied head has a part of the embedding's gradient.
        let mut all = GradientsAccumulator::new();
        all.accumulate(self, GradientsParams::from_grads(grads, self));
        for (layer, input) in self.model.layers.iter().zip(kept.inputs).rev() {
            let input = Tensor::from_inner(input).require_grad();
            let residual = Residual::new(input.clone());
            let output = layer.forward(residual, &kept.context, None);
            let mut grads = pull(output.sum(), of_output);
            of_output = input
                .grad_remove(&mut grads)
                .expect("a layer depends on its input");
            all.accumulate(self, GradientsParams::from_grads(grads, self));
        }
        // a frozen embedding is behind nothing that is trained
        if self.model.embed_tokens.weight.val().is_require_grad() {
            let embedded = self.embed(kept.tokens, kept.context.precision);
            let grads = pull(embedded.sum(), of_output);
            all.accumulate(self, GradientsParams::from_grads(grads, self));
        }
        LossAndGrads {
            output: inner,
            grads: all.grads(),
        }
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
