//! The kernels against the formulas in f64, those against finite differences, and all against Burn's own autodiff.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Int, Tensor, TensorData};
use burn_flex::Flex;
use proptest::prelude::*;

use super::*;
use crate::gemm::lanes::Isa;

mod cuda;

type Ad<C> = Autodiff<Flex, C>;
type Input = AttentionInput<FloatTensor<Flex>, IntTensor<Flex>>;

/// Operands in host memory, with the gradient of the result.
#[derive(Clone, Debug)]
struct Case {
    sizes: Sizes,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    upstream: Vec<f32>,
    starts: Vec<i64>,
}

impl Case {
    /// Documents of the given lengths, again and again, their borders shifted from one sequence to the next.
    fn new(sizes: Sizes, documents: &[usize]) -> Self {
        let Sizes {
            batch,
            time,
            heads,
            kv_heads,
            head_dim,
        } = sizes;
        let tokens = batch * time * head_dim;
        let starts = (0..batch).flat_map(|row| {
            let borders = documents.iter().cycle().scan(0, |end, length| {
                *end += length;
                Some(*end)
            });
            let borders: Vec<usize> = borders.take_while(|&end| end < time + row).collect();
            (0..time).map(move |i| {
                let start = borders.iter().rev().find(|&&border| border <= i + row);
                start.map_or(0, |&border| border.saturating_sub(row) as i64)
            })
        });
        Self {
            sizes,
            query: numbers(tokens * heads, 1),
            key: numbers(tokens * kv_heads, 2),
            value: numbers(tokens * kv_heads, 3),
            upstream: numbers(tokens * heads, 4),
            starts: starts.collect(),
        }
    }

    /// The operands as they are after rounding to bf16.
    fn rounded(mut self) -> Self {
        let Self {
            query,
            key,
            value,
            upstream,
            ..
        } = &mut self;
        for x in [query, key, value, upstream].into_iter().flatten() {
            *x = f32::from_bits(u32::from(crate::gemm::lanes::to_bf16(*x)) << 16);
        }
        self
    }

    fn shape(&self, heads: usize) -> [usize; 4] {
        let Sizes {
            batch,
            time,
            head_dim,
            ..
        } = self.sizes;
        [batch, time, heads, head_dim]
    }

    fn tensors(&self, dtype: DType) -> [Tensor<Flex, 4>; 4] {
        let device = Default::default();
        let Sizes {
            heads, kv_heads, ..
        } = self.sizes;
        let parts = [
            (&self.query, heads),
            (&self.key, kv_heads),
            (&self.value, kv_heads),
            (&self.upstream, heads),
        ];
        parts.map(|(values, heads)| {
            let data = TensorData::new(values.clone(), self.shape(heads));
            Tensor::<Flex, 4>::from_data(data, &device).cast(dtype)
        })
    }

    fn starts(&self) -> Tensor<Flex, 2, Int> {
        let shape = [self.sizes.batch, self.sizes.time];
        Tensor::from_data(
            TensorData::new(self.starts.clone(), shape),
            &Default::default(),
        )
    }

    /// The operands and the gradient of the result.
    fn input(&self, dtype: DType) -> (Input, FloatTensor<Flex>) {
        let [query, key, value, upstream] = self
            .tensors(dtype)
            .map(|tensor| tensor.into_primitive().tensor());
        let starts = self.starts().into_primitive();
        let input = AttentionInput {
            query,
            key,
            value,
            starts,
        };
        (input, upstream)
    }
}

/// Evenly distributed between -1.7 and 1.7, of deviation 1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let number = |i: usize| {
        let hash = (i as u32 ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        let hash = (hash ^ hash >> 15).wrapping_mul(0xc2b2_ae35);
        let hash = hash ^ hash >> 13;
        ((hash >> 8) as f32 / (1u32 << 23) as f32 - 1.0) * 3f32.sqrt()
    };
    (0..count).map(number).collect()
}

/// Result, logsumexp, and the gradients of query, key and value.
type Results = [Vec<f64>; 5];
const NAMES: [&str; 5] = [
    "result",
    "logsumexp",
    "query's gradient",
    "key's gradient",
    "value's gradient",
];

