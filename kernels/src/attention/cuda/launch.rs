//! Launches of the kernels.

use burn::backend::Cuda;
use burn::tensor::ops::{FloatTensor, IntTensor, IntTensorOps};
use burn::tensor::{DType, IntDType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::cuda::CudaRuntime;
use cubecl::prelude::CubeCount;
use cubecl::server::{KernelArguments, MetadataBindingInfo};

use super::super::{AttentionInput, Sizes, reference};
use super::arguments::{self, Kept};
use super::source::{HEAD_DIMS, Pass, Variant};
use super::task::Task;

type Input = AttentionInput<FloatTensor<Cuda>, IntTensor<Cuda>>;

/// Result and logsumexp.
pub(crate) fn forward(input: Input) -> (FloatTensor<Cuda>, FloatTensor<Cuda>) {
    if !is_served(&input) {
        return reference::forward::<Cuda>(input);
    }
    let sizes = Sizes::of(&input);
    let input = contiguous(input);
    let out = like(&input.query);
    let logsumexp = of_queries(&input.query, sizes);
    let buffers = arguments::forward(&input, [&out, &logsumexp]);
    launch(Pass::Forward, sizes, &buffers);
    (out, logsumexp)
}

/// Gradients of query, key and value.
pub(crate) fn backward(
    input: Input,
    out: FloatTensor<Cuda>,
    logsumexp: FloatTensor<Cuda>,
    upstream: FloatTensor<Cuda>,
) -> [FloatTensor<Cuda>; 3] {
    if !is_served(&input) {
        return reference::backward::<Cuda>(input, out, logsumexp, upstream);
    }
    let sizes = Sizes::of(&input);
    let input = contiguous(input);
    let kept = Kept {
        out: into_contiguous(out),
        logsumexp: into_contiguous(logsumexp),
        upstream: into_contiguous(upstream),
    };
    let mean = of_queries(&input.query, sizes);
    let [query, key, value] = [&input.query, &input.key, &input.value].map(like);
    let buffers = arguments::backward_query(&input, &kept, [&mean, &query]);
    launch(Pass::BackwardQuery, sizes, &buffers);
    let buffers = arguments::backward_key(&input, &kept, &mean, [&key, &value]);
    launch(Pass::BackwardKey, sizes, &buffers);
    [query, key, value]
}

/// Whether there is a kernel for these operands and this GPU. Asynchronous copies came with compute capability 8.0, as did
/// products of bf16.
fn is_served(input: &Input) -> bool {
    let sizes = Sizes::of(input);
    HEAD_DIMS.contains(&sizes.head_dim)
        && input.query.dtype == DType::BF16
        && sizes.batch * sizes.time > 0
        && input.query.client.features().copy_async
}

/// The operands without gaps, and starts in 32 bits.
fn contiguous(input: Input) -> Input {
    AttentionInput {
        query: into_contiguous(input.query),
        key: into_contiguous(input.key),
        value: into_contiguous(input.value),
        starts: into_contiguous(<Cuda>::int_cast(input.starts, IntDType::I32)),
    }
}

/// A tensor of the same shape and type, not yet written.
fn like(tensor: &CubeTensor<CudaRuntime>) -> CubeTensor<CudaRuntime> {
    empty(tensor, tensor.meta.shape().clone(), tensor.dtype)
}

/// An f32 for each head of each query, `[batch, heads, time]`, not yet written.
fn of_queries(query: &CubeTensor<CudaRuntime>, sizes: Sizes) -> CubeTensor<CudaRuntime> {
    let shape = Shape::new([sizes.batch, sizes.heads, sizes.time]);
    empty(query, shape, DType::F32)
}

fn empty(beside: &CubeTensor<CudaRuntime>, shape: Shape, dtype: DType) -> CubeTensor<CudaRuntime> {
    empty_device_contiguous_dtype(beside.client.clone(), beside.device.clone(), shape, dtype)
}

/// Puts a kernel on the stream of its tensors.
fn launch(pass: Pass, sizes: Sizes, tensors: &[&CubeTensor<CudaRuntime>]) {
    let variant = Variant {
        pass,
        head_dim: sizes.head_dim,
    };
    let [x, y, z] = variant.grid(sizes);
    let words = [sizes.time, sizes.heads, sizes.kv_heads].map(|size| size as u64);
    // All words are in the struct that the kernel takes: none is left for a buffer.
    let info = MetadataBindingInfo::new(words.to_vec(), words.len());
    let buffers = tensors.iter().map(|tensor| tensor.handle.clone().binding());
    let arguments = KernelArguments::new()
        .with_buffers(buffers.collect())
        .with_info(info);
    let task = Box::new(Task(variant));
    tensors[0]
        .client
        .launch(task, CubeCount::new_3d(x, y, z), arguments);
}
