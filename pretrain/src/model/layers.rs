//! Linear layer, embedding and RMSNorm, stored as transformers stores them.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, FloatDType, Int, Tensor};
use kernels::Kernels;
use kernels::embedding::embedding;
use kernels::linear::linear;
use kernels::rms_norm::{add_rms_norm, rms_norm};

use super::lora::Lora;

/// `y = x Wᵀ`, without bias, computed in the type of `x`.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[out, in]`.
    pub weight: Param<Tensor<B, 2>>,
    /// What is trained instead of the weight, if anything is.
    pub lora: Option<Lora<B>>,
}

impl<B: Kernels> Linear<B> {
    /// `[batch, time, in]` to `[batch, time, out]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, time, input] = x.dims();
        let [output, _] = self.weight.dims();
        let rows = x.reshape([batch * time, input]);
        let out = linear(rows.clone(), self.weight.val());
        let out = match &self.lora {
            Some(lora) => out + lora.forward(rows),
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

impl<B: Kernels> Embedding<B> {
    /// `[batch, time]` to `[batch, time, hidden]` in the type `dtype`.
    pub fn forward(&self, tokens: Tensor<B, 2, Int>, dtype: FloatDType) -> Tensor<B, 3> {
        let [batch, time] = tokens.dims();
        let [_, hidden] = self.weight.dims();
        let rows = embedding(self.weight.val(), tokens.reshape([batch * time]), dtype);
        rows.reshape([batch, time, hidden])
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

impl<B: Kernels> RmsNorm<B> {
    /// `[..., channels]` to the same shape and type.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        rms_norm(x, self.weight.val(), self.epsilon)
    }

    /// The residual stream brought up to date, and its norm.
    pub(super) fn residual(&self, residual: Residual<B>) -> (Tensor<B, 3>, Tensor<B, 3>) {
        match residual {
            Residual {
                stream,
                delta: Some(delta),
            } => add_rms_norm(stream, delta, self.weight.val(), self.epsilon),
            Residual {
                stream,
                delta: None,
            } => (stream.clone(), self.forward(stream)),
        }
    }
}

/// The residual stream `[batch, time, hidden]` and what is to be added to it: the norm that comes next does so in its pass
/// over memory.
pub(super) struct Residual<B: Backend> {
    pub(super) stream: Tensor<B, 3>,
    pub(super) delta: Option<Tensor<B, 3>>,
}

impl<B: Backend> Residual<B> {
    /// A stream that nothing is to be added to.
    pub(super) fn new(stream: Tensor<B, 3>) -> Self {
        Self {
            stream,
            delta: None,
        }
    }

    /// The stream brought up to date.
    pub(super) fn sum(self) -> Tensor<B, 3> {
        match self.delta {
            Some(delta) => self.stream + delta,
            None => self.stream,
        }
    }
}

/// `x` in another type; itself if that is its own.
pub(super) fn cast<B: Backend, const D: usize>(x: Tensor<B, D>, dtype: DType) -> Tensor<B, D> {
    match x.dtype() == dtype {
        true => x,
        false => x.cast(dtype),
    }
}
