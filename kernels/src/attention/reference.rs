//! The kernel in plain Burn operations: the default of every backend, and the tests' reference.
//!
//! Products are made in the type of the operands, the softmax in f32.

use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{Bool, DType, Int, Tensor, TensorPrimitive};

use super::{AttentionInput, Sizes};

/// Queries whose scores exist at a time.
pub(super) const ROWS: usize = 512;

/// Operands `[batch, heads, time, head_dim]`, the keys' heads repeated for each query head.
struct Operands<B: Backend> {
    sizes: Sizes,
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    /// `[batch, 1, time, 1]`
    starts: Tensor<B, 4, Int>,
}

impl<B: Backend> Operands<B> {
    fn new(input: AttentionInput<FloatTensor<B>, IntTensor<B>>) -> Self {
        let sizes = Sizes::of(&input);
        let starts = Tensor::<B, 2, Int>::from_primitive(input.starts);
        Self {
            sizes,
            query: tensor(input.query).swap_dims(1, 2),
            key: repeat_heads(tensor(input.key).swap_dims(1, 2), sizes.group()),
            value: repeat_heads(tensor(input.value).swap_dims(1, 2), sizes.group()),
            starts: starts.reshape([sizes.batch, 1, sizes.time, 1]),
        }
    }

    /// First and last + 1 of the queries of each step. Their keys are all up to the last.
    fn steps(&self) -> impl Iterator<Item = [usize; 2]> + use<B> {
        let time = self.sizes.time;
        let starts = (0..time).step_by(ROWS);
        starts.map(move |start| [start, time.min(start + ROWS)])
    }

    /// Scaled scores `[batch, heads, rows, keys]` in f32, -∞ where a key is hidden.
    fn scores(&self, [start, end]: [usize; 2]) -> Tensor<B, 4> {
        let query = rows(&self.query, start, end);
        let scores = query.matmul(rows(&self.key, 0, end).swap_dims(2, 3));
        let scores = scores.cast(DType::F32) * self.sizes.scale();
        let shape = scores.shape();
        let hidden = self.hidden([start, end]).expand(shape);
        scores.mask_fill(hidden, f32::NEG_INFINITY)
    }

    /// `[batch, 1, rows, keys]`
    fn hidden(&self, [start, end]: [usize; 2]) -> Tensor<B, 4, Bool> {
        let device = self.starts.device();
        let positions =
            |from: usize, to: usize| Tensor::<B, 1, Int>::arange(from as i64..to as i64, &device);
        let shape = [self.sizes.batch, 1, end - start, end];
        let keys = positions(0, end).reshape([1, 1, 1, end]).expand(shape);
        let queries = positions(start, end)
            .reshape([1, 1, end - start, 1])
            .expand(shape);
        let starts = self.starts.clone().slice_dim(2, start..end).expand(shape);
        keys.clone().greater(queries).bool_or(keys.lower(starts))
    }
}

/// Result `[batch, time, heads, head_dim]` and the logsumexp of scores `[batch, heads, time]`.
pub(crate) fn forward<B: Backend>(
    input: AttentionInput<FloatTensor<B>, IntTensor<B>>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let operands = Operands::<B>::new(input);
    let dtype = operands.query.dtype();
    let (mut out, mut logsumexp) = (Vec::new(), Vec::new());
    for step in operands.steps() {
        let scores = operands.scores(step);
        let max = scores.clone().max_dim(3);
        let exp = (scores - max.clone()).exp();
        let sum = exp.clone().sum_dim(3); // [batch, heads, rows, 1]
        let shares = (exp / sum.clone()).cast(dtype);
        out.push(shares.matmul(rows(&operands.value, 0, step[1])));
        logsumexp.push((sum.log() + max).squeeze_dim::<3>(3));
    }
    (
        primitive(Tensor::cat(out, 2).swap_dims(1, 2)),
        primitive(Tensor::cat(logsumexp, 2)),
    )
}

/// Gradients of query, key and value, shaped like them.
pub(crate) fn backward<B: Backend>(
    input: AttentionInput<FloatTensor<B>, IntTensor<B>>,
    out: FloatTensor<B>,
    logsumexp: FloatTensor<B>,
    upstream: FloatTensor<B>,
) -> [FloatTensor<B>; 3] {
    let operands = Operands::<B>::new(input);
    let (sizes, dtype) = (operands.sizes, operands.query.dtype());
    let upstream = tensor::<B, 4>(upstream).swap_dims(1, 2);
    let out = tensor::<B, 4>(out).swap_dims(1, 2);
    let logsumexp = tensor::<B, 3>(logsumexp).unsqueeze_dim::<4>(3);
    // Σ_j P_ij dP_ij = dO_i · O_i
    let mean = (out.cast(DType::F32) * upstream.clone().cast(DType::F32)).sum_dim(3);
    let mut query_grad = Vec::new();
    let mut key_grad = operands.key.zeros_like().cast(DType::F32);
    let mut value_grad = key_grad.clone();
    for step @ [start, end] in operands.steps() {
        let query = rows(&operands.query, start, end);
        let upstream = rows(&upstream, start, end);
        let (key, value) = (rows(&operands.key, 0, end), rows(&operands.value, 0, end));
        let shares = (operands.scores(step) - rows(&logsumexp, start, end)).exp();
        let of_shares = upstream.clone().matmul(value.swap_dims(2, 3));
        let of_shares = of_shares.cast(DType::F32) - rows(&mean, start, end);
        let of_scores = (shares.clone() * of_shares * sizes.scale()).cast(dtype);
        query_grad.push(of_scores.clone().matmul(key));
        let shares = shares.cast(dtype);
        key_grad = add_rows(key_grad, of_scores.swap_dims(2, 3).matmul(query));
        value_grad = add_rows(value_grad, shares.swap_dims(2, 3).matmul(upstream));
    }
    let sum = |grad| sum_heads(grad, sizes.group()).cast(dtype);
    [Tensor::cat(query_grad, 2), sum(key_grad), sum(value_grad)]
        .map(|grad| primitive(grad.swap_dims(1, 2)))
}

fn tensor<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// Positions `start .. end` of `[batch, heads, time, n]`.
fn rows<B: Backend>(x: &Tensor<B, 4>, start: usize, end: usize) -> Tensor<B, 4> {
    x.clone().slice_dim(2, start..end)
}

/// Adds to the first positions of `[batch, heads, time, n]`.
fn add_rows<B: Backend>(sum: Tensor<B, 4>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, heads, count, width] = x.dims();
    let ranges = [0..batch, 0..heads, 0..count, 0..width];
    let x = rows(&sum, 0, count) + x.cast(DType::F32);
    sum.slice_assign(ranges, x)
}

/// `[batch, kv_heads, time, n]` to `[batch, heads, time, n]`.
fn repeat_heads<B: Backend>(x: Tensor<B, 4>, group: usize) -> Tensor<B, 4> {
    if group == 1 {
        return x;
    }
    let [batch, kv_heads, time, width] = x.dims();
    x.unsqueeze_dim::<5>(2)
        .expand([batch, kv_heads, group, time, width])
        .reshape([batch, kv_heads * group, time, width])
}

/// `[batch, heads, time, n]` to `[batch, kv_heads, time, n]`.
fn sum_heads<B: Backend>(x: Tensor<B, 4>, group: usize) -> Tensor<B, 4> {
    if group == 1 {
        return x;
    }
    let [batch, heads, time, width] = x.dims();
    x.reshape([batch, heads / group, group, time, width])
        .sum_dim(2)
        .squeeze_dim::<4>(2)
}
