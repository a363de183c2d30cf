//! LibTorch's kernels against the processor's, and what is theirs alone: memory that is used again, and chunks.

use burn::backend::{Autodiff, LibTorch};
use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use tch::{Kind, Tensor as Torch};

use super::*;
use crate::adamw::Moments;
use crate::agreement;
use crate::checks::numbers;
use crate::rms_norm::rms_norm;

#[test]
fn linear_layers_are_the_processors() {
    agreement::linear::<LibTorch>();
}

#[test]
fn attention_is_the_processors() {
    agreement::attention::<LibTorch>();
}

#[test]
fn norms_are_the_processors() {
    agreement::rms_norm::<LibTorch>();
    agreement::norm_rope::<LibTorch>();
}

#[test]
fn gates_are_the_processors() {
    agreement::swiglu::<LibTorch>();
}

#[test]
fn embeddings_are_the_processors() {
    agreement::embedding::<LibTorch>();
}

#[test]
fn losses_are_the_processors() {
    agreement::linear_cross_entropy::<LibTorch>();
}

#[test]
fn updates_are_the_processors() {
    agreement::adamw::<LibTorch>();
    agreement::square_sum::<LibTorch>();
}

type B = LibTorch;

/// Numbers on the device that kernels compute on.
fn draw(elements: usize, seed: u32) -> TchTensor {
    let data = Torch::from_slice(&numbers(elements, seed));
    TchTensor::new(data.to_device(B::device().into()))
}

fn list(x: &TchTensor) -> Vec<f32> {
    Vec::try_from(x.tensor.to_kind(Kind::Float).flatten(0, -1)).unwrap()
}

fn address(x: &TchTensor) -> usize {
    x.tensor.data_ptr().addr()
}

fn parameter() -> Parameter<TchTensor> {
    Parameter {
        value: draw(40, 1),
        grad: draw(40, 2),
        moments: Some(Moments {
            mean: draw(40, 3),
            square: TchTensor::new(draw(40, 4).tensor.square()),
        }),
    }
}

const RULE: Rule = Rule {
    grad_scale: 0.5,
    lr: 0.3,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    cautious: true,
    decay: 0.01,
    updates: 3,
};

fn update(parameter: Parameter<TchTensor>, rule: &Rule) -> Updated<TchTensor> {
    B::adamw_finish(B::adamw_begin(parameter, rule), 40, true)
}

#[test]
fn updates_change_buffers_that_nobody_else_holds() {
    let alone = parameter();
    let moments = alone.moments.as_ref().unwrap();
    let before = [&alone.value, &moments.mean, &moments.square].map(address);
    let out = update(alone, &RULE);
    let after = [&out.value, &out.moments.mean, &out.moments.square].map(address);
    assert_eq!(before, after);

    let held = parameter();
    let kept = held.clone();
    let other = update(held, &RULE);
    assert_eq!(list(&other.value), list(&out.value));
    let moments = |parameter: &Parameter<TchTensor>| {
        let moments = parameter.moments.as_ref().unwrap();
        let all = [
            &parameter.value,
            &parameter.grad,
            &moments.mean,
            &moments.square,
        ];
        all.map(list)
    };
    assert_eq!(moments(&kept), moments(&parameter()));
}

#[test]
fn not_a_number_stays_where_it_is() {
    for cautious in [false, true] {
        let parameter = parameter();
        let _ = parameter.grad.tensor.get(17).fill_(f64::NAN);
        let rule = Rule { cautious, ..RULE };
        let value = list(&update(parameter, &rule).value);
        assert!((0..40).all(|i| value[i].is_nan() == (i == 17)));
    }
}

/// Runs on a gradient that nobody else holds, and on one that is held: the sums, which are equal.
fn with_existing(add: impl Fn(TchTensor) -> TchTensor) {
    let existing = || TchTensor::new(draw(24, 9).tensor.reshape([3, 8]));
    let alone = existing();
    let pointer = address(&alone);
    let in_place = add(alone);
    assert_eq!(address(&in_place), pointer);
    let held = existing();
    let sum = add(held.clone());
    assert_eq!(list(&held), list(&existing()));
    assert_eq!(list(&sum), list(&in_place));
}

