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
    assert_close, differences, gradient, leaf, primitive, random, values, with_threads,
};
use crate::gemm::lanes::Isa;
use crate::plain::tensor;
use crate::rms_norm::tests::formulas;

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

/// Upstream gradient, and what the heads are rotated with.
type Operands = (FlexTensor, NormRopeInput<FlexTensor>);

/// Operands of random numbers.
fn operands(shape: [usize; 4], dtype: DType) -> Operands {
    let [_, time, _, head_dim] = shape;
    let Tables { cos, sin } = tables(time, head_dim / 2);
    let input = NormRopeInput {
        x: primitive(&random(shape, 1, dtype)),
        weight: primitive(&random([head_dim], 2, DType::F32)),
        tables: Tables {
            cos: primitive(&cos),
            sin: primitive(&sin),
        },
        epsilon: EPSILON,
    };
    (primitive(&random(shape, 3, dtype)), input)
}

/// Heads rotated by the angles of their positions, in f64; backwards if `sign` is -1.
fn rotated(heads: &[f64], shape: [usize; 4], tables: &Tables<FlexTensor>, sign: f64) -> Vec<f64> {
    let [_, time, count, head_dim] = shape;
    let (cos, sin) = (values(&tables.cos), values(&tables.sin));
    let half = head_dim / 2;
    let mut out = Vec::new();
    for (index, head) in heads.chunks(head_dim).enumerate() {
        let position = index / count % time;
        for c in 0..head_dim {
            let angle = position * half + c % half;
            let other = if c < half {
                -head[c + half]
            } else {
                head[c - half]
            };
            out.push(head[c] * cos[angle] + sign * other * sin[angle]);
        }
    }
    out
}

/// The rotated heads, and the gradients of `x` and the weight.
type Results = (FlexTensor, [Option<FlexTensor>; 2]);

fn by_isa(isa: Isa, (upstream, input): Operands) -> Results {
    let out = cpu::forward(isa, input.clone());
    (out, cpu::backward(isa, upstream, input, [true; 2]))
}

fn by_reference((upstream, input): Operands) -> Results {
    let out = reference::forward::<Flex>(input.clone());
    let grads = reference::backward::<Flex>(upstream, input, [true; 2]);
    (out, grads)
}

/// On a backend's device.
#[cfg(feature = "wgpu")]
pub(crate) fn by_backend<B: KernelsWithGrads>((upstream, input): Operands) -> Results {
    use crate::checks::{fetched, sent};
    let input = NormRopeInput {
        x: sent::<B>(&input.x),
        weight: sent::<B>(&input.weight),
        tables: Tables {
            cos: sent::<B>(&input.tables.cos),
            sin: sent::<B>(&input.tables.sin),
        },
        epsilon: input.epsilon,
    };
    let out = fetched::<B>(B::norm_rope_forward(input.clone()));
    let grads = B::norm_rope_backward(sent::<B>(&upstream), input, [true; 2]);
    (out, grads.map(|grad| grad.map(fetched::<B>)))
}

/// Compares what `run` makes of operands with the formulas.
pub(crate) fn check(shape: [usize; 4], dtype: DType, run: impl Fn(Operands) -> Results) {
    let (upstream, input) = operands(shape, dtype);
    let stored = if dtype == DType::F32 { 1e-5 } else { 1e-2 };
    let back = rotated(&values(&upstream), shape, &input.tables, -1.0);
    let want = formulas(&values(&input.x), &values(&input.weight), &back);
    let want_out = rotated(&want.out, shape, &input.tables, 1.0);
    let (out, grads) = run((upstream, input));
    assert_eq!(out.dtype(), dtype);
    assert_close("rotated", &values(&out), &want_out, 0.0, stored);
    let (of_x, of_weight) = (&want.of_x, &want.of_weight);
    let [x, weight] = grads.map(Option::unwrap);
    assert_eq!([x.dtype(), weight.dtype()], [dtype, DType::F32]);
    assert_close("x", &values(&x), &of_x.0, of_x.1, stored);
    assert_close("weight", &values(&weight), &of_weight.0, of_weight.1, 1e-5);
}

