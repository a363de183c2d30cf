//! Time of the kernels that compute little and move much, for `scripts/bench_elementwise.py`:
//!
//! ```text
//! cargo run --release -p kernels --example elementwise_speed -- TOKENS WIDTH HEAD_DIM f32|bf16 SECONDS
//! ```
//! prints, for each pass, its name, its least seconds, and the bytes that it has to read and write. Each pass is repeated for
//! `SECONDS`. `copy` is the machine's limit: a copy of `[TOKENS, WIDTH]` by all threads.

use std::error::Error;
use std::time::{Duration, Instant};

use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Distribution, FloatDType, Int, Shape, Tensor, TensorPrimitive};
use burn_flex::Flex;
use kernels::norm_rope::{NormRopeInput, Tables};
use kernels::rms_norm::NormInput;
use kernels::{Kernels, KernelsWithGrads};
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Primitive = FloatTensor<Flex>;

/// Of the embedding; as the tokenizers with audio codes have it.
const VOCAB: usize = 144_644;
const EPSILON: f64 = 1e-6;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "give tokens, width, head_dim, f32 or bf16, and seconds";
    let [tokens, width, head_dim, dtype, seconds] = arguments.as_slice() else {
        return Err(usage.into());
    };
    let bench = Bench {
        tokens: tokens.parse()?,
        width: width.parse()?,
        dtype: match dtype.as_str() {
            "f32" => FloatDType::F32,
            "bf16" => FloatDType::BF16,
            _ => return Err(usage.into()),
        },
        limit: Duration::from_secs_f64(seconds.parse()?),
    };
    let head_dim = head_dim.parse()?;
    // On a thread of the pool: a call from outside waits some 10 µs for one to wake.
    rayon::scope(|_| {
        bench.copy();
        bench.norm();
        bench.rope(head_dim);
        bench.swiglu();
        bench.embedding();
    });
    Ok(())
}

struct Bench {
    tokens: usize,
    width: usize,
    dtype: FloatDType,
    /// Of each pass.
    limit: Duration,
}

impl Bench {
    /// Activations `[tokens, width]`.
    fn activations(&self) -> Primitive {
        random([self.tokens, self.width], self.dtype)
    }

    fn shaped(&self, shape: [usize; 4]) -> Primitive {
        random(shape, self.dtype)
    }

    /// Prints the least time of `pass` on fresh inputs, which reads and writes `arrays` times the activations.
    fn time<I, O>(&self, name: &str, arrays: usize, input: impl Fn() -> I, pass: impl Fn(I) -> O) {
        let start = Instant::now();
        let mut least = f64::INFINITY;
        while start.elapsed() < self.limit {
            let input = input();
            let start = Instant::now();
            let out = pass(input);
            least = least.min(start.elapsed().as_secs_f64());
            drop(out);
        }
        let size = DType::from(self.dtype).size();
        let bytes = arrays * self.tokens * self.width * size;
        println!("{name} {least} {bytes}");
    }

    fn copy(&self) {
        let from = self.activations().bytes().to_vec();
        let to = std::cell::RefCell::new(from.clone());
        self.time(
            "copy",
            2,
            || (),
            |()| {
                let mut to = to.borrow_mut();
                let piece = from.len().div_ceil(2 * rayon::current_num_threads());
                let pieces = from.par_chunks(piece).zip(to.par_chunks_mut(piece));
                pieces.for_each(|(from, to)| to.copy_from_slice(from));
            },
        );
    }

