//! The norm: a group of lanes goes through a row twice, and finds it in the first-level cache the second time.
//!
//! The backward pass takes consecutive rows in a cube and keeps their part of the weight's gradient in registers.

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::layout::{Rows, array, empty, row, row_of_part, rows, vector};
use super::sums::{put_sum_of_rows, sum_lanes, sum_parts, total};
use crate::rms_norm::NormInput;

/// `1 / √(mean + ε)` of the squares that the lanes of a row have added up.
#[cube]
fn scale<N: Size>(
    squares: Vector<f32, N>,
    width: usize,
    epsilon: f32,
    #[comptime] lanes: usize,
) -> Vector<f32, N> {
    let sum = sum_lanes::<Const<1>>(Vector::new(total::<N>(squares)), lanes);
    let values = f32::cast_from(width * N::value());
    Vector::new((sum[0] / values + epsilon).inverse_sqrt())
}

#[cube(launch_unchecked)]
fn rms_norm_kernel<F: Float, N: Size>(
    x: &Array<Vector<F, N>>,
    weight: &Array<Vector<f32, N>>,
    out: &mut Array<Vector<F, N>>,
    epsilon: f32,
    #[comptime] lanes: usize,
    #[define(F)] _dtype: StorageType,
) {
    let width = weight.len();
    let lane = UNIT_POS_X as usize;
    let start = row() * width;
    // Without a row, a unit still takes part in the sums.
    let end = select(start < x.len(), width, 0);
    let mut squares = Vector::<f32, N>::new(0.0);
    for at in range_stepped(lane, end, lanes) {
        let x = Vector::<f32, N>::cast_from(x[start + at]);
        squares += x * x;
    }
    let scale = scale::<N>(squares, width, epsilon, lanes);
    for at in range_stepped(lane, end, lanes) {
        let x = Vector::<f32, N>::cast_from(x[start + at]);
        out[start + at] = Vector::cast_from(x * scale * weight[at]);
    }
}

#[cube(launch_unchecked)]
fn add_rms_norm_kernel<F: Float, N: Size>(
    x: &Array<Vector<F, N>>,
    delta: &Array<Vector<F, N>>,
    weight: &Array<Vector<f32, N>>,
    sum: &mut Array<Vector<F, N>>,
    out: &mut Array<Vector<F, N>>,
    epsilon: f32,
    #[comptime] lanes: usize,
    #[define(F)] _dtype: StorageType,
) {
    let width = weight.len();
    let lane = UNIT_POS_X as usize;
    let start = row() * width;
    let end = select(start < x.len(), width, 0);
    let mut squares = Vector::<f32, N>::new(0.0);
    for at in range_stepped(lane, end, lanes) {
        let x = Vector::<f32, N>::cast_from(x[start + at]);
        let delta = Vector::<f32, N>::cast_from(delta[start + at]);
        // The norm is that of the sum as it is stored.
        let stored = Vector::<F, N>::cast_from(x + delta);
        sum[start + at] = stored;
        let stored = Vector::<f32, N>::cast_from(stored);
        squares += stored * stored;
    }
    let scale = scale::<N>(squares, width, epsilon, lanes);
    for at in range_stepped(lane, end, lanes) {
        let x = Vector::<f32, N>::cast_from(sum[start + at]);
        out[start + at] = Vector::cast_from(x * scale * weight[at]);
    }
}

