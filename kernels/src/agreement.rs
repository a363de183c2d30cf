//! Checks of a backend's kernels: what they make of the same operands is what the processor's make, which are tested against
//! formulas in f64.
//!
//! They compute on the backend's device, so that on a machine with a GPU they check what runs there.

use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, FloatDType, Shape, TensorData, TensorMetadata, bf16};
use burn_flex::Flex;

use crate::adamw::tests::in_pieces;
use crate::adamw::{Moments, Parameter, Rule};
use crate::attention::AttentionInput;
use crate::checks::{assert_close, numbers, primitive};
use crate::linear_cross_entropy::LossInput;
use crate::norm_rope::{NormRopeInput, Tables};
use crate::plain::tensor;
use crate::rms_norm::NormInput;
use crate::{Devices, KernelsWithGrads, OptimizerKernels};

/// Types of activations, and how far results in them may differ as a part of the largest: by roundings of the operations on
/// the way.
const TYPES: [(DType, f64); 2] = [(DType::F32, 1e-5), (DType::BF16, 1.5e-2)];

/// A result in host memory.
struct Value {
    dtype: DType,
    shape: Shape,
    values: Vec<f64>,
}

fn value<B: Backend>(primitive: FloatTensor<B>) -> Value {
    let (dtype, shape) = (primitive.dtype(), primitive.shape());
    let flat = B::float_reshape(primitive, Shape::new([shape.num_elements()]));
    let values = tensor::<B, 1>(flat).into_data().iter::<f64>().collect();
    Value {
        dtype,
        shape,
        values,
    }
}

/// All results that there are.
fn values<B: Backend, const N: usize>(found: [Option<FloatTensor<B>>; N]) -> Vec<Option<Value>> {
    found.into_iter().map(|x| x.map(value::<B>)).collect()
}

fn agree(what: &str, found: Vec<Option<Value>>, wanted: Vec<Option<Value>>, tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (found, wanted)) in found.into_iter().zip(wanted).enumerate() {
        let what = format!("{what}, result {i}");
        assert_eq!(found.is_some(), wanted.is_some(), "{what}");
        let (Some(found), Some(wanted)) = (found, wanted) else {
            continue;
        };
        let kinds = [&found, &wanted].map(|value| (value.dtype, value.shape.clone()));
        assert_eq!(kinds[0], kinds[1], "{what}");
        assert_close(&what, &found.values, &wanted.values, 0.0, tolerance);
    }
}

/// Numbers between -1 and 1, the same on every backend.
fn random<B: Devices, const D: usize>(
    shape: [usize; D],
    seed: u32,
    dtype: DType,
) -> FloatTensor<B> {
    scaled::<B, D>(shape, seed, 1.0, dtype)
}

fn scaled<B: Devices, const D: usize>(
    shape: [usize; D],
    seed: u32,
    scale: f32,
    dtype: DType,
) -> FloatTensor<B> {
    let numbers = numbers(shape.iter().product(), seed);
    let numbers = numbers.into_iter().map(|x| x * scale);
    // Rounded here, because backends need not round alike.
    let data = match dtype {
        DType::BF16 => TensorData::new(numbers.map(bf16::from_f32).collect(), shape),
        _ => TensorData::new(numbers.collect::<Vec<f32>>(), shape),
    };
    B::float_from_data(data, &B::device())
}

fn ints<B: Devices, const D: usize>(
    values: Vec<i64>,
    shape: [usize; D],
    device: &B::Device,
) -> IntTensor<B> {
    B::int_from_data(TensorData::new(values, shape), device)
}

/// Runs the same on both backends, for both types of activations.
macro_rules! on_both {
    ($backend:ty, $what:expr, $run:ident($($argument:expr),*)) => {
        for (dtype, tolerance) in TYPES {
            let found = $run::<$backend>(dtype, $($argument),*);
            let wanted = $run::<Flex>(dtype, $($argument),*);
            agree(&format!("{} in {dtype:?}", $what), found, wanted, tolerance);
        }
    };
}

