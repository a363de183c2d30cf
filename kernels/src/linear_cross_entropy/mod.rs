//! Output projection, cross-entropy and z-loss in one operation.
//!
//! With 144,644 logits a token, the logits of 1,024 tokens are 590 MB; here they exist a chunk of
//! rows at a time. The gradients are products of the same chunk, so they are computed in the forward
//! pass and only scaled in the backward one (as in Liger kernels, arXiv 2410.10989). The z-loss is
//! that of PaLM (arXiv 2204.02311).

mod autodiff;
pub(crate) mod cpu;
pub(crate) mod reference;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Int, Tensor, TensorPrimitive};

use crate::{Kernels, Targets};

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

/// Result of a loss kernel; the gradients are for an upstream gradient of 1.
pub struct LossAndGrads<F> {
    /// Weighted loss `[1]`.
    pub loss: F,
    /// Negative log-likelihood of each target `[tokens]`, unweighted and without z-loss.
    pub nll: F,
    /// Gradient of the hidden states `[tokens, hidden]`.
    pub hidden: Option<F>,
    /// Gradient of the output head `[vocab, hidden]`.
    pub weight: Option<F>,
}

/// `Σ_i w_i (lse_i − logit_i[t_i] + z · lse_i²)` with `logits = hidden · weightᵀ`, and each token's
/// negative log-likelihood, through which no gradient flows.
///
/// # Shapes
/// - `hidden`: `[tokens, hidden]`, `weight`: `[vocab, hidden]`, `targets`, `token_weights`: `[tokens]`
/// - loss: `[1]`, negative log-likelihoods in nats: `[tokens]`
pub fn linear_cross_entropy<B: Kernels>(
    hidden: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    token_weights: Tensor<B, 1>,
    z_loss: f32,
) -> (Tensor<B, 1>, Tensor<B, 1>) {
    let (loss, nll) = B::linear_cross_entropy(LossInput {
        hidden: hidden.into_primitive().tensor(),
        weight: weight.into_primitive().tensor(),
        targets: targets.into_primitive(),
        token_weights: token_weights.into_primitive().tensor(),
        z_loss,
    });
    let tensor = |primitive| Tensor::from_primitive(TensorPrimitive::Float(primitive));
    (tensor(loss), tensor(nll))
}

#[cfg(test)]
mod tests;
