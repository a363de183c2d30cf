//! One AdamW update in place, with an operator for each step of the formula, and sums of squares.

use burn::backend::libtorch::TchTensor;
use tch::{Kind, Tensor};

use super::tensors::own;
use crate::adamw::{Moments, Parameter, Rule, Squares, Updated};

/// See [`crate::adamw::adamw`].
pub(super) fn adamw(
    parameter: Parameter<TchTensor>,
    rule: &Rule,
    measure: bool,
) -> Updated<TchTensor> {
    let mut value = own(parameter.value);
    let mut grad = own(parameter.grad);
    if rule.grad_scale != 1.0 {
        grad *= rule.grad_scale;
    }
    let (mean, square) = moments(parameter.moments, &grad, rule);
    let (epsilon, lr) = rule.corrected();
    let mut change = square.sqrt();
    change += epsilon;
    let _ = mean.div_out(&change, &change);
    match rule.cautious {
        true => {
            grad *= &change;
            let agrees = grad.gt_(0.0);
            let share = agrees.mean(Kind::Float) + rule.epsilon;
            change *= agrees;
            change *= share.reciprocal() * lr;
        }
        false => change *= lr,
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
        moments: Moments {
            mean: TchTensor::new(mean),
            square: TchTensor::new(square),
        },
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
