//! Norm and rotation of heads, a few lanes a head: each takes pairs of vectors, one of either half.

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::layout::{Rows, array, empty, row, row_of_part, rows, vector};
use super::sums::{put_sum_of_rows, sum_lanes, sum_parts, total};
use crate::norm_rope::{NormRopeInput, Tables};

/// Where a head's position begins in the tables.
#[cube]
fn angles(head: usize, heads: usize, time: usize, half: usize) -> usize {
    head / heads % time * half
}

#[cube(launch_unchecked)]
fn norm_rope_kernel<F: Float, N: Size>(
    x: &Array<Vector<F, N>>,
    weight: &Array<Vector<f32, N>>,
    cos: &Array<Vector<f32, N>>,
    sin: &Array<Vector<f32, N>>,
    out: &mut Array<Vector<F, N>>,
    epsilon: f32,
    heads: usize,
    #[comptime] lanes: usize,
    #[define(F)] _dtype: StorageType,
) {
    let half = weight.len() / 2;
    let lane = UNIT_POS_X as usize;
    let head = row();
    let start = head * weight.len();
    // Without a head, a unit still takes part in the sums.
    let end = select(start < x.len(), half, 0);
    let mut squares = Vector::<f32, N>::new(0.0);
    for at in range_stepped(lane, end, lanes) {
        let a = Vector::<f32, N>::cast_from(x[start + at]);
        let b = Vector::<f32, N>::cast_from(x[start + half + at]);
        squares += a * a + b * b;
    }
    let sum = sum_lanes::<Const<1>>(Vector::new(total::<N>(squares)), lanes);
    let values = f32::cast_from(weight.len() * N::value());
    let scale = Vector::<f32, N>::new((sum[0] / values + epsilon).inverse_sqrt());
    let angles = angles(head, heads, cos.len() / half, half);
    for at in range_stepped(lane, end, lanes) {
        let a = Vector::<f32, N>::cast_from(x[start + at]) * scale * weight[at];
        let b = Vector::<f32, N>::cast_from(x[start + half + at]) * scale * weight[half + at];
        let (cos, sin) = (cos[angles + at], sin[angles + at]);
        out[start + at] = Vector::cast_from(a * cos - b * sin);
        out[start + half + at] = Vector::cast_from(b * cos + a * sin);
    }
}

/// `steps` heads of each lane group, and the cube's part of the weight's gradient. The upstream gradient is rotated back, and
/// goes through the norm.
#[cube(launch_unchecked)]
fn norm_rope_backward_kernel<F: Float, N: Size>(
    upstream: &Array<Vector<F, N>>,
    x: &Array<Vector<F, N>>,
    weight: &Array<Vector<f32, N>>,
    cos: &Array<Vector<f32, N>>,
    sin: &Array<Vector<f32, N>>,
    x_grad: &mut Array<Vector<F, N>>,
    parts: &mut Array<Vector<f32, N>>,
    epsilon: f32,
    heads: usize,
    steps: usize,
    #[comptime] lanes: usize,
    #[comptime] per_lane: usize,
    #[define(F)] _dtype: StorageType,
) {
    let width = weight.len();
    let half = width / 2;
    let lane = UNIT_POS_X as usize;
    let mut of_weight = Array::<Vector<f32, N>>::new(2 * per_lane);
    #[unroll]
    for i in 0..comptime!(2 * per_lane) {
        of_weight[i] = Vector::new(0.0);
    }
    for step in 0..steps {
        let head = row_of_part(step, steps);
        let start = head * width;
        let end = select(start < x.len(), half, 0);
        let angles = angles(head, heads, cos.len() / half, half);
        let mut squares = Vector::<f32, N>::new(0.0);
        let mut along = Vector::<f32, N>::new(0.0);
        for at in range_stepped(lane, end, lanes) {
            let a = Vector::<f32, N>::cast_from(x[start + at]);
            let b = Vector::<f32, N>::cast_from(x[start + half + at]);
            let up_a = Vector::<f32, N>::cast_from(upstream[start + at]);
            let up_b = Vector::<f32, N>::cast_from(upstream[start + half + at]);
            let (cos, sin) = (cos[angles + at], sin[angles + at]);
            squares += a * a + b * b;
            along += (up_a * cos + up_b * sin) * weight[at] * a;
            along += (up_b * cos - up_a * sin) * weight[half + at] * b;
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
                let a = Vector::<f32, N>::cast_from(x[start + at]);
                let b = Vector::<f32, N>::cast_from(x[start + half + at]);
                let up_a = Vector::<f32, N>::cast_from(upstream[start + at]);
                let up_b = Vector::<f32, N>::cast_from(upstream[start + half + at]);
                let (cos, sin) = (cos[angles + at], sin[angles + at]);
                let back_a = up_a * cos + up_b * sin;
                let back_b = up_b * cos - up_a * sin;
                of_weight[i] += back_a * a * scale;
                of_weight[comptime!(per_lane) + i] += back_b * b * scale;
                let a_grad = scale * (back_a * weight[at] - a * along);
                let b_grad = scale * (back_b * weight[half + at] - b * along);
                x_grad[start + at] = Vector::cast_from(a_grad);
                x_grad[start + half + at] = Vector::cast_from(b_grad);
            }
        }
    }
    let to = CUBE_POS * width;
    #[unroll]
    for i in 0..per_lane {
        let at = lane + i * lanes;
        let of_b = of_weight[comptime!(per_lane) + i];
        put_sum_of_rows::<N>(of_weight[i], parts, to + at, at < half, lanes);
        put_sum_of_rows::<N>(of_b, parts, to + half + at, at < half, lanes);
    }
}