/// The formulas in f64, and for each result the largest sum of the sizes of what is added up for one of its numbers: terms
/// may cancel, their roundings do not.
fn formulas(case: &Case) -> (Results, [f64; 5]) {
    let Sizes {
        batch,
        time,
        heads,
        kv_heads,
        head_dim,
    } = case.sizes;
    let scale = (head_dim as f64).sqrt().recip();
    let lengths = [
        &case.query,
        &case.upstream,
        &case.query,
        &case.key,
        &case.value,
    ];
    let mut results = lengths.map(|like| vec![0.0; like.len()]);
    results[1].truncate(batch * heads * time);
    let mut terms = results.clone();
    let mut add = |result: usize, at: usize, x: f64, size: f64| {
        results[result][at] += x;
        terms[result][at] += size;
    };
    for index in 0..batch * heads * time {
        let (row, head, i) = (index / time / heads, index / time % heads, index % time);
        let q = ((row * time + i) * heads + head) * head_dim;
        let kv = |j: usize| ((row * time + j) * kv_heads + head / case.sizes.group()) * head_dim;
        let seen: Vec<usize> = (case.starts[row * time + i] as usize..=i).map(kv).collect();
        let query = doubles(&case.query[q..][..head_dim]);
        let upstream = doubles(&case.upstream[q..][..head_dim]);
        // products with each row that is seen, and the sums of their terms' sizes
        let products = |x: &[f64], rows: &[f32]| -> Vec<[f64; 2]> {
            let product = |&at: &usize| {
                let products = x.iter().zip(doubles(&rows[at..][..head_dim]));
                let add = |[sum, size]: [f64; 2], (a, b): (&f64, f64)| {
                    [sum + a * b, size + (a * b).abs()]
                };
                products.fold([0.0; 2], add)
            };
            seen.iter().map(product).collect()
        };
        let scores = products(&query, &case.key);
        let max = scores
            .iter()
            .map(|s| s[0])
            .fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| ((s[0] - max) * scale).exp()).sum();
        let lse = max * scale + sum.ln();
        let size = scores.iter().map(|s| s[1] * scale).fold(1.0, f64::max);
        add(1, index, lse, size);
        let shares: Vec<f64> = scores.iter().map(|s| (s[0] * scale - lse).exp()).collect();
        let of_shares = products(&upstream, &case.value);
        let mean = |part: usize| -> f64 {
            let products = shares.iter().zip(&of_shares).map(|(p, dp)| p * dp[part]);
            products.sum()
        };
        let [mean, mean_size] = [mean(0), mean(1)];
        for ((&k, p), dp) in seen.iter().zip(&shares).zip(&of_shares) {
            let ds = p * (dp[0] - mean) * scale;
            // a score's rounding changes the share
            let ds_size = p * (dp[1] + mean_size) * scale * size;
            for c in 0..head_dim {
                let [key, value] = [case.key[k + c], case.value[k + c]].map(f64::from);
                add(0, q + c, p * value, p * value.abs() * size);
                add(2, q + c, ds * key, ds_size * key.abs());
                add(3, k + c, ds * query[c], ds_size * query[c].abs());
                add(4, k + c, p * upstream[c], p * upstream[c].abs() * size);
            }
        }
    }
    let largest = |terms: Vec<f64>| terms.into_iter().fold(0.0, f64::max);
    (results, terms.map(largest))
}

