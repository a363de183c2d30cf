//! How fast processes exchange gradients and parameters through their hosts, for docs/scaling.md:
//!
//! ```text
//! mpirun -np 2 target/release/examples/exchange_speed
//! ```
//! prints a line of JSON for each size: the best time of a reduce-scatter and of an all-gather of so many bytes, and the bytes
//! that a process sends for each in a second.

use std::time::Instant;

use anyhow::Result;
use burn::tensor::TensorData;
use pretrain::world::{Floats, World};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;

fn main() -> Result<()> {
    let world = World::join()?;
    let (hosts, ranks) = (world.hosts(), world.size());
    for power in [10, 14, 18, 20, 22, 24, 26] {
        let part = (1usize << power) / ranks;
        let floats = |count: usize| TensorData::new(vec![1f32; count], [count]);
        let best = |operation: &dyn Fn() -> Floats| {
            let time = |_| {
                world.barrier();
                let start = Instant::now();
                assert!(operation().num_elements() > 0);
                start.elapsed().as_secs_f64()
            };
            (0..ROUNDS).map(time).fold(f64::INFINITY, f64::min)
        };
        let scatter = best(&|| hosts.reduce_scatter(floats(part * ranks)).wait());
        let gather = best(&|| hosts.all_gather(floats(part)).wait());
        let sent = (4 * part * (ranks - 1)) as f64;
        if world.is_first() {
            let line = json!({
                "ranks": ranks,
                "bytes": 4 * part * ranks,
                "reduce_scatter_secs": scatter,
                "all_gather_secs": gather,
                "reduce_scatter_bytes_per_sec": sent / scatter,
                "all_gather_bytes_per_sec": sent / gather,
            });
            println!("{line}");
        }
    }
    Ok(())
}
