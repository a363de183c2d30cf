//! The processor's kernel against the formulas in f64, and its place in the graph against Burn's autodiff.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::tensor::{DType, TensorData};
use burn_flex::{Flex, FlexTensor};
use proptest::prelude::*;

use super::*;
use crate::KernelsWithGrads;
use crate::checks::{
    assert_close, differences, doubles, gradient, leaf, primitive, random, values, with_threads,
};
use crate::gemm::lanes::Isa;
use crate::pieces::PIECE;
use crate::plain::{cast, tensor};

/// A gate by the kernel or by plain operations: the gradients.
fn gradients<C: CheckpointStrategy>(
    dtype: DType,
    tracked: [bool; 2],
    fused: bool,
) -> [Option<Vec<f64>>; 2] {
    let shape = [2, 3, 7];
    let factor = leaf::<C, _>(&random(shape, 5, dtype), false);
    let [gate, up] = [0, 1].map(|i| leaf::<C, _>(&random(shape, i as u32, dtype), tracked[i]));
    let (gates, ups) = (gate.clone() * factor.clone() * 3.0, up.clone());
    let out: Tensor<Autodiff<Flex, C>, 3> = match fused {
        true => swiglu(gates, ups),
        false => tensor(reference::forward::<Autodiff<Flex, C>>(
            primitive(&gates),
            primitive(&ups),
        )),
    };
    let grads = (out.clone() * out * factor).sum().backward();
    [gradient(&gate, &grads), gradient(&up, &grads)]
}

fn check_gradients<C: CheckpointStrategy>() {
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 2e-2)] {
        for tracked in [[true, true], [true, false], [false, true]] {
            let got = gradients::<C>(dtype, tracked, true);
            let want = gradients::<C>(dtype, tracked, false);
            for ((got, want), tracked) in got.into_iter().zip(want).zip(tracked) {
                assert_eq!([got.is_some(), want.is_some()], [tracked; 2]);
                if let (Some(got), Some(want)) = (got, want) {
                    assert_close(&format!("{dtype:?} gradient"), &got, &want, 0.0, tolerance);
                }
            }
        }
    }
}

#[test]
fn gradients_are_those_of_burns_autodiff() {
    check_gradients::<NoCheckpointing>();
}

#[test]
fn gradients_are_the_same_when_the_output_is_recomputed() {
    check_gradients::<BalancedCheckpointing>();
}

fn sigmoid(x: f64) -> f64 {
    (1.0 + (-x).exp()).recip()
}

/// Upstream gradient, gates between -30 and 30, and what they are for.
fn operands(count: usize, dtype: DType) -> [FlexTensor; 3] {
    let gate = cast(random([count], 2, DType::F32) * 30.0, dtype);
    let [upstream, up] = [1, 3].map(|seed| primitive(&random([count], seed, dtype)));
    [upstream, primitive(&gate), up]
}

/// The product, and the gradients of gate and up.
type Results = (FlexTensor, [FlexTensor; 2]);

fn by_isa(isa: Isa, [upstream, gate, up]: [FlexTensor; 3]) -> Results {
    let out = cpu::forward(isa, gate.clone(), up.clone());
    (out, cpu::backward(isa, upstream, gate, up))
}

fn by_reference([upstream, gate, up]: [FlexTensor; 3]) -> Results {
    let out = reference::forward::<Flex>(gate.clone(), up.clone());
    (out, reference::backward::<Flex>(upstream, gate, up))
}

/// On a backend's device.
#[cfg(feature = "wgpu")]
pub(crate) fn by_backend<B: KernelsWithGrads>(operands: [FlexTensor; 3]) -> Results {
    use crate::checks::{fetched, sent};
    let [upstream, gate, up] = operands.each_ref().map(sent::<B>);
    let out = fetched::<B>(B::swiglu_forward(gate.clone(), up.clone()));
    (
        out,
        B::swiglu_backward(upstream, gate, up).map(fetched::<B>),
    )
}

