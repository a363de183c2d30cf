//! Operands in the order in which products read them, as words.

use super::rows::Rows;
use crate::gemm::lanes::Lanes;
use crate::gemm::word::Word;

/// Widths are padded to this many values, a multiple of any vector.
const PAD: usize = 16;

/// Values of a packed row of `head_dim` values.
pub(super) fn padded(head_dim: usize) -> usize {
    head_dim.next_multiple_of(PAD)
}

/// Rows as the first factor of a product, one after the other, `[tokens, words]`. Where they lie, their distance may be such
/// that they compete for a part of the cache.
#[inline(always)]
pub(super) fn rows<W: Word>(rows: Rows<W>, to: &mut [f32]) {
    let words = rows.head_dim / W::PER_WORD;
    for (token, to) in to.chunks_exact_mut(words).enumerate().take(rows.tokens) {
        let from = rows.row(token).as_ptr().cast::<u8>();
        // SAFETY: the row has these words.
        unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr().cast(), size_of_val(to)) };
    }
}

/// Rows as the second factor of a product that sums over tokens: `[words, padded width]`, where a word holds values of
/// tokens that follow each other; 0 where there is no token or value.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(super) unsafe fn by_token<L: Lanes, W: Word>(rows: Rows<W>, to: &mut [f32]) {
    let width = padded(rows.head_dim);
    for (word, to) in to.chunks_exact_mut(width).enumerate() {
        for column in (0..width).step_by(L::N) {
            unsafe {
                let first = rows.vector::<L>(word * W::PER_WORD, column);
                let words = match W::PER_WORD {
                    1 => first,
                    _ => W::words::<L>(first, rows.vector::<L>(word * W::PER_WORD + 1, column)),
                };
                L::store(to.as_mut_ptr().add(column), words);
            }
        }
    }
}

/// Rows as the second factor of a product that sums over the width, transposed: panels `[words, PANEL · N]`, whose columns
/// are tokens, 0 where there is none.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(super) unsafe fn panels<L: Lanes, W: Word>(rows: Rows<W>, to: &mut [f32]) {
    let words = rows.head_dim / W::PER_WORD;
    let width = L::PANEL * L::N;
    for (panel, to) in to.chunks_exact_mut(words * width).enumerate() {
        for column in (0..width).step_by(L::N) {
            let token = panel * width + column;
            for word in (0..words).step_by(L::N) {
                let to = &mut to[word * width + column..];
                if token + L::N <= rows.tokens && word + L::N <= words {
                    unsafe {
                        let from = rows.words(token).add(word);
                        L::transpose(from, rows.stride / W::PER_WORD, to.as_mut_ptr(), width);
                    }
                } else {
                    transpose_part::<L, W>(rows, [token, word], to);
                }
            }
        }
    }
}

/// As much of `N` rows and words as there is.
#[inline(always)]
fn transpose_part<L: Lanes, W: Word>(rows: Rows<W>, [token, word]: [usize; 2], to: &mut [f32]) {
    let words = rows.head_dim / W::PER_WORD;
    for (word, to) in (word..words.min(word + L::N)).zip(to.chunks_mut(L::PANEL * L::N)) {
        for (token, to) in (token..token + L::N).zip(to) {
            *to = match token < rows.tokens {
                // SAFETY: the row has these words.
                true => unsafe { rows.words(token).add(word).read_unaligned() },
                false => 0.0,
            };
        }
    }
}
