//! The processor's update against the plain one, and both against the formulas in f64.

use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};
use proptest::prelude::*;

use super::cpu::CHUNK;
use super::*;

pub(crate) type Flat = Tensor<Flex, 1>;

fn tensor(values: &[f32]) -> Flat {
    Tensor::from_data(
        TensorData::new(values.to_vec(), [values.len()]),
        &Default::default(),
    )
}

fn values(tensor: &Flat) -> Vec<f32> {
    tensor.to_data().to_vec().unwrap()
}

/// Numbers of either sign between 0.5 and 1.5, so that no mean of gradients comes so near 0 that rounding decides its sign.
fn numbers(elements: usize, seed: u32) -> Vec<f32> {
    let number = |i: usize| {
        let hash = (i as u32 ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        let hash = (hash ^ hash >> 15).wrapping_mul(0xc2b2_ae35);
        let size = 0.5 + (hash >> 9) as f32 / (1u32 << 23) as f32;
        if hash & 1 == 0 { size } else { -size }
    };
    (0..elements).map(number).collect()
}

pub(crate) fn parameter(elements: usize, begun: bool) -> Parameter<Flat> {
    let square: Vec<f32> = numbers(elements, 4).iter().map(|x| x * x).collect();
    Parameter {
        value: tensor(&numbers(elements, 1)),
        grad: tensor(&numbers(elements, 2)),
        moments: begun.then(|| Moments {
            mean: tensor(&numbers(elements, 3)),
            square: tensor(&square),
        }),
    }
}

pub(crate) fn rule(cautious: bool, decay: f64, updates: u64) -> Rule {
    Rule {
        grad_scale: 0.75,
        lr: 0.3, // large, so that errors of the change are not lost in the value
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        cautious,
        decay,
        updates,
    }
}

/// Value, mean, square, and the sums of squares of change and value.
pub(crate) type Numbers = [Vec<f64>; 5];

fn fused(parameter: Parameter<Flat>, rule: &Rule) -> Numbers {
    numbers_of(adamw(parameter, rule, true))
}

fn plain(parameter: Parameter<Flat>, rule: &Rule) -> Numbers {
    let out = reference::adamw::<Flex>(primitives(parameter), rule, true);
    numbers_of(tensors(out))
}

/// On a backend's device.
#[cfg(feature = "wgpu")]
pub(crate) fn by_backend<B: OptimizerKernels>(parameter: Parameter<Flat>, rule: &Rule) -> Numbers {
    use crate::checks::{fetched, sent};
    let Parameter {
        value,
        grad,
        moments,
    } = primitives(parameter);
    let parameter = Parameter {
        value: sent::<B>(&value),
        grad: sent::<B>(&grad),
        moments: moments.map(|moments| Moments {
            mean: sent::<B>(&moments.mean),
            square: sent::<B>(&moments.square),
        }),
    };
    let out = B::adamw(parameter, rule, true);
    let squares = out.squares.unwrap();
    numbers_of(tensors(Updated {
        value: fetched::<B>(out.value),
        moments: Moments {
            mean: fetched::<B>(out.moments.mean),
            square: fetched::<B>(out.moments.square),
        },
        squares: Some(Squares {
            change: fetched::<B>(squares.change),
            value: fetched::<B>(squares.value),
        }),
    }))
}

fn primitives(parameter: Parameter<Flat>) -> Parameter<FlexTensor> {
    let primitive = |tensor: Flat| tensor.into_primitive().tensor();
    Parameter {
        value: primitive(parameter.value),
        grad: primitive(parameter.grad),
        moments: parameter.moments.map(|moments| Moments {
            mean: primitive(moments.mean),
            square: primitive(moments.square),
        }),
    }
}

fn tensors(out: Updated<FlexTensor>) -> Updated<Flat> {
    let tensor = |primitive| Tensor::from_primitive(TensorPrimitive::Float(primitive));
    Updated {
        value: tensor(out.value),
        moments: Moments {
            mean: tensor(out.moments.mean),
            square: tensor(out.moments.square),
        },
        squares: out.squares.map(|squares| Squares {
            change: tensor(squares.change),
            value: tensor(squares.value),
        }),
    }
}

fn numbers_of(updated: Updated<Flat>) -> Numbers {
    let Updated {
        value,
        moments,
        squares,
    } = updated;
    let squares = squares.unwrap();
    [
        value,
        moments.mean,
        moments.square,
        squares.change,
        squares.value,
    ]
    .map(|tensor| values(&tensor).into_iter().map(f64::from).collect())
}

/// The papers' formulas in f64, and the size of what was added up for each: terms may cancel, their roundings do not.
pub(crate) fn formulas(parameter: &Parameter<Flat>, rule: &Rule) -> (Numbers, [f64; 5]) {
    let double = |tensor: &Flat| {
        values(tensor)
            .into_iter()
            .map(f64::from)
            .collect::<Vec<_>>()
    };
    let value = double(&parameter.value);
    let grad: Vec<_> = double(&parameter.grad)
        .iter()
        .map(|g| g * rule.grad_scale)
        .collect();
    let zeros = || vec![0.0; value.len()];
    let (mut mean, mut square) = match &parameter.moments {
        Some(moments) => (double(&moments.mean), double(&moments.square)),
        None => (zeros(), zeros()),
    };
    for (i, g) in grad.iter().enumerate() {
        mean[i] = rule.beta1 * mean[i] + (1.0 - rule.beta1) * g;
        square[i] = rule.beta2 * square[i] + (1.0 - rule.beta2) * g * g;
    }
    let unbiased = |x: f64, beta: f64| x / (1.0 - beta.powi(rule.updates as i32));
    let unit = |i: usize| {
        unbiased(mean[i], rule.beta1) / (unbiased(square[i], rule.beta2).sqrt() + rule.epsilon)
    };
    let mut units: Vec<f64> = (0..value.len()).map(unit).collect();
    if rule.cautious {
        let agrees: Vec<bool> = units.iter().zip(&grad).map(|(u, g)| u * g > 0.0).collect();
        let share = agrees.iter().filter(|&&agrees| agrees).count() as f64 / value.len() as f64;
        for (unit, agrees) in units.iter_mut().zip(agrees) {
            *unit = if agrees {
                *unit / (share + rule.epsilon)
            } else {
                0.0
            };
        }
    }
    let after: Vec<f64> = value
        .iter()
        .zip(&units)
        .map(|(x, u)| x * (1.0 - rule.decay) - rule.lr * u)
        .collect();
    let changed = value.iter().zip(&after).map(|(x, y)| (x - y).powi(2)).sum();
    let sum = after.iter().map(|x| x * x).sum();
    let largest = |xs: &[f64]| xs.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    let terms = |(x, u): (&f64, &f64)| (x * rule.decay).abs() + (rule.lr * u).abs();
    let changes: Vec<f64> = value.iter().zip(&units).map(terms).collect();
    let values: Vec<f64> = value
        .iter()
        .zip(&changes)
        .map(|(x, c)| x.abs() + c)
        .collect();
    let squares = |xs: &[f64]| xs.iter().map(|x| x * x).sum::<f64>();
    let scales = [
        largest(&values),
        largest(&mean),
        largest(&square),
        squares(&changes),
        squares(&values),
    ];
    ([after, mean, square, vec![changed], vec![sum]], scales)
}

/// Within `tolerance` of the scale.
pub(crate) fn assert_close(got: &Numbers, (want, scales): &(Numbers, [f64; 5]), tolerance: f64) {
    let names = ["value", "mean", "square", "change's sum", "value's sum"];
    for (((name, got), want), scale) in names.into_iter().zip(got).zip(want).zip(scales) {
        assert_eq!(got.len(), want.len(), "{name}");
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!(
                (got - want).abs() <= tolerance * scale,
                "{name} {i}: {got}, not {want}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A few roundings of f32 (6e-8 each) lie between any two.
    #[test]
    fn an_update_is_the_plain_one_and_that_of_the_formulas(
        elements in prop_oneof![Just(1), 2..40usize, CHUNK - 1..CHUNK + 2, 2 * CHUNK..2 * CHUNK + 1100],
        cautious: bool,
        begun: bool,
        decay in prop_oneof![Just(0.0), 1e-3..0.2],
        updates in 1..1000u64,
    ) {
        let (parameter, rule) = (parameter(elements, begun), rule(cautious, decay, updates));
        let want = formulas(&parameter, &rule);
        let plain = plain(parameter.clone(), &rule);
        let fused = fused(parameter, &rule);
        assert_close(&fused, &want, 1e-6);
        // Burn adds up squares in f32.
        assert_close(&plain, &want, 1e-5);
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    for cautious in [false, true] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let parameter = parameter(7 * CHUNK + 5, true);
            pool.install(|| fused(parameter, &rule(cautious, 0.01, 3)))
        };
        let one = run(1);
        assert!([2, 3].into_iter().all(|threads| run(threads) == one));
    }
}

#[test]
fn buffers_are_changed_in_place_but_not_those_that_others_hold() {
    let pointer = |tensor: &Flat| {
        let primitive = tensor.clone().into_primitive().tensor();
        primitive.as_slice::<f32>().unwrap().as_ptr()
    };
    for cautious in [false, true] {
        let rule = rule(cautious, 0.01, 3);
        let alone = parameter(100, true);
        let moments = alone.moments.as_ref().unwrap();
        let before = [&alone.value, &moments.mean, &moments.square].map(pointer);
        let out = adamw(alone, &rule, false);
        let after = [&out.value, &out.moments.mean, &out.moments.square].map(pointer);
        assert_eq!(before, after);
        assert!(out.squares.is_none());

        let held = parameter(100, true);
        let kept = held.clone();
        let out = adamw(held, &rule, false);
        assert_eq!(
            values(&out.value),
            values(&adamw(parameter(100, true), &rule, false).value)
        );
        let (kept, fresh) = (kept, parameter(100, true));
        assert_eq!(values(&kept.value), values(&fresh.value));
        assert_eq!(values(&kept.grad), values(&fresh.grad));
        let (kept, fresh) = (kept.moments.unwrap(), fresh.moments.unwrap());
        assert_eq!(values(&kept.mean), values(&fresh.mean));
        assert_eq!(values(&kept.square), values(&fresh.square));
    }
}

#[test]
fn a_part_of_a_larger_tensor_is_updated_alone() {
    let rule = rule(true, 0.01, 3);
    let whole = numbers(50, 2);
    let mut part = parameter(40, true);
    part.grad = tensor(&whole).narrow(0, 3, 40);
    let mut copy = parameter(40, true);
    copy.grad = tensor(&whole[3..43]);
    assert_eq!(fused(part, &rule), fused(copy, &rule));
}

#[test]
fn not_a_number_stays() {
    for cautious in [false, true] {
        let mut parameter = parameter(40, true);
        let mut grad = numbers(40, 2);
        grad[17] = f32::NAN;
        parameter.grad = tensor(&grad);
        let out = adamw(parameter, &rule(cautious, 0.0, 3), false);
        let nan: Vec<_> = values(&out.value).iter().map(|x| x.is_nan()).collect();
        assert!((0..40).all(|i| nan[i] == (i == 17)));
    }
}

#[test]
#[should_panic(expected = "adamw: the mean of squares is [39], the value [40]")]
fn lengths_that_differ_are_named() {
    let mut parameter = parameter(40, true);
    parameter.moments.as_mut().unwrap().square = tensor(&[1.0; 39]);
    adamw(parameter, &rule(false, 0.0, 1), false);
}
