//! The hot tensor operations of training, with their backward passes.
//!
//! [`Kernels`] is what a model is generic over. A base backend implements [`KernelsWithGrads`],
//! whose default methods are plain Burn (and the reference of the tests); specialisations replace
//! them where a framework's generic operators leave the machine idle. `Autodiff<B>` gets [`Kernels`]
//! from `B`'s [`KernelsWithGrads`]. What the optimizer does between steps is [`OptimizerKernels`].

pub mod adamw;
#[cfg(all(test, any(feature = "cuda", feature = "tch")))]
mod agreement;
pub mod attention;
pub mod backend;
#[cfg(test)]
mod checks;
#[cfg(feature = "cubecl")]
mod cubecl;
mod devices;
pub mod embedding;
pub mod gemm;
pub mod linear;
pub mod linear_cross_entropy;
pub mod norm_rope;
mod pieces;
mod plain;
pub mod rms_norm;
mod slot;
pub mod square_sum;
mod storage;
pub mod swiglu;

pub use devices::Devices;

use adamw::{Begun, Parameter, Rule, Updated};
use attention::AttentionInput;
use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::FloatDType;
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, FloatTensorOps, IntTensor};
use burn::tensor::{Shape, TensorMetadata};
use gemm::lanes::Isa;
use linear_cross_entropy::{LossAndGrads, LossInput, LossOutput, reference};
use norm_rope::NormRopeInput;
use rms_norm::NormInput;

/// Operations a model is trained and evaluated with, on a backend with or without autodiff.
pub trait Kernels: Devices {
    /// See [`linear_cross_entropy::linear_cross_entropy`].
    fn linear_cross_entropy(input: LossInput<Self>) -> LossOutput<FloatTensor<Self>>;

    /// See [`linear::linear`].
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`attention::attention`].
    fn attention(input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>) -> FloatTensor<Self>;

    /// See [`rms_norm::rms_norm`].
    fn rms_norm(input: NormInput<FloatTensor<Self>>) -> FloatTensor<Self>;

    /// See [`rms_norm::add_rms_norm`].
    fn add_rms_norm(
        delta: FloatTensor<Self>,
        input: NormInput<FloatTensor<Self>>,
    ) -> [FloatTensor<Self>; 2];

    /// See [`norm_rope::norm_rope`].
    fn norm_rope(input: NormRopeInput<FloatTensor<Self>>) -> FloatTensor<Self>;

    /// See [`swiglu::swiglu`].
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`embedding::embedding`].
    fn embedding(
        weight: FloatTensor<Self>,
        tokens: IntTensor<Self>,
        dtype: FloatDType,
    ) -> FloatTensor<Self>;
}

/// Operations that compute their own gradients, on a backend without autodiff.
pub trait KernelsWithGrads: Devices {
    /// Loss, and its gradients with respect to hidden states and weight where `need` asks for them.
    fn linear_cross_entropy_with_grads(
        input: LossInput<Self>,
        need: [bool; 2],
    ) -> LossAndGrads<FloatTensor<Self>> {
        reference::linear_cross_entropy::<Self>(input, need)
    }

    /// A gradient times the gradient `[1]` of the loss that it belongs to.
    fn times_scalar(grad: FloatTensor<Self>, scalar: FloatTensor<Self>) -> FloatTensor<Self> {
        // Broadcast on the device: reading the scalar would wait for it.
        let scalar = Self::float_reshape(scalar, Shape::new([1, 1]));
        let scalar = Self::float_cast(scalar, grad.dtype().into());
        Self::float_mul(grad, scalar)
    }

