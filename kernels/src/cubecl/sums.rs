//! Sums within a cube and over cubes, in an order that depends on shapes alone.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::layout::{UNITS, array, empty, parts, vector};

/// Columns that a cube adds up beside each other.
const COLUMNS: usize = 8;

/// The sum of a vector's values.
#[cube]
pub(super) fn total<N: Size>(values: Vector<f32, N>) -> f32 {
    let mut sum = f32::new(0.0);
    #[unroll]
    for i in 0..N::value() {
        sum += values[i];
    }
    sum
}

/// The sum over the lanes of a row of the cube, to each of them. All units call it together.
#[cube]
pub(super) fn sum_lanes<N: Size>(
    value: Vector<f32, N>,
    #[comptime] lanes: usize,
) -> Vector<f32, N> {
    let mut shared = SharedMemory::<Vector<f32, N>>::new(UNITS);
    let unit = UNIT_POS as usize;
    let lane = UNIT_POS_X as usize;
    shared[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(lanes.ilog2()) {
        let distance = comptime!(lanes >> (step + 1));
        if lane < distance {
            let sum = shared[unit] + shared[unit + distance];
            shared[unit] = sum;
        }
        sync_cube();
    }
    let sum = shared[unit - lane];
    // Before the next sum is written there.
    sync_cube();
    sum
}

/// The largest value of the cube, to each of its units. All call it together.
#[cube]
pub(super) fn max_units(value: f32) -> f32 {
    let mut shared = SharedMemory::<f32>::new(UNITS);
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(UNITS.ilog2()) {
        let distance = comptime!(UNITS >> (step + 1));
        if unit < distance {
            let largest = max(shared[unit], shared[unit + distance]);
            shared[unit] = largest;
        }
        sync_cube();
    }
    let largest = shared[0];
    sync_cube();
    largest
}

/// Adds up a vector of each row of the cube, column by column, and puts the sum at `to` if `lane` is one of the row's.
/// All units call it together.
#[cube]
pub(super) fn put_sum_of_rows<N: Size>(
    value: Vector<f32, N>,
    sums: &mut Array<Vector<f32, N>>,
    to: usize,
    exists: bool,
    #[comptime] lanes: usize,
) {
    let mut shared = SharedMemory::<Vector<f32, N>>::new(UNITS);
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    if UNIT_POS_Y == 0 && exists {
        let mut sum = shared[unit];
        for row in 1..comptime!(UNITS / lanes) {
            sum += shared[row * lanes + unit];
        }
        sums[to] = sum;
    }
    sync_cube();
}

#[cube(launch_unchecked)]
fn sum_parts_kernel<N: Size>(
    parts: &Array<Vector<f32, N>>,
    sums: &mut Array<Vector<f32, N>>,
    #[comptime] columns: usize,
) {
    let width = sums.len();
    let column = CUBE_POS * columns + UNIT_POS_X as usize;
    let exists = column < width;
    let end = select(exists, parts.len(), 0);
    let step = comptime!(UNITS / columns) * width;
    let mut sum = Vector::<f32, N>::new(0.0);
    for at in range_stepped(UNIT_POS_Y as usize * width + column, end, step) {
        sum += parts[at];
    }
    put_sum_of_rows::<N>(sum, sums, column, exists, columns);
}

/// The sum `[width]` of parts `[parts, width]`, f32.
pub(super) fn sum_parts<R: CubeRuntime>(parts: CubeTensor<R>, width: usize) -> CubeTensor<R> {
    let sums = empty(&parts, Shape::new([width]), DType::F32);
    let vector = vector(&parts, width);
    let vectors = width / vector;
    let columns = COLUMNS.min(vectors.next_power_of_two());
    // SAFETY: columns beyond the width and parts beyond the last are not touched.
    unsafe {
        sum_parts_kernel::launch_unchecked::<R>(
            &parts.client,
            CubeCount::new_1d(vectors.div_ceil(columns) as u32),
            CubeDim::new_2d(columns as u32, (UNITS / columns) as u32),
            vector,
            array(&parts),
            array(&sums),
            columns,
        );
    }
    sums
}

#[cube(launch_unchecked)]
fn square_sum_kernel<N: Size>(x: &Array<Vector<f32, N>>, parts: &mut Array<f32>) {
    let mut sum = Vector::<f32, N>::new(0.0);
    for at in range_stepped(ABSOLUTE_POS, x.len(), CUBE_COUNT * UNITS) {
        let x = x[at];
        sum += x * x;
    }
    let sum = sum_lanes::<Const<1>>(Vector::new(total::<N>(sum)), UNITS);
    if UNIT_POS == 0 {
        parts[CUBE_POS] = sum[0];
    }
}

/// See [`crate::square_sum::square_sum`].
pub(crate) fn square_sum<R: CubeRuntime>(tensor: CubeTensor<R>) -> CubeTensor<R> {
    let tensor = burn_cubecl::kernel::into_contiguous(tensor);
    let elements = tensor.meta.num_elements();
    let vector = vector(&tensor, elements);
    let count = parts(elements / vector);
    let parts = empty(&tensor, Shape::new([count]), DType::F32);
    // SAFETY: only elements that exist are read, and each cube has its part.
    unsafe {
        square_sum_kernel::launch_unchecked::<R>(
            &tensor.client,
            CubeCount::new_1d(count as u32),
            CubeDim::new_1d(UNITS as u32),
            vector,
            array(&tensor),
            array(&parts),
        );
    }
    sum_parts(parts, 1)
}
