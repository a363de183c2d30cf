//! The processor's kernel against the formulas in f64, and its place in the graph against Burn's autodiff.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::tensor::DType;
use burn_flex::Flex;

use super::*;
use crate::checks::{assert_close, gradient, leaf, primitive, random};
use crate::plain::tensor;

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
