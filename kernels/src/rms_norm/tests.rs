//! The processor's norm against the formulas in f64, and its place in the graph against Burn's autodiff.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::tensor::DType;
use burn::tensor::ops::FloatTensorOps;
use burn_flex::{Flex, FlexTensor};
use proptest::prelude::*;

use super::*;
use crate::KernelsWithGrads;
use crate::checks::{
    assert_close, differences, doubles, gradient, leaf, primitive, random, values, with_threads,
};
use crate::gemm::lanes::Isa;
use crate::pieces::PIECE;
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

/// The formulas in f64, each with the size of what is added up.
pub(crate) struct Formulas {
    pub out: Vec<f64>,
    pub of_x: (Vec<f64>, f64),
    pub of_weight: (Vec<f64>, f64),
}

/// Of rows `x` and their upstream gradients.
pub(crate) fn formulas(x: &[f64], weight: &[f64], upstream: &[f64]) -> Formulas {
    let width = weight.len();
    let mut all = Formulas {
        out: Vec::new(),
        of_x: (Vec::new(), 0.0),
        of_weight: (vec![0.0; width], 0.0),
    };
    let mut terms = vec![0.0; width];
    for (x, upstream) in x.chunks(width).zip(upstream.chunks(width)) {
        let mean = |f: &dyn Fn(usize) -> f64| (0..width).map(f).sum::<f64>() / width as f64;
        let scale = (mean(&|i| x[i] * x[i]) + EPSILON).sqrt().recip();
        let along = mean(&|i| upstream[i] * weight[i] * x[i]);
        let along_terms = mean(&|i| (upstream[i] * weight[i] * x[i]).abs());
        for i in 0..width {
            all.out.push(x[i] * scale * weight[i]);
            let (across, cube) = (scale * upstream[i] * weight[i], x[i] * scale.powi(3));
            all.of_x.0.push(across - cube * along);
            all.of_x.1 = all.of_x.1.max(across.abs() + cube.abs() * along_terms);
            all.of_weight.0[i] += upstream[i] * x[i] * scale;
            terms[i] += (upstream[i] * x[i] * scale).abs();
        }
    }
    all.of_weight.1 = terms.into_iter().fold(0.0, f64::max);
    all
}

/// Relative errors: of what is stored as activations, and of sums in f32.
fn tolerances(dtype: DType) -> [f64; 2] {
    match dtype {
        DType::F32 => [1e-5, 1e-5],
        _ => [1e-2, 1e-5],
    }
}

/// Upstream gradient, the norm's operands, and an existing gradient.
type Operands = (FlexTensor, NormInput<FlexTensor>, FlexTensor);

/// Operands of random numbers.
fn operands([rows, width]: [usize; 2], dtype: DType) -> Operands {
    let activations = |seed| primitive(&random([rows, width], seed, dtype));
    let input = NormInput {
        x: activations(1),
        weight: primitive(&random([width], 2, DType::F32)),
        epsilon: EPSILON,
    };
    (activations(3), input, activations(4))
}

/// What is computed of operands.
pub(crate) struct Results {
    out: FlexTensor,
    /// Of `x` and the existing gradient: their sum and its norm.
    added: [FlexTensor; 2],
    /// Of `x` and the weight, without the existing gradient and with it.
    grads: [[Option<FlexTensor>; 2]; 2],
}

fn by_isa(isa: Isa, (upstream, input, existing): Operands) -> Results {
    let grads = |existing| {
        let (upstream, input) = (upstream.clone(), input.clone());
        cpu::backward(isa, upstream, input, existing, [true; 2])
    };
    Results {
        out: cpu::forward(isa, input.clone()),
        added: cpu::add_forward(isa, existing.clone(), input.clone()),
        grads: [grads(None), grads(Some(existing.clone()))],
    }
}

