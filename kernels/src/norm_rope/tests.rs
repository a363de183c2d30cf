//! The processor's kernel against the formulas in f64, and its place in the graph against Burn's autodiff.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::tensor::{DType, TensorData};
use burn_flex::Flex;

use super::*;
use crate::checks::{assert_close, gradient, leaf, primitive, random};
use crate::plain::tensor;

const EPSILON: f64 = 1e-5;

/// Tables of angles that are no multiples of each other.
fn tables(time: usize, half: usize) -> Tables<Tensor<Flex, 2>> {
    let angles: Vec<f32> = (0..time * half)
        .map(|i| (i * i % 97) as f32 * 0.3)
        .collect();
    let table = |f: fn(f32) -> f32| {
        let values: Vec<f32> = angles.iter().map(|&angle| f(angle)).collect();
        Tensor::from_data(TensorData::new(values, [time, half]), &Default::default())
    };
    Tables {
        cos: table(f32::cos),
        sin: table(f32::sin),
    }
}

/// Queries by the kernel or by plain operations: their gradients.
fn gradients<C: CheckpointStrategy>(
    dtype: DType,
    tracked: [bool; 2],
    fused: bool,
) -> [Option<Vec<f64>>; 2] {
    let shape = [2, 3, 2, 12];
    let factor = leaf::<C, _>(&random(shape, 5, dtype), false);
    let x = leaf::<C, _>(&random(shape, 1, dtype), tracked[0]);
    let weight = leaf::<C, _>(&random([12], 2, DType::F32), tracked[1]);
    let Tables { cos, sin } = tables(3, 6);
    let [cos, sin] = [cos, sin].map(|table| leaf::<C, _>(&table, false));
    let product = x.clone() * factor.clone();
    let out: Tensor<Autodiff<Flex, C>, 4> = match fused {
        true => norm_rope(product, weight.clone(), cos, sin, EPSILON),
        false => tensor(reference::forward::<Autodiff<Flex, C>>(NormRopeInput {
            x: primitive(&product),
            weight: primitive(&weight),
            tables: Tables {
                cos: primitive(&cos),
                sin: primitive(&sin),
            },
            epsilon: EPSILON,
        })),
    };
    let grads = (out.clone() * out * factor).sum().backward();
    [gradient(&x, &grads), gradient(&weight, &grads)]
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
