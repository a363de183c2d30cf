//! CUDA: plain Burn operations, which CubeCL compiles at run time.

use burn::backend::Cuda;

use crate::{KernelsWithGrads, OptimizerKernels};

impl KernelsWithGrads for Cuda {}

impl OptimizerKernels for Cuda {}