fn by_reference((upstream, input, existing): Operands) -> Results {
    let grads = |existing| {
        let (upstream, input) = (upstream.clone(), input.clone());
        reference::backward::<Flex>(upstream, input, existing, [true; 2])
    };
    let sum = Flex::float_add(input.x.clone(), existing.clone());
    let of_sum = NormInput {
        x: sum.clone(),
        ..input.clone()
    };
    Results {
        out: reference::forward::<Flex>(input.clone()),
        added: [sum, reference::forward::<Flex>(of_sum)],
        grads: [grads(None), grads(Some(existing.clone()))],
    }
}

/// On a backend's device.
#[cfg(feature = "wgpu")]
pub(crate) fn by_backend<B: KernelsWithGrads>((upstream, input, existing): Operands) -> Results {
    use crate::checks::{fetched, sent};
    let input = || NormInput {
        x: sent::<B>(&input.x),
        weight: sent::<B>(&input.weight),
        epsilon: input.epsilon,
    };
    let grads = |existing| {
        let grads = B::rms_norm_backward(sent::<B>(&upstream), input(), existing, [true; 2]);
        grads.map(|grad| grad.map(fetched::<B>))
    };
    Results {
        out: fetched::<B>(B::rms_norm_forward(input())),
        added: B::add_rms_norm_forward(sent::<B>(&existing), input()).map(fetched::<B>),
        grads: [grads(None), grads(Some(sent::<B>(&existing)))],
    }
}

/// Compares what `run` makes of operands with the formulas.
pub(crate) fn check(shape: [usize; 2], dtype: DType, run: impl Fn(Operands) -> Results) {
    let (upstream, input, existing) = operands(shape, dtype);
    let [stored, summed] = tolerances(dtype);
    let (weight, up) = (values(&input.weight), values(&upstream));
    let want = formulas(&values(&input.x), &weight, &up);
    let Results { out, added, grads } = run((upstream, input.clone(), existing.clone()));
    assert_eq!(out.dtype(), dtype);
    assert_close("norm", &values(&out), &want.out, 0.0, stored);

    let want_sum = Flex::float_add(input.x, existing.clone());
    assert_eq!(values(&added[0]), values(&want_sum));
    let of_sum = formulas(&values(&want_sum), &weight, &up).out;
    assert_eq!(added[1].dtype(), dtype);
    assert_close("norm of the sum", &values(&added[1]), &of_sum, 0.0, stored);

    let (of_x, of_weight) = (&want.of_x, &want.of_weight);
    let existing = values(&existing);
    let all = of_x.0.iter().zip(&existing).map(|(a, b)| a + b).collect();
    for (want_x, grads) in [of_x.0.clone(), all].iter().zip(grads) {
        let [x, weight] = grads.map(Option::unwrap);
        assert_eq!([x.dtype(), weight.dtype()], [dtype, DType::F32]);
        assert_close("x", &values(&x), want_x, of_x.1, stored);
        let weight = values(&weight);
        assert_close("weight", &weight, &of_weight.0, of_weight.1, summed);
    }
}