#[test]
fn gradients_that_are_there_are_added_to_in_place() {
    with_existing(|existing| {
        let input = NormInput {
            x: TchTensor::new(draw(24, 1).tensor.reshape([3, 8])),
            weight: draw(8, 2),
            epsilon: 1e-5,
        };
        let upstream = TchTensor::new(draw(24, 3).tensor.reshape([3, 8]));
        let [of_x, _] = B::rms_norm_backward(upstream, input, Some(existing), [true, false]);
        of_x.unwrap()
    });
    with_existing(|existing| {
        let upstream = TchTensor::new(draw(32, 1).tensor.reshape([4, 8]));
        let tokens = Torch::from_slice(&[2i64, 0, 2, 2]).to_device(B::device().into());
        <B as KernelsWithGrads>::embedding_backward(
            upstream,
            TchTensor::new(tokens),
            Some(existing),
            3,
        )
    });
}

#[test]
fn a_loss_is_the_same_in_chunks() {
    for dtype in [DType::F32, DType::BF16] {
        let run = |rows| {
            let input = agreement::loss_input::<LibTorch>(dtype, [23, 8, 50], 1e-2);
            let out = loss::in_chunks(input, [true; 2], rows);
            let all = [
                out.output.loss,
                out.output.nll,
                out.output.logit_square,
                out.hidden.unwrap(),
                out.weight.unwrap(),
            ];
            all.map(|x| list(&x))
        };
        // In bf16, a part of the weight's gradient is rounded on a processor before it is added.
        let tolerance = if dtype == DType::F32 { 1e-6 } else { 1e-2 };
        for (parts, whole) in run(5).iter().zip(&run(100)) {
            assert_eq!(parts.len(), whole.len());
            let scale = whole.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= tolerance * scale;
            assert!(parts.iter().zip(whole).all(near), "{dtype:?}");
        }
    }
}

#[test]
fn operands_need_not_lie_in_order() {
    let x = || draw(24, 1).tensor.reshape([4, 6]);
    let transposed = TchTensor::new(x().tr());
    let copy = TchTensor::new(x().tr().contiguous());
    let run = |x: TchTensor| {
        let weight = draw(4, 2);
        let input = NormInput {
            x: x.clone(),
            weight,
            epsilon: 1e-5,
        };
        let matrix = TchTensor::new(draw(12, 3).tensor.reshape([3, 4]));
        let upstream = TchTensor::new(draw(24, 4).tensor.reshape([6, 4]));
        let [of_x, of_weight] = B::rms_norm_backward(upstream, input.clone(), None, [true; 2]);
        [
            list(&B::rms_norm_forward(input)),
            list(&of_x.unwrap()),
            list(&of_weight.unwrap()),
            list(&B::linear_forward(x.clone(), matrix)),
            list(&B::swiglu_forward(x.clone(), x)),
        ]
    };
    let (found, wanted) = (run(transposed), run(copy));
    for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
        assert!((found - wanted).abs() <= 1e-5, "{found}, not {wanted}");
    }
}

#[test]
fn burns_graph_runs_on_these_kernels() {
    type Ad = Autodiff<LibTorch>;
    let device = B::device();
    let leaf = |seed| {
        let data = TensorData::new(numbers(24, seed), [3, 8]);
        Tensor::<Ad, 2>::from_data(data, &device).require_grad()
    };
    let (x, weight) = (leaf(1), leaf(2).slice([0..1]).flatten::<1>(0, 1));
    let out = rms_norm(x.clone(), weight, 1e-5);
    let grads = (out.clone() * out).sum().backward();
    let grad = x.grad(&grads).unwrap();
    let TensorPrimitive::Float(grad) = grad.into_primitive() else {
        unreachable!("not quantized");
    };
    // A norm's output does not depend on the scale of its input: the gradient is orthogonal to it, but for ε.
    let input: Vec<f32> = numbers(24, 1);
    for (row, grad) in input.chunks(8).zip(list(&grad).chunks(8)) {
        let dot: f32 = row.iter().zip(grad).map(|(x, g)| x * g).sum();
        let size: f32 = grad.iter().map(|g| g.abs()).sum();
        assert!(size > 0.1 && dot.abs() < 1e-3 * size, "{dot} {size}");
    }
}
