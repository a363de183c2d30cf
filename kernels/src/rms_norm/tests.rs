//! The processor's norm against the formulas in f64, and its place in the graph against Burn's autodiff.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::tensor::DType;
use burn_flex::Flex;

use super::*;
use crate::checks::{assert_close, gradient, leaf, primitive, random, values};
use crate::plain::tensor;

const EPSILON: f64 = 1e-5;

/// The plain norm, in Burn's graph.
fn plain<C: CheckpointStrategy>(
    x: Tensor<Autodiff<Flex, C>, 3>,
    weight: Tensor<Autodiff<Flex, C>, 1>,
) -> Tensor<Autodiff<Flex, C>, 3> {
    let out = reference::forward::<Autodiff<Flex, C>>(NormInput {
        x: primitive(&x),
        weight: primitive(&weight),
        epsilon: EPSILON,
    });
    tensor(out)
}

/// Two layers of a residual stream, whose parts go elsewhere too, by the kernels or by plain operations: loss and gradients.
fn layers<C: CheckpointStrategy>(
    dtype: DType,
    tracked: [bool; 4],
    fused: bool,
) -> (f64, Vec<Option<Vec<f64>>>) {
    let shape = [2, 3, 20];
    let factor = leaf::<C, _>(&random(shape, 5, dtype), false);
    let x = leaf::<C, _>(&random(shape, 1, dtype), tracked[0]);
    let delta = leaf(&random(shape, 2, dtype), tracked[1]);
    let weights =
        [3, 4].map(|seed| leaf(&random([20], seed, DType::F32), tracked[seed as usize - 1]));
    let layer = |x: Tensor<_, 3>, delta, weight: &Tensor<_, 1>| match fused {
        true => add_rms_norm(x, delta, weight.clone(), EPSILON),
        false => {
            let sum = x + delta;
            (sum.clone(), plain(sum, weight.clone()))
        }
    };
    let (stream, normed) = layer(x.clone() * factor.clone(), delta.clone(), &weights[0]);
    let (stream, normed) = layer(stream, normed.clone() * normed, &weights[1]);
    let normed = match fused {
        true => rms_norm(normed.clone(), weights[0].clone(), EPSILON) * normed,
        false => plain(normed.clone(), weights[0].clone()) * normed,
    };
    let loss = (stream * factor + normed).sum();
    let value = values(&primitive(&loss.clone().inner()))[0];
    let grads = loss.backward();
    let of_weights = weights.iter().map(|weight| gradient(weight, &grads));
    let grads = [gradient(&x, &grads), gradient(&delta, &grads)];
    (value, grads.into_iter().chain(of_weights).collect())
}

fn check_layers<C: CheckpointStrategy>() {
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 3e-2)] {
        for tracked in 1..16 {
            let tracked = [0, 1, 2, 3].map(|bit| tracked >> bit & 1 == 1);
            let (loss, grads) = layers::<C>(dtype, tracked, true);
            let (want_loss, want) = layers::<C>(dtype, tracked, false);
            assert_close("loss", &[loss], &[want_loss], 30.0, tolerance);
            for ((got, want), tracked) in grads.into_iter().zip(want).zip(tracked) {
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
    check_layers::<NoCheckpointing>();
}

#[test]
fn gradients_are_the_same_when_norms_are_recomputed() {
    check_layers::<BalancedCheckpointing>();
}