fn doubles(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

fn values(primitive: FloatTensor<Flex>) -> Vec<f64> {
    let contiguous = primitive.to_contiguous();
    match contiguous.dtype() {
        DType::BF16 => {
            let values: &[burn::tensor::bf16] = contiguous.as_slice().unwrap();
            values.iter().map(|x| x.to_f64()).collect()
        }
        DType::F64 => contiguous.as_slice::<f64>().unwrap().to_vec(),
        _ => doubles(contiguous.as_slice().unwrap()),
    }
}

/// Both passes of a kernel.
trait Passes {
    fn forward(&self, input: Input) -> (FloatTensor<Flex>, FloatTensor<Flex>);
    fn backward(
        &self,
        input: Input,
        out: FloatTensor<Flex>,
        logsumexp: FloatTensor<Flex>,
        upstream: FloatTensor<Flex>,
    ) -> [FloatTensor<Flex>; 3];
}

struct Plain;

impl Passes for Plain {
    fn forward(&self, input: Input) -> (FloatTensor<Flex>, FloatTensor<Flex>) {
        reference::forward::<Flex>(input)
    }
    fn backward(
        &self,
        input: Input,
        out: FloatTensor<Flex>,
        logsumexp: FloatTensor<Flex>,
        upstream: FloatTensor<Flex>,
    ) -> [FloatTensor<Flex>; 3] {
        reference::backward::<Flex>(input, out, logsumexp, upstream)
    }
}

impl Passes for Isa {
    fn forward(&self, input: Input) -> (FloatTensor<Flex>, FloatTensor<Flex>) {
        cpu::forward(*self, input)
    }
    fn backward(
        &self,
        input: Input,
        out: FloatTensor<Flex>,
        logsumexp: FloatTensor<Flex>,
        upstream: FloatTensor<Flex>,
    ) -> [FloatTensor<Flex>; 3] {
        cpu::backward(*self, input, out, logsumexp, upstream)
    }
}

fn run(passes: &impl Passes, (input, upstream): (Input, FloatTensor<Flex>)) -> Results {
    let dtype = input.query.dtype();
    let (out, logsumexp) = passes.forward(input.clone());
    let (kept, lse) = (out.clone(), logsumexp.clone());
    let [query, key, value] = passes.backward(input, kept, lse, upstream);
    let types = [&out, &query, &key, &value].map(|tensor| tensor.dtype());
    assert_eq!((types, logsumexp.dtype()), ([dtype; 4], DType::F32));
    [out, logsumexp, query, key, value].map(values)
}

/// Within `tolerance` of the size of what was added up.
fn assert_close(got: &Results, (want, sizes): &(Results, [f64; 5]), tolerance: f64) {
    for (((name, got), want), size) in NAMES.into_iter().zip(got).zip(want).zip(sizes) {
        assert_eq!(got.len(), want.len(), "{name}");
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!(
                (got - want).abs() <= tolerance * size,
                "{name} {i}: {got}, not {want}; the terms' size is {size}"
            );
        }
    }
}

#[test]
fn the_formulas_gradients_are_finite_differences() {
    let sizes = Sizes {
        batch: 2,
        time: 7,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
    };
    let case = Case::new(sizes, &[3, 1, 2]);
    let (results, _) = formulas(&case);
    let operand = |case: &mut Case, which: usize| match which {
        0 => std::mem::take(&mut case.query),
        1 => std::mem::take(&mut case.key),
        _ => std::mem::take(&mut case.value),
    };
    let with = |which: usize, index: usize, change: f32| {
        let mut case = case.clone();
        let mut values = operand(&mut case, which);
        values[index] += change;
        let step = f64::from(values[index]);
        *[&mut case.query, &mut case.key, &mut case.value][which] = values;
        let products = formulas(&case).0[0]
            .iter()
            .zip(&case.upstream)
            .map(|(out, up)| out * f64::from(*up))
            .sum::<f64>();
        (step, products)
    };
    for which in 0..3 {
        for (index, want) in results[2 + which].iter().enumerate() {
            // The step is that of f32 numbers; central differences are exact to its square.
            let ((x0, y0), (x1, y1)) = (with(which, index, -1e-3), with(which, index, 1e-3));
            let got = (y1 - y0) / (x1 - x0);
            assert!(
                (got - want).abs() < 1e-5,
                "{} {index}: {got}, not {want}",
                NAMES[2 + which]
            );
        }
    }
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let time = prop_oneof![Just(1), 2..20usize, 60..70usize, 120..300usize];
    let head_dim = prop_oneof![1..20usize, Just(32), Just(42), Just(48)];
    (1..3usize, time, 1..3usize, 1..4usize, head_dim).prop_map(
        |(batch, time, kv_heads, group, half)| Sizes {
            batch,
            time,
            heads: kv_heads * group,
            kv_heads,
            head_dim: 2 * half,
        },
    )
}

