//! CUDA: kernels in CubeCL, compiled at run time, and attention in CUDA C++.

use burn::backend::Cuda;
use burn::tensor::ops::{FloatTensor, IntTensor};

use crate::attention::{self, AttentionInput};
use crate::cubecl::{kernels_with_grads, optimizer_kernels};
use crate::{KernelsWithGrads, OptimizerKernels};

impl KernelsWithGrads for Cuda {
    kernels_with_grads!();

    fn attention_forward(
        input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::cuda::forward(input)
    }

    fn attention_backward(
        input: AttentionInput<FloatTensor<Self>, IntTensor<Self>>,
        out: FloatTensor<Self>,
        logsumexp: FloatTensor<Self>,
        upstream: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3] {
        attention::cuda::backward(input, out, logsumexp, upstream)
    }
}

impl OptimizerKernels for Cuda {
    optimizer_kernels!();
}

/// The kernels on a GPU, where there is one.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement;
    use crate::backend::BackendChoice;

    fn on_a_gpu(check: impl FnOnce()) {
        match BackendChoice::Cuda.resolve() {
            Ok(_) => check(),
            Err(missing) => eprintln!("left out: {missing}"),
        }
    }

    #[test]
    fn linear_layers_are_the_processors() {
        on_a_gpu(agreement::linear::<Cuda>);
    }

    #[test]
    fn attention_is_the_processors() {
        on_a_gpu(agreement::attention::<Cuda>);
    }

    #[test]
    fn norms_are_the_processors() {
        on_a_gpu(agreement::rms_norm::<Cuda>);
        on_a_gpu(agreement::norm_rope::<Cuda>);
    }

    #[test]
    fn gates_are_the_processors() {
        on_a_gpu(agreement::swiglu::<Cuda>);
    }

    #[test]
    fn embeddings_are_the_processors() {
        on_a_gpu(agreement::embedding::<Cuda>);
    }

    #[test]
    fn losses_are_the_processors() {
        on_a_gpu(agreement::linear_cross_entropy::<Cuda>);
    }

    #[test]
    fn updates_are_the_processors() {
        on_a_gpu(agreement::adamw::<Cuda>);
        on_a_gpu(agreement::square_sum::<Cuda>);
    }
}
