//! One AdamW update in place, with an operator for each step of the formula, and sums of squares.

use burn::backend::libtorch::TchTensor;
use tch::{Kind, Tensor};

use super::tensors::own;
use crate::adamw::{Begun, Moments, Parameter, Rule, Squares, Updated};

/// See [`crate::adamw::begin`]. The steps take the gradient's place, without the learning rate, and 0 where they do not
/// agree with it.
pub(super) fn begin(parameter: Parameter<TchTensor>, rule: &Rule) -> Begun<TchTensor> {
    let mut grad = own(parameter.grad);
    if rule.grad_scale != 1.0 {
        grad *= rule.grad_scale;
    }
    let (mean, square) = moments(parameter.moments, &grad, rule);
    let (epsilon, _) = rule.corrected();
    let mut step = square.sqrt();
    step += epsilon;
    let _ = mean.div_out(&step, &step);
    let agreeing = rule.cautious.then(|| {
        grad *= &step;
        let agrees = grad.gt_(0.0);
        step *= &agrees;
        TchTensor::new(agrees.sum(Kind::Float).reshape([1]))
    });
    Begun {
        value: parameter.value,
        grad: TchTensor::new(step),
        moments: Moments {
            mean: TchTensor::new(mean),
            square: TchTensor::new(square),
        },
        rule: *rule,
        agreeing,
    }
}

/// See [`Begun::finish`].
pub(super) fn finish(
    begun: Begun<TchTensor>,
    elements: usize,
    measure: bool,
) -> Updated<TchTensor> {
    let (mut value, mut change) = (own(begun.value), own(begun.grad));
    let rule = begun.rule;
    let (_, lr) = rule.corrected();
    match begun.agreeing {
        Some(agreeing) => {
            let share = agreeing.tensor / elements as f64 + rule.epsilon;
            change *= share.reciprocal() * lr;
        }
        None => change *= lr,
    }
    // Not as `value · (1 − decay)`: that factor's rounding error, the same at each step, is not small beside `decay`.
    if rule.decay != 0.0 {
        // On the device, because a number can only be multiplied with one operand.
        let decay = Tensor::full([1], rule.decay, (Kind::Float, value.device()));
        let _ = change.addcmul_(&value, &decay);
    }
    value -= &change;
    Updated {
        squares: measure.then(|| Squares {
            change: square_sum(&change),
            value: square_sum(&value),
        }),
        value: TchTensor::new(value),
        moments: begun.moments,
    }
}

/// Mean of gradients and of their squares, with this one in them. Averages move by a part of the difference, as in
/// [`crate::adamw::reference::towards`].
fn moments(old: Option<Moments<TchTensor>>, grad: &Tensor, rule: &Rule) -> (Tensor, Tensor) {
    let (of_mean, of_square) = (1.0 - rule.beta1, 1.0 - rule.beta2);
    let grad_square = grad.square();
    let Some(old) = old else {
        return (grad * of_mean, grad_square * of_square);
    };
    let (mut mean, mut square) = (own(old.mean), own(old.square));
    let _ = mean.lerp_(grad, of_mean);
    let _ = square.lerp_(&grad_square, of_square);
    (mean, square)
}

/// `Σ x²` of all elements, `[1]`, in one pass.
pub(super) fn square_sum(x: &Tensor) -> TchTensor {
    let norm = x.norm_scalaropt_dtype(2, Kind::Float);
    TchTensor::new(norm.square().reshape([1]))
}
