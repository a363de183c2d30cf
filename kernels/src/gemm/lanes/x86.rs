//! Vectors of x86-64.

use std::arch::x86_64::*;

use super::{Isa, Lanes};

/// 512 bits, 32 registers; with or without products of bf16.
#[derive(Clone, Copy)]
pub struct Avx512<const BF16: bool>;

impl<const BF16: bool> Lanes for Avx512<BF16> {
    type V = __m512;
    const ISA: Isa = match BF16 {
        true => Isa::Avx512Bf16,
        false => Isa::Avx512,
    };
    const N: usize = 16;
    const PANEL: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m512) {
        unsafe { _mm512_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn sum(x: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(x) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(x: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }
    #[inline(always)]
    unsafe fn pow2(k: __m512) -> __m512 {
        unsafe {
            let k = _mm512_add_epi32(_mm512_cvtps_epi32(k), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(k))
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16(acc: __m512, a: __m512, b: __m512) -> __m512 {
        unsafe {
            if BF16 {
                return _mm512_dpbf16_ps(
                    acc,
                    std::mem::transmute::<__m512, __m512bh>(a),
                    std::mem::transmute::<__m512, __m512bh>(b),
                );
            }
            let low = |x| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(x)));
            let high = |x| {
                let mask = _mm512_set1_epi32(0xffff_0000_u32 as i32);
                _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), mask))
            };
            _mm512_fmadd_ps(high(a), high(b), _mm512_fmadd_ps(low(a), low(b), acc))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, x: __m512) {
        unsafe { _mm256_storeu_si256(to.cast(), rounded::<BF16>(x)) }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 16];
            for (index, row) in rows.iter_mut().enumerate() {
                *row = Self::load(from.add(index * from_stride));
            }
            // Afterwards `rows[4 i + c]` holds in its part p column 4 p + c of the rows 4 i to 4 i + 3.
            for rows in rows.as_chunks_mut::<4>().0 {
                let low = [
                    _mm512_castps_pd(_mm512_unpacklo_ps(rows[0], rows[1])),
                    _mm512_castps_pd(_mm512_unpacklo_ps(rows[2], rows[3])),
                ];
                let high = [
                    _mm512_castps_pd(_mm512_unpackhi_ps(rows[0], rows[1])),
                    _mm512_castps_pd(_mm512_unpackhi_ps(rows[2], rows[3])),
                ];
                *rows = [
                    _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1])),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1])),
                    _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1])),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1])),
                ];
            }
            const EVEN: i32 = 0x88;
            const ODD: i32 = 0xdd;
            for c in 0..4 {
                let even = [
                    _mm512_shuffle_f32x4::<EVEN>(rows[c], rows[4 + c]),
                    _mm512_shuffle_f32x4::<EVEN>(rows[8 + c], rows[12 + c]),
                ];
                let odd = [
                    _mm512_shuffle_f32x4::<ODD>(rows[c], rows[4 + c]),
                    _mm512_shuffle_f32x4::<ODD>(rows[8 + c], rows[12 + c]),
                ];
                let columns = [
                    _mm512_shuffle_f32x4::<EVEN>(even[0], even[1]),
                    _mm512_shuffle_f32x4::<EVEN>(odd[0], odd[1]),
                    _mm512_shuffle_f32x4::<ODD>(even[0], even[1]),
                    _mm512_shuffle_f32x4::<ODD>(odd[0], odd[1]),
                ];
                for (part, column) in columns.into_iter().enumerate() {
                    Self::store(to.add((4 * part + c) * to_stride), column);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> __m512 {
        unsafe {
            let x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x))
        }
    }
    #[inline(always)]
    unsafe fn pair_bf16(low: __m512, high: __m512) -> __m512 {
        unsafe {
            let words = |x| _mm512_cvtepu16_epi32(rounded::<BF16>(x));
            let high = _mm512_slli_epi32::<16>(words(high));
            _mm512_castsi512_ps(_mm512_or_si512(words(low), high))
        }
    }
}

/// The nearest bf16.
#[inline(always)]
unsafe fn rounded<const BF16: bool>(x: __m512) -> __m256i {
    unsafe {
        if BF16 {
            return std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
        }
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let sum = _mm512_mask_or_epi32(sum, nan, bits, _mm512_set1_epi32(0x0040_0000));
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(sum))
    }
}

/// 256 bits, 16 registers.
#[derive(Clone, Copy)]
pub struct Avx2;

impl Lanes for Avx2 {
    type V = __m256;
    const ISA: Isa = Isa::Avx2;
    const N: usize = 8;
    const PANEL: usize = 2;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m256) {
        unsafe { _mm256_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn sum(x: __m256) -> f32 {
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(x: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }
    #[inline(always)]
    unsafe fn pow2(k: __m256) -> __m256 {
        unsafe {
            let k = _mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(k))
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16(acc: __m256, a: __m256, b: __m256) -> __m256 {
        unsafe {
            let low = |x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(x)));
            let high = |x| {
                let mask = _mm256_set1_epi32(0xffff_0000_u32 as i32);
                _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(x), mask))
            };
            _mm256_fmadd_ps(high(a), high(b), _mm256_fmadd_ps(low(a), low(b), acc))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, x: __m256) {
        let mut values = [0.0; 8];
        unsafe {
            Self::store(values.as_mut_ptr(), x);
            to.cast::<[u16; 8]>()
                .write_unaligned(values.map(super::to_bf16));
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> __m256 {
        unsafe {
            let x = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x))
        }
    }
    #[inline(always)]
    unsafe fn pair_bf16(low: __m256, high: __m256) -> __m256 {
        unsafe {
            let words = |x| {
                let mut rounded = [0u16; 8];
                Self::store_bf16(rounded.as_mut_ptr(), x);
                _mm256_cvtepu16_epi32(_mm_loadu_si128(rounded.as_ptr().cast()))
            };
            let high = _mm256_slli_epi32::<16>(words(high));
            _mm256_castsi256_ps(_mm256_or_si256(words(low), high))
        }
    }
}
