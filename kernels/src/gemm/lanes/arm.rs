//! Vectors of aarch64.

use std::arch::aarch64::*;

use super::{Isa, Lanes};

/// 128 bits, 32 registers.
#[derive(Clone, Copy)]
pub struct Neon;

impl Lanes for Neon {
    type V = float32x4_t;
    const ISA: Isa = Isa::Neon;
    const N: usize = 4;
    const PANEL: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: float32x4_t) {
        unsafe { vst1q_f32(to, x) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn sum(x: float32x4_t) -> f32 {
        unsafe { vaddvq_f32(x) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn round(x: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(x) }
    }
    #[inline(always)]
    unsafe fn pow2(k: float32x4_t) -> float32x4_t {
        unsafe {
            let k = vaddq_s32(vcvtq_s32_f32(k), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(k))
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16(acc: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe {
            let low = |x| vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(x)));
            let high = |x| {
                let mask = vdupq_n_u32(0xffff_0000);
                vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), mask))
            };
            vfmaq_f32(vfmaq_f32(acc, low(a), low(b)), high(a), high(b))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, x: float32x4_t) {
        let mut values = [0.0; 4];
        unsafe {
            Self::store(values.as_mut_ptr(), x);
            to.cast::<[u16; 4]>()
                .write_unaligned(values.map(super::to_bf16));
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from))) }
    }
    #[inline(always)]
    unsafe fn pair_bf16(low: float32x4_t, high: float32x4_t) -> float32x4_t {
        let mut values = [[0.0; 4]; 2];
        unsafe {
            Self::store(values[0].as_mut_ptr(), low);
            Self::store(values[1].as_mut_ptr(), high);
            let [low, high] = values.map(|x| x.map(super::to_bf16));
            let words: [u32; 4] =
                std::array::from_fn(|i| u32::from(low[i]) | u32::from(high[i]) << 16);
            vreinterpretq_f32_u32(vld1q_u32(words.as_ptr()))
        }
    }
}