    /// See [`linear::linear`].
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::reference::forward::<Self>(x, weight)
    }

    /// The gradient of `x` if it is wanted, and of the weight if there is an `x`.
    fn linear_backward(
        x: Option<FloatTensor<Self>>,
        weight: FloatTensor<Self>,
        upstream: FloatTensor<Self>,
        of_x: bool,
    ) -> [Option<FloatTensor<Self>>; 2] {
        linear::reference::backward::<Self>(x, weight, upstream, of_x)
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

    /// See [`rms_norm::rms_norm`].
    fn rms_norm_forward(input: NormInput<FloatTensor<Self>>) -> FloatTensor<Self> {
        rms_norm::reference::forward::<Self>(input)
    }

    /// Gradients of `x` and weight where `need` asks for them, that of `x` added to what `existing` is of it.
    fn rms_norm_backward(
        upstream: FloatTensor<Self>,
        input: NormInput<FloatTensor<Self>>,
        existing: Option<FloatTensor<Self>>,
        need: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2] {
        rms_norm::reference::backward::<Self>(upstream, input, existing, need)
    }

    /// See [`rms_norm::add_rms_norm`].
    fn add_rms_norm_forward(
        delta: FloatTensor<Self>,
        input: NormInput<FloatTensor<Self>>,
    ) -> [FloatTensor<Self>; 2] {
        let x = Self::float_add(input.x, delta);
        let normed = Self::rms_norm_forward(NormInput {
            x: x.clone(),
            ..input
        });
        [x, normed]
    }

    /// See [`norm_rope::norm_rope`].
    fn norm_rope_forward(input: NormRopeInput<FloatTensor<Self>>) -> FloatTensor<Self> {
        norm_rope::reference::forward::<Self>(input)
    }

    /// Gradients of `x` and weight where `need` asks for them.
    fn norm_rope_backward(
        upstream: FloatTensor<Self>,
        input: NormRopeInput<FloatTensor<Self>>,
        need: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2] {
        norm_rope::reference::backward::<Self>(upstream, input, need)
    }

    /// See [`swiglu::swiglu`].
    fn swiglu_forward(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::reference::forward::<Self>(gate, up)
    }

    /// Gradients of gate and up.
    fn swiglu_backward(
        upstream: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2] {
        swiglu::reference::backward::<Self>(upstream, gate, up)
    }

    /// See [`embedding::embedding`].
    fn embedding_forward(
        weight: FloatTensor<Self>,
        tokens: IntTensor<Self>,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        embedding::reference::forward::<Self>(weight, tokens, dtype)
    }

    /// Gradient of the weight `[vocab, width]`, in f32: `existing`, or zeros, with each token's row of `upstream` added to its
    /// row, in the order of the tokens.
    fn embedding_backward(
        upstream: FloatTensor<Self>,
        tokens: IntTensor<Self>,
        existing: Option<FloatTensor<Self>>,
        vocab: usize,
    ) -> FloatTensor<Self> {
        embedding::reference::backward::<Self>(upstream, tokens, existing, vocab)
    }
}

/// Operations on parameters and gradients, on a backend without autodiff.
pub trait OptimizerKernels: Backend {
    /// See [`adamw::begin`].
    fn adamw_begin(
        parameter: Parameter<FloatTensor<Self>>,
        rule: &Rule,
    ) -> Begun<FloatTensor<Self>> {
        adamw::reference::begin::<Self>(parameter, rule)
    }

    /// See [`Begun::finish`].
    fn adamw_finish(
        begun: Begun<FloatTensor<Self>>,
        elements: usize,
        measure: bool,
    ) -> Updated<FloatTensor<Self>> {
        adamw::reference::finish::<Self>(begun, elements, measure)
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

    /// Nothing to do for 1, which is the rule.
    fn times_scalar(grad: FloatTensor<Self>, scalar: FloatTensor<Self>) -> FloatTensor<Self> {
        match storage::floats(&scalar.to_contiguous())[0] {
            1.0 => grad,
            scalar => Self::float_mul_scalar(grad, scalar.into()),
        }
    }

    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::cpu::forward(x, weight)
    }