fn isa() -> impl Strategy<Value = Isa> {
    prop::sample::select(Isa::available())
}

fn documents() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        Just(vec![1000]),
        prop::collection::vec(1..100usize, 1..5)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn kernels_are_the_formulas(sizes in sizes(), documents in documents(), isa in isa()) {
        let case = Case::new(sizes, &documents);
        let want = formulas(&case);
        // Errors of f32 are 6e-8 of a term, and add up like a random walk.
        assert_close(&run(&Plain, case.input(DType::F32)), &want, 1e-6);
        assert_close(&run(&isa, case.input(DType::F32)), &want, 1e-6);
        // Those of bf16 are 4e-3 of a term. The plain kernel rounds scores too.
        let case = case.rounded();
        let want = formulas(&case);
        assert_close(&run(&Plain, case.input(DType::BF16)), &want, 1e-2);
        assert_close(&run(&isa, case.input(DType::BF16)), &want, 6e-3);
    }
}

#[test]
fn the_plain_kernel_is_that_of_the_formulas_over_several_steps() {
    let sizes = Sizes {
        batch: 1,
        time: 2 * reference::ROWS + 3,
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
    };
    let case = Case::new(sizes, &[700, 33]);
    assert_close(&run(&Plain, case.input(DType::F32)), &formulas(&case), 1e-6);
}

/// Half a dozen blocks of keys, and documents that begin anywhere in them.
fn long() -> Case {
    let sizes = Sizes {
        batch: 1,
        time: 701,
        heads: 2,
        kv_heads: 1,
        head_dim: 10,
    };
    Case::new(sizes, &[300, 7, 200])
}

#[test]
fn long_sequences_are_the_formulas_with_every_instruction_set() {
    let case = long().rounded();
    let want = formulas(&case);
    for isa in Isa::available() {
        assert_close(&run(&isa, case.input(DType::F32)), &want, 1e-6);
        assert_close(&run(&isa, case.input(DType::BF16)), &want, 6e-3);
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    for dtype in [DType::F32, DType::BF16] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new();
            let pool = pool.num_threads(threads).build().unwrap();
            pool.install(|| run(&Isa::detect(), long().input(dtype)))
        };
        let one = run(1);
        assert!([2, 3, 8].into_iter().all(|threads| run(threads) == one));
    }
}

#[test]
fn other_types_take_the_plain_kernel() {
    let case = long();
    let got = run(&Isa::detect(), case.input(DType::F64));
    assert_close(&got, &formulas(&case), 1e-6);
}

#[test]
fn a_tensor_is_read_in_any_order_of_its_dimensions() {
    let (case, isa) = (long(), Isa::detect());
    let (input, upstream) = case.input(DType::F32);
    let want = run(&isa, (input.clone(), upstream.clone()));
    let turned = |primitive| {
        let tensor = Tensor::<Flex, 4>::from_primitive(TensorPrimitive::Float(primitive));
        let copy = tensor
            .swap_dims(1, 2)
            .into_primitive()
            .tensor()
            .to_contiguous();
        let tensor = Tensor::<Flex, 4>::from_primitive(TensorPrimitive::Float(copy));
        tensor.swap_dims(1, 2).into_primitive().tensor()
    };
    let turned_input = AttentionInput {
        query: turned(input.query),
        key: turned(input.key),
        value: turned(input.value),
        starts: case
            .starts()
            .cast(burn::tensor::IntDType::I32)
            .into_primitive(),
    };
    assert!(!turned_input.query.is_contiguous());
    assert_eq!(run(&isa, (turned_input, turned(upstream))), want);
}

#[test]
fn documents_do_not_see_each_other() {
    let case = long();
    let second = case.starts.iter().position(|&start| start > 0).unwrap();
    let mut other = case.clone();
    let width = |heads| heads * case.sizes.head_dim;
    for (values, heads) in [
        (&mut other.query, 2),
        (&mut other.key, 1),
        (&mut other.value, 1),
        (&mut other.upstream, 2),
    ] {
        values[second * width(heads)..]
            .iter_mut()
            .for_each(|x| *x += 1.0);
    }
    for dtype in [DType::F32, DType::BF16] {
        let results = [&case, &other].map(|case| run(&Isa::detect(), case.input(dtype)));
        for (result, heads) in [(0, 2), (2, 2), (3, 1), (4, 1)] {
            let first = results
                .each_ref()
                .map(|all| &all[result][..second * width(heads)]);
            assert_eq!(first[0], first[1], "{}", NAMES[result]);
            assert_ne!(results[0][result], results[1][result], "{}", NAMES[result]);
        }
    }
}

