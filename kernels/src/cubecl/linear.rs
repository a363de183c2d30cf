//! Products of matrices by Burn's own kernels, which add up in f32 registers. What differs is the type that sums are
//! stored in: activations are rounded once, to bf16 where they are bf16, and a weight's gradient stays f32.

use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::cast;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;

/// `a b` with results of type `dtype`.
pub(super) fn product<R: CubeRuntime>(
    a: CubeTensor<R>,
    b: CubeTensor<R>,
    dtype: DType,
) -> CubeTensor<R> {
    matmul(a, b, None, MatmulStrategy::default(), dtype)
        .expect("there is a kernel for every product")
}

/// The transpose of a matrix, which is not moved.
pub(super) fn transposed<R: CubeRuntime>(mut matrix: CubeTensor<R>) -> CubeTensor<R> {
    matrix.meta.swap(0, 1);
    matrix
}

/// `dx = dy W` if it is wanted, and `dW = dyᵀ x` if there is an `x`.
pub(crate) fn backward<R: CubeRuntime>(
    x: Option<CubeTensor<R>>,
    weight: CubeTensor<R>,
    upstream: CubeTensor<R>,
    of_x: bool,
) -> [Option<CubeTensor<R>>; 2] {
    let dtype = upstream.dtype();
    let of_x = of_x.then(|| product(upstream.clone(), cast(weight, dtype), dtype));
    let of_weight = x.map(|x| product(transposed(upstream), x, DType::F32));
    [of_x, of_weight]
}
