//! Time of the loss with both gradients, and of a linear layer's result and gradients, for `scripts/bench_products.py`:
//!
//! ```text
//! cargo run --release -p kernels --example products_speed -- loss|linear f32|bf16 ROWS IN OUT REPEATS
//! ```
//! prints the seconds of each repetition, of the clock and of all threads' processors (on a machine with other work, the
//! better measure).

use std::error::Error;
use std::time::Instant;

use burn::tensor::{DType, Distribution, Int, Tensor};
use burn_flex::Flex;
use kernels::KernelsWithGrads;
use kernels::linear_cross_entropy::LossInput;

const USAGE: &str =
    "give loss or linear, f32 or bf16, rows, the width, the vocabulary or output, repeats";

struct Operands {
    x: Tensor<Flex, 2>,
    /// `[out, in]`
    weight: Tensor<Flex, 2>,
    upstream: Tensor<Flex, 2>,
    targets: Tensor<Flex, 1, Int>,
    token_weights: Tensor<Flex, 1>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kernel, dtype, sizes @ ..] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let run: fn(&Operands) = match kernel.as_str() {
        "loss" => loss,
        "linear" => linear,
        _ => return Err(USAGE.into()),
    };
    let dtype = match dtype.as_str() {
        "f32" => DType::F32,
        "bf16" => DType::BF16,
        _ => return Err(USAGE.into()),
    };
    let sizes: Result<Vec<usize>, _> = sizes.iter().map(|size| size.parse()).collect();
    let [rows, input, output, repeats] = sizes?[..] else {
        return Err(USAGE.into());
    };
    let device = Default::default();
    let random = |shape: [usize; 2], deviation| {
        Tensor::<Flex, 2>::random(shape, Distribution::Normal(0.0, deviation), &device)
    };
    let linear = kernel == "linear";
    let operands = Operands {
        x: random([rows, input], 1.0).cast(dtype),
        weight: random([output, input], 0.05),
        // of a linear layer only: the loss's would be large
        upstream: random([rows, if linear { output } else { 1 }], 1.0).cast(dtype),
        targets: Tensor::random([rows], Distribution::Uniform(0.0, output as f64), &device),
        token_weights: Tensor::ones([rows], &device) / rows as f32,
    };
    for _ in 0..repeats {
        let (start, before) = (Instant::now(), processor_seconds()?);
        run(&operands);
        let clock = start.elapsed().as_secs_f64();
        println!("{clock} {}", processor_seconds()? - before);
    }
    Ok(())
}

fn loss(operands: &Operands) {
    let input = LossInput {
        hidden: operands.x.clone().into_primitive().tensor(),
        weight: operands.weight.clone().into_primitive().tensor(),
        targets: operands.targets.clone().into_primitive(),
        token_weights: operands.token_weights.clone().into_primitive().tensor(),
        z_loss: 1e-4,
    };
    Flex::linear_cross_entropy_with_grads(input, [true; 2]);
}

fn linear(operands: &Operands) {
    let [x, weight, upstream] = [&operands.x, &operands.weight, &operands.upstream]
        .map(|tensor| tensor.clone().into_primitive().tensor());
    Flex::linear_forward(x.clone(), weight.clone());
    Flex::linear_backward(Some(x), weight, upstream, true);
}

/// Of this process's threads so far, as Linux counts it.
fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let line = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = line.split(' ').next().ok_or("an empty schedstat")?;
        nanoseconds += first.parse::<f64>()?;
    }
    Ok(nanoseconds / 1e9)
}
