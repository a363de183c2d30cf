//! Time of the loss with both gradients:
//!
//! ```text
//! cargo run --release -p kernels --example loss_speed -- f32|bf16 TOKENS WIDTH VOCAB REPEATS
//! ```
//! prints the best time, the least processor time of all threads (on a machine with other work, the better measure), and
//! the rate of its three products a core.

use std::error::Error;
use std::time::Instant;

use burn::tensor::{DType, Distribution, Int, Tensor};
use burn_flex::Flex;
use kernels::KernelsWithGrads;
use kernels::linear_cross_entropy::LossInput;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dtype, sizes @ ..] = arguments.as_slice() else {
        return Err("give f32 or bf16, tokens, width, vocabulary, repeats".into());
    };
    let sizes: Vec<usize> = sizes
        .iter()
        .map(|size| size.parse())
        .collect::<Result<_, _>>()?;
    let [tokens, width, vocab, repeats] = sizes[..] else {
        return Err("give tokens, width, vocabulary, repeats".into());
    };
    let device = Default::default();
    let random = |shape: [usize; 2], deviation| {
        Tensor::<Flex, 2>::random(shape, Distribution::Normal(0.0, deviation), &device)
    };
    let hidden = match dtype.as_str() {
        "bf16" => random([tokens, width], 1.0).cast(DType::BF16),
        _ => random([tokens, width], 1.0),
    };
    let weight = random([vocab, width], 0.05);
    let uniform = Distribution::Uniform(0.0, vocab as f64);
    let targets = Tensor::<Flex, 1, Int>::random([tokens], uniform, &device);
    let weights = Tensor::<Flex, 1>::ones([tokens], &device) / tokens as f32;
    let flops = (6 * tokens * width * vocab) as f64;
    let (mut best, mut least) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..repeats {
        let input = LossInput {
            hidden: hidden.clone().into_primitive().tensor(),
            weight: weight.clone().into_primitive().tensor(),
            targets: targets.clone().into_primitive(),
            token_weights: weights.clone().into_primitive().tensor(),
            z_loss: 1e-4,
        };
        let (start, before) = (Instant::now(), processor_seconds()?);
        let out = Flex::linear_cross_entropy_with_grads(input, [true; 2]);
        best = best.min(start.elapsed().as_secs_f64());
        least = least.min(processor_seconds()? - before);
        drop(out);
    }
    println!(
        "{:.1} ms, {:.1} ms of processors, {:.0} GFLOP/s a core",
        best * 1e3,
        least * 1e3,
        flops / least / 1e9
    );
    Ok(())
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
