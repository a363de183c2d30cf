//! Vectors of f32 in the widths that processors have, and the choice among them at run time.
//!
//! An [`Op`] is written once, generic over [`Lanes`], and compiled for each width inside a function that enables the
//! instructions ([`dispatch`]).

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

/// A vector of `N` f32.
///
/// # Safety
/// Every method needs the instructions of its implementation, which [`dispatch`] has checked; pointers must be valid for
/// `N` values, at any alignment.
#[allow(clippy::missing_safety_doc)] // said once, above
pub trait Lanes: Copy + 'static {
    /// The vector.
    type V: Copy;
    /// The instructions.
    const ISA: Isa;
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
    /// The sum of all lanes.
    unsafe fn sum(x: Self::V) -> f32;
    /// The second where one is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// The second where one is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest integer, ties to even.
    unsafe fn round(x: Self::V) -> Self::V;
    /// `2^k` for integers k from -126 to 127; 0 for -127.
    unsafe fn pow2(k: Self::V) -> Self::V;
    /// `acc + a₀ b₀ + a₁ b₁`, where each lane of a and b holds two bf16, the first in the low bits.
    unsafe fn dot_bf16(acc: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Turns `N` rows of `N` words, `from_stride` apart and at any address, into rows that are `to_stride` apart.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for row in 0..Self::N {
            for column in 0..Self::N {
                unsafe {
                    let word = from.add(row * from_stride + column).read_unaligned();
                    to.add(column * to_stride + row).write(word);
                }
            }
        }
    }
    /// Stores `N` values rounded to the nearest bf16.
    unsafe fn store_bf16(to: *mut u16, x: Self::V);
    /// Reads `N` bf16.
    unsafe fn load_bf16(from: *const u16) -> Self::V;
    /// Pairs of bf16 nearest to the lanes of both, those of `low` in the low bits.
    unsafe fn pair_bf16(low: Self::V, high: Self::V) -> Self::V;
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

/// Runs `op` with the vectors of `isa`. It is compiled once for each of them, however many places call it.
///
/// # Safety
/// `isa` must be among [`Isa::available`], and the pointers in `op` must be valid for what it does.
pub unsafe fn dispatch<O: Op>(isa: Isa, op: O) -> O::Out {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        unsafe fn avx2<O: Op>(op: O) -> O::Out {
            unsafe { op.run::<x86::Avx2>() }
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        #[inline(never)]
        unsafe fn avx512<O: Op>(op: O) -> O::Out {
            unsafe { op.run::<x86::Avx512<false>>() }
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
        #[inline(never)]
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
        #[inline(never)]
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
    const ISA: Isa = Isa::Portable;
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
    unsafe fn sum(x: Self::V) -> f32 {
        let [a, b, c, d]: [f32; 4] = each!(i => x[i] + x[i + 4]);
        (a + c) + (b + d)
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
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self::V {
        let x = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        each!(i => f32::from_bits(u32::from(x[i]) << 16))
    }
    #[inline(always)]
    unsafe fn pair_bf16(low: Self::V, high: Self::V) -> Self::V {
        each!(i => f32::from_bits(u32::from(to_bf16(low[i])) | u32::from(to_bf16(high[i])) << 16))
    }
}
