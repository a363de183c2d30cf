//! The update in plain Burn operations: the default of every backend, and the tests' reference.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use super::{Begun, Moments, Parameter, Rule, Squares, Updated, primitive};
use crate::plain::tensor;

/// See [`super::begin`]. The steps take the gradient's place, 0 where they do not agree with it.
pub fn begin<B: Backend>(
    parameter: Parameter<FloatTensor<B>>,
    rule: &Rule,
) -> Begun<FloatTensor<B>> {
    let Parameter {
        value,
        grad,
        moments,
    } = parameter.map(tensor::<B, 1>);
    let grad = grad * rule.grad_scale;
    let (mean, square) = moments.map(|old| (old.mean, old.square)).unzip();
    let kept = rule.cautious.then(|| grad.clone());
    let mean = towards(mean, grad.clone(), rule.beta1);
    let square = towards(square, grad.square(), rule.beta2);
    let (epsilon, lr) = rule.corrected();
    let step = mean.clone() / (square.clone().sqrt() + epsilon) * lr;
    let agrees = kept.map(|grad| (grad * step.clone()).greater_elem(0.0).float());
    let begun = Begun {
        value,
        grad: match &agrees {
            Some(agrees) => step * agrees.clone(),
            None => step,
        },
        moments: Moments { mean, square },
        rule: *rule,
        agreeing: agrees.map(Tensor::sum),
    };
    begun.map(primitive)
}

/// See [`super::Begun::finish`].
pub fn finish<B: Backend>(
    begun: Begun<FloatTensor<B>>,
    elements: usize,
    measure: bool,
) -> Updated<FloatTensor<B>> {
    let Begun {
        value,
        grad: step,
        moments,
        rule,
        agreeing,
    } = begun.map(tensor::<B, 1>);
    let step = match agreeing {
        Some(agreeing) => step / (agreeing / elements as f64 + rule.epsilon),
        None => step,
    };
    // Not as `value · (1 − decay)`: that factor's rounding error, the same at each step, is not small beside `decay`.
    let change = match rule.decay {
        0.0 => step,
        decay => step + value.clone() * decay,
    };
    let changed = measure.then(|| change.clone().square().sum());
    let value = value - change;
    let updated = Updated {
        squares: changed.map(|change| Squares {
            change,
            value: value.clone().square().sum(),
        }),
        value,
        moments,
    };
    updated.map(primitive)
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
