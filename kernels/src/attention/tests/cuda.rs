//! The kernels in CUDA C++, run on the processor by `cuda/emulator.h`, against the formulas.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use burn::tensor::bf16;
use tempfile::TempDir;

use super::*;
use crate::attention::cuda::arguments::{self, Kept};
use crate::attention::cuda::source::{Pass, THREADS, Variant};

const EMULATOR: &str = include_str!("../cuda/emulator.h");
const MAIN: &str = include_str!("../cuda/emulator_main.cpp");

/// The kernels of one head dimension as programs of a folder.
struct Emulated {
    folder: TempDir,
    head_dim: usize,
}

impl Emulated {
    /// None where there is no g++.
    fn new(head_dim: usize) -> Option<Self> {
        if Command::new("g++").arg("--version").output().is_err() {
            eprintln!("left out: there is no g++ that the kernels could be compiled with");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let variants = Variant::all().filter(|variant| variant.head_dim == head_dim);
        let compilers: Vec<_> = variants
            .map(|variant| {
                let path = folder.path().join(variant.entry()).with_extension("cpp");
                fs::write(&path, variant.source_with(EMULATOR) + MAIN).unwrap();
                Command::new("g++")
                    .args([
                        "-std=c++17",
                        "-O1",
                        "-U_FORTIFY_SOURCE",
                        "-fno-strict-aliasing",
                    ])
                    .arg(format!("-DENTRY={}", variant.entry()))
                    .arg(&path)
                    .arg("-o")
                    .arg(path.with_extension(""))
                    .spawn()
                    .unwrap()
            })
            .collect();
        for mut compiler in compilers {
            assert!(compiler.wait().unwrap().success(), "g++ failed");
        }
        Some(Self { folder, head_dim })
    }

    /// What a kernel makes of the last two buffers. The others stay as they are.
    fn launch(&self, pass: Pass, sizes: Sizes, buffers: &[&Vec<u8>]) -> [Vec<u8>; 2] {
        let variant = Variant {
            pass,
            head_dim: self.head_dim,
        };
        let mut words = vec![variant.shared_bytes()];
        words.extend(variant.grid(sizes).map(|blocks| blocks as usize));
        words.extend([sizes.time, sizes.heads, sizes.kv_heads, buffers.len()]);
        words.extend(buffers.iter().map(|buffer| buffer.len()));
        let mut input: Vec<u8> = words
            .iter()
            .flat_map(|&w| (w as u64).to_le_bytes())
            .collect();
        input.extend(buffers.iter().copied().flatten());
        let mut child = Command::new(self.folder.path().join(variant.entry()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{variant:?}: {}", output.status);
        let mut rest = output.stdout.as_slice();
        let mut after = buffers.iter().map(|buffer| {
            let (buffer, others) = rest.split_at(buffer.len());
            rest = others;
            buffer.to_vec()
        });
        for buffer in &buffers[..buffers.len() - 2] {
            assert!(
                after.next().unwrap() == **buffer,
                "{variant:?} wrote to an operand"
            );
        }
        [after.next().unwrap(), after.next().unwrap()]
    }
}

impl Passes for Emulated {
    fn forward(&self, input: Input) -> (FloatTensor<Flex>, FloatTensor<Flex>) {
        let sizes = Sizes::of(&input);
        let results = [unwritten(&input.query), of_queries(sizes)];
        let input = buffers(input);
        let [out, logsumexp] = &results;
        let buffers = arguments::forward(&input, [out, logsumexp]);
        let [out, logsumexp] = self.launch(Pass::Forward, sizes, &buffers);
        (operand(&out, sizes, sizes.heads), number(&logsumexp, sizes))
    }

    fn backward(
        &self,
        input: Input,
        out: FloatTensor<Flex>,
        logsumexp: FloatTensor<Flex>,
        upstream: FloatTensor<Flex>,
    ) -> [FloatTensor<Flex>; 3] {
        let sizes = Sizes::of(&input);
        let [query, key, value] = [&input.query, &input.key, &input.value].map(unwritten);
        let input = buffers(input);
        let kept = Kept {
            out: bf16_bytes(out),
            logsumexp: f32_bytes(logsumexp),
            upstream: bf16_bytes(upstream),
        };
        let mean = of_queries(sizes);
        let buffers = arguments::backward_query(&input, &kept, [&mean, &query]);
        let [mean, query] = self.launch(Pass::BackwardQuery, sizes, &buffers);
        let buffers = arguments::backward_key(&input, &kept, &mean, [&key, &value]);
        let [key, value] = self.launch(Pass::BackwardKey, sizes, &buffers);
        [
            operand(&query, sizes, sizes.heads),
            operand(&key, sizes, sizes.kv_heads),
            operand(&value, sizes, sizes.kv_heads),
        ]
    }
}

fn buffers(input: Input) -> AttentionInput<Vec<u8>, Vec<u8>> {
    let starts = Tensor::<Flex, 2, Int>::from_primitive(input.starts).into_data();
    AttentionInput {
        query: bf16_bytes(input.query),
        key: bf16_bytes(input.key),
        value: bf16_bytes(input.value),
        starts: starts.iter::<i32>().flat_map(i32::to_le_bytes).collect(),
    }
}

fn bf16_bytes(tensor: FloatTensor<Flex>) -> Vec<u8> {
    let values = values(tensor).into_iter();
    values
        .flat_map(|x| bf16::from_f64(x).to_le_bytes())
        .collect()
}

fn f32_bytes(tensor: FloatTensor<Flex>) -> Vec<u8> {
    let values = values(tensor).into_iter();
    values.flat_map(|x| (x as f32).to_le_bytes()).collect()
}

/// As many bytes as a tensor of bf16 has, not a number each two.
fn unwritten(like: &FloatTensor<Flex>) -> Vec<u8> {
    vec![0xff; 2 * like.shape().num_elements()]
}

/// An f32 for each head of each query, not a number each.
fn of_queries(sizes: Sizes) -> Vec<u8> {
    vec![0xff; 4 * sizes.batch * sizes.heads * sizes.time]
}

fn operand(bytes: &[u8], sizes: Sizes, heads: usize) -> FloatTensor<Flex> {
    let values = bytes
        .chunks_exact(2)
        .map(|x| bf16::from_le_bytes([x[0], x[1]]).to_f32());
    let shape = [sizes.batch, sizes.time, heads, sizes.head_dim];
    let data = TensorData::new(values.collect::<Vec<f32>>(), shape);
    let tensor = Tensor::<Flex, 4>::from_data(data, &Default::default());
    tensor.cast(DType::BF16).into_primitive().tensor()
}

fn number(bytes: &[u8], sizes: Sizes) -> FloatTensor<Flex> {
    let values = bytes
        .chunks_exact(4)
        .map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]]));
    let data = TensorData::new(
        values.collect::<Vec<f32>>(),
        [sizes.batch, sizes.heads, sizes.time],
    );
    Tensor::<Flex, 3>::from_data(data, &Default::default())
        .into_primitive()
        .tensor()
}

