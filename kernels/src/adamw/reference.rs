//! The update in plain Burn operations: the default of every backend, and the tests' reference.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};

use super::{Moments, Parameter, Rule, Squares, Updated};

/// See [`super::adamw`].
pub fn adamw<B: Backend>(
    parameter: Parameter<FloatTensor<B>>,
    rule: &Rule,
    measure: bool,
) -> Updated<FloatTensor<B>> {
    let tensor = |primitive| Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(primitive));
    let primitive = |tensor: Tensor<B, 1>| tensor.into_primitive().tensor();
    let value = tensor(parameter.value);
    let grad = tensor(parameter.grad) * rule.grad_scale;
    let (mean, square) = parameter
        .moments
        .map(|old| (tensor(old.mean), tensor(old.square)))
        .unzip();
    let kept = rule.cautious.then(|| grad.clone());
    let mean = towards(mean, grad.clone(), rule.beta1);
    let square = towards(square, grad.square(), rule.beta2);
    let (epsilon, lr) = rule.corrected();
    let step = mean.clone() / (square.clone().sqrt() + epsilon) * lr;
    let step = match kept {
        Some(grad) => caution(step, grad, rule.epsilon),
        None => step,
    };
    // Not as `value · (1 − decay)`: that factor's rounding error, the same at each step, is not small beside `decay`.
    let change = match rule.decay {
        0.0 => step,
        decay => step + value.clone() * decay,
    };
    let changed = measure.then(|| change.clone().square().sum());
    let value = value - change;
    Updated {
        squares: changed.map(|changed| Squares {
            change: primitive(changed),
            value: primitive(value.clone().square().sum()),
        }),
        value: primitive(value),
        moments: Moments {
            mean: primitive(mean),
            square: primitive(square),
        },
    }
}

/// `decay · average + (1 − decay) · value`, from an average of 0 if there is none yet.
///
/// Computed as the average and a part of the difference: in f32, `decay` and `1 − decay` would not add up to 1, and the
/// average would settle beside a constant value.
///
/// # Shapes
/// `[elements]` each
pub fn towards<B: Backend>(
    average: Option<Tensor<B, 1>>,
    value: Tensor<B, 1>,
    decay: f64,
) -> Tensor<B, 1> {
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
fn caution<B: Backend>(step: Tensor<B, 1>, grad: Tensor<B, 1>, epsilon: f64) -> Tensor<B, 1> {
    let agrees: Tensor<B, 1> = (grad * step.clone()).greater_elem(0.0).float();
    let share = agrees.clone().mean() + epsilon; // [1]
    step * agrees / share
}
