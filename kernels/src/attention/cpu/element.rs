//! What is multiplied: f32, or bf16 in pairs, whose sums are f32.

use burn::tensor::{self, bf16};
use burn_flex::FlexTensor;

use crate::gemm::lanes::{Lanes, to_bf16};

/// A type of operands. A word is what is multiplied at once: one f32, or two bf16 that follow each other in a sum, the first
/// in the low bits.
pub(super) trait Element: tensor::Element {
    /// Values of a word.
    const PER_WORD: usize;

    /// The tensor's values, if they are of this type and contiguous.
    fn slice(tensor: &FlexTensor) -> Option<&[Self]>;
    fn to_f32(self) -> f32;
    fn of_f32(x: f32) -> Self;
    /// The word of one f32, or of two bf16.
    fn word(values: [Self; 2]) -> f32;

    /// `sums + a · b` for words.
    ///
    /// # Safety
    /// As [`Lanes`], here and below.
    unsafe fn multiply_add<L: Lanes>(a: L::V, b: L::V, sums: L::V) -> L::V;
    /// Reads `N` values.
    unsafe fn load<L: Lanes>(from: *const Self) -> L::V;
    /// Writes `N` values.
    unsafe fn store<L: Lanes>(to: *mut Self, x: L::V);
    /// Writes words whose values follow each other from row to row: rows of f32 that are `stride` apart, or one row of
    /// pairs.
    unsafe fn store_words<L: Lanes>(to: *mut f32, stride: usize, rows: [L::V; 2]);
}

impl Element for f32 {
    const PER_WORD: usize = 1;

    fn slice(tensor: &FlexTensor) -> Option<&[f32]> {
        tensor.as_slice()
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn of_f32(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn word([x, _]: [f32; 2]) -> f32 {
        x
    }
    #[inline(always)]
    unsafe fn multiply_add<L: Lanes>(a: L::V, b: L::V, sums: L::V) -> L::V {
        unsafe { L::fma(a, b, sums) }
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
    unsafe fn store_words<L: Lanes>(to: *mut f32, stride: usize, rows: [L::V; 2]) {
        unsafe {
            L::store(to, rows[0]);
            L::store(to.add(stride), rows[1]);
        }
    }
}

impl Element for bf16 {
    const PER_WORD: usize = 2;

    fn slice(tensor: &FlexTensor) -> Option<&[bf16]> {
        tensor.as_slice()
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn of_f32(x: f32) -> bf16 {
        bf16::from_bits(to_bf16(x))
    }
    #[inline(always)]
    fn word([first, second]: [bf16; 2]) -> f32 {
        f32::from_bits(u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16)
    }
    #[inline(always)]
    unsafe fn multiply_add<L: Lanes>(a: L::V, b: L::V, sums: L::V) -> L::V {
        unsafe { L::dot_bf16(sums, a, b) }
    }
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const bf16) -> L::V {
        unsafe { L::load_bf16(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store<L: Lanes>(to: *mut bf16, x: L::V) {
        unsafe { L::store_bf16(to.cast(), x) }
    }
    #[inline(always)]
    unsafe fn store_words<L: Lanes>(to: *mut f32, _: usize, [first, second]: [L::V; 2]) {
        unsafe { L::store(to, L::pair_bf16(first, second)) }
    }
}