#[test]
fn large_scores_are_no_overflow() {
    let mut case = long();
    // scores up to ±10⁴
    for x in case.query.iter_mut().chain(&mut case.key) {
        *x *= 50.0;
    }
    let got = run(&Isa::detect(), case.input(DType::F32));
    assert!(got.iter().flatten().all(|x| x.is_finite()));
    assert!(formulas(&case).0[1].iter().any(|x| x.abs() > 5000.0));
    assert_close(&got, &formulas(&case), 1e-6);
}

#[test]
fn not_a_number_stays() {
    let (token, last) = (320, 506); // of the document that ends at 507
    let case = long();
    let Sizes {
        heads, head_dim, ..
    } = case.sizes;
    for which in 0..3 {
        let mut case = case.clone();
        match which {
            0 => case.query[token * heads * head_dim] = f32::NAN,
            1 => case.key[token * head_dim] = f32::NAN,
            _ => case.value[token * head_dim] = f32::NAN,
        }
        for dtype in [DType::F32, DType::BF16] {
            let [out, _, query, key, value] = run(&Isa::detect(), case.input(dtype));
            let nan = |x: &[f64], token: usize, heads: usize| {
                let row = &x[token * heads * head_dim..][..heads * head_dim];
                row.iter().any(|x| x.is_nan())
            };
            assert!(nan(&out, token, heads), "{which}");
            assert_eq!(nan(&out, last, heads), which > 0, "{which}");
            assert!(nan(&query, token, heads) && nan(&key, token, 1), "{which}");
            assert_eq!(nan(&value, token, 1), which < 2);
            let all = [(&out, heads), (&query, heads), (&key, 1), (&value, 1)];
            assert!(all.into_iter().all(|(x, heads)| !nan(x, 0, heads)));
        }
    }
}

/// [`attention`] or another way to compute it, of query, key and value.
type Function<B> = fn([Tensor<B, 4>; 3], Tensor<B, 2, Int>) -> Tensor<B, 4>;

/// Gradients of `Σ out · upstream` for those operands that are tracked.
fn tracked<C: CheckpointStrategy>(
    case: &Case,
    tracked: [bool; 3],
    attention: Function<Ad<C>>,
) -> [Option<Vec<f64>>; 3] {
    let [query, key, value, upstream] = case.tensors(DType::F32);
    let mut parts = [query, key, value].map(Tensor::<Ad<C>, 4>::from_inner);
    for (part, tracked) in parts.iter_mut().zip(tracked) {
        if tracked {
            *part = part.clone().require_grad();
        }
    }
    // Operands that are bound by memory, so that a strategy may make them again.
    let scaled = parts.clone().map(|part| part * 0.5);
    let out = attention(scaled, Tensor::from_inner(case.starts()));
    let grads = (out * Tensor::from_inner(upstream)).sum().backward();
    parts.map(|part| {
        let grad = part.grad(&grads)?;
        Some(values(grad.into_primitive().tensor()))
    })
}

