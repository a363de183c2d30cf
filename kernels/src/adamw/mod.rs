//! One AdamW update of a parameter, in as few passes over memory as it takes.
//!
//! AdamW (Loshchilov & Hutter, arXiv 1711.05101) as PyTorch computes it, and its cautious form (Liang et al., arXiv
//! 2411.16085). Written as tensor operations it passes a dozen times over four arrays as large as the model; its arithmetic
//! is nothing beside that.
//!
//! An update has two halves, [`begin`] and [`Begun::finish`], for parameters whose pieces are updated by different processes
//! (ZeRO-1: Rajbhandari et al., arXiv 1910.02054): a cautious step depends on how many elements of the whole parameter agree
//! with their gradient, and that is added up over the pieces between the halves. All else is by the element.

pub(crate) mod cpu;
pub mod reference;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use crate::OptimizerKernels;
use crate::plain::tensor;

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

/// A flattened parameter, or a piece of one, before an update, `[elements]` each.
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

/// A [`Parameter`] between the halves of its update.
#[derive(Clone, Debug)]
pub struct Begun<T> {
    /// Not updated yet, `[elements]`.
    pub value: T,
    /// The gradient, or the steps that the backend has made of it already, `[elements]`.
    pub grad: T,
    /// With the gradient in them if the backend has taken it in already.
    pub moments: Moments<T>,
    /// What the update goes by.
    pub rule: Rule,
    /// How many elements agree with their gradient, `[1]`, if the rule is cautious. Of a piece, the sum over all pieces is to
    /// be put here.
    ///
    /// In f32, in which counts to 2²⁴ are exact and greater ones good to 6e-8, no more than a step's own rounding.
    pub agreeing: Option<T>,
}

/// A flattened parameter, or a piece of one, after an update.
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

impl<T> Parameter<T> {
    pub(crate) fn map<U>(self, f: impl Fn(T) -> U) -> Parameter<U> {
        Parameter {
            value: f(self.value),
            grad: f(self.grad),
            moments: self.moments.map(|moments| moments.map(f)),
        }
    }
}

impl<T> Moments<T> {
    pub(crate) fn map<U>(self, f: impl Fn(T) -> U) -> Moments<U> {
        Moments {
            mean: f(self.mean),
            square: f(self.square),
        }
    }
}

impl<T> Begun<T> {
    pub(crate) fn map<U>(self, f: impl Fn(T) -> U) -> Begun<U> {
        Begun {
            value: f(self.value),
            grad: f(self.grad),
            moments: self.moments.map(&f),
            rule: self.rule,
            agreeing: self.agreeing.map(f),
        }
    }
}

impl<T> Updated<T> {
    pub(crate) fn map<U>(self, f: impl Fn(T) -> U) -> Updated<U> {
        Updated {
            value: f(self.value),
            moments: self.moments.map(&f),
            squares: self.squares.map(|squares| Squares {
                change: f(squares.change),
                value: f(squares.value),
            }),
        }
    }
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
    begin(parameter, rule).finish(elements, measure)
}

/// The first half of [`adamw`], for a parameter or a piece of one: finds the elements with `c = 1[u · g > 0]` if the rule is
/// cautious.
///
/// # Shapes
/// `[elements]` for all of `parameter`, `[1]` for their count.
///
/// # Panics
/// If gradient or moments have another length than the value.
pub fn begin<B: OptimizerKernels>(
    parameter: Parameter<Tensor<B, 1>>,
    rule: &Rule,
) -> Begun<Tensor<B, 1>> {
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
    B::adamw_begin(parameter.map(primitive), rule).map(tensor)
}

impl<B: OptimizerKernels> Begun<Tensor<B, 1>> {
    /// The second half of [`adamw`]. A cautious step is `u · c / (mean(c) + ε)` with `mean(c) = agreeing / elements`, of the
    /// whole parameter both: `elements` is its length, not that of the piece.
    ///
    /// # Shapes
    /// `[elements]` of the piece for value and moments, `[1]` for its sums of squares, which add up to those of the whole.
    ///
    /// # Panics
    /// If the rule is cautious and the count of agreeing elements is not `[1]`.
    pub fn finish(self, elements: usize, measure: bool) -> Updated<Tensor<B, 1>> {
        let found = self.agreeing.as_ref().map(|agreeing| agreeing.dims());
        let wanted = self.rule.cautious.then_some([1]);
        assert_eq!(found, wanted, "adamw: the count of agreeing elements");
        B::adamw_finish(self.map(primitive), elements, measure).map(tensor)
    }
}

fn primitive<B: Backend>(tensor: Tensor<B, 1>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

#[cfg(test)]
pub(crate) mod tests;