/// Small heads of any even width, and several pieces of usual ones.
fn shapes() -> impl Strategy<Value = [usize; 4]> {
    let small = [1..3usize, 1..6usize, 1..4usize, 1..40usize];
    let usual = (
        1..3usize,
        150..400usize,
        1..4usize,
        prop_oneof![Just(32), Just(48), Just(64)],
    );
    let even = |[batch, time, heads, half]: [usize; 4]| [batch, time, heads, 2 * half];
    prop_oneof![
        small.prop_map(even),
        usual.prop_map(move |(batch, time, heads, half)| even([batch, time, heads, half])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn heads_and_gradients_are_those_of_the_formulas(shape in shapes(), half: bool) {
        let dtype = if half { DType::BF16 } else { DType::F32 };
        for isa in Isa::available() {
            check(shape, dtype, |operands| by_isa(isa, operands));
        }
        check(shape, dtype, by_reference);
    }
}

#[test]
fn gradients_are_the_slopes_of_the_formula() {
    let shape = [1, 2, 2, 6];
    let (upstream, input) = operands(shape, DType::F32);
    let (x, weight, up) = (values(&input.x), values(&input.weight), values(&upstream));
    let tables = input.tables.clone();
    let loss = |x: &[f64], weight: &[f64]| -> f64 {
        let out = rotated(&formulas(x, weight, &up).out, shape, &tables, 1.0);
        out.iter().zip(&up).map(|(y, up)| y * up).sum()
    };
    let want = [
        differences(|x| loss(x, &weight), &x),
        differences(|weight| loss(&x, weight), &weight),
    ];
    let got = Flex::norm_rope_backward(upstream, input, [true; 2]);
    for (got, want) in got.into_iter().zip(want) {
        assert_close("slope", &values(&got.unwrap()), &want, 1.0, 1e-5);
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let (upstream, input) = operands([2, 300, 3, 64], DType::F32);
    let run = |threads| {
        with_threads(threads, || {
            let out = Flex::norm_rope_forward(input.clone());
            let [x, weight] = Flex::norm_rope_backward(upstream.clone(), input.clone(), [true; 2]);
            [out, x.unwrap(), weight.unwrap()].map(|tensor| values(&tensor))
        })
    };
    let one = run(1);
    assert!([2, 3].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn the_upstream_gradients_buffer_is_taken_over_unless_others_hold_it() {
    for dtype in [DType::F32, DType::BF16] {
        let (upstream, input) = operands([1, 3, 2, 10], dtype);
        let (held, x) = (upstream.clone(), input.x.clone());
        let before = [&held, &x].map(values);
        let [kept, _] = Flex::norm_rope_backward(upstream, input.clone(), [true; 2]);
        assert_eq!([&held, &x].map(values), before);
        let pointer = held.bytes().as_ptr();
        let [taken, _] = Flex::norm_rope_backward(held, input, [true; 2]);
        let (kept, taken) = (kept.unwrap(), taken.unwrap());
        assert_eq!(taken.bytes().as_ptr(), pointer);
        assert_eq!(values(&taken), values(&kept));
    }
}

#[test]
fn a_view_is_read_as_it_is_seen() {
    let wide = random::<4>([2, 3, 4, 24], 1, DType::F32);
    let view = wide.narrow(2, 1, 2).narrow(3, 4, 12); // [2, 3, 2, 12]
    let copy = Tensor::from_data(view.to_data(), &Default::default());
    let weight = random([12], 2, DType::F32);
    let Tables { cos, sin } = tables(3, 6);
    let run = |x: &Tensor<Flex, 4>| {
        let (cos, sin) = (cos.clone(), sin.clone());
        norm_rope(x.clone(), weight.clone(), cos, sin, EPSILON).into_data()
    };
    assert_eq!(run(&view), run(&copy));
}

#[test]
#[should_panic(
    expected = "norm_rope: x is [1, 3, 2, 6], the weight [6], the tables [2, 3] and [2, 3]"
)]
fn tables_of_another_length_are_named() {
    let Tables { cos, sin } = tables(2, 3);
    let x = random([1, 3, 2, 6], 1, DType::F32);
    norm_rope::<Flex>(x, random([6], 2, DType::F32), cos, sin, EPSILON);
}
