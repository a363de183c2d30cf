//! The processor's update against the plain one, and both against the formulas in f64.

use std::collections::BTreeSet;

use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
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
    let [elements] = parameter.value.dims();
    let begun = reference::begin::<Flex>(parameter.map(primitive), rule);
    let out = reference::finish::<Flex>(begun, elements, true);
    numbers_of(out.map(crate::plain::tensor))
}

/// On a backend's device, in pieces between the cuts.
#[cfg(feature = "wgpu")]
pub(crate) fn by_backend<B: OptimizerKernels>(
    parameter: Parameter<Flat>,
    cuts: &[usize],
    rule: &Rule,
) -> Numbers {
    use crate::checks::{fetched, sent};
    use crate::plain::tensor;
    let parameter = parameter.map(|flat| tensor(sent::<B>(&primitive(flat))));
    let out = in_pieces::<B>(parameter, cuts, rule, true);
    numbers_of(out.map(|there| tensor(fetched::<B>(primitive(there)))))
}

/// A parameter's update whose pieces are begun and finished alone; of one that is not cut, [`adamw`].
pub(crate) fn in_pieces<B: OptimizerKernels>(
    parameter: Parameter<Tensor<B, 1>>,
    cuts: &[usize],
    rule: &Rule,
    measure: bool,
) -> Updated<Tensor<B, 1>> {
    if cuts.is_empty() {
        return adamw(parameter, rule, measure);
    }
    let [elements] = parameter.value.dims();
    let bounds: Vec<usize> = [&[0], cuts, &[elements]].concat();
    let piece = |bounds: &[usize]| {
        let narrow = |whole: Tensor<B, 1>| whole.narrow(0, bounds[0], bounds[1] - bounds[0]);
        begin(parameter.clone().map(narrow), rule)
    };
    let mut begun: Vec<_> = bounds.windows(2).map(piece).collect();
    let counts: Option<Vec<_>> = begun.iter().map(|piece| piece.agreeing.clone()).collect();
    if let Some(counts) = counts {
        let sum = Tensor::cat(counts, 0).sum();
        // A part of a larger tensor, as if the counts of several parameters had been added up together.
        let sums = Tensor::cat(vec![sum.zeros_like(), sum], 0);
        for piece in &mut begun {
            piece.agreeing = Some(sums.clone().narrow(0, 1, 1));
        }
    }
    let finish = |piece: Begun<_>| piece.finish(elements, measure);
    joined(begun.into_iter().map(finish).collect())
}

fn joined<B: OptimizerKernels>(pieces: Vec<Updated<Tensor<B, 1>>>) -> Updated<Tensor<B, 1>> {
    type Field<T, B> = fn(&T) -> &Tensor<B, 1>;
    fn cat<T, B: OptimizerKernels>(pieces: &[T], field: Field<T, B>) -> Tensor<B, 1> {
        Tensor::cat(pieces.iter().map(field).cloned().collect(), 0)
    }
    let squares: Option<Vec<_>> = pieces.iter().map(|piece| piece.squares.clone()).collect();
    Updated {
        value: cat(&pieces, |piece| &piece.value),
        moments: Moments {
            mean: cat(&pieces, |piece| &piece.moments.mean),
            square: cat(&pieces, |piece| &piece.moments.square),
        },
        squares: squares.map(|squares| Squares {
            change: cat(&squares, |squares| &squares.change).sum(),
            value: cat(&squares, |squares| &squares.value).sum(),
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

    /// To the bit: all but the count is by the element, and counts to 2²⁴ are exact in f32. Sums of squares are rounded to f32
    /// once for each of up to four pieces and with each addition of them (6e-8 each).
    #[test]
    fn pieces_are_updated_as_the_whole_is(
        elements in prop_oneof![2..40usize, 2 * CHUNK..2 * CHUNK + 1100],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        cautious: bool,
        begun: bool,
        decay in prop_oneof![Just(0.0), 1e-3..0.2],
        updates in 1..1000u64,
    ) {
        let cuts: BTreeSet<_> = cuts.iter().map(|cut| 1 + cut.index(elements - 1)).collect();
        let cuts: Vec<_> = cuts.into_iter().collect();
        let (parameter, rule) = (parameter(elements, begun), rule(cautious, decay, updates));
        let whole = fused(parameter.clone(), &rule);
        let pieces = numbers_of(in_pieces(parameter, &cuts, &rule, true));
        prop_assert!(pieces[..3] == whole[..3], "{cuts:?}");
        for (pieces, whole) in pieces[3..].iter().zip(&whole[3..]) {
            prop_assert!((pieces[0] - whole[0]).abs() <= 5e-7 * whole[0]);
        }
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

#[test]
#[should_panic(expected = "adamw: the count of agreeing elements")]
fn a_count_for_each_piece_is_none_of_the_whole() {
    let mut begun = begin(parameter(40, true), &rule(true, 0.0, 1));
    begun.agreeing = Some(tensor(&[12.0, 11.0]));
    begun.finish(80, false);
}