/// See [`KernelsWithGrads::linear_forward`] and its gradients.
pub(crate) fn linear<B: KernelsWithGrads>() {
    fn run<B: KernelsWithGrads>(
        dtype: DType,
        [rows, input, output]: [usize; 3],
        need: [bool; 2],
    ) -> Vec<Option<Value>> {
        let x = random::<B, 2>([rows, input], 1, dtype);
        let weight = random::<B, 2>([output, input], 2, DType::F32);
        let upstream = random::<B, 2>([rows, output], 3, dtype);
        let out = B::linear_forward(x.clone(), weight.clone());
        let [of_x, of_weight] = B::linear_backward(need[1].then_some(x), weight, upstream, need[0]);
        values::<B, 3>([Some(out), of_x, of_weight])
    }
    for shape in [[1, 1, 1], [5, 7, 3], [70, 64, 130]] {
        for need in NEEDS {
            on_both!(B, format!("linear {shape:?} {need:?}"), run(shape, need));
        }
    }
}

/// Which gradients are wanted.
const NEEDS: [[bool; 2]; 3] = [[true, true], [true, false], [false, true]];

/// See [`crate::attention::attention`].
pub(crate) fn attention<B: KernelsWithGrads>() {
    fn run<B: KernelsWithGrads>(
        dtype: DType,
        [time, heads, kv_heads, head_dim]: [usize; 4],
        documents: &[usize],
    ) -> Vec<Option<Value>> {
        let batch = 2;
        let starts = || {
            let mut start = 0;
            let lengths = documents.iter().cycle();
            let runs = lengths.flat_map(move |&length| {
                start += length;
                std::iter::repeat_n((start - length) as i64, length)
            });
            runs.take(time)
        };
        // The second sequence is one document.
        let starts: Vec<i64> = starts().chain(std::iter::repeat_n(0, time)).collect();
        let input = AttentionInput {
            query: scaled::<B, 4>([batch, time, heads, head_dim], 1, 2.0, dtype),
            key: scaled::<B, 4>([batch, time, kv_heads, head_dim], 2, 2.0, dtype),
            value: random::<B, 4>([batch, time, kv_heads, head_dim], 3, dtype),
            starts: ints::<B, 2>(starts, [batch, time], &B::starts_device(&B::device())),
        };
        let upstream = random::<B, 4>([batch, time, heads, head_dim], 4, dtype);
        let (out, logsumexp) = B::attention_forward(input.clone());
        let grads = B::attention_backward(input, out.clone(), logsumexp.clone(), upstream);
        let [query, key, value] = grads;
        values::<B, 5>([out, logsumexp, query, key, value].map(Some))
    }
    for (sizes, documents) in [
        ([2, 2, 1, 8], &[1][..]),
        ([33, 4, 2, 16], &[5, 1, 20]),
        ([200, 2, 2, 64], &[200]),
        ([130, 6, 2, 8], &[64, 3]),
        ([190, 4, 2, 96], &[100, 7]),
        ([257, 4, 1, 128], &[150, 31]),
    ] {
        let what = format!("attention {sizes:?} {documents:?}");
        on_both!(B, what, run(sizes, documents));
    }
}

/// See [`crate::rms_norm`].
pub(crate) fn rms_norm<B: KernelsWithGrads>() {
    fn run<B: KernelsWithGrads>(
        dtype: DType,
        channels: usize,
        need: [bool; 2],
        with_existing: bool,
    ) -> Vec<Option<Value>> {
        let shape = [2, 9, channels];
        let input = NormInput {
            x: scaled::<B, 3>(shape, 1, 3.0, dtype),
            weight: random::<B, 1>([channels], 2, DType::F32),
            epsilon: 1e-2,
        };
        let upstream = random::<B, 3>(shape, 3, dtype);
        let existing = with_existing.then(|| random::<B, 3>(shape, 4, dtype));
        let out = B::rms_norm_forward(input.clone());
        let delta = random::<B, 3>(shape, 5, dtype);
        let [sum, normed] = B::add_rms_norm_forward(delta, input.clone());
        let [of_x, of_weight] = B::rms_norm_backward(upstream, input, existing, need);
        values::<B, 5>([Some(out), Some(sum), Some(normed), of_x, of_weight])
    }
    for channels in [1, 6, 64, 200] {
        for need in NEEDS {
            for existing in [false, true] {
                let what = format!("norm of {channels}, {need:?}, existing: {existing}");
                on_both!(B, what, run(channels, need, existing));
            }
        }
    }
}

