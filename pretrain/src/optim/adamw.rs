//! AdamW (Loshchilov & Hutter, arXiv 1711.05101) as PyTorch computes it, and its cautious form
//! (Liang et al., arXiv 2411.16085).

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use experiments::OptimizerConfig;

use super::Flat;

/// Running means of a parameter's gradient and of its square.
pub(super) struct Moments<B: Backend> {
    pub mean: Flat<B>,
    pub square: Flat<B>,
}

impl<B: Backend> Moments<B> {
    /// The moments with one more gradient, and the step `lr · u`, to be subtracted from the parameter.
    ///
    /// `u = m̂ / (√v̂ + ε)` with bias-corrected moments after `updates` gradients. A cautious step leaves out the elements
    /// that point against the gradient, and makes up for them: `u · c / (mean(c) + ε)` with `c = 1[u · g > 0]`.
    pub fn step(
        previous: Option<Self>,
        grad: Flat<B>,
        lr: f64,
        updates: u64,
        config: &OptimizerConfig,
    ) -> (Self, Flat<B>) {
        let OptimizerConfig {
            beta1,
            beta2,
            epsilon,
            cautious,
            ..
        } = *config;
        let kept = cautious.then(|| grad.clone());
        let (mean, square) = previous.map(|old| (old.mean, old.square)).unzip();
        let moments = Self {
            mean: towards(mean, grad.clone(), beta1),
            square: towards(square, grad.square(), beta2),
        };
        let correction = |beta: f64| 1.0 - beta.powi(updates as i32);
        let (mean_part, square_part) = (correction(beta1), correction(beta2).sqrt());
        // Both corrections in one factor: each operation is a pass over the parameter.
        let root = moments.square.clone().sqrt() + epsilon * square_part;
        let step = moments.mean.clone() / root * (lr * square_part / mean_part);
        let step = match kept {
            Some(grad) => caution(step, grad, epsilon),
            None => step,
        };
        (moments, step)
    }
}

/// `decay · average + (1 − decay) · value`, from an average of 0 if there is none yet.
///
/// Computed as the average and a part of the difference: in f32, `decay` and `1 − decay` would not add up to 1, and the
/// average would settle beside a constant value.
pub(super) fn towards<B: Backend>(average: Option<Flat<B>>, value: Flat<B>, decay: f64) -> Flat<B> {
    match average {
        // Both sums take a buffer that is not needed any more: first the value's, if nobody else holds it.
        Some(average) => {
            let difference = (value - average.clone()) * (1.0 - decay);
            average + difference
        }
        None => value * (1.0 - decay),
    }
}

/// Leaves out what points against the gradient, and scales the rest by the inverse of its share.
fn caution<B: Backend>(step: Flat<B>, grad: Flat<B>, epsilon: f64) -> Flat<B> {
    let agrees: Tensor<B, 1> = (grad * step.clone()).greater_elem(0.0).float();
    let share = agrees.clone().mean() + epsilon; // [1]
    step * agrees / share
}
