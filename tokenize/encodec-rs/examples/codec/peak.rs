//! The most f32 multiply-adds that the processor does, from registers.

use std::hint::black_box;
use std::time::Instant;

/// Multiply-adds in flight: more than latency times units of any current core.
const CHAINS: usize = 12;
const STEPS: usize = 2_000_000;
const ROUNDS: usize = 20;

/// Floating-point operations a second of `threads` threads together; a multiply-add counts as two. The best of some rounds.
pub fn flops(threads: usize) -> f64 {
    let round = || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| black_box(chains(black_box(0.999))));
            }
        });
        let operations = threads * lanes() * CHAINS * STEPS * 2;
        operations as f64 / start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(|_| round()).fold(0.0, f64::max)
}

#[cfg(target_arch = "x86_64")]
fn lanes() -> usize {
    match is_x86_feature_detected!("avx512f") {
        true => 16,
        false => 8,
    }
}

#[cfg(target_arch = "x86_64")]
fn chains(factor: f32) -> f32 {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    fn wide(factor: f32) -> f32 {
        let factor = _mm512_set1_ps(factor);
        let mut sums = [_mm512_set1_ps(1.0); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    #[target_feature(enable = "avx2,fma")]
    fn narrow(factor: f32) -> f32 {
        let factor = _mm256_set1_ps(factor);
        let mut sums = [_mm256_set1_ps(1.0); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        sums.into_iter().map(|sum| _mm256_cvtss_f32(sum)).sum()
    }

    // SAFETY: the features were found, or are required.
    match is_x86_feature_detected!("avx512f") {
        true => unsafe { wide(factor) },
        false => {
            assert!(
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
                "a processor with AVX2 and FMA is needed"
            );
            unsafe { narrow(factor) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
fn lanes() -> usize {
    4
}

#[cfg(target_arch = "aarch64")]
fn chains(factor: f32) -> f32 {
    use std::arch::aarch64::*;
    // SAFETY: every aarch64 processor has NEON.
    unsafe {
        let factor = vdupq_n_f32(factor);
        let mut sums = [vdupq_n_f32(1.0); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = vfmaq_f32(*sum, *sum, factor);
            }
        }
        sums.into_iter().map(|sum| vaddvq_f32(sum)).sum()
    }
}
