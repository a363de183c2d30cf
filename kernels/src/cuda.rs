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