/// Batch, time, key heads, query heads of each, and documents.
const CASES: [([usize; 4], &[usize]); 7] = [
    ([1, 1, 1, 1], &[1]),
    ([2, 37, 1, 2], &[1]),
    ([2, 128, 2, 1], &[1000]),
    ([1, 131, 1, 4], &[50, 1, 27]),
    ([1, 192, 1, 1], &[64]),
    ([1, 259, 2, 2], &[140, 3, 90]),
    ([1, 401, 1, 1], &[330, 20]),
];

fn check(head_dim: usize) {
    let Some(kernels) = Emulated::new(head_dim) else {
        return;
    };
    for ([batch, time, kv_heads, group], documents) in CASES {
        let sizes = Sizes {
            batch,
            time,
            heads: kv_heads * group,
            kv_heads,
            head_dim,
        };
        let case = Case::new(sizes, documents).rounded();
        // Errors of bf16 are 4e-3 of a term.
        let got = run(&kernels, case.input(DType::BF16));
        assert_close(&got, &formulas(&case), 6e-3);
    }
}

#[test]
fn cuda_kernels_of_width_64_are_the_formulas() {
    check(64);
}

#[test]
fn cuda_kernels_of_width_96_are_the_formulas() {
    check(96);
}

#[test]
fn cuda_kernels_of_width_128_are_the_formulas() {
    check(128);
}

/// The tiles of queries that see a key are counted by as many threads as a block has.
#[test]
fn cuda_gradients_of_keys_count_more_tiles_than_threads() {
    let variant = Variant {
        pass: Pass::BackwardKey,
        head_dim: 64,
    };
    let counted = THREADS as usize * variant.columns();
    let sizes = Sizes {
        batch: 1,
        time: counted + 70,
        heads: 1,
        kv_heads: 1,
        head_dim: 64,
    };
    let Some(kernels) = Emulated::new(sizes.head_dim) else {
        return;
    };
    // All scores are 0, and only the results of queries after those tiles have a gradient.
    let rows = |value: f32, count: usize| {
        let bytes = bf16::from_f32(value).to_le_bytes();
        bytes.repeat(count * sizes.head_dim)
    };
    let numbers = |number: &dyn Fn(usize) -> f32| -> Vec<u8> {
        let numbers = (0..sizes.time).map(number);
        numbers.flat_map(f32::to_le_bytes).collect()
    };
    let zeros = rows(0.0, sizes.time);
    let input = AttentionInput {
        query: zeros.clone(),
        key: zeros.clone(),
        value: zeros.clone(),
        starts: vec![0; 4 * sizes.time],
    };
    let kept = Kept {
        out: zeros.clone(),
        logsumexp: numbers(&|i| (i as f32 + 1.0).ln()),
        upstream: [rows(0.0, counted), rows(1.0, sizes.time - counted)].concat(),
    };
    let mean = numbers(&|_| 0.0);
    let grads = [vec![0xff; zeros.len()], vec![0xff; zeros.len()]];
    let buffers = arguments::backward_key(&input, &kept, &mean, grads.each_ref());
    let [_, value] = kernels.launch(Pass::BackwardKey, sizes, &buffers);
    let got = values(operand(&value, sizes, 1))[0];
    let want: f64 = (counted..sizes.time).map(|i| 1.0 / (i as f64 + 1.0)).sum();
    // Each share is rounded to bf16, and so is their sum.
    assert!((got - want).abs() <= 8e-3 * want, "{got}, not {want}");
}