/// Rows that are one piece or several, of whole vectors or not.
fn shapes() -> impl Strategy<Value = [usize; 2]> {
    prop_oneof![
        [1..9usize, 1..70usize],
        (60..700usize).prop_map(|width| [(2 * PIECE / width) + 3, width]),
        Just([170, 192]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn norms_and_gradients_are_those_of_the_formulas(shape in shapes(), half: bool) {
        let dtype = if half { DType::BF16 } else { DType::F32 };
        for isa in Isa::available() {
            check(shape, dtype, |operands| by_isa(isa, operands));
        }
        check(shape, dtype, by_reference);
    }
}

#[test]
fn gradients_are_the_slopes_of_the_formula() {
    let (upstream, input, _) = operands([3, 5], DType::F32);
    let (x, weight, up) = (values(&input.x), values(&input.weight), values(&upstream));
    let loss = |x: &[f64], weight: &[f64]| -> f64 {
        let out = formulas(x, weight, &up).out;
        out.iter().zip(&up).map(|(y, up)| y * up).sum()
    };
    let want = [
        differences(|x| loss(x, &weight), &x),
        differences(|weight| loss(&x, weight), &weight),
    ];
    let got = Flex::rms_norm_backward(upstream, input, None, [true; 2]);
    for (got, want) in got.into_iter().zip(want) {
        assert_close("slope", &values(&got.unwrap()), &want, 1.0, 1e-5);
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let (upstream, input, existing) = operands([500, 200], DType::F32);
    let run = |threads| {
        with_threads(threads, || {
            let [sum, out] = Flex::add_rms_norm_forward(upstream.clone(), input.clone());
            let existing = Some(existing.clone());
            let [x, weight] =
                Flex::rms_norm_backward(upstream.clone(), input.clone(), existing, [true; 2]);
            [sum, out, x.unwrap(), weight.unwrap()].map(|tensor| values(&tensor))
        })
    };
    let one = run(1);
    assert!([2, 3].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn buffers_are_taken_over_but_not_those_that_others_hold() {
    let shape = [4, 33];
    for dtype in [DType::F32, DType::BF16] {
        let pointer = |tensor: &FlexTensor| tensor.bytes().as_ptr();
        let (upstream, input, existing) = operands(shape, dtype);
        let (of_upstream, of_existing) = (pointer(&upstream), pointer(&existing));
        let [x, _] = Flex::rms_norm_backward(upstream, input.clone(), None, [true; 2]);
        assert_eq!(pointer(&x.unwrap()), of_upstream);
        let [sum, _] = Flex::add_rms_norm_forward(existing, input.clone());
        assert_eq!(pointer(&sum), of_existing);

        let (upstream, _, existing) = operands(shape, dtype);
        let held = [upstream.clone(), existing.clone(), input.x.clone()];
        let before = held.each_ref().map(values);
        Flex::rms_norm_backward(upstream, input.clone(), Some(existing.clone()), [true; 2]);
        Flex::add_rms_norm_forward(existing, input);
        assert_eq!(held.each_ref().map(values), before);
    }
}

#[test]
fn a_view_is_read_as_it_is_seen() {
    let wide = random::<3>([5, 4, 24], 1, DType::BF16);
    let view = wide.swap_dims(0, 1).narrow(2, 3, 16); // [4, 5, 16]
    let copy = Tensor::from_data(view.to_data(), (&Default::default(), DType::BF16));
    let weight = random([16], 2, DType::F32);
    let norm = |x: &Tensor<Flex, 3>| doubles(&rms_norm(x.clone(), weight.clone(), EPSILON));
    assert_eq!(norm(&view), norm(&copy));
    let backward = |x: &Tensor<Flex, 3>| {
        let input = NormInput {
            x: primitive(x),
            weight: primitive(&weight),
            epsilon: EPSILON,
        };
        let grads = Flex::rms_norm_backward(primitive(x), input, Some(primitive(x)), [true; 2]);
        grads.map(|grad| values(&grad.unwrap()))
    };
    assert_eq!(backward(&view), backward(&copy));
}

#[test]
fn not_a_number_stays_in_its_row() {
    let x = random::<2>([4, 40], 1, DType::F32);
    let x = x.slice_assign(
        [2..3, 7..8],
        Tensor::full([1, 1], f32::NAN, &Default::default()),
    );
    let out = doubles(&rms_norm(x, random([40], 2, DType::F32), EPSILON));
    for (row, out) in out.chunks(40).enumerate() {
        assert!(out.iter().all(|y| y.is_nan() == (row == 2)));
    }
}

#[test]
#[should_panic(expected = "rms_norm: x is [2, 8], the weight [7]")]
fn a_weight_of_another_length_is_named() {
    let weight = random([7], 2, DType::F32);
    rms_norm::<Flex, 2>(random([2, 8], 1, DType::F32), weight, EPSILON);
}

#[test]
#[should_panic(expected = "add_rms_norm: x is ([2, 8], F32), delta ([2, 8], BF16)")]
fn types_that_differ_are_named() {
    let [x, delta] = [DType::F32, DType::BF16].map(|dtype| random::<2>([2, 8], 1, dtype));
    add_rms_norm::<Flex, 2>(x, delta, random([8], 2, DType::F32), EPSILON);
}
