//! What a machine can compute, and what a process has used of its memory.

use std::time::{Duration, Instant};

use burn::tensor::{DType, Distribution, Tensor};
use experiments::Precision;
use kernels::Kernels;
use kernels::linear::linear;

/// A product that takes so long is timed well.
const LONG_ENOUGH: Duration = Duration::from_millis(4);
/// Products of which the fastest counts.
const REPEATS: usize = 8;
/// Widths of the square matrices that are tried.
const WIDTHS: [usize; 4] = [1024, 2048, 4096, 8192];

/// FLOPs a second of the backend's fastest large matrix product: the peak that MFU (PaLM, arXiv 2204.02311) is measured by.
pub fn matmul_flops<B: Kernels>(precision: Precision, device: &B::Device) -> f64 {
    let dtype = match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    };
    let mut best = 0.0;
    for width in WIDTHS {
        let random = || {
            let uniform = Distribution::Uniform(-1.0, 1.0);
            Tensor::<B, 2>::random([width, width], uniform, device)
        };
        let (rows, weight) = (random().cast(dtype), random());
        let product = || {
            let start = Instant::now();
            let product = linear(rows.clone(), weight.clone());
            // On a device that works asynchronously only a value that is read shows that it was computed.
            let _ = product.narrow(0, 0, 1).narrow(1, 0, 1).into_data();
            start.elapsed()
        };
        product();
        let fastest = (0..REPEATS).map(|_| product()).min().expect("several");
        best = 2.0 * (width as f64).powi(3) / fastest.as_secs_f64();
        if fastest >= LONG_ENOUGH {
            break;
        }
    }
    best
}

/// Largest resident memory of this process so far, in bytes, where the system says it (Linux).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_computes_and_uses_memory() {
        let flops = matmul_flops::<burn_flex::Flex>(Precision::F32, &Default::default());
        assert!((1e8..1e14).contains(&flops), "{flops}");
        let memory = peak_memory();
        assert!(memory.is_none_or(|bytes| bytes > 1 << 20), "{memory:?}");
    }
}