/// Operands without gaps, and how they are spread.
struct Launch<R: CubeRuntime> {
    input: NormRopeInput<CubeTensor<R>>,
    heads: usize,
    head_dim: usize,
    vector: usize,
    layout: Rows,
}

impl<R: CubeRuntime> Launch<R> {
    fn new(input: NormRopeInput<CubeTensor<R>>) -> Self {
        let input = NormRopeInput {
            x: into_contiguous(input.x),
            weight: into_contiguous(input.weight),
            tables: Tables {
                cos: into_contiguous(input.tables.cos),
                sin: into_contiguous(input.tables.sin),
            },
            epsilon: input.epsilon,
        };
        let (count, head_dim) = rows(&input.x);
        let half = head_dim / 2;
        let vector = vector(&input.x, half);
        Self {
            heads: input.x.shape()[2],
            head_dim,
            vector,
            layout: Rows::new(count, half / vector),
            input,
        }
    }
}

/// See [`crate::norm_rope::norm_rope`].
pub(crate) fn forward<R: CubeRuntime>(input: NormRopeInput<CubeTensor<R>>) -> CubeTensor<R> {
    let Launch {
        input,
        heads,
        vector,
        layout,
        ..
    } = Launch::new(input);
    let x = &input.x;
    let out = empty(x, x.shape(), x.dtype());
    // SAFETY: heads beyond the last are not touched.
    unsafe {
        norm_rope_kernel::launch_unchecked::<R>(
            &x.client,
            layout.cubes(x),
            layout.dim(),
            vector,
            array(x),
            array(&input.weight),
            array(&input.tables.cos),
            array(&input.tables.sin),
            array(&out),
            input.epsilon as f32,
            heads,
            layout.lanes,
            x.dtype().into(),
        );
    }
    out
}

/// Gradients of `x` and the weight.
pub(crate) fn backward<R: CubeRuntime>(
    upstream: CubeTensor<R>,
    input: NormRopeInput<CubeTensor<R>>,
    need: [bool; 2],
) -> [Option<CubeTensor<R>>; 2] {
    let upstream = into_contiguous(upstream);
    let Launch {
        input,
        heads,
        head_dim,
        vector,
        layout,
    } = Launch::new(input);
    let x = &input.x;
    let (parts, steps) = layout.parts();
    let x_grad = empty(x, x.shape(), x.dtype());
    let of_weight = empty(x, Shape::new([parts, head_dim]), DType::F32);
    // SAFETY: heads beyond the last are not touched, and each cube has its part.
    unsafe {
        norm_rope_backward_kernel::launch_unchecked::<R>(
            &x.client,
            CubeCount::new_1d(parts as u32),
            layout.dim(),
            vector,
            array(&upstream),
            array(x),
            array(&input.weight),
            array(&input.tables.cos),
            array(&input.tables.sin),
            array(&x_grad),
            array(&of_weight),
            input.epsilon as f32,
            heads,
            steps,
            layout.lanes,
            layout.per_lane,
            x.dtype().into(),
        );
    }
    let weight = need[1].then(|| sum_parts(of_weight, head_dim));
    [need[0].then_some(x_grad), weight]
}
