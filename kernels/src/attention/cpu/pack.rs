//! Operands in the order in which products read them, as words.

use crate::gemm::lanes::Lanes;
use crate::gemm::word::Word;

/// Widths are padded to this many values, a multiple of any vector.
const PAD: usize = 16;

/// Values of a packed row of `head_dim` values.
pub(super) fn padded(head_dim: usize) -> usize {
    head_dim.next_multiple_of(PAD)
}

/// The rows of a head: `[tokens, head_dim]`, its tokens `stride` values apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, W> {
    /// From the first value of the first row on.
    pub values: &'a [W],
    pub stride: usize,
    pub tokens: usize,
    pub head_dim: usize,
}

impl<'a, W: Word> Rows<'a, W> {
    pub fn row(&self, token: usize) -> &'a [W] {
        &self.values[token * self.stride..][..self.head_dim]
    }

    /// Values of a row, 0 where there is none.
    #[inline(always)]
    unsafe fn vector<L: Lanes>(&self, token: usize, column: usize) -> L::V {
        if token >= self.tokens || column >= self.head_dim {
            return unsafe { L::splat(0.0) };
        }
        let row = self.row(token);
        let count = (self.head_dim - column).min(L::N);
        unsafe { W::load_part::<L>(row.as_ptr().add(column), count) }
    }

    /// The rows from `token` on.
    pub fn from(&self, token: usize) -> Self {
        Self {
            values: &self.values[token * self.stride..],
            tokens: self.tokens - token,
            ..*self
        }
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
#[inline(always)]
pub(super) fn panels<L: Lanes, W: Word>(rows: Rows<W>, to: &mut [f32]) {
    let words = rows.head_dim / W::PER_WORD;
    let width = L::PANEL * L::N;
    for (panel, to) in to.chunks_exact_mut(words * width).enumerate() {
        for column in 0..width {
            let token = panel * width + column;
            if token < rows.tokens {
                let from = rows.row(token).as_ptr().cast::<f32>();
                for (word, to) in to[column..].iter_mut().step_by(width).enumerate() {
                    // SAFETY: a row has these words.
                    *to = unsafe { from.add(word).read_unaligned() };
                }
            } else {
                for to in to[column..].iter_mut().step_by(width) {
                    *to = 0.0;
                }
            }
        }
    }
}
