//! Loss and gradients, a chunk of rows at a time: a product makes the logits, one kernel reads them, reads them again and
//! puts their gradients in their place, and products make the gradients of hidden states and weight of them.
//!
//! Logits are of the type of the hidden states, as PyTorch makes them; all that is made of them is f32. The weight's gradient
//! of a chunk is f32, too, and is added to that of the chunks before it.

use burn::tensor::ops::FloatTensorOps;
use burn::tensor::{DType, Shape, Slice, TensorMetadata};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime};
use cubecl::prelude::*;

use super::layout::{UNITS, array, empty};
use super::linear::{product, transposed};
use super::sums::{max_units, sum_lanes, sum_parts, total};
use crate::linear_cross_entropy::{LossAndGrads, LossInput, LossOutput};

/// Bytes of logits that exist at a time.
const CHUNK_BYTES: usize = 512 << 20;
/// Rows of a chunk come in multiples of this, so that its slices begin where a device wants them to, and products fill
/// their tiles.
const ROW_BLOCK: usize = 128;
/// Rows of a chunk where the vocabulary is small: fewer than cubes that every device can count.
const MOST_ROWS: usize = 1 << 15;

/// A row of logits a cube.
///
/// In the first reading, each unit's sum of exponentials is relative to the largest logit that the unit has seen (Milakov &
/// Gimelshein, arXiv 1805.02867). The gradient is `w · ((1 + 2 z lse) · softmax − onehot)`.
#[cube(launch_unchecked)]
fn cross_entropy_kernel<F: Float, I: Int, N: Size>(
    targets: &Array<I>,
    token_weights: &Array<f32>,
    logits: &mut Array<Vector<F, N>>,
    nll: &mut Array<f32>,
    logit_square: &mut Array<f32>,
    losses: &mut Array<f32>,
    first_row: usize,
    stride: usize,
    vectors: usize,
    z_loss: f32,
    #[comptime] gradients: bool,
    #[define(F, I)] _dtypes: [StorageType; 2],
) {
    let start = CUBE_POS * stride;
    let row = first_row + CUBE_POS;
    let unit = UNIT_POS as usize;
    let target = usize::cast_from(targets[row]);
    let (target_at, target_place) = (target / N::value(), target % N::value());
    // Before another unit can have put its gradient there: there are barriers in between.
    let beside_target = Vector::<f32, N>::cast_from(logits[start + target_at]);
    let mut target_logit = f32::new(0.0);
    #[unroll]
    for i in 0..N::value() {
        target_logit = select(i == target_place, beside_target[i], target_logit);
    }

    let mut largest = f32::min_value();
    let mut exponentials = Vector::<f32, N>::new(0.0);
    let mut squares = Vector::<f32, N>::new(0.0);
    for at in range_stepped(unit, vectors, UNITS) {
        let x = Vector::<f32, N>::cast_from(logits[start + at]);
        let mut raised = largest;
        #[unroll]
        for i in 0..N::value() {
            raised = max(raised, x[i]);
        }
        let of_before = Vector::<f32, N>::new((largest - raised).exp());
        exponentials = exponentials * of_before + (x - Vector::new(raised)).exp();
        squares += x * x;
        largest = raised;
    }
    let top = max_units(largest);
    let mut sums = Vector::<f32, Const<2>>::new((largest - top).exp() * total::<N>(exponentials));
    sums[1] = total::<N>(squares);
    let sums = sum_lanes::<Const<2>>(sums, UNITS);
    let lse = sums[0].ln() + top;
    let weight = token_weights[row];
    if unit == 0 {
        let of_target = lse - target_logit;
        nll[row] = of_target;
        logit_square[row] = sums[1] / f32::cast_from(vectors * N::value());
        losses[row] = weight * (of_target + z_loss * lse * lse);
    }
    if gradients {
        let scale = Vector::<f32, N>::new(weight * (1.0 + 2.0 * z_loss * lse));
        for at in range_stepped(unit, vectors, UNITS) {
            let x = Vector::<f32, N>::cast_from(logits[start + at]);
            let mut grad = (x - Vector::new(lse)).exp() * scale;
            if at == target_at {
                #[unroll]
                for i in 0..N::value() {
                    grad[i] = grad[i] - select(i == target_place, weight, 0.0);
                }
            }
            logits[start + at] = Vector::cast_from(grad);
        }
    }
}