/// See [`crate::norm_rope`].
pub(crate) fn norm_rope<B: KernelsWithGrads>() {
    fn run<B: KernelsWithGrads>(
        dtype: DType,
        [time, heads, head_dim]: [usize; 3],
        need: [bool; 2],
    ) -> Vec<Option<Value>> {
        let shape = [2, time, heads, head_dim];
        let table = |seed| random::<B, 2>([time, head_dim / 2], seed, DType::F32);
        let input = NormRopeInput {
            x: scaled::<B, 4>(shape, 1, 3.0, dtype),
            weight: random::<B, 1>([head_dim], 2, DType::F32),
            tables: Tables {
                cos: table(3),
                sin: table(4),
            },
            epsilon: 1e-2,
        };
        let upstream = random::<B, 4>(shape, 5, dtype);
        let out = B::norm_rope_forward(input.clone());
        let [of_x, of_weight] = B::norm_rope_backward(upstream, input, need);
        values::<B, 3>([Some(out), of_x, of_weight])
    }
    for sizes in [[1, 1, 2], [5, 3, 6], [9, 2, 64]] {
        for need in NEEDS {
            let what = format!("norm and rotation {sizes:?} {need:?}");
            on_both!(B, what, run(sizes, need));
        }
    }
}

/// See [`crate::swiglu`].
pub(crate) fn swiglu<B: KernelsWithGrads>() {
    fn run<B: KernelsWithGrads>(dtype: DType, shape: [usize; 2]) -> Vec<Option<Value>> {
        let gate = scaled::<B, 2>(shape, 1, 6.0, dtype);
        let [up, upstream] = [2, 3].map(|seed| random::<B, 2>(shape, seed, dtype));
        let out = B::swiglu_forward(gate.clone(), up.clone());
        let [of_gate, of_up] = B::swiglu_backward(upstream, gate, up);
        values::<B, 3>([out, of_gate, of_up].map(Some))
    }
    for shape in [[1, 1], [5, 7], [40, 130]] {
        on_both!(B, format!("swiglu {shape:?}"), run(shape));
    }
}

/// See [`crate::embedding`].
pub(crate) fn embedding<B: KernelsWithGrads>() {
    fn run<B: KernelsWithGrads>(dtype: DType, with_existing: bool) -> Vec<Option<Value>> {
        let (count, vocab, width) = (90, 17, 10);
        let tokens = (0..count).map(|i| i * i % 11).collect();
        let tokens = ints::<B, 1>(tokens, [count as usize], &B::device());
        let weight = random::<B, 2>([vocab, width], 1, DType::F32);
        let upstream = random::<B, 2>([count as usize, width], 2, dtype);
        let existing = with_existing.then(|| random::<B, 2>([vocab, width], 3, DType::F32));
        let kind = match dtype {
            DType::BF16 => FloatDType::BF16,
            _ => FloatDType::F32,
        };
        let rows = <B as KernelsWithGrads>::embedding_forward(weight, tokens.clone(), kind);
        let sum = <B as KernelsWithGrads>::embedding_backward(upstream, tokens, existing, vocab);
        values::<B, 2>([Some(rows), Some(sum)])
    }
    for existing in [false, true] {
        let what = format!("embedding, existing: {existing}");
        on_both!(B, what, run(existing));
    }
}

