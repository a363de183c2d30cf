//! Output projection, cross-entropy and z-loss in one operation.
//!
//! With 144,644 logits a token, the logits of 1,024 tokens are 590 MB; here they exist a tile or a chunk of
//! rows at a time. The gradients are products of the same chunk, so they are computed in the forward
//! pass and only scaled in the backward one (as in Liger kernels, arXiv 2410.10989). The z-loss is
//! that of PaLM (arXiv 2204.02311).

pub(crate) mod autodiff;
pub(crate) mod cpu;
pub(crate) mod reference;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Int, Tensor, TensorPrimitive};

use crate::{Kernels, Targets};
pub use cpu::working_bytes;

/// Operands of [`linear_cross_entropy`] as backend primitives.
pub struct LossInput<B: Backend> {
    /// Hidden states `[tokens, hidden]`.
    pub hidden: FloatTensor<B>,
    /// Output head `[vocab, hidden]`.
    pub weight: FloatTensor<B>,
    /// Target ids `[tokens]`, below `vocab` also where the token's weight is 0.
    pub targets: Targets<B>,
    /// Loss weight of each token `[tokens]`.
    pub token_weights: FloatTensor<B>,
    /// Weight of logsumexp².
    pub z_loss: f32,
}

/// What the loss kernel says of a batch; gradients flow through `loss` only.
pub struct LossOutput<F> {
    /// Weighted loss `[1]`.
    pub loss: F,
    /// Negative log-likelihood of each target `[tokens]` in nats, unweighted and without z-loss.
    pub nll: F,
    /// Mean square of each token's logits `[tokens]`.
    pub logit_square: F,
}

/// Result of a loss kernel; the gradients are for an upstream gradient of 1.
pub struct LossAndGrads<F> {
    /// The loss and what it is made of.
    pub output: LossOutput<F>,
    /// Gradient of the hidden states `[tokens, hidden]`.
    pub hidden: Option<F>,
    /// Gradient of the output head `[vocab, hidden]`.
    pub weight: Option<F>,
}

/// `Σ_i w_i (lse_i − logit_i[t_i] + z · lse_i²)` with `logits = hidden · weightᵀ`, and what each token adds to it.
///
/// # Shapes
/// - `hidden`: `[tokens, hidden]`, `weight`: `[vocab, hidden]`, `targets`, `token_weights`: `[tokens]`
pub fn linear_cross_entropy<B: Kernels>(
    hidden: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    token_weights: Tensor<B, 1>,
    z_loss: f32,
) -> LossOutput<Tensor<B, 1>> {
    let out = B::linear_cross_entropy(LossInput {
        hidden: hidden.into_primitive().tensor(),
        weight: weight.into_primitive().tensor(),
        targets: targets.into_primitive(),
        token_weights: token_weights.into_primitive().tensor(),
        z_loss,
    });
    let tensor = |primitive| Tensor::from_primitive(TensorPrimitive::Float(primitive));
    LossOutput {
        loss: tensor(out.loss),
        nll: tensor(out.nll),
        logit_square: tensor(out.logit_square),
    }
}

#[cfg(test)]
pub(crate) mod tests;