    fn norm(&self) {
        let input = NormInput {
            x: self.activations(),
            weight: random([self.width], FloatDType::F32),
            epsilon: EPSILON,
        };
        let (upstream, existing) = (self.activations(), self.activations());
        self.time("rms_norm", 2, || input.clone(), Flex::rms_norm);
        self.time(
            "rms_norm_backward",
            3,
            || (copy(&upstream), input.clone()),
            |(upstream, input)| Flex::rms_norm_backward(upstream, input, None, [true; 2]),
        );
        self.time(
            "add_rms_norm",
            4,
            || (copy(&upstream), input.clone()),
            |(delta, input)| Flex::add_rms_norm(delta, input),
        );
        let inputs = || (copy(&upstream), input.clone(), Some(existing.clone()));
        self.time(
            "add_rms_norm_backward",
            4,
            inputs,
            |(upstream, input, existing)| {
                Flex::rms_norm_backward(upstream, input, existing, [true; 2])
            },
        );
    }

    fn rope(&self, head_dim: usize) {
        // Two sequences, as in the training step's benchmark.
        let shape = [2, self.tokens / 2, self.width / head_dim, head_dim];
        let table = [self.tokens / 2, head_dim / 2];
        let input = NormRopeInput {
            x: self.shaped(shape),
            weight: random([head_dim], FloatDType::F32),
            tables: Tables {
                cos: random(table, FloatDType::F32),
                sin: random(table, FloatDType::F32),
            },
            epsilon: EPSILON,
        };
        let upstream = self.shaped(shape);
        self.time("norm_rope", 2, || input.clone(), Flex::norm_rope);
        let inputs = || (copy(&upstream), input.clone());
        self.time("norm_rope_backward", 3, inputs, |(upstream, input)| {
            Flex::norm_rope_backward(upstream, input, [true; 2])
        });
    }

    fn swiglu(&self) {
        let [gate, up, upstream] = [(); 3].map(|()| self.activations());
        let inputs = || (gate.clone(), up.clone());
        self.time("swiglu", 3, inputs, |(gate, up)| Flex::swiglu(gate, up));
        self.time(
            "swiglu_backward",
            5,
            || (copy(&gate), copy(&up)),
            |(gate, up)| Flex::swiglu_backward(upstream.clone(), gate, up),
        );
    }

    fn embedding(&self) {
        let weight = random([VOCAB, self.width], FloatDType::F32);
        let uniform = Distribution::Uniform(0.0, VOCAB as f64);
        let tokens = Tensor::<Flex, 1, Int>::random([self.tokens], uniform, &Default::default());
        let tokens = tokens.into_primitive();
        let upstream = self.activations();
        self.time(
            "embedding",
            2,
            || weight.clone(),
            |weight| <Flex as Kernels>::embedding(weight, tokens.clone(), self.dtype),
        );
        let backward = |existing| {
            let (upstream, tokens) = (upstream.clone(), tokens.clone());
            <Flex as KernelsWithGrads>::embedding_backward(upstream, tokens, existing, VOCAB)
        };
        let sum = std::cell::Cell::new(Some(random([VOCAB, self.width], FloatDType::F32)));
        // What is added to, is read and written.
        self.time(
            "embedding_backward_tied",
            3,
            || sum.take(),
            |existing| {
                sum.set(Some(backward(existing)));
            },
        );
        // All rows are written.
        let rows = VOCAB.div_ceil(self.tokens);
        self.time("embedding_backward", 1 + rows, || (), |()| backward(None));
    }
}

/// In a buffer of its own.
fn copy(tensor: &Primitive) -> Primitive {
    let bytes = burn::tensor::Bytes::from_bytes_vec(tensor.bytes().to_vec());
    Primitive::new(bytes, tensor.layout().clone(), tensor.dtype())
}

fn random(shape: impl Into<Shape>, dtype: FloatDType) -> Primitive {
    let shape = shape.into();
    let normal = Distribution::Normal(0.0, 1.0);
    let values = Tensor::<Flex, 1>::random([shape.num_elements()], normal, &Default::default());
    let values = values.cast(dtype).into_primitive();
    match values {
        TensorPrimitive::Float(values) => values.reshape(shape),
        TensorPrimitive::QFloat(_) => unreachable!("made as a float"),
    }
}
