//! wgpu: the kernels of CUDA that need no tensor cores, on any device with Vulkan. They are tested on it.

use burn::backend::Wgpu;

use crate::cubecl::{kernels_with_grads, optimizer_kernels};
use crate::{KernelsWithGrads, OptimizerKernels};

impl KernelsWithGrads for Wgpu {
    kernels_with_grads!();
}

impl OptimizerKernels for Wgpu {
    optimizer_kernels!();
}
