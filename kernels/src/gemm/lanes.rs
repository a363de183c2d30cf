//! Vectors of f32 in the widths that processors have, and the choice among them at run time.
//!
//! An [`Op`] is written once, generic over [`Lanes`], and compiled for each width inside a function that enables the
//! instructions ([`dispatch`]).

/// A vector of `N` f32.
///
/// # Safety
/// Every method needs the instructions of its implementation, which [`dispatch`] has checked; pointers must be valid for
/// `N` values, at any alignment.
#[allow(clippy::missing_safety_doc)] // said once, above
pub trait Lanes: Copy + 'static {
    /// The vector.
    type V: Copy;
    /// Values of a vector.
    const N: usize;
    /// Vectors of a full panel: with 6 rows they fill the registers.
    const PANEL: usize;

    /// `x` in every lane.
    unsafe fn splat(x: f32) -> Self::V;
    /// Reads `N` values.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Writes `N` values.
    unsafe fn store(to: *mut f32, x: Self::V);
    /// `a + b`
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The second where one is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// The second where one is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest integer, ties to even.
    unsafe fn round(x: Self::V) -> Self::V;
    /// `2^k` for integers k from -126 to 127.
    unsafe fn pow2(k: Self::V) -> Self::V;
    /// `acc + a₀ b₀ + a₁ b₁`, where each lane of a and b holds two bf16, the first in the low bits.
    unsafe fn dot_bf16(acc: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Stores `N` values rounded to the nearest bf16.
    unsafe fn store_bf16(to: *mut u16, x: Self::V);
}

/// Work that is the same for every width.
pub trait Op {
    /// The result.
    type Out;
    /// Does it.
    ///
    /// # Safety
    /// As [`Lanes`].
    unsafe fn run<L: Lanes>(self) -> Self::Out;
}

/// Instruction sets, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// No vector instructions are assumed.
    Portable,
    /// 128 bits.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 512 bits with products of bf16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Isa {
    /// The best one here.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return match is_x86_feature_detected!("avx512bf16") {
                    true => Self::Avx512Bf16,
                    false => Self::Avx512,
                };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self::Neon;
        }
        #[allow(unreachable_code)]
        Self::Portable
    }

    /// All that run here.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        match Self::detect() {
            Self::Avx512Bf16 => all.extend([Self::Avx2, Self::Avx512, Self::Avx512Bf16]),
            Self::Avx512 => all.extend([Self::Avx2, Self::Avx512]),
            Self::Avx2 => all.push(Self::Avx2),
            Self::Portable => (),
        }
        #[cfg(target_arch = "aarch64")]
        if Self::detect() == Self::Neon {
            all.push(Self::Neon);
        }
        all
    }

    /// Values of a vector.
    pub fn lanes(self) -> usize {
        struct Width;
        impl Op for Width {
            type Out = usize;
            unsafe fn run<L: Lanes>(self) -> usize {
                L::N
            }
        }
        // SAFETY: no vector instruction is executed.
        unsafe { dispatch(self, Width) }
    }

    /// Columns of a full panel.
    pub fn panel(self) -> usize {
        struct Width;
        impl Op for Width {
            type Out = usize;
            unsafe fn run<L: Lanes>(self) -> usize {
                L::N * L::PANEL
            }
        }
        // SAFETY: no vector instruction is executed.
        unsafe { dispatch(self, Width) }
    }
}

/// Runs `op` with the vectors of `isa`.
///
/// # Safety
/// `isa` must be among [`Isa::available`], and the pointers in `op` must be valid for what it does.
pub unsafe fn dispatch<O: Op>(isa: Isa, op: O) -> O::Out {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2<O: Op>(op: O) -> O::Out {
            unsafe { op.run::<x86::Avx2>() }
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        unsafe fn avx512<O: Op>(op: O) -> O::Out {
            unsafe { op.run::<x86::Avx512<false>>() }
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
        unsafe fn avx512_bf16<O: Op>(op: O) -> O::Out {
            unsafe { op.run::<x86::Avx512<true>>() }
        }
        match isa {
            Isa::Portable => unsafe { op.run::<Portable>() },
            Isa::Avx2 => unsafe { avx2(op) },
            Isa::Avx512 => unsafe { avx512(op) },
            Isa::Avx512Bf16 => unsafe { avx512_bf16(op) },
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        #[target_feature(enable = "neon")]
        unsafe fn neon<O: Op>(op: O) -> O::Out {
            unsafe { op.run::<arm::Neon>() }
        }
        match isa {
            Isa::Portable => unsafe { op.run::<Portable>() },
            Isa::Neon => unsafe { neon(op) },
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    match isa {
        Isa::Portable => unsafe { op.run::<Portable>() },
    }
}

/// bf16 nearest to `x`, ties to even.
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Arrays of 8, which the compiler turns into what it finds.
#[derive(Clone, Copy)]
pub struct Portable;

macro_rules! each {
    ($i:ident => $e:expr) => {
        std::array::from_fn(
            #[inline(always)]
            |$i| $e,
        )
    };
}

impl Lanes for Portable {
    type V = [f32; 8];
    const N: usize = 8;
    const PANEL: usize = 2;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: Self::V) {
        unsafe { to.cast::<[f32; 8]>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        each!(i => a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        each!(i => a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        each!(i => a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        each!(i => a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(i => a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        each!(i => if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        each!(i => if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn round(x: Self::V) -> Self::V {
        each!(i => x[i].round_ties_even())
    }
    #[inline(always)]
    unsafe fn pow2(k: Self::V) -> Self::V {
        each!(i => f32::from_bits(((k[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn dot_bf16(acc: Self::V, a: Self::V, b: Self::V) -> Self::V {
        let low = |x: f32| f32::from_bits(x.to_bits() << 16);
        let high = |x: f32| f32::from_bits(x.to_bits() & 0xffff_0000);
        each!(i => acc[i] + low(a[i]) * low(b[i]) + high(a[i]) * high(b[i]))
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, x: Self::V) {
        let rounded: [u16; 8] = each!(i => to_bf16(x[i]));
        unsafe { to.cast::<[u16; 8]>().write_unaligned(rounded) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Lanes;

    /// 512 bits, 32 registers; with or without products of bf16.
    #[derive(Clone, Copy)]
    pub struct Avx512<const BF16: bool>;

    impl<const BF16: bool> Lanes for Avx512<BF16> {
        type V = __m512;
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
            unsafe {
                if BF16 {
                    let rounded = _mm512_cvtneps_pbh(x);
                    to.cast::<__m256bh>().write_unaligned(rounded);
                    return;
                }
                let bits = _mm512_castps_si512(x);
                let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
                let sum = _mm512_mask_or_epi32(sum, nan, bits, _mm512_set1_epi32(0x0040_0000));
                let rounded = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(sum));
                _mm256_storeu_si256(to.cast(), rounded);
            }
        }
    }

    /// 256 bits, 16 registers.
    #[derive(Clone, Copy)]
    pub struct Avx2;

    impl Lanes for Avx2 {
        type V = __m256;
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
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::Lanes;

    /// 128 bits, 32 registers.
    #[derive(Clone, Copy)]
    pub struct Neon;

    impl Lanes for Neon {
        type V = float32x4_t;
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
    }
}
