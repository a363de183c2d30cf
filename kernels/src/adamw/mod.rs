//! One AdamW update of a parameter, in as few passes over memory as it takes.
//!
//! AdamW (Loshchilov & Hutter, arXiv 1711.05101) as PyTorch computes it, and its cautious form (Liang et al., arXiv
//! 2411.16085). Written as tensor operations it passes a dozen times over four arrays as large as the model; its arithmetic
//! is nothing beside that.

pub(crate) mod cpu;
pub mod reference;

use burn::tensor::{Tensor, TensorPrimitive};

use crate::OptimizerKernels;

/// Settings of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The gradient is multiplied by it first (clipping).
    pub grad_scale: f64,
    /// Learning rate.
    pub lr: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Leaves out the elements that point against the gradient, and makes up for them.
    pub cautious: bool,
    /// Part of the value that decays, the learning rate included.
    pub decay: f64,
    /// Gradients seen with this one, for the bias correction.
    pub updates: u64,
}

impl Rule {
    /// `(epsilon, lr)` with the bias corrections in them: the step `lr · m̂ / (√v̂ + ε)` is then `lr · m / (√v + ε)`.
    pub(crate) fn corrected(&self) -> (f64, f64) {
        let correction = |beta: f64| 1.0 - beta.powi(self.updates as i32);
        let (mean, square) = (correction(self.beta1), correction(self.beta2).sqrt());
        (self.epsilon * square, self.lr * square / mean)
    }
}

/// A flattened parameter before an update, `[elements]` each.
#[derive(Clone, Debug)]
pub struct Parameter<T> {
    /// What is updated.
    pub value: T,
    /// Its gradient.
    pub grad: T,
    /// None before the first gradient.
    pub moments: Option<Moments<T>>,
}

/// Running means of a parameter's gradient and of its square, `[elements]` each.
#[derive(Clone, Debug)]
pub struct Moments<T> {
    /// Of the gradient.
    pub mean: T,
    /// Of its square.
    pub square: T,
}

/// A flattened parameter after an update.
#[derive(Clone, Debug)]
pub struct Updated<T> {
    /// `[elements]`
    pub value: T,
    /// With the gradient in them.
    pub moments: Moments<T>,
    /// Where they are measured.
    pub squares: Option<Squares<T>>,
}

/// Sums of squares, `[1]` each.
#[derive(Clone, Debug)]
pub struct Squares<T> {
    /// Of what was subtracted, decay included.
    pub change: T,
    /// Of the new value.
    pub value: T,
}

/// `value ← value − (lr · u + decay · value)` with `u = m̂ / (√v̂ + ε)` of the bias-corrected moments.
///
/// A cautious step has `u · c / (mean(c) + ε)` for `u`, with `c = 1[u · g > 0]`. Buffers that nobody else holds are changed
/// in place. `measure` asks for the sums of squares.
///
/// # Shapes
/// `[elements]` for all of `parameter`.
///
/// # Panics
/// If gradient or moments have another length than the value.
pub fn adamw<B: OptimizerKernels>(
    parameter: Parameter<Tensor<B, 1>>,
    rule: &Rule,
    measure: bool,
) -> Updated<Tensor<B, 1>> {
    let [elements] = parameter.value.dims();
    let check = |what: &str, tensor: &Tensor<B, 1>| {
        let [found] = tensor.dims();
        assert_eq!(
            found, elements,
            "adamw: the {what} is [{found}], the value [{elements}]"
        );
    };
    check("gradient", &parameter.grad);
    if let Some(moments) = &parameter.moments {
        check("mean of gradients", &moments.mean);
        check("mean of squares", &moments.square);
    }
    let primitive = |tensor: Tensor<B, 1>| tensor.into_primitive().tensor();
    let tensor = |primitive| Tensor::from_primitive(TensorPrimitive::Float(primitive));
    let out = B::adamw(
        Parameter {
            value: primitive(parameter.value),
            grad: primitive(parameter.grad),
            moments: parameter.moments.map(|moments| Moments {
                mean: primitive(moments.mean),
                square: primitive(moments.square),
            }),
        },
        rule,
        measure,
    );
    Updated {
        value: tensor(out.value),
        moments: Moments {
            mean: tensor(out.moments.mean),
            square: tensor(out.moments.square),
        },
        squares: out.squares.map(|squares| Squares {
            change: tensor(squares.change),
            value: tensor(squares.value),
        }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
