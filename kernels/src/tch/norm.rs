//! Root-mean-square norms, alone and before the rotation of queries and keys.
//!
//! A norm is a product with factors of its rows, and sums over rows and columns are products with vectors, so that each
//! operator passes once over few operands, in f32 between them.

use burn::backend::libtorch::TchTensor;
use tch::{Kind, Tensor};

use super::tensors::{empty_like, times};
use crate::norm_rope::{NormRopeInput, Tables};
use crate::rms_norm::NormInput;

/// See [`crate::rms_norm::rms_norm`].
pub(super) fn forward(input: &NormInput<TchTensor>) -> TchTensor {
    let x = &input.x.tensor;
    let normed = x * scale(x, input.epsilon);
    TchTensor::new(times(normed, &input.weight.tensor, x.kind()))
}

/// Gradients of `x`, added to what `existing` is of it, and of the weight, where `need` asks for them.
pub(super) fn backward(
    upstream: &Tensor,
    input: &NormInput<TchTensor>,
    existing: Option<TchTensor>,
    need: [bool; 2],
) -> [Option<TchTensor>; 2] {
    let (x, weight) = (&input.x.tensor, &input.weight.tensor);
    let gradients = Gradients::new(upstream, x, input.epsilon);
    let of_x = need[0].then(|| gradients.of_x(upstream, weight, existing));
    let of_weight = need[1].then(|| gradients.of_weight());
    [of_x, of_weight].map(|grad| grad.map(TchTensor::new))
}

/// See [`crate::norm_rope::norm_rope`].
pub(super) fn rope_forward(input: &NormRopeInput<TchTensor>) -> TchTensor {
    let x = &input.x.tensor;
    let normed = x * scale(x, input.epsilon);
    let out = empty_like(x, x.kind());
    let [a, b] = halves(&normed);
    let [first, second] = halves(&out);
    // The weight goes with the tables, which are small.
    let [of_a, of_b] = halves(&input.weight.tensor);
    let [cos, sin] = tables(&input.tables);
    let _ = (&a * (&cos * &of_a)).addcmul_out(&first, &b, &(&sin * of_b.neg()));
    let _ = (&b * (&cos * &of_b)).addcmul_out(&second, &a, &(&sin * &of_a));
    TchTensor::new(out)
}

/// Gradients of `x` and weight where `need` asks for them: the upstream gradient is rotated back, and goes through the norm.
pub(super) fn rope_backward(
    upstream: &Tensor,
    input: &NormRopeInput<TchTensor>,
    need: [bool; 2],
) -> [Option<TchTensor>; 2] {
    let rotated = empty_like(upstream, Kind::Float);
    let [a, b] = halves(upstream);
    let [mut first, mut second] = halves(&rotated);
    let [cos, sin] = tables(&input.tables);
    let _ = a.mul_out(&first, &cos);
    let _ = first.addcmul_(&b, &sin);
    let _ = b.mul_out(&second, &cos);
    let _ = second.addcmul_(&a, &sin.neg());
    let norm = NormInput {
        x: input.x.clone(),
        weight: input.weight.clone(),
        epsilon: input.epsilon,
    };
    backward(&rotated, &norm, None, need)
}

/// What the gradients of a norm share. With `s = 1 / √(mean(x²) + ε)` and the upstream gradient `u`, that of the weight is
/// `Σ u · x · s` over the rows, and that of `x` is `s · (u · w − x · s² · mean(u · w · x))`.
struct Gradients {
    /// `[..., channels]`, f32.
    x: Tensor,
    /// `[..., 1]`
    scale: Tensor,
    /// `u · x` as rows `[rows, channels]`.
    terms: Tensor,
    /// Type of the gradient of `x`.
    kind: Kind,
}

impl Gradients {
    fn new(upstream: &Tensor, x: &Tensor, epsilon: f64) -> Self {
        let (scale, kind) = (scale(x, epsilon), x.kind());
        let x = x.to_kind(Kind::Float);
        let channels = last(&x);
        Self {
            kind,
            terms: (upstream * &x).reshape([-1, channels]),
            x,
            scale,
        }
    }

    fn of_weight(&self) -> Tensor {
        self.terms.tr().mv(&self.scale.flatten(0, -1))
    }

    fn of_x(&self, upstream: &Tensor, weight: &Tensor, existing: Option<TchTensor>) -> Tensor {
        let sum = self.terms.mv(weight).view_as(&self.scale);
        let along = self.scale.square() * sum / -(last(&self.x) as f64);
        let mut unscaled = upstream * weight;
        let _ = unscaled.addcmul_(&self.x, &along);
        match existing {
            None => times(unscaled, &self.scale, self.kind),
            Some(existing) => {
                let sum = match existing.can_mut() {
                    true => existing.tensor.shallow_clone(),
                    false => empty_like(&existing.tensor, self.kind),
                };
                existing.tensor.addcmul_out(&sum, &unscaled, &self.scale)
            }
        }
    }
}

/// `1 / √(mean(x²) + ε)`, `[..., 1]` in f32.
fn scale(x: &Tensor, epsilon: f64) -> Tensor {
    let norm = x.norm_scalaropt_dim_dtype(2, [-1], true, Kind::Float);
    (norm.square() / last(x) as f64 + epsilon).rsqrt()
}

/// Length of the last dimension.
fn last(x: &Tensor) -> i64 {
    *x.size().last().expect("a norm has channels")
}

/// The two halves of the last dimension.
fn halves(x: &Tensor) -> [Tensor; 2] {
    let half = last(x) / 2;
    [0, half].map(|start| x.narrow(-1, start, half))
}

/// Cosines and sines `[time, 1, head_dim / 2]`.
fn tables(tables: &Tables<TchTensor>) -> [Tensor; 2] {
    [&tables.cos, &tables.sin].map(|table| table.tensor.unsqueeze(1))
}
