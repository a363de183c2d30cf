//! CUDA: plain Burn operations, which CubeCL compiles at run time.

use crate::{KernelsWithGrads, OptimizerKernels};
use burn::backend::Cuda;

impl KernelsWithGrads for Cuda {}

impl OptimizerKernels for Cuda {}
