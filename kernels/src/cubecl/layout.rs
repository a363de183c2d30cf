//! How tensors are handed to kernels, and how work is spread over cubes.

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::{empty_device_contiguous_dtype, zeros_client};
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Units of a cube.
pub(super) const UNITS: usize = 256;
/// Cubes of a kernel that leaves a part of a sum in each. It is the same on every device, and with it the order of the sum.
const PARTS: usize = 512;

/// An uninitialised tensor without gaps, beside another.
pub(super) fn empty<R: CubeRuntime>(
    beside: &CubeTensor<R>,
    shape: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor<R> {
    let (client, device) = (beside.client.clone(), beside.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), dtype)
}

/// A tensor of f32 zeros, beside another.
pub(super) fn zeros<R: CubeRuntime>(
    beside: &CubeTensor<R>,
    shape: impl Into<Shape>,
) -> CubeTensor<R> {
    let (client, device) = (beside.client.clone(), beside.device.clone());
    into_contiguous(zeros_client(client, device, shape.into(), DType::F32))
}

/// The values in order, to be changed: in the tensor's own buffer, unless someone else holds it too.
pub(super) fn owned<R: CubeRuntime>(tensor: CubeTensor<R>) -> CubeTensor<R> {
    match tensor.can_mut() {
        true => into_contiguous(tensor),
        false => into_contiguous(tensor.copy()),
    }
}

/// A contiguous tensor as the argument of a kernel.
pub(super) fn array<R: CubeRuntime>(tensor: &CubeTensor<R>) -> ArrayArg<R> {
    debug_assert!(tensor.is_contiguous());
    tensor.clone().into_array_arg()
}

/// Values that a unit loads at once: 128 bits of them, or the most that divide `width`.
pub(super) fn vector<R: CubeRuntime>(tensor: &CubeTensor<R>, width: usize) -> usize {
    let sizes = tensor.client.io_optimized_vector_sizes(tensor.dtype.size());
    sizes
        .into_iter()
        .find(|&size| width.is_multiple_of(size))
        .unwrap_or(1)
}

/// Cubes in one dimension with a unit for each of `count` tasks.
pub(super) fn units<R: CubeRuntime>(beside: &CubeTensor<R>, count: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new_1d(UNITS as u32);
    (
        calculate_cube_count_elemwise(&beside.client, count, dim),
        dim,
    )
}

/// Cubes in one dimension that go through `vectors` together and leave a part of a sum each.
pub(super) fn parts(vectors: usize) -> usize {
    vectors.div_ceil(UNITS).clamp(1, PARTS)
}

/// Rows over cubes: a cube's units are some lanes a row, and as many rows as there are then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    /// Rows in all.
    rows: usize,
    /// Units of a row.
    pub lanes: usize,
    /// Vectors of a row that the first lane takes.
    pub per_lane: usize,
}

impl Rows {
    /// For rows of so many vectors. A unit takes two or more, so that it waits for several loads at a time.
    pub fn new(rows: usize, vectors: usize) -> Self {
        let lanes = (vectors / 2).clamp(1, UNITS);
        let lanes = 1 << lanes.ilog2();
        Self {
            rows,
            lanes,
            per_lane: vectors.div_ceil(lanes),
        }
    }

    /// Rows of a cube.
    fn of_cube(&self) -> usize {
        UNITS / self.lanes
    }

    /// Shape of a cube.
    pub fn dim(&self) -> CubeDim {
        CubeDim::new_2d(self.lanes as u32, self.of_cube() as u32)
    }

    /// Cubes that take one row a lane group. There may be more than needed.
    pub fn cubes<R: CubeRuntime>(&self, beside: &CubeTensor<R>) -> CubeCount {
        calculate_cube_count_elemwise(&beside.client, self.rows * self.lanes, self.dim())
    }

    /// Cubes that take consecutive rows and leave a part of a sum each, and the rows that a lane group of them takes.
    pub fn parts(&self) -> (usize, usize) {
        let groups = self.rows.div_ceil(self.of_cube());
        let steps = groups.div_ceil(PARTS);
        (groups.div_ceil(steps), steps)
    }
}

/// Rows of a tensor and the values of a row, its last dimension.
pub(super) fn rows<R: CubeRuntime>(tensor: &CubeTensor<R>) -> (usize, usize) {
    let shape = tensor.shape();
    let width = shape[shape.num_dims() - 1];
    (shape.num_elements() / width, width)
}

/// The row of a unit where each group of lanes takes one.
#[cube]
pub(super) fn row() -> usize {
    CUBE_POS * CUBE_DIM_Y as usize + UNIT_POS_Y as usize
}

/// The row of a unit where each group of lanes takes `steps`, so that those of a cube are consecutive.
#[cube]
pub(super) fn row_of_part(step: usize, steps: usize) -> usize {
    (CUBE_POS * steps + step) * CUBE_DIM_Y as usize + UNIT_POS_Y as usize
}