/// What the rows are made with and what they leave, `[tokens]` each.
struct Tokens<R: CubeRuntime> {
    targets: CubeTensor<R>,
    weights: CubeTensor<R>,
    z_loss: f32,
    nll: CubeTensor<R>,
    logit_square: CubeTensor<R>,
    losses: CubeTensor<R>,
}

impl<R: CubeRuntime> Tokens<R> {
    /// Reads a chunk of logits, and puts gradients in their place if they are wanted.
    fn read(&self, logits: &CubeTensor<R>, first_row: usize, gradients: bool) {
        let [count, vocab] = logits.shape().dims();
        let stride = logits.meta.strides()[0];
        let sizes = logits.client.io_optimized_vector_sizes(logits.dtype.size());
        let vector = sizes
            .into_iter()
            .find(|&size| vocab.is_multiple_of(size) && stride.is_multiple_of(size))
            .unwrap_or(1);
        // SAFETY: each cube has its row, whose vectors lie one after the other; the array is as long as all of them.
        unsafe {
            let all = ArrayArg::from_raw_parts(logits.handle.clone(), (count - 1) * stride + vocab);
            cross_entropy_kernel::launch_unchecked::<R>(
                &logits.client,
                CubeCount::new_1d(count as u32),
                CubeDim::new_1d(UNITS as u32),
                vector,
                array(&self.targets),
                array(&self.weights),
                all,
                array(&self.nll),
                array(&self.logit_square),
                array(&self.losses),
                first_row,
                stride / vector,
                vocab / vector,
                self.z_loss,
                gradients,
                [logits.dtype().into(), self.targets.dtype().into()],
            );
        }
    }
}

/// Loss, token likelihoods and gradients. See [`crate::linear_cross_entropy::linear_cross_entropy`].
pub(crate) fn linear_cross_entropy<R: CubeRuntime, BT: BoolElement>(
    input: LossInput<CubeBackend<R, f32, i32, BT>>,
    need: [bool; 2],
) -> LossAndGrads<CubeTensor<R>> {
    in_chunks(input, need, CHUNK_BYTES)
}

/// With so many bytes of logits at a time, or one block of rows.
pub(super) fn in_chunks<R: CubeRuntime, BT: BoolElement>(
    input: LossInput<CubeBackend<R, f32, i32, BT>>,
    need: [bool; 2],
    chunk_bytes: usize,
) -> LossAndGrads<CubeTensor<R>> {
    let hidden = into_contiguous(input.hidden);
    let dtype = hidden.dtype();
    let [tokens, _] = hidden.shape().dims();
    let [vocab, _] = input.weight.shape().dims();
    let weight = cast(input.weight, dtype);
    let per_token = || empty(&hidden, Shape::new([tokens]), DType::F32);
    let state = Tokens {
        targets: into_contiguous(input.targets),
        weights: into_contiguous(input.token_weights),
        z_loss: input.z_loss,
        nll: per_token(),
        logit_square: per_token(),
        losses: per_token(),
    };
    let mut hidden_grads = Vec::new();
    let mut weight_grad: Option<CubeTensor<R>> = None;
    let rows = chunk_bytes / (vocab * dtype.size()) / ROW_BLOCK * ROW_BLOCK;
    let rows = rows.clamp(ROW_BLOCK, MOST_ROWS);
    for start in (0..tokens).step_by(rows) {
        let end = tokens.min(start + rows);
        let slice = [Slice::from(start..end)];
        let hidden = CubeBackend::<R, f32, i32, BT>::float_slice(hidden.clone(), &slice);
        let logits = product(hidden.clone(), transposed(weight.clone()), dtype);
        state.read(&logits, start, need != [false; 2]);
        if need[0] {
            hidden_grads.push(product(logits.clone(), weight.clone(), dtype));
        }
        if need[1] {
            let add = product(transposed(logits), hidden, DType::F32);
            weight_grad = Some(match weight_grad {
                Some(sum) => burn_cubecl::ops::numeric::add(sum, add),
                None => add,
            });
        }
    }
    LossAndGrads {
        output: LossOutput {
            loss: sum_parts(state.losses, 1),
            nll: state.nll,
            logit_square: state.logit_square,
        },
        hidden: need[0].then(|| CubeBackend::<R, f32, i32, BT>::float_cat(hidden_grads, 0)),
        weight: weight_grad,
    }
}
