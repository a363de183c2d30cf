//! Time of optimizer steps (global norm, clip, AdamW) over parameters of given lengths, for `scripts/bench_optimizer.py`:
//!
//! ```text
//! cargo run --release -p kernels --example adamw_speed -- plain|fused adamw|cautious STEPS LENGTH...
//! ```
//! prints the seconds of each step. `plain` is the default of every backend, `fused` the processor's own.

use std::error::Error;
use std::time::Instant;

use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{Distribution, Tensor, TensorMetadata, TensorPrimitive};
use burn_flex::Flex;
use kernels::OptimizerKernels;
use kernels::adamw::{Begun, Moments, Parameter, Rule, Updated, reference};

type Primitive = FloatTensor<Flex>;

/// What is timed.
#[derive(Clone, Copy)]
struct Variant {
    begin: fn(Parameter<Primitive>, &Rule) -> Begun<Primitive>,
    finish: fn(Begun<Primitive>, usize, bool) -> Updated<Primitive>,
    square_sum: fn(Primitive) -> Primitive,
}

const PLAIN: Variant = Variant {
    begin: reference::begin::<Flex>,
    finish: reference::finish::<Flex>,
    square_sum: |x| Flex::float_sum(Flex::float_mul(x.clone(), x)),
};
const FUSED: Variant = Variant {
    begin: Flex::adamw_begin,
    finish: Flex::adamw_finish,
    square_sum: Flex::square_sum,
};

/// Value and moments of a parameter between steps.
struct State {
    value: Primitive,
    moments: Option<Moments<Primitive>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage =
        "give plain or fused, adamw or cautious, a number of steps, and the lengths of parameters";
    let [variant, rule, steps, lengths @ ..] = arguments.as_slice() else {
        return Err(usage.into());
    };
    let variant = match variant.as_str() {
        "plain" => PLAIN,
        "fused" => FUSED,
        _ => return Err(usage.into()),
    };
    let cautious = match rule.as_str() {
        "adamw" => false,
        "cautious" => true,
        _ => return Err(usage.into()),
    };
    let lengths: Vec<usize> = lengths
        .iter()
        .map(|x| x.parse())
        .collect::<Result<_, _>>()?;
    let state = |&length| State {
        value: random(length),
        moments: None,
    };
    let mut states: Vec<State> = lengths.iter().map(state).collect();
    for updates in 1..=steps.parse()? {
        let grads: Vec<Primitive> = lengths.iter().map(|&length| random(length)).collect();
        let rule = Rule {
            grad_scale: 1.0,
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            cautious,
            decay: 1e-4,
            updates,
        };
        let start = Instant::now();
        step(variant, &mut states, grads, rule);
        println!("{}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn step(variant: Variant, states: &mut Vec<State>, grads: Vec<Primitive>, rule: Rule) {
    let square = |grad: &Primitive| {
        let sum = TensorPrimitive::Float((variant.square_sum)(grad.clone()));
        f64::from(Tensor::<Flex, 1>::from_primitive(sum).into_scalar())
    };
    let norm = grads.iter().map(square).sum::<f64>().sqrt();
    let rule = Rule {
        grad_scale: norm.recip().min(1.0),
        ..rule
    };
    let update = |(state, grad): (State, Primitive)| {
        let parameter = Parameter {
            value: state.value,
            grad,
            moments: state.moments,
        };
        let elements = parameter.value.shape().num_elements();
        let updated = (variant.finish)((variant.begin)(parameter, &rule), elements, false);
        State {
            value: updated.value,
            moments: Some(updated.moments),
        }
    };
    *states = states.drain(..).zip(grads).map(update).collect();
}

fn random(length: usize) -> Primitive {
    let normal = Distribution::Normal(0.0, 1.0);
    let tensor = Tensor::<Flex, 1>::random([length], normal, &Default::default());
    tensor.into_primitive().tensor()
}
