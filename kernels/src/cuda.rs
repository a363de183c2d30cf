//! CUDA: kernels in CubeCL, compiled at run time.

use burn::backend::Cuda;

use crate::cubecl::{kernels_with_grads, optimizer_kernels};
use crate::{KernelsWithGrads, OptimizerKernels};

impl KernelsWithGrads for Cuda {
    kernels_with_grads!();
}

impl OptimizerKernels for Cuda {
    optimizer_kernels!();
}
