//! LibTorch: plain Burn operations, which dispatch to its own.

use crate::{KernelsWithGrads, OptimizerKernels};
use burn::backend::LibTorch;

impl KernelsWithGrads for LibTorch {}

impl OptimizerKernels for LibTorch {}
