//! The numbers that products are made of, and how vectors of f32 are read from and written to them.

use burn::tensor::{Bytes, DType};

use super::lanes::Lanes;

/// A number in memory: f32, or bf16 as its bits. Products take them in words of 32 bits.
///
/// # Safety
/// As [`Lanes`]; pointers are valid for as many values as are read or written.
#[allow(clippy::missing_safety_doc)] // said once, above
pub(crate) trait Word: Copy + Default + Send + Sync + 'static {
    /// Values of a word.
    const PER_WORD: usize;
    /// Of tensors of these values.
    const DTYPE: DType;
    /// A tensor's memory.
    fn bytes(values: Vec<Self>) -> Bytes;
    /// A word in every lane.
    unsafe fn splat<L: Lanes>(from: *const Self) -> L::V;
    /// `acc + a · b` of words.
    unsafe fn madd<L: Lanes>(acc: L::V, a: L::V, b: L::V) -> L::V;
    /// Words of the values in their lanes: the first vector's for f32, the pairs of both for bf16.
    unsafe fn words<L: Lanes>(low: L::V, high: L::V) -> L::V;
    /// Reads `L::N` values.
    unsafe fn load<L: Lanes>(from: *const Self) -> L::V;
    /// Writes `L::N` values, rounded.
    unsafe fn store<L: Lanes>(to: *mut Self, x: L::V);
    /// The value nearest to `x`.
    fn round(x: f32) -> Self;
    /// The value.
    fn value(self) -> f32;

    /// Reads `count` ≤ `L::N` values; the rest is 0.
    #[inline(always)]
    unsafe fn load_part<L: Lanes>(from: *const Self, count: usize) -> L::V {
        unsafe {
            if count == L::N {
                return Self::load::<L>(from);
            }
            let mut part = [Self::default(); 16];
            std::ptr::copy_nonoverlapping(from, part.as_mut_ptr(), count);
            Self::load::<L>(part.as_ptr())
        }
    }

    /// Writes `count` ≤ `L::N` values.
    #[inline(always)]
    unsafe fn store_part<L: Lanes>(to: *mut Self, x: L::V, count: usize) {
        unsafe {
            if count == L::N {
                return Self::store::<L>(to, x);
            }
            let mut part = [Self::default(); 16];
            Self::store::<L>(part.as_mut_ptr(), x);
            std::ptr::copy_nonoverlapping(part.as_ptr(), to, count);
        }
    }
}

impl Word for f32 {
    const PER_WORD: usize = 1;
    const DTYPE: DType = DType::F32;

    fn bytes(values: Vec<f32>) -> Bytes {
        Bytes::from_elems(values)
    }

    #[inline(always)]
    unsafe fn splat<L: Lanes>(from: *const f32) -> L::V {
        unsafe { L::splat(*from) }
    }

    #[inline(always)]
    unsafe fn madd<L: Lanes>(acc: L::V, a: L::V, b: L::V) -> L::V {
        unsafe { L::fma(a, b, acc) }
    }

    #[inline(always)]
    unsafe fn words<L: Lanes>(low: L::V, _: L::V) -> L::V {
        low
    }

    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const f32) -> L::V {
        unsafe { L::load(from) }
    }

    #[inline(always)]
    unsafe fn store<L: Lanes>(to: *mut f32, x: L::V) {
        unsafe { L::store(to, x) }
    }

    #[inline(always)]
    fn round(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

impl Word for u16 {
    const PER_WORD: usize = 2;
    const DTYPE: DType = DType::BF16;

    fn bytes(values: Vec<u16>) -> Bytes {
        Bytes::from_elems(values)
    }

    #[inline(always)]
    unsafe fn splat<L: Lanes>(from: *const u16) -> L::V {
        unsafe { L::splat(from.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn madd<L: Lanes>(acc: L::V, a: L::V, b: L::V) -> L::V {
        unsafe { L::dot_bf16(acc, a, b) }
    }

    #[inline(always)]
    unsafe fn words<L: Lanes>(low: L::V, high: L::V) -> L::V {
        unsafe { L::pair_bf16(low, high) }
    }

    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const u16) -> L::V {
        unsafe { L::load_bf16(from) }
    }

    #[inline(always)]
    unsafe fn store<L: Lanes>(to: *mut u16, x: L::V) {
        unsafe { L::store_bf16(to, x) }
    }

    #[inline(always)]
    fn round(x: f32) -> u16 {
        super::lanes::to_bf16(x)
    }

    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_bits(u32::from(self) << 16)
    }
}