/// `steps` rows of each lane group, and the cube's part of the weight's gradient.
#[cube(launch_unchecked)]
fn rms_norm_backward_kernel<F: Float, N: Size>(
    upstream: &Array<Vector<F, N>>,
    x: &Array<Vector<F, N>>,
    weight: &Array<Vector<f32, N>>,
    existing: &ComptimeOption<Array<Vector<F, N>>>,
    x_grad: &mut Array<Vector<F, N>>,
    parts: &mut Array<Vector<f32, N>>,
    epsilon: f32,
    steps: usize,
    #[comptime] lanes: usize,
    #[comptime] per_lane: usize,
    #[define(F)] _dtype: StorageType,
) {
    let width = weight.len();
    let lane = UNIT_POS_X as usize;
    let mut of_weight = Array::<Vector<f32, N>>::new(per_lane);
    #[unroll]
    for i in 0..per_lane {
        of_weight[i] = Vector::new(0.0);
    }
    for step in 0..steps {
        let start = row_of_part(step, steps) * width;
        let end = select(start < x.len(), width, 0);
        let mut squares = Vector::<f32, N>::new(0.0);
        let mut along = Vector::<f32, N>::new(0.0);
        for at in range_stepped(lane, end, lanes) {
            let x = Vector::<f32, N>::cast_from(x[start + at]);
            squares += x * x;
            along += Vector::<f32, N>::cast_from(upstream[start + at]) * weight[at] * x;
        }
        let mut sums = Vector::<f32, Const<2>>::new(total::<N>(squares));
        sums[1] = total::<N>(along);
        let means =
            sum_lanes::<Const<2>>(sums, lanes) / Vector::new(f32::cast_from(width * N::value()));
        let scale = (means[0] + epsilon).inverse_sqrt();
        let along = Vector::<f32, N>::new(scale * scale * means[1]);
        let scale = Vector::<f32, N>::new(scale);
        #[unroll]
        for i in 0..per_lane {
            let at = lane + i * lanes;
            if at < end {
                let x = Vector::<f32, N>::cast_from(x[start + at]);
                let up = Vector::<f32, N>::cast_from(upstream[start + at]);
                of_weight[i] += up * x * scale;
                let grad = scale * (up * weight[at] - x * along);
                #[comptime]
                let grad = match existing {
                    ComptimeOption::Some(existing) => {
                        grad + Vector::<f32, N>::cast_from(existing[start + at])
                    }
                    ComptimeOption::None => grad,
                };
                x_grad[start + at] = Vector::cast_from(grad);
            }
        }
    }
    #[unroll]
    for i in 0..per_lane {
        let at = lane + i * lanes;
        put_sum_of_rows::<N>(
            of_weight[i],
            parts,
            CUBE_POS * width + at,
            at < width,
            lanes,
        );
    }
}

/// See [`crate::rms_norm::rms_norm`].
pub(crate) fn forward<R: CubeRuntime>(input: NormInput<CubeTensor<R>>) -> CubeTensor<R> {
    let (x, weight) = (into_contiguous(input.x), into_contiguous(input.weight));
    let (count, width) = rows(&x);
    let vector = vector(&x, width);
    let layout = Rows::new(count, width / vector);
    let out = empty(&x, x.shape(), x.dtype());
    // SAFETY: rows beyond the last are not touched.
    unsafe {
        rms_norm_kernel::launch_unchecked::<R>(
            &x.client,
            layout.cubes(&x),
            layout.dim(),
            vector,
            array(&x),
            array(&weight),
            array(&out),
            input.epsilon as f32,
            layout.lanes,
            x.dtype().into(),
        );
    }
    out
}

/// See [`crate::rms_norm::add_rms_norm`].
pub(crate) fn add_forward<R: CubeRuntime>(
    delta: CubeTensor<R>,
    input: NormInput<CubeTensor<R>>,
) -> [CubeTensor<R>; 2] {
    let [x, delta, weight] = [input.x, delta, input.weight].map(into_contiguous);
    let (count, width) = rows(&x);
    let vector = vector(&x, width);
    let layout = Rows::new(count, width / vector);
    let [sum, out] = [(), ()].map(|()| empty(&x, x.shape(), x.dtype()));
    // SAFETY: rows beyond the last are not touched.
    unsafe {
        add_rms_norm_kernel::launch_unchecked::<R>(
            &x.client,
            layout.cubes(&x),
            layout.dim(),
            vector,
            array(&x),
            array(&delta),
            array(&weight),
            array(&sum),
            array(&out),
            input.epsilon as f32,
            layout.lanes,
            x.dtype().into(),
        );
    }
    [sum, out]
}

/// Gradients of `x`, added to what `existing` is of it, and of the weight.
pub(crate) fn backward<R: CubeRuntime>(
    upstream: CubeTensor<R>,
    input: NormInput<CubeTensor<R>>,
    existing: Option<CubeTensor<R>>,
    need: [bool; 2],
) -> [Option<CubeTensor<R>>; 2] {
    let [upstream, x, weight] = [upstream, input.x, input.weight].map(into_contiguous);
    let existing = existing.map(into_contiguous);
    let (count, width) = rows(&x);
    let vector = vector(&x, width);
    let layout = Rows::new(count, width / vector);
    let (parts, steps) = layout.parts();
    let x_grad = empty(&x, x.shape(), x.dtype());
    let of_weight = empty(&x, Shape::new([parts, width]), DType::F32);
    // SAFETY: rows beyond the last are not touched, and each cube has its part.
    unsafe {
        rms_norm_backward_kernel::launch_unchecked::<R>(
            &x.client,
            CubeCount::new_1d(parts as u32),
            layout.dim(),
            vector,
            array(&upstream),
            array(&x),
            array(&weight),
            existing.as_ref().map(array).into(),
            array(&x_grad),
            array(&of_weight),
            input.epsilon as f32,
            steps,
            layout.lanes,
            layout.per_lane,
            x.dtype().into(),
        );
    }
    let weight = need[1].then(|| sum_parts(of_weight, width));
    [need[0].then_some(x_grad), weight]
}
