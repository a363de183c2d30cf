//! The hot tensor operations of training, with their backward passes.
//!
//! [`Kernels`] is what a model is generic over. A base backend implements [`KernelsWithGrads`],
//! whose default methods are plain Burn (and the reference of the tests); specialisations replace
//! them where a framework's generic operators leave the machine idle. `Autodiff<B>` gets [`Kernels`]
//! from `B`'s [`KernelsWithGrads`]. What the optimizer does between steps is [`OptimizerKernels`].

pub mod adamw;
pub mod attention;
pub mod gemm;
pub mod linear_cross_entropy;
pub mod square_sum;
mod storage;

use adamw::{Parameter, Rule, Updated};
use attention::AttentionInput;
use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use linear_cross_entropy::{LossAndGrads, LossInput, LossOutput, reference};

/// Operations a model is trained and evaluated with, on a backend with or without autodiff.
pub trait Kernels: Backend {
    /// See [`linear_cross_entropy::linear_cross_entropy`].
    fn linear_cross_entropy(input: LossInput<Self>) -> LossOutput<FloatTensor<Self>>;

    /// See [`attention::attention`].
    fn attention(input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>) -> FloatTensor<Self>;
}

/// Operations that compute their own gradients, on a backend without autodiff.
pub trait KernelsWithGrads: Backend {
    /// Loss, and its gradients with respect to hidden states and weight where `need` asks for them.
    fn linear_cross_entropy_with_grads(
        input: LossInput<Self>,
        need: [bool; 2],
    ) -> LossAndGrads<FloatTensor<Self>> {
        reference::linear_cross_entropy::<Self>(input, need)
    }

    /// Result `[batch, time, heads, head_dim]`, and the logsumexp of each query's scaled scores `[batch, heads, time]`, f32.
    fn attention_forward(
        input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::reference::forward::<Self>(input)
    }

    /// Gradients of query, key and value, given what the forward pass made and the gradient of its result.
    fn attention_backward(
        input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>,
        out: FloatTensor<Self>,
        logsumexp: FloatTensor<Self>,
        upstream: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3] {
        attention::reference::backward::<Self>(input, out, logsumexp, upstream)
    }
}

/// Operations on parameters and gradients, on a backend without autodiff.
pub trait OptimizerKernels: Backend {
    /// See [`adamw::adamw`].
    fn adamw(
        parameter: Parameter<FloatTensor<Self>>,
        rule: &Rule,
        measure: bool,
    ) -> Updated<FloatTensor<Self>> {
        adamw::reference::adamw::<Self>(parameter, rule, measure)
    }

    /// See [`square_sum::square_sum`].
    fn square_sum(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_sum(Self::float_mul(tensor.clone(), tensor))
    }
}

impl KernelsWithGrads for burn_flex::Flex {
    fn linear_cross_entropy_with_grads(
        input: LossInput<Self>,
        need: [bool; 2],
    ) -> LossAndGrads<FloatTensor<Self>> {
        linear_cross_entropy::cpu::linear_cross_entropy(input, need)
    }

    fn attention_forward(
        input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::cpu::forward(gemm::lanes::Isa::detect(), input)
    }

    fn attention_backward(
        input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>,
        out: FloatTensor<Self>,
        logsumexp: FloatTensor<Self>,
        upstream: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3] {
        let isa = gemm::lanes::Isa::detect();
        attention::cpu::backward(isa, input, out, logsumexp, upstream)
    }
}

/// [`Kernels`] of a base backend: the forward halves of its [`KernelsWithGrads`].
macro_rules! without_autodiff {
    ($backend:ty) => {
        impl Kernels for $backend {
            fn linear_cross_entropy(input: LossInput<Self>) -> LossOutput<FloatTensor<Self>> {
                Self::linear_cross_entropy_with_grads(input, [false; 2]).output
            }

            fn attention(
                input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>,
            ) -> FloatTensor<Self> {
                Self::attention_forward(input).0
            }
        }
    };
}

without_autodiff!(burn_flex::Flex);
#[cfg(feature = "cuda")]
without_autodiff!(burn::backend::Cuda);
#[cfg(feature = "tch")]
without_autodiff!(burn::backend::LibTorch);

impl<B: KernelsWithGrads, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn linear_cross_entropy(input: LossInput<Self>) -> LossOutput<FloatTensor<Self>> {
        linear_cross_entropy::autodiff::linear_cross_entropy::<B, C>(input)
    }

    fn attention(input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>) -> FloatTensor<Self> {
        attention::autodiff::attention::<B, C>(input)
    }
}

impl OptimizerKernels for burn_flex::Flex {
    fn adamw(
        parameter: Parameter<FloatTensor<Self>>,
        rule: &Rule,
        measure: bool,
    ) -> Updated<FloatTensor<Self>> {
        adamw::cpu::adamw(parameter, rule, measure)
    }

    fn square_sum(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        square_sum::cpu(tensor)
    }
}

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "tch")]
mod tch;

/// Index tensors must not be tracked, so the same primitive serves both sides of autodiff.
pub(crate) type Targets<B> = IntTensor<B>;