/// Operands of a loss, some of whose tokens have no weight.
pub(crate) fn loss_input<B: Devices>(
    dtype: DType,
    [tokens, width, vocab]: [usize; 3],
    z_loss: f32,
) -> LossInput<B> {
    let targets = (0..tokens).map(|i| (i * 7919 + 13) % vocab);
    let weights = (0..tokens).map(|i| (i % 3) as f32 * 0.2);
    LossInput {
        hidden: random::<B, 2>([tokens, width], 1, dtype),
        weight: random::<B, 2>([vocab, width], 2, DType::F32),
        targets: ints::<B, 1>(
            targets.map(|id| id as i64).collect(),
            [tokens],
            &B::device(),
        ),
        token_weights: B::float_from_data(
            TensorData::new(weights.collect::<Vec<f32>>(), [tokens]),
            &B::device(),
        ),
        z_loss,
    }
}

/// See [`crate::linear_cross_entropy`].
pub(crate) fn linear_cross_entropy<B: KernelsWithGrads>() {
    fn run<B: KernelsWithGrads>(
        dtype: DType,
        sizes: [usize; 3],
        z_loss: f32,
        need: [bool; 2],
    ) -> Vec<Option<Value>> {
        let input = loss_input::<B>(dtype, sizes, z_loss);
        let out = B::linear_cross_entropy_with_grads(input, need);
        let output = out.output;
        let [loss, nll, square] = [output.loss, output.nll, output.logit_square].map(Some);
        values::<B, 5>([loss, nll, square, out.hidden, out.weight])
    }
    for sizes in [[1, 1, 1], [40, 24, 7], [30, 16, 600]] {
        for z_loss in [0.0, 1e-2] {
            for need in NEEDS.into_iter().chain([[false; 2]]) {
                let what = format!("loss {sizes:?} {z_loss} {need:?}");
                on_both!(B, what, run(sizes, z_loss, need));
            }
        }
    }
}

/// See [`crate::adamw`]: three updates, the first without moments, of a parameter in one piece and in several.
pub(crate) fn adamw<B: OptimizerKernels + Devices>() {
    fn run<B: OptimizerKernels + Devices>(
        elements: usize,
        cuts: &[usize],
        cautious: bool,
        decay: f64,
    ) -> Vec<Option<Value>> {
        let draw = |seed| tensor::<B, 1>(random::<B, 1>([elements], seed, DType::F32));
        let (mut value, mut moments): (_, Option<Moments<_>>) = (draw(1), None);
        let mut results = Vec::new();
        for updates in 1..=3 {
            let rule = Rule {
                grad_scale: if updates == 1 { 1.0 } else { 0.75 },
                lr: 0.3,
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                cautious,
                decay,
                updates,
            };
            let parameter = Parameter {
                value,
                grad: draw(1 + updates as u32),
                moments,
            };
            let out = in_pieces::<B>(parameter, cuts, &rule, updates != 2);
            let (change, sum) = out.squares.map(|sums| (sums.change, sums.value)).unzip();
            let Moments { mean, square } = &out.moments;
            let all = [
                Some(&out.value),
                Some(mean),
                Some(square),
                change.as_ref(),
                sum.as_ref(),
            ];
            results.extend(values::<B, 5>(all.map(|tensor| tensor.map(primitive))));
            (value, moments) = (out.value, Some(out.moments));
        }
        results
    }
    for (elements, cuts) in [(1, &[][..]), (1000, &[]), (1000, &[1, 500, 503])] {
        for cautious in [false, true] {
            for decay in [0.0, 0.05] {
                let what = format!(
                    "update of {elements} cut at {cuts:?}, cautious: {cautious}, decay {decay}"
                );
                let found = run::<B>(elements, cuts, cautious, decay);
                let wanted = run::<Flex>(elements, &[], cautious, decay);
                agree(&what, found, wanted, 1e-5);
            }
        }
    }
}

/// See [`crate::square_sum`].
pub(crate) fn square_sum<B: OptimizerKernels + Devices>() {
    fn run<B: OptimizerKernels + Devices>(elements: usize) -> Vec<Option<Value>> {
        let sum = B::square_sum(random::<B, 1>([elements], 1, DType::F32));
        values::<B, 1>([Some(sum)])
    }
    for elements in [1, 100, 300_000] {
        agree(
            "sum of squares",
            run::<B>(elements),
            run::<Flex>(elements),
            1e-5,
        );
    }
}
