//! LibTorch: plain Burn operations, which dispatch to its own.

use burn::backend::LibTorch;

use crate::{KernelsWithGrads, OptimizerKernels};

impl KernelsWithGrads for LibTorch {}

impl OptimizerKernels for LibTorch {}
