//! Kernels for every runtime of CubeCL: CUDA, and wgpu, on which they are tested where there is no GPU.
//!
//! They are limited by memory. Operands are read in vectors of 128 bits, the second time from a cache; sums are f32 and have an
//! order that depends on shapes alone: in a cube as a tree in shared memory, over cubes from a part of each, so that
//! results are the same bits every time. Nothing is read back on the host. Tensors have fewer than 2³² elements.

// A kernel's arguments are its bindings.
#![allow(clippy::too_many_arguments)]

pub(crate) mod adamw;
pub(crate) mod embedding;
mod layout;
pub(crate) mod linear;
pub(crate) mod linear_cross_entropy;
pub(crate) mod norm_rope;
pub(crate) mod rms_norm;
pub(crate) mod sums;
pub(crate) mod swiglu;

/// Methods of [`KernelsWithGrads`](crate::KernelsWithGrads) of a backend over CubeCL.
macro_rules! kernels_with_grads {
    () => {
        fn linear_cross_entropy_with_grads(
            input: $crate::LossInput<Self>,
            need: [bool; 2],
        ) -> $crate::LossAndGrads<$crate::FloatTensor<Self>> {
            $crate::cubecl::linear_cross_entropy::linear_cross_entropy(input, need)
        }

        fn linear_backward(
            x: Option<$crate::FloatTensor<Self>>,
            weight: $crate::FloatTensor<Self>,
            upstream: $crate::FloatTensor<Self>,
            of_x: bool,
        ) -> [Option<$crate::FloatTensor<Self>>; 2] {
            $crate::cubecl::linear::backward(x, weight, upstream, of_x)
        }

        fn rms_norm_forward(
            input: $crate::NormInput<$crate::FloatTensor<Self>>,
        ) -> $crate::FloatTensor<Self> {
            $crate::cubecl::rms_norm::forward(input)
        }

        fn rms_norm_backward(
            upstream: $crate::FloatTensor<Self>,
            input: $crate::NormInput<$crate::FloatTensor<Self>>,
            existing: Option<$crate::FloatTensor<Self>>,
            need: [bool; 2],
        ) -> [Option<$crate::FloatTensor<Self>>; 2] {
            $crate::cubecl::rms_norm::backward(upstream, input, existing, need)
        }

        fn add_rms_norm_forward(
            delta: $crate::FloatTensor<Self>,
            input: $crate::NormInput<$crate::FloatTensor<Self>>,
        ) -> [$crate::FloatTensor<Self>; 2] {
            $crate::cubecl::rms_norm::add_forward(delta, input)
        }

        fn norm_rope_forward(
            input: $crate::NormRopeInput<$crate::FloatTensor<Self>>,
        ) -> $crate::FloatTensor<Self> {
            $crate::cubecl::norm_rope::forward(input)
        }

        fn norm_rope_backward(
            upstream: $crate::FloatTensor<Self>,
            input: $crate::NormRopeInput<$crate::FloatTensor<Self>>,
            need: [bool; 2],
        ) -> [Option<$crate::FloatTensor<Self>>; 2] {
            $crate::cubecl::norm_rope::backward(upstream, input, need)
        }

        fn swiglu_forward(
            gate: $crate::FloatTensor<Self>,
            up: $crate::FloatTensor<Self>,
        ) -> $crate::FloatTensor<Self> {
            $crate::cubecl::swiglu::forward(gate, up)
        }

        fn swiglu_backward(
            upstream: $crate::FloatTensor<Self>,
            gate: $crate::FloatTensor<Self>,
            up: $crate::FloatTensor<Self>,
        ) -> [$crate::FloatTensor<Self>; 2] {
            $crate::cubecl::swiglu::backward(upstream, gate, up)
        }

        fn embedding_forward(
            weight: $crate::FloatTensor<Self>,
            tokens: $crate::IntTensor<Self>,
            dtype: $crate::FloatDType,
        ) -> $crate::FloatTensor<Self> {
            $crate::cubecl::embedding::forward(weight, tokens, dtype)
        }

        fn embedding_backward(
            upstream: $crate::FloatTensor<Self>,
            tokens: $crate::IntTensor<Self>,
            existing: Option<$crate::FloatTensor<Self>>,
            vocab: usize,
        ) -> $crate::FloatTensor<Self> {
            $crate::cubecl::embedding::backward(upstream, tokens, existing, vocab)
        }
    };
}

/// Methods of [`OptimizerKernels`](crate::OptimizerKernels) of a backend over CubeCL.
macro_rules! optimizer_kernels {
    () => {
        fn adamw_begin(
            parameter: $crate::Parameter<$crate::FloatTensor<Self>>,
            rule: &$crate::Rule,
        ) -> $crate::Begun<$crate::FloatTensor<Self>> {
            $crate::cubecl::adamw::begin(parameter, rule)
        }

        fn adamw_finish(
            begun: $crate::Begun<$crate::FloatTensor<Self>>,
            elements: usize,
            measure: bool,
        ) -> $crate::Updated<$crate::FloatTensor<Self>> {
            $crate::cubecl::adamw::finish(begun, elements, measure)
        }

        fn square_sum(tensor: $crate::FloatTensor<Self>) -> $crate::FloatTensor<Self> {
            $crate::cubecl::sums::square_sum(tensor)
        }
    };
}

pub(crate) use {kernels_with_grads, optimizer_kernels};

#[cfg(all(test, feature = "cuda"))]
mod launches;
#[cfg(all(test, feature = "cuda"))]
mod recorder;
#[cfg(all(test, feature = "wgpu"))]
mod tests;
