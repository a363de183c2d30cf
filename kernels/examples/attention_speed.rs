//! Least time of attention, forward and backward, for `scripts/bench_attention.py`:
//!
//! ```text
//! cargo run --release -p kernels --example attention_speed -- f32|bf16 SECONDS BATCH TIME HEADS KV_HEADS HEAD_DIM [DOCUMENT]
//! ```
//! prints for both passes, with documents of DOCUMENT tokens, or one a sequence: the name, the least seconds, the least
//! seconds of processors (on a machine with other work, the better measure), and the operations that matter to a causal
//! softmax: `2 · time · document · head_dim` a head forward, 2.5 times that backward.

use std::error::Error;
use std::time::Instant;

use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Distribution, Int, Tensor, TensorData};
use burn_flex::Flex;
use kernels::KernelsWithGrads;
use kernels::attention::AttentionInput;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "give f32 or bf16, seconds, batch, time, heads, kv_heads, head_dim, and the tokens of a document";
    let [dtype, seconds, sizes @ ..] = arguments.as_slice() else {
        return Err(usage.into());
    };
    let dtype = match dtype.as_str() {
        "f32" => DType::F32,
        "bf16" => DType::BF16,
        _ => return Err(usage.into()),
    };
    let seconds: f64 = seconds.parse()?;
    let sizes: Vec<usize> = sizes.iter().map(|x| x.parse()).collect::<Result<_, _>>()?;
    let (batch, time, heads, kv_heads, head_dim, document) = match sizes[..] {
        [batch, time, heads, kv_heads, head_dim] => (batch, time, heads, kv_heads, head_dim, time),
        [batch, time, heads, kv_heads, head_dim, document] => {
            (batch, time, heads, kv_heads, head_dim, document)
        }
        _ => return Err(usage.into()),
    };
    let random = |heads| random([batch, time, heads, head_dim], dtype);
    let starts: Vec<i64> = (0..batch * time)
        .map(|i| (i % time / document * document) as i64)
        .collect();
    let starts = TensorData::new(starts, [batch, time]);
    let input = AttentionInput {
        query: random(heads),
        key: random(kv_heads),
        value: random(kv_heads),
        starts: Tensor::<Flex, 2, Int>::from_data(starts, &Default::default()).into_primitive(),
    };
    let upstream = random(heads);
    let (mut least, mut busy) = ([f64::INFINITY; 2], [f64::INFINITY; 2]);
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < seconds {
        let clocks = || processor_seconds().map(|busy| (Instant::now(), busy));
        let start = clocks()?;
        let (out, logsumexp) = Flex::attention_forward(input.clone());
        let middle = clocks()?;
        Flex::attention_backward(input.clone(), out, logsumexp, upstream.clone());
        let end = clocks()?;
        for (pass, (from, to)) in [(start, middle), (middle, end)].into_iter().enumerate() {
            least[pass] = least[pass].min((to.0 - from.0).as_secs_f64());
            busy[pass] = busy[pass].min(to.1 - from.1);
        }
    }
    let flops = 2.0 * (batch * time * document * head_dim * heads) as f64;
    println!("forward {} {} {flops}", least[0], busy[0]);
    println!("backward {} {} {}", least[1], busy[1], 2.5 * flops);
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

fn random(shape: [usize; 4], dtype: DType) -> FloatTensor<Flex> {
    let normal = Distribution::Normal(0.0, 1.0);
    let tensor = Tensor::<Flex, 4>::random(shape, normal, &Default::default());
    tensor.cast(dtype).into_primitive().tensor()
}