    fn linear_backward(
        x: Option<FloatTensor<Self>>,
        weight: FloatTensor<Self>,
        upstream: FloatTensor<Self>,
        of_x: bool,
    ) -> [Option<FloatTensor<Self>>; 2] {
        linear::cpu::backward(x, weight, upstream, of_x)
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

    fn rms_norm_forward(input: NormInput<FloatTensor<Self>>) -> FloatTensor<Self> {
        rms_norm::cpu::forward(Isa::detect(), input)
    }

    fn rms_norm_backward(
        upstream: FloatTensor<Self>,
        input: NormInput<FloatTensor<Self>>,
        existing: Option<FloatTensor<Self>>,
        need: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2] {
        rms_norm::cpu::backward(Isa::detect(), upstream, input, existing, need)
    }

    fn add_rms_norm_forward(
        delta: FloatTensor<Self>,
        input: NormInput<FloatTensor<Self>>,
    ) -> [FloatTensor<Self>; 2] {
        rms_norm::cpu::add_forward(Isa::detect(), delta, input)
    }

    fn norm_rope_forward(input: NormRopeInput<FloatTensor<Self>>) -> FloatTensor<Self> {
        norm_rope::cpu::forward(Isa::detect(), input)
    }

    fn norm_rope_backward(
        upstream: FloatTensor<Self>,
        input: NormRopeInput<FloatTensor<Self>>,
        need: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2] {
        norm_rope::cpu::backward(Isa::detect(), upstream, input, need)
    }

    fn swiglu_forward(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::cpu::forward(Isa::detect(), gate, up)
    }

    fn swiglu_backward(
        upstream: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2] {
        swiglu::cpu::backward(Isa::detect(), upstream, gate, up)
    }

    fn embedding_forward(
        weight: FloatTensor<Self>,
        tokens: IntTensor<Self>,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        embedding::cpu::forward(Isa::detect(), weight, tokens, dtype)
    }

    fn embedding_backward(
        upstream: FloatTensor<Self>,
        tokens: IntTensor<Self>,
        existing: Option<FloatTensor<Self>>,
        vocab: usize,
    ) -> FloatTensor<Self> {
        embedding::cpu::backward(Isa::detect(), upstream, tokens, existing, vocab)
    }
}

/// [`Kernels`] of a base backend: the forward halves of its [`KernelsWithGrads`].
macro_rules! without_autodiff {
    ($backend:ty) => {
        impl Kernels for $backend {
            fn linear_cross_entropy(input: LossInput<Self>) -> LossOutput<FloatTensor<Self>> {
                Self::linear_cross_entropy_with_grads(input, [false; 2]).output
            }

            fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::linear_forward(x, weight)
            }

            fn attention(
                input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>,
            ) -> FloatTensor<Self> {
                Self::attention_forward(input).0
            }

            fn rms_norm(input: NormInput<FloatTensor<Self>>) -> FloatTensor<Self> {
                Self::rms_norm_forward(input)
            }

            fn add_rms_norm(
                delta: FloatTensor<Self>,
                input: NormInput<FloatTensor<Self>>,
            ) -> [FloatTensor<Self>; 2] {
                Self::add_rms_norm_forward(delta, input)
            }

            fn norm_rope(input: NormRopeInput<FloatTensor<Self>>) -> FloatTensor<Self> {
                Self::norm_rope_forward(input)
            }

            fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::swiglu_forward(gate, up)
            }

            fn embedding(
                weight: FloatTensor<Self>,
                tokens: IntTensor<Self>,
                dtype: FloatDType,
            ) -> FloatTensor<Self> {
                Self::embedding_forward(weight, tokens, dtype)
            }
        }
    };
}

without_autodiff!(burn_flex::Flex);
#[cfg(feature = "cuda")]
without_autodiff!(burn::backend::Cuda);
#[cfg(feature = "tch")]
without_autodiff!(burn::backend::LibTorch);
#[cfg(feature = "wgpu")]
without_autodiff!(burn::backend::Wgpu);

impl<B: KernelsWithGrads, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn linear_cross_entropy(input: LossInput<Self>) -> LossOutput<FloatTensor<Self>> {
        linear_cross_entropy::autodiff::linear_cross_entropy::<B, C>(input)
    }

    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::autodiff::linear::<B, C>(x, weight)
    }

    fn attention(input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>) -> FloatTensor<Self> {
        attention::autodiff::attention::<B, C>(input)
    }

    fn rms_norm(input: NormInput<FloatTensor<Self>>) -> FloatTensor<Self> {
        rms_norm::autodiff::rms_norm::<B, C>(input)
    }

    fn add_rms_norm(
        delta: FloatTensor<Self>,
        input: NormInput<FloatTensor<Self>>,
    ) -> [FloatTensor<Self>; 2] {
        rms_norm::autodiff::add_rms_norm::<B, C>(delta, input)
    }

    fn norm_rope(input: NormRopeInput<FloatTensor<Self>>) -> FloatTensor<Self> {
        norm_rope::autodiff::norm_rope::<B, C>(input)
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::autodiff::swiglu::<B, C>(gate, up)
    }

    fn embedding(
        weight: FloatTensor<Self>,
        tokens: IntTensor<Self>,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        embedding::autodiff::embedding::<B, C>(weight, tokens, dtype)
    }
}

impl OptimizerKernels for burn_flex::Flex {
    fn adamw_begin(
        parameter: Parameter<FloatTensor<Self>>,
        rule: &Rule,
    ) -> Begun<FloatTensor<Self>> {
        adamw::cpu::begin(parameter, rule)
    }

    fn adamw_finish(
        begun: Begun<FloatTensor<Self>>,
        elements: usize,
        measure: bool,
    ) -> Updated<FloatTensor<Self>> {
        adamw::cpu::finish(begun, elements, measure)
    }

    fn square_sum(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        square_sum::cpu(tensor)
    }
}

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "tch")]
mod tch;
#[cfg(feature = "wgpu")]
mod wgpu;

/// Index tensors must not be tracked, so the same primitive serves both sides of autodiff.
pub(crate) type Targets<B> = IntTensor<B>;
