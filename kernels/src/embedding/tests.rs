//! The processor's kernel against sums in f64, and its place in the graph against Burn's autodiff.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::{DType, TensorData, TensorMetadata, f16, module};
use burn_flex::{Flex, FlexTensor};
use proptest::prelude::*;
use std::sync::mpsc::{Sender, channel};

use super::*;
use crate::KernelsWithGrads;
use crate::checks::{
    assert_close, doubles, gradient, leaf, numbers, primitive, random, values, with_threads,
};
use crate::gemm::lanes::Isa;
use crate::gemm::word::Word;
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
    assert!(weight.primitive.is_unique());
    drop(rows); // and with them the step that keeps the place of the gradient
}

/// `count` tokens, some of them often.
fn drawn(count: usize, vocab: usize) -> Vec<i64> {
    let token = |x: f32| ((x * x).abs() * vocab as f32) as i64;
    numbers(count, 7).into_iter().map(token).collect()
}

/// The sum of the rows of each token, in the order of the tokens, on top of `sum`.
fn added(mut sum: Vec<f32>, tokens: &[i64], upstream: &[f64], width: usize) -> Vec<f32> {
    for (&token, upstream) in tokens.iter().zip(upstream.chunks(width)) {
        let row = &mut sum[token as usize * width..][..width];
        row.iter_mut()
            .zip(upstream)
            .for_each(|(sum, &x)| *sum += x as f32);
    }
    sum
}

/// Weight, tokens, upstream gradient and existing gradient.
type Operands = (FlexTensor, Vec<i64>, FlexTensor, Option<FlexTensor>);

/// Rows of the tokens, and the sum of their gradients.
type Results = [FlexTensor; 2];

fn by_isa(isa: Isa, dtype: FloatDType, (weight, ids, upstream, existing): Operands) -> Results {
    let tokens = tokens::<Flex>(&ids).into_primitive();
    let vocab = weight.shape()[0];
    let rows = cpu::forward(isa, weight, tokens.clone(), dtype);
    [rows, cpu::backward(isa, upstream, tokens, existing, vocab)]
}

/// On a backend's device.
#[cfg(feature = "wgpu")]
pub(crate) fn by_backend<B: KernelsWithGrads>(
    dtype: FloatDType,
    (weight, ids, upstream, existing): Operands,
) -> Results {
    use crate::checks::{fetched, sent};
    let tokens = tokens::<B>(&ids).into_primitive();
    let vocab = weight.shape()[0];
    let rows =
        <B as KernelsWithGrads>::embedding_forward(sent::<B>(&weight), tokens.clone(), dtype);
    let (upstream, existing) = (sent::<B>(&upstream), existing.as_ref().map(sent::<B>));
    let sum = <B as KernelsWithGrads>::embedding_backward(upstream, tokens, existing, vocab);
    [rows, sum].map(fetched::<B>)
}

/// Compares what `run` makes of operands with rows and sums of f32, bit by bit.
pub(crate) fn check(
    [count, vocab, width]: [usize; 3],
    dtype: FloatDType,
    run: impl Fn(FloatDType, Operands) -> Results,
) {
    let ids = drawn(count, vocab);
    let weight = primitive(&random([vocab, width], 1, DType::F32));
    let numbers = numbers(vocab * width, 1);
    let rounded = match dtype {
        FloatDType::BF16 => |x: f32| u16::round(x).value(),
        FloatDType::F16 => |x: f32| f16::from_f32(x).to_f32(),
        _ => |x: f32| x,
    };
    let values_of = |id: i64| &numbers[id as usize * width..][..width];
    let want_rows = ids.iter().flat_map(|&id| values_of(id));
    let want_rows: Vec<f64> = want_rows.map(|&x| f64::from(rounded(x))).collect();
    let upstream = random([count, width], 2, dtype.into());
    for existing in [None, Some(random([vocab, width], 3, DType::F32))] {
        let before = match &existing {
            Some(existing) => existing.to_data().to_vec().unwrap(),
            None => vec![0.0; vocab * width],
        };
        let want = added(before, &ids, &doubles(&upstream), width);
        let want: Vec<f64> = want.into_iter().map(f64::from).collect();
        let existing = existing.as_ref().map(primitive);
        let operands = (weight.clone(), ids.clone(), primitive(&upstream), existing);
        let [rows, sum] = run(dtype, operands);
        assert_eq!(
            (rows.dtype(), values(&rows)),
            (dtype.into(), want_rows.clone())
        );
        assert_eq!((sum.dtype(), values(&sum)), (DType::F32, want));
    }
}

