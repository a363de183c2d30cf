//! CUDA: FlashAttention-2 on tensor cores (arXiv 2307.08691), in CUDA C++ that CubeCL compiles with NVRTC at run time.
//!
//! bf16 with sums in f32, and head dimensions of [`source::HEAD_DIMS`], on GPUs of compute capability 8.0 and later. All else
//! takes the plain kernel. The files, in the order in which they are one source:
//! - `ptx.cuh`: the instructions that C++ has no name for;
//! - `tile.cuh`: tiles in shared memory, and a warp's products with them;
//! - `queries.cuh`: the keys that a block of queries sees;
//! - one of `forward.cu`, `backward_query.cu` and `backward_key.cu`: the kernels.
//!
//! Three launches are a forward and a backward pass, and none waits for the host. Tests run the kernels on a processor, with
//! `emulator.h` in place of `ptx.cuh`; `scripts/check_cuda.py` compiles them for GPUs.

#[cfg(any(test, feature = "cuda"))]
pub(in crate::attention) mod arguments;
#[cfg(feature = "cuda")]
mod launch;
pub mod source;
#[cfg(feature = "cuda")]
mod task;

#[cfg(feature = "cuda")]
pub(crate) use launch::{backward, forward};
