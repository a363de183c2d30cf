//! The processor's kernel against sums in f64, and its place in the graph against Burn's autodiff.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::tensor::{DType, TensorData, module};
use burn_flex::Flex;

use super::*;
use crate::checks::{assert_close, gradient, leaf, random};
use crate::plain::cast;

const VOCAB: usize = 11;
const WIDTH: usize = 7;

fn tokens<B: burn::tensor::backend::Backend>(tokens: &[i64]) -> Tensor<B, 1, Int> {
    let data = TensorData::new(tokens.to_vec(), [tokens.len()]);
    Tensor::from_data(data, &Default::default())
}

/// Rows by the kernel or by Burn, through a head that is the same matrix: the weight's gradient.
fn tied<C: CheckpointStrategy>(dtype: FloatDType, fused: bool) -> Vec<f64> {
    let weight = leaf::<C, _>(&random([VOCAB, WIDTH], 1, DType::F32), true);
    let tokens = tokens(&[3, 0, 3, 10, 3]);
    let rows: Tensor<Autodiff<Flex, C>, 2> = match fused {
        true => embedding(weight.clone(), tokens, dtype),
        false => {
            let rows = module::embedding(weight.clone(), tokens.unsqueeze());
            cast(rows.squeeze_dim(0), dtype.into())
        }
    };
    let factor = leaf::<C, _>(&random([5, WIDTH], 2, dtype.into()), false);
    let hidden = cast(rows * factor, DType::F32);
    let logits = hidden.matmul(weight.clone().transpose());
    let grads = logits.square().sum().backward();
    gradient(&weight, &grads).unwrap()
}

fn check_tied<C: CheckpointStrategy>() {
    for (dtype, tolerance) in [(FloatDType::F32, 1e-5), (FloatDType::BF16, 2e-2)] {
        let (got, want) = (tied::<C>(dtype, true), tied::<C>(dtype, false));
        assert_close(&format!("{dtype:?}"), &got, &want, 0.0, tolerance);
    }
}

#[test]
fn gradients_of_a_tied_matrix_are_those_of_burns_autodiff() {
    check_tied::<NoCheckpointing>();
    check_tied::<BalancedCheckpointing>();
}

#[test]
fn nothing_but_the_gradient_is_kept_of_a_weight() {
    let weight = leaf::<NoCheckpointing, _>(&random([VOCAB, WIDTH], 1, DType::F32), true);
    let rows = embedding(weight.clone(), tokens(&[1, 2]), FloatDType::F32);
    let weight = weight.into_primitive().tensor();
    // The step is alive while the rows are.
    assert!(weight.primitive.is_unique());
    drop(rows);
}
