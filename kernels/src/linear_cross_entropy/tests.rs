//! The processor's kernel against the reference, and both against Burn's own autodiff.

use burn::backend::Autodiff;
use burn::tensor::ops::FloatTensorOps;
use burn::tensor::{DType, Distribution, FloatDType, IndexingUpdateOp, Int, Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};
use proptest::prelude::*;

use super::*;
use crate::KernelsWithGrads;

type Ad = Autodiff<Flex>;

/// Weight of the z-loss, large, so that an error in it is seen.
const Z_LOSS: f32 = 1e-2;

pub(crate) struct Case {
    pub hidden: Tensor<Flex, 2>,
    pub weight: Tensor<Flex, 2>,
    targets: Tensor<Flex, 1, Int>,
    token_weights: Tensor<Flex, 1>,
}

/// Rows with weight 0 among them, the vocabulary not a multiple of the tile.
pub(crate) fn case(tokens: usize, width: usize, vocab: usize) -> Case {
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
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance * scale, "{got}, not {want}");
    }
}

/// Loss, likelihoods, squares and gradients in f64, in this order; and the size of what was added up for each.
fn exact(case: &Case, z_loss: f64) -> [(Vec<f64>, Vec<f64>); 5] {
    let double = |tensor: &Tensor<Flex, 2>| -> Vec<f64> {
        let data = tensor.clone().into_data();
        data.iter::<f64>().collect()
    };
    let ([tokens, width], [vocab, _]) = (case.hidden.dims(), case.weight.dims());
    let (hidden, weight) = (double(&case.hidden), double(&case.weight));
    let targets: Vec<i64> = case.targets.to_data().iter::<i64>().collect();
    let weights: Vec<f64> = case.token_weights.to_data().iter::<f64>().collect();
    let lengths = [1, tokens, tokens, tokens * width, vocab * width];
    let mut out = lengths.map(|length| (vec![0.0; length], vec![0.0; length]));
    let mut add = |part: usize, at: usize, terms: &[f64]| {
        let (sums, sizes) = &mut out[part];
        for term in terms {
            sums[at] += term;
            sizes[at] += term.abs();
        }
    };
    for token in 0..tokens {
        let x = &hidden[token * width..][..width];
        let row = |id: usize| &weight[id * width..][..width];
        let dot = |id: usize| x.iter().zip(row(id)).map(|(x, w)| x * w).sum::<f64>();
        let logits: Vec<f64> = (0..vocab).map(dot).collect();
        let max = logits.iter().copied().fold(f64::MIN, f64::max);
        let lse = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
        let target = targets[token] as usize;
        let w = weights[token];
        add(
            0,
            0,
            &[w * lse, -w * logits[target], w * z_loss * lse * lse],
        );
        add(1, token, &[lse, -logits[target]]);
        let squares: Vec<f64> = logits.iter().map(|x| x * x / vocab as f64).collect();
        add(2, token, &squares);
        for (id, logit) in logits.iter().enumerate() {
            let hit = f64::from(u8::from(id == target));
            let grad = [
                w * (1.0 + 2.0 * z_loss * lse) * (logit - lse).exp(),
                -w * hit,
            ];
            for (i, (x, of_row)) in x.iter().zip(row(id)).enumerate() {
                add(3, token * width + i, &grad.map(|grad| grad * of_row));
                add(4, id * width + i, &grad.map(|grad| grad * x));
            }
        }
    }
    out
}

fn check(case: &Case, tolerance: f64) {
    let fast = Flex::linear_cross_entropy_with_grads(input(case, Z_LOSS), [true; 2]);
    check_output("fast", case, tolerance, fast);
    // In bf16 Burn's sums are bf16, too: the plain kernel says nothing there.
    if case.hidden.dtype() == DType::F32 {
        let plain = reference::linear_cross_entropy::<Flex>(input(case, Z_LOSS), [true; 2]);
        check_output("plain", case, tolerance, plain);
    }
}

/// Compares what a kernel makes of a case with the formulas.
pub(crate) fn check_output(name: &str, case: &Case, tolerance: f64, out: LossAndGrads<FlexTensor>) {
    let want = exact(case, f64::from(Z_LOSS));
    let [tokens, width] = case.hidden.dims();
    let vocab = case.weight.dims()[0];
    let hidden = out.hidden.unwrap();
    assert_eq!(hidden.dtype(), case.hidden.dtype());
    let hidden = Flex::float_cast(hidden, FloatDType::F32);
    let got = [
        values(out.output.loss, &[1]),
        values(out.output.nll, &[tokens]),
        values(out.output.logit_square, &[tokens]),
        values(hidden, &[tokens, width]),
        values(out.weight.unwrap(), &[vocab, width]),
    ];
    for (part, (got, (want, sizes))) in got.iter().zip(&want).enumerate() {
        let scale = sizes.iter().copied().fold(0.0, f64::max);
        let errors = got.iter().zip(want).map(|(a, b)| (f64::from(*a) - b).abs());
        // The largest, and NaN if there is one.
        let error = errors.fold(0.0, |max: f64, error| match error > max || error.is_nan() {
            true => error,
            false => max,
        });
        assert_eq!(got.len(), want.len());
        assert!(
            error <= tolerance * scale,
            "{name}, {tokens} tokens, {width} wide, {vocab} ids: part {part} is off by {error} of {scale}"
        );
    }
}