fn check_autodiff<C: CheckpointStrategy>() {
    let sizes = Sizes {
        batch: 2,
        time: 19,
        heads: 4,
        kv_heads: 2,
        head_dim: 10,
    };
    let case = Case::new(sizes, &[5, 1, 8]);
    let burns = |[query, key, value]: [Tensor<Ad<C>, 4>; 3], starts: Tensor<Ad<C>, 2, Int>| {
        let (out, _) = reference::forward::<Ad<C>>(AttentionInput {
            query: query.into_primitive().tensor(),
            key: key.into_primitive().tensor(),
            value: value.into_primitive().tensor(),
            starts: starts.into_primitive(),
        });
        Tensor::from_primitive(TensorPrimitive::Float(out))
    };
    let want = tracked::<C>(&case, [true; 3], burns);
    for which in 0..8 {
        let need = [0, 1, 2].map(|bit| which >> bit & 1 == 1);
        if which == 0 {
            continue;
        }
        let got = tracked::<C>(&case, need, |[query, key, value], starts| {
            attention(query, key, value, starts)
        });
        for ((got, want), need) in got.into_iter().zip(&want).zip(need) {
            assert_eq!(got.is_some(), need);
            let Some(got) = got else { continue };
            let want = want.as_ref().unwrap();
            let scale = want.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
            let error = got
                .iter()
                .zip(want)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            assert!(error <= 1e-5 * scale, "{error} of {scale}");
        }
    }
}

#[test]
fn gradients_are_those_of_burns_autodiff() {
    check_autodiff::<NoCheckpointing>();
    check_autodiff::<BalancedCheckpointing>();
}

#[test]
fn without_gradients_nothing_is_recorded() {
    let case = Case::new(
        Sizes {
            batch: 1,
            time: 3,
            heads: 1,
            kv_heads: 1,
            head_dim: 2,
        },
        &[3],
    );
    let parts = case.tensors(DType::F32);
    let [query, key, value, _] = parts.map(Tensor::<Ad<NoCheckpointing>, 4>::from_inner);
    let out = attention(query, key, value, Tensor::from_inner(case.starts()));
    assert!(!out.into_primitive().tensor().is_tracked());
}

fn zeros(shape: [usize; 4]) -> Tensor<Flex, 4> {
    Tensor::zeros(shape, &Default::default())
}

fn starts(shape: [usize; 2]) -> Tensor<Flex, 2, Int> {
    Tensor::zeros(shape, &Default::default())
}

#[test]
#[should_panic(
    expected = "attention: the query is [1, 4, 2, 8], the key [1, 3, 2, 8], the value [1, 3, 2, 8]"
)]
fn shapes_that_differ_are_named() {
    attention(
        zeros([1, 4, 2, 8]),
        zeros([1, 3, 2, 8]),
        zeros([1, 3, 2, 8]),
        starts([1, 4]),
    );
}

#[test]
#[should_panic(expected = "attention: 3 query heads are no multiple of 2 key heads")]
fn heads_that_cannot_be_grouped_are_named() {
    let key = zeros([1, 4, 2, 8]);
    attention(zeros([1, 4, 3, 8]), key.clone(), key, starts([1, 4]));
}

#[test]
#[should_panic(expected = "attention: the head dimension 7 is odd")]
fn an_odd_head_dimension_is_named() {
    let x = zeros([1, 4, 2, 7]);
    attention(x.clone(), x.clone(), x, starts([1, 4]));
}

#[test]
#[should_panic(
    expected = "attention: the documents' starts are [1, 5], not [batch, time] = [1, 4]"
)]
fn starts_of_another_shape_are_named() {
    let x = zeros([1, 4, 2, 8]);
    attention(x.clone(), x.clone(), x, starts([1, 5]));
}

#[test]
#[should_panic(expected = "attention: query, key and value are [F32, BF16, F32], not of one type")]
fn types_that_differ_are_named() {
    let x = zeros([1, 4, 2, 8]);
    attention(x.clone(), x.clone().cast(DType::BF16), x, starts([1, 4]));
}

#[test]
#[should_panic(expected = "attention: starts[1, 2] is 3, not within 0..=2")]
fn a_document_that_starts_after_its_token_is_named() {
    let x = zeros([2, 3, 1, 2]);
    let starts = Tensor::from_data([[0, 0, 1], [0, 0, 3]], &Default::default());
    attention(x.clone(), x.clone(), x, starts);
}

#[test]
#[should_panic(expected = "attention: starts[0, 2] is 0, not within 1..=2")]
fn a_document_that_starts_before_the_one_in_front_of_it_is_named() {
    let x = zeros([1, 3, 1, 2]);
    let starts = Tensor::from_data([[0, 1, 0]], &Default::default());
    attention(x.clone(), x.clone(), x, starts);
}
