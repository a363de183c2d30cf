//! Rows by token. Their gradients are added in the order of the tokens: the tokens are sorted on the device, and the rows of
//! a run of equal ones are added by one group of lanes.
//!
//! The sort counts, for each token, those that come before it. That is a comparison with each other token, but from
//! shared memory, and without a table as long as the vocabulary: 65,536 tokens are some 10¹⁰ instructions.

use burn::tensor::{DType, FloatDType, Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::layout::{Rows, UNITS, array, empty, owned, row, rows, units, vector, zeros};

#[cube(launch)]
fn embedding_kernel<F: Float, I: Int, N: Size>(
    weight: &Array<Vector<f32, N>>,
    tokens: &Array<I>,
    out: &mut Array<Vector<F, N>>,
    width: usize,
    #[define(F, I)] _dtypes: [StorageType; 2],
) {
    if ABSOLUTE_POS < out.len() {
        let token = usize::cast_from(tokens[ABSOLUTE_POS / width]);
        let value = weight[token * width + ABSOLUTE_POS % width];
        out[ABSOLUTE_POS] = Vector::cast_from(value);
    }
}

/// The places of tokens in ascending order; of equal ones, in that of their places.
#[cube(launch_unchecked)]
fn embedding_sort_kernel<I: Int>(
    tokens: &Array<I>,
    order: &mut Array<u32>,
    #[define(I)] _dtype: StorageType,
) {
    let mut tile = SharedMemory::<I>::new(UNITS);
    let unit = UNIT_POS as usize;
    let place = ABSOLUTE_POS;
    let token = tokens[min(place, tokens.len() - 1)];
    let mut before = 0u32;
    for first in range_stepped(0, tokens.len(), UNITS) {
        if first + unit < tokens.len() {
            tile[unit] = tokens[first + unit];
        }
        sync_cube();
        for i in 0..min(UNITS, tokens.len() - first) {
            let other = tile[i];
            let comes_first = other < token || (other == token && first + i < place);
            before += u32::cast_from(comes_first);
        }
        sync_cube();
    }
    if place < tokens.len() {
        order[before as usize] = place as u32;
    }
}

/// Adds the rows of a run of equal tokens, if one begins at the place of these lanes.
#[cube(launch)]
fn embedding_add_kernel<F: Float, I: Int, N: Size>(
    upstream: &Array<Vector<F, N>>,
    tokens: &Array<I>,
    order: &Array<u32>,
    sum: &mut Array<Vector<f32, N>>,
    width: usize,
    #[comptime] lanes: usize,
    #[define(F, I)] _dtypes: [StorageType; 2],
) {
    let start = row();
    if start < order.len() {
        let token = tokens[order[start] as usize];
        let before = tokens[order[max(start, 1) - 1] as usize];
        if start == 0 || before != token {
            let end = end_of_run::<I>(tokens, order, start);
            for at in range_stepped(UNIT_POS_X as usize, width, lanes) {
                let to = usize::cast_from(token) * width + at;
                let mut total = sum[to];
                for i in start..end {
                    total += Vector::cast_from(upstream[order[i] as usize * width + at]);
                }
                sum[to] = total;
            }
        }
    }
}

/// The place after the last of the tokens that equal the one at `start`, by bisection.
#[cube]
fn end_of_run<I: Int>(tokens: &Array<I>, order: &Array<u32>, start: usize) -> usize {
    let token = tokens[order[start] as usize];
    let mut end = start + 1;
    let mut other = order.len();
    while end < other {
        let middle = (end + other) / 2;
        if tokens[order[middle] as usize] == token {
            end = middle + 1;
        } else {
            other = middle;
        }
    }
    end
}

/// See [`crate::embedding::embedding`].
pub(crate) fn forward<R: CubeRuntime>(
    weight: CubeTensor<R>,
    tokens: CubeTensor<R>,
    dtype: FloatDType,
) -> CubeTensor<R> {
    let [weight, tokens] = [weight, tokens].map(into_contiguous);
    let (_, width) = rows(&weight);
    let count = tokens.meta.num_elements();
    let out = empty(&weight, Shape::new([count, width]), dtype.into());
    let vector = vector(&out, width);
    let (cubes, dim) = units(&out, count * width / vector);
    // Checked: a token may be no row.
    embedding_kernel::launch::<R>(
        &weight.client,
        cubes,
        dim,
        vector,
        array(&weight),
        array(&tokens),
        array(&out),
        width / vector,
        [out.dtype().into(), tokens.dtype().into()],
    );
    out
}

/// Gradient of the weight `[vocab, width]`, in f32.
pub(crate) fn backward<R: CubeRuntime>(
    upstream: CubeTensor<R>,
    tokens: CubeTensor<R>,
    existing: Option<CubeTensor<R>>,
    vocab: usize,
) -> CubeTensor<R> {
    let [upstream, tokens] = [upstream, tokens].map(into_contiguous);
    let (count, width) = rows(&upstream);
    let sum = match existing {
        Some(existing) => owned(existing),
        None => zeros(&upstream, Shape::new([vocab, width])),
    };
    let order = sort(&tokens);
    let vector = vector(&upstream, width);
    let layout = Rows::new(count, width / vector);
    // Checked: a token may be no row.
    embedding_add_kernel::launch::<R>(
        &upstream.client,
        layout.cubes(&upstream),
        layout.dim(),
        vector,
        array(&upstream),
        array(&tokens),
        array(&order),
        array(&sum),
        width / vector,
        layout.lanes,
        [upstream.dtype().into(), tokens.dtype().into()],
    );
    sum
}

/// Places of tokens in ascending order.
fn sort<R: CubeRuntime>(tokens: &CubeTensor<R>) -> CubeTensor<R> {
    let count = tokens.meta.num_elements();
    let order = empty(tokens, Shape::new([count]), DType::U32);
    let (cubes, dim) = units(tokens, count);
    // SAFETY: each token has a place of its own below their number.
    unsafe {
        embedding_sort_kernel::launch_unchecked::<R>(
            &tokens.client,
            cubes,
            dim,
            array(tokens),
            array(&order),
            tokens.dtype().into(),
        );
    }
    order
}