/// A case on a backend's device.
#[cfg(feature = "wgpu")]
pub(crate) fn sent_case<B: Backend>(case: &Case) -> LossInput<B> {
    use crate::checks::{primitive, sent};
    let targets = Tensor::<B, 1, Int>::from_data(case.targets.to_data(), &Default::default());
    LossInput {
        hidden: sent::<B>(&primitive(&case.hidden)),
        weight: sent::<B>(&primitive(&case.weight)),
        targets: targets.into_primitive(),
        token_weights: sent::<B>(&primitive(&case.token_weights)),
        z_loss: Z_LOSS,
    }
}

/// Back on the processor.
#[cfg(feature = "wgpu")]
pub(crate) fn fetched_output<B: Backend>(
    out: LossAndGrads<FloatTensor<B>>,
) -> LossAndGrads<FlexTensor> {
    use crate::checks::fetched;
    LossAndGrads {
        output: LossOutput {
            loss: fetched::<B>(out.output.loss),
            nll: fetched::<B>(out.output.nll),
            logit_square: fetched::<B>(out.output.logit_square),
        },
        hidden: out.hidden.map(fetched::<B>),
        weight: out.weight.map(fetched::<B>),
    }
}

#[test]
fn loss_and_gradients_are_those_of_f64() {
    for (tokens, width, vocab) in [
        (1, 8, 5),
        (37, 24, 517),
        (300, 16, 2500),
        (263, 7, 700),
        (4200, 4, 20),
    ] {
        let mut case = case(tokens, width, vocab);
        check(&case, 1e-5);
        case.hidden = case.hidden.cast(DType::BF16);
        check(&case, 1e-2);
    }
}

/// Logits far above that of the target, in a late tile for some rows and in the first for others.
#[test]
fn large_logits_raise_the_reference() {
    let mut case = case(40, 8, 3000);
    case.hidden = case.hidden * 30.0;
    check(&case, 2e-5); // logits of some hundreds have errors of 1e-5
    let far = |row: f32| Tensor::<Flex, 2>::ones([1, 8], &Default::default()) * row;
    case.weight = case.weight.slice_assign([2990..2991, 0..8], far(3.0));
    case.weight = case.weight.slice_assign([10..11, 0..8], far(-3.0));
    check(&case, 2e-5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn shapes_of_any_size_are_right(
        tokens in 1..40usize,
        width in 1..40usize,
        vocab in prop_oneof![1..10usize, 240..280usize, 500..530usize],
        half: bool,
    ) {
        let mut case = case(tokens, width, vocab);
        if half {
            case.hidden = case.hidden.cast(DType::BF16);
        }
        check(&case, if half { 1e-2 } else { 1e-5 });
    }
}

#[test]
fn rows_without_weight_have_no_gradient() {
    let mut case = case(30, 8, 600);
    case.token_weights = case.token_weights * 0.0;
    let out = Flex::linear_cross_entropy_with_grads(input(&case, 1e-2), [true; 2]);
    assert_eq!(values(out.output.loss, &[1]), [0.0]);
    assert!(
        values(out.hidden.unwrap(), &[30, 8])
            .iter()
            .all(|&x| x == 0.0)
    );
    assert!(
        values(out.weight.unwrap(), &[600, 8])
            .iter()
            .all(|&x| x == 0.0)
    );
}

#[test]
fn not_a_number_reaches_the_loss() {
    let mut case = case(30, 8, 600);
    let nan = Tensor::<Flex, 2>::full([1, 1], f32::NAN, &Default::default());
    case.hidden = case.hidden.slice_assign([4..5, 3..4], nan);
    let out = Flex::linear_cross_entropy_with_grads(input(&case, 1e-2), [true; 2]);
    assert!(values(out.output.loss, &[1])[0].is_nan());
    let nll = values(out.output.nll, &[30]);
    assert!((0..30).all(|row| nll[row].is_nan() == (row == 4)));
}

#[test]
#[should_panic(expected = "linear_cross_entropy: target 613 in a vocabulary of 600")]
fn a_target_beyond_the_vocabulary_is_named() {
    let mut case = case(3, 8, 600);
    case.targets = case.targets + 600;
    Flex::linear_cross_entropy_with_grads(input(&case, 1e-2), [true; 2]);
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
    let run = |case: &Case, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        let out =
            pool.install(|| Flex::linear_cross_entropy_with_grads(input(case, 1e-4), [true; 2]));
        let hidden = Flex::float_cast(out.hidden.unwrap(), FloatDType::F32);
        (
            values(hidden, &[64, 16]),
            values(out.weight.unwrap(), &[20_000, 16]),
        )
    };
    let mut case = case(64, 16, 20_000);
    assert_eq!(run(&case, 1), run(&case, 2));
    case.hidden = case.hidden.cast(DType::BF16);
    assert_eq!(run(&case, 1), run(&case, 2));
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