/// The plain operations, near the processor's.
fn check_reference([count, vocab, width]: [usize; 3], dtype: FloatDType) {
    let isa = Isa::detect();
    let tokens = tokens::<Flex>(&drawn(count, vocab)).into_primitive();
    let weight = primitive(&random([vocab, width], 1, DType::F32));
    let want = cpu::forward(isa, weight.clone(), tokens.clone(), dtype);
    let plain = reference::forward::<Flex>(weight.clone(), tokens.clone(), dtype);
    // Burn rounds a few of those wrong that are near the middle of two bf16.
    assert_close("plain rows", &values(&plain), &values(&want), 0.0, 1e-2);
    let upstream = primitive(&random([count, width], 2, dtype.into()));
    for existing in [None, Some(weight)] {
        let (upstream, tokens) = (upstream.clone(), tokens.clone());
        let want = cpu::backward(
            isa,
            upstream.clone(),
            tokens.clone(),
            existing.clone(),
            vocab,
        );
        let plain = reference::backward::<Flex>(upstream, tokens, existing, vocab);
        assert_close("plain sum", &values(&plain), &values(&want), 0.0, 1e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_and_sums_are_exact_in_the_order_of_the_tokens(
        shape in prop_oneof![
            [1..20usize, 1..20usize, 1..70usize],
            [300..900usize, 300..3000usize, 40..200usize],
        ],
        half: bool,
    ) {
        let dtype = if half { FloatDType::BF16 } else { FloatDType::F32 };
        for isa in Isa::available() {
            check(shape, dtype, |dtype, operands| by_isa(isa, dtype, operands));
        }
        check_reference(shape, dtype);
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let tokens = tokens::<Flex>(&drawn(1000, 2000)).into_primitive();
    let upstream = random([1000, 64], 2, DType::F32);
    let weight = random([2000, 64], 1, DType::F32);
    let run = |threads| {
        with_threads(threads, || {
            let (tokens, upstream) = (tokens.clone(), primitive(&upstream));
            let rows = <Flex as KernelsWithGrads>::embedding_forward(
                primitive(&weight),
                tokens.clone(),
                FloatDType::F32,
            );
            let sum = <Flex as KernelsWithGrads>::embedding_backward(upstream, tokens, None, 2000);
            [rows, sum].map(|tensor| values(&tensor))
        })
    };
    let one = run(1);
    assert!([2, 3].into_iter().all(|threads| run(threads) == one));
}

/// A head that says where the gradient lies that it gives the weight.
#[derive(Debug)]
struct Head(Sender<usize>);

impl Backward<Flex, 2> for Head {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<Flex>(&ops.node);
        let [rows, weight] = ops.parents.map(|parent| parent.unwrap().id);
        grads.register::<Flex>(rows, upstream);
        let grad = random::<2>([VOCAB, WIDTH], 3, DType::F32);
        let grad = grad.into_primitive().tensor();
        self.0.send(grad.bytes().as_ptr().addr()).unwrap();
        grads.register::<Flex>(weight, grad);
    }
}

#[test]
fn the_gradient_of_a_tied_head_is_added_to_in_place() {
    let weight = leaf::<BalancedCheckpointing, _>(&random([VOCAB, WIDTH], 1, DType::F32), true);
    let rows = embedding(weight.clone(), tokens(&[3, 0, 3]), FloatDType::F32);
    let (sender, receiver) = channel();
    let rows = rows.into_primitive().tensor();
    let parents = [
        rows.node.clone(),
        weight.clone().into_primitive().tensor().node,
    ];
    let head = Head(sender).prepare::<BalancedCheckpointing>(parents);
    let OpsKind::Tracked(head) = head.compute_bound().stateful() else {
        unreachable!("the weight has a gradient");
    };
    let out: Tensor<Autodiff<Flex, BalancedCheckpointing>, 2> =
        Tensor::from_primitive(TensorPrimitive::Float(head.finish((), rows.primitive)));
    let mut grads = out.sum().backward();
    let grad = weight.grad_remove(&mut grads).unwrap();
    let pointer = primitive(&grad).bytes().as_ptr().addr();
    assert_eq!(pointer, receiver.recv().unwrap());
    let head = random::<2>([VOCAB, WIDTH], 3, DType::F32).to_data();
    let want = added(head.to_vec().unwrap(), &[3, 0, 3], &[1.0; 3 * WIDTH], WIDTH);
    assert_eq!(grad.to_data().to_vec::<f32>().unwrap(), want);
}

#[test]
fn a_gradient_that_others_hold_is_left_as_it_is() {
    let held = primitive(&random::<2>([VOCAB, WIDTH], 3, DType::F32));
    let before = values(&held);
    let backward = |existing: FlexTensor| {
        let upstream = primitive(&random([2, WIDTH], 2, DType::F32));
        let tokens = tokens::<Flex>(&[1, 1]).into_primitive();
        <Flex as KernelsWithGrads>::embedding_backward(upstream, tokens, Some(existing), VOCAB)
    };
    let sum = backward(held.clone());
    assert_eq!(values(&held), before);
    let pointer = held.bytes().as_ptr();
    let in_place = backward(held);
    assert_eq!(in_place.bytes().as_ptr(), pointer);
    assert_eq!(values(&in_place), values(&sum));
}

#[test]
#[should_panic(expected = "embedding: token 11 in a vocabulary of 11")]
fn a_token_out_of_range_is_named() {
    let weight = random::<2>([VOCAB, WIDTH], 1, DType::F32);
    embedding::<Flex>(weight, tokens(&[3, 11]), FloatDType::F32);
}

#[test]
#[should_panic(expected = "embedding: token -1 in a vocabulary of 11")]
fn a_negative_token_is_named() {
    let weight = random::<2>([VOCAB, WIDTH], 1, DType::F32);
    embedding::<Flex>(weight, tokens(&[-1]), FloatDType::F32);
}
