//! The processor's kernel against the reference, and both against Burn's own autodiff.

use burn::backend::Autodiff;
use burn::tensor::{Distribution, IndexingUpdateOp, Int, Tensor, TensorData};
use burn_flex::Flex;

use super::*;
use crate::KernelsWithGrads;

type Ad = Autodiff<Flex>;

struct Case {
    hidden: Tensor<Flex, 2>,
    weight: Tensor<Flex, 2>,
    targets: Tensor<Flex, 1, Int>,
    token_weights: Tensor<Flex, 1>,
}

/// Rows with weight 0 among them, the vocabulary not a multiple of the tile.
fn case(tokens: usize, width: usize, vocab: usize) -> Case {
    let device = Default::default();
    let random =
        |shape: [usize; 2], std| Tensor::random(shape, Distribution::Normal(0.0, std), &device);
    let targets: Vec<i64> = (0..tokens)
        .map(|i| ((i * 7919 + 13) % vocab) as i64)
        .collect();
    let weights: Vec<f32> = (0..tokens)
        .map(|i| {
            if i % 3 == 0 {
                0.0
            } else {
                0.1 * (i % 5) as f32
            }
        })
        .collect();
    Case {
        hidden: random([tokens, width], 1.0),
        weight: random([vocab, width], 0.5),
        targets: Tensor::from_data(TensorData::new(targets, [tokens]), &device),
        token_weights: Tensor::from_data(TensorData::new(weights, [tokens]), &device),
    }
}

fn input(case: &Case, z_loss: f32) -> LossInput<Flex> {
    LossInput {
        hidden: case.hidden.clone().into_primitive().tensor(),
        weight: case.weight.clone().into_primitive().tensor(),
        targets: case.targets.clone().into_primitive(),
        token_weights: case.token_weights.clone().into_primitive().tensor(),
        z_loss,
    }
}

fn values(primitive: FloatTensor<Flex>, shape: &[usize]) -> Vec<f32> {
    assert_eq!(primitive.layout().shape().to_vec(), shape);
    primitive
        .to_contiguous()
        .as_slice::<f32>()
        .unwrap()
        .to_vec()
}

fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    let scale = want.iter().fold(0f32, |max, x| max.max(x.abs()));
    let error = got
        .iter()
        .zip(want)
        .fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    assert_eq!(got.len(), want.len());
    assert!(error <= tolerance * scale, "error {error} of {scale}");
}

#[test]
fn processor_equals_reference() {
    for (tokens, width, vocab) in [(1, 8, 5), (37, 24, 517), (300, 16, 2500)] {
        let case = case(tokens, width, vocab);
        let got = Flex::linear_cross_entropy_with_grads(input(&case, 1e-2), [true; 2]);
        let want = reference::linear_cross_entropy::<Flex>(input(&case, 1e-2), [true; 2]);
        let (found, known) = (got.output, want.output);
        assert_close(&values(found.loss, &[1]), &values(known.loss, &[1]), 1e-5);
        for (got, want) in [
            (found.nll, known.nll),
            (found.logit_square, known.logit_square),
        ] {
            assert_close(&values(got, &[tokens]), &values(want, &[tokens]), 1e-5);
        }
        let shape = [tokens, width];
        assert_close(
            &values(got.hidden.unwrap(), &shape),
            &values(want.hidden.unwrap(), &shape),
            1e-5,
        );
        let shape = [vocab, width];
        assert_close(
            &values(got.weight.unwrap(), &shape),
            &values(want.weight.unwrap(), &shape),
            1e-5,
        );
    }
}

#[test]
fn gradients_equal_those_of_burns_autodiff() {
    let case = case(37, 24, 1100);
    let track = |x: &Tensor<Flex, 2>| Tensor::<Ad, 2>::from_inner(x.clone()).require_grad();
    let (targets, weights) = (
        Tensor::from_inner(case.targets.clone()),
        Tensor::from_inner(case.token_weights.clone()),
    );

    let (hidden, weight) = (track(&case.hidden), track(&case.weight));
    let loss = linear_cross_entropy::<Ad>(
        hidden.clone(),
        weight.clone(),
        targets.clone(),
        Tensor::clone(&weights),
        1e-2,
    )
    .loss;
    let grads = (loss.clone() * 0.37).backward();
    let got = [hidden.grad(&grads).unwrap(), weight.grad(&grads).unwrap()];

    let (hidden, weight) = (track(&case.hidden), track(&case.weight));
    let logits = hidden.clone().matmul(weight.clone().transpose());
    let lse = logits.clone().exp().sum_dim(1).log();
    let nll = lse.clone() - logits.gather(1, targets.unsqueeze_dim(1));
    let want_loss = ((nll + lse.square() * 1e-2).squeeze_dim::<1>(1) * weights).sum();
    let grads = (want_loss.clone() * 0.37).backward();
    let want = [hidden.grad(&grads).unwrap(), weight.grad(&grads).unwrap()];

    assert_close(&[loss.into_scalar()], &[want_loss.into_scalar()], 1e-5);
    for (got, want) in got.into_iter().zip(want) {
        assert_close(
            &got.into_data().to_vec().unwrap(),
            &want.into_data().to_vec().unwrap(),
            1e-5,
        );
    }
}

#[test]
fn only_wanted_gradients_are_made() {
    let case = case(20, 8, 40);
    for need in [[false, false], [true, false], [false, true]] {
        for out in [
            Flex::linear_cross_entropy_with_grads(input(&case, 0.0), need),
            reference::linear_cross_entropy::<Flex>(input(&case, 0.0), need),
        ] {
            assert_eq!([out.hidden.is_some(), out.weight.is_some()], need);
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let case = case(64, 16, 20_000);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let out =
            pool.install(|| Flex::linear_cross_entropy_with_grads(input(&case, 1e-4), [true; 2]));
        (
            values(out.hidden.unwrap(), &[64, 16]),
            values(out.weight.unwrap(), &[20_000, 16]),
        )
    };
    assert_eq!(run(1), run(2));
}

#[test]
fn scatter_adds() {
    // The reference relies on scatter-add for the one-hot term; Burn's operation is pinned here.
    let device = Default::default();
    let x = Tensor::<Flex, 2>::zeros([1, 3], &device);
    let index = Tensor::<Flex, 2, Int>::from_data([[2]], &device);
    let y = x.scatter(
        1,
        index,
        Tensor::from_data([[-1.5]], &device),
        IndexingUpdateOp::Add,
    );
    assert_eq!(y.into_data().to_vec::<f32>().unwrap(), [0.0, 0.0, -1.5]);
}
