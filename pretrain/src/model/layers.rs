//! Linear layer, embedding and RMSNorm, stored as transformers stores them.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, module};

use super::lora::Lora;

/// `y = x Wᵀ`, without bias, computed in the type of `x`.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[out, in]`.
    pub weight: Param<Tensor<B, 2>>,
    /// What is trained instead of the weight, if anything is.
    pub lora: Option<Lora<B>>,
}

impl<B: Backend> Linear<B> {
    /// `[batch, time, in]` to `[batch, time, out]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, time, input] = x.dims();
        let weight = cast(self.weight.val(), x.dtype());
        let [output, _] = weight.dims();
        // One matrix product over all rows; the transposition is a view.
        let rows = x.reshape([batch * time, input]);
        let update = self.lora.as_ref().map(|lora| lora.forward(rows.clone()));
        let out = rows.matmul(weight.transpose());
        let out = match update {
            Some(update) => out + update,
            None => out,
        };
        out.reshape([batch, time, output])
    }
}

/// Rows of a matrix by id.
#[derive(Module, Debug)]
pub struct Embedding<B: Backend> {
    /// `[vocab, hidden]`.
    pub weight: Param<Tensor<B, 2>>,
}

impl<B: Backend> Embedding<B> {
    /// `[batch, time]` to `[batch, time, hidden]`.
    pub fn forward(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        module::embedding(self.weight.val(), tokens)
    }
}

/// Root-mean-square norm over the last dimension (arXiv 1910.07467), computed in f32.
#[derive(Module, Debug)]
pub struct RmsNorm<B: Backend> {
    /// `[channels]`.
    pub weight: Param<Tensor<B, 1>>,
    #[module(skip)]
    pub(super) epsilon: f64,
}

impl<B: Backend> RmsNorm<B> {
    /// `[..., channels]` to the same shape and type.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let dtype = x.dtype();
        let x = cast(x, DType::F32);
        let mean_square = x.clone().square().mean_dim(D - 1);
        let scale = (mean_square + self.epsilon).sqrt().recip();
        cast(x * scale * self.weight.val().unsqueeze(), dtype)
    }
}

/// `x` in another type; itself if that is its own.
pub(super) fn cast<B: Backend, const D: usize>(x: Tensor<B, D>, dtype: DType) -> Tensor<B, D> {
    match x.dtype() == dtype {
        true => x,
        false => x.cast(dtype),
    }
}