/// Compares each element of what `run` makes with its formula: errors relative to its terms.
pub(crate) fn check(count: usize, dtype: DType, run: impl Fn([FlexTensor; 3]) -> Results) {
    let [upstream, gate, up] = operands(count, dtype);
    let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-2 };
    let smallest = if dtype == DType::F16 { 1e-2 } else { 1e-30 };
    let (us, gs, ups) = (values(&upstream), values(&gate), values(&up));
    let near = |what: &str, got: &FlexTensor, want: &dyn Fn(usize) -> (f64, f64)| {
        assert_eq!(got.dtype(), dtype);
        for (i, got) in values(got).into_iter().enumerate() {
            let (want, terms) = want(i);
            // Below the smallest normal number, digits are lost.
            let scale = terms.abs() + smallest;
            assert!(
                (got - want).abs() <= tolerance * scale,
                "{what} {i}: {got}, not {want}"
            );
        }
    };
    let product = |i: usize| {
        let y = gs[i] * sigmoid(gs[i]) * ups[i];
        (y, y)
    };
    let of_gate = |i: usize| {
        let (g, sigma) = (gs[i], sigmoid(gs[i]));
        let part = us[i] * ups[i] * sigma;
        let rest = g * (1.0 - sigma);
        (part * (1.0 + rest), part.abs() * (1.0 + rest.abs()))
    };
    let of_up = |i: usize| {
        let grad = us[i] * gs[i] * sigmoid(gs[i]);
        (grad, grad)
    };
    let (out, [gate, up]) = run([upstream, gate, up]);
    near("product", &out, &product);
    near("gate", &gate, &of_gate);
    near("up", &up, &of_up);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_and_gradients_are_those_of_the_formulas(
        count in prop_oneof![1..100usize, PIECE - 1..PIECE + 2, 2 * PIECE..2 * PIECE + 50],
        half: bool,
    ) {
        let dtype = if half { DType::BF16 } else { DType::F32 };
        for isa in Isa::available() {
            check(count, dtype, |operands| by_isa(isa, operands));
        }
        check(count, dtype, by_reference);
    }
}

#[test]
fn gradients_are_the_slopes_of_the_formula() {
    let [upstream, gate, up] = operands(9, DType::F32);
    let (us, gates, ups) = (values(&upstream), values(&gate), values(&up));
    let loss = |gates: &[f64], ups: &[f64]| -> f64 {
        let y = |i: usize| us[i] * gates[i] * sigmoid(gates[i]) * ups[i];
        (0..gates.len()).map(y).sum()
    };
    let want = [
        differences(|gates| loss(gates, &ups), &gates),
        differences(|ups| loss(&gates, ups), &ups),
    ];
    for (got, want) in Flex::swiglu_backward(upstream, gate, up).iter().zip(want) {
        assert_close("slope", &values(got), &want, 1.0, 1e-5);
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let [upstream, gate, up] = operands(3 * PIECE + 7, DType::F32);
    let run = |threads| {
        with_threads(threads, || {
            let out = Flex::swiglu_forward(gate.clone(), up.clone());
            let [gate, up] = Flex::swiglu_backward(upstream.clone(), gate.clone(), up.clone());
            [out, gate, up].map(|tensor| values(&tensor))
        })
    };
    let one = run(1);
    assert!([2, 3].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn the_inputs_buffers_are_taken_over_unless_others_hold_them() {
    for dtype in [DType::F32, DType::BF16] {
        let [upstream, gate, up] = operands(50, dtype);
        let before = [&upstream, &gate, &up].map(values);
        let kept = Flex::swiglu_backward(upstream.clone(), gate.clone(), up.clone());
        assert_eq!([&upstream, &gate, &up].map(values), before);
        let pointers = [&gate, &up].map(|tensor| tensor.bytes().as_ptr());
        let taken = Flex::swiglu_backward(upstream, gate, up);
        assert_eq!(
            taken.each_ref().map(|tensor| tensor.bytes().as_ptr()),
            pointers
        );
        assert_eq!(taken.each_ref().map(values), kept.each_ref().map(values));
    }
}

#[test]
fn large_and_undefined_gates_stay_what_they_are() {
    let gates = [1e4, -1e4, f32::NAN, f32::INFINITY, 0.0];
    let gate = Tensor::<Flex, 1>::from_data(TensorData::from(gates), &Default::default());
    let out = doubles(&swiglu(gate, Tensor::ones([5], &Default::default())));
    assert_eq!([out[0], out[3], out[4]], [1e4, f64::INFINITY, 0.0]);
    assert!(out[1].abs() < 1e-20 && out[2].is_nan());
}

#[test]
#[should_panic(expected = "swiglu: gate is ([2, 3], F32), up ([3, 2], F32)")]
fn shapes_that_differ_are_named() {
    let [gate, up] = [[2, 3], [3, 2]].map(|shape| random::<2>(shape, 1, DType::F32));
    swiglu::<Flex, 2>(gate, up);
}
