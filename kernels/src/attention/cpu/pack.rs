//! Operands in the order in which products read them, as words.

use super::element::Element;
use crate::gemm::lanes::Lanes;

/// Widths are padded to this many values, a multiple of any vector.
const PAD: usize = 16;

/// Values of a packed row of `head_dim` values.
pub(super) fn padded(head_dim: usize) -> usize {
    head_dim.next_multiple_of(PAD)
}

/// The rows of a head: `[tokens, head_dim]`, its tokens `stride` values apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, E> {
    /// From the first value of the first row on.
    pub values: &'a [E],
    pub stride: usize,
    pub tokens: usize,
    pub head_dim: usize,
}

impl<'a, E: Element> Rows<'a, E> {
    pub fn row(&self, token: usize) -> &'a [E] {
        &self.values[token * self.stride..][..self.head_dim]
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
#[inline(always)]
pub(super) fn by_token<E: Element>(rows: Rows<E>, to: &mut [f32]) {
    let width = padded(rows.head_dim);
    for (word, to) in to.chunks_exact_mut(width).enumerate() {
        let token = word * E::PER_WORD;
        let (to, rest) = to.split_at_mut(rows.head_dim);
        rest.fill(0.0);
        if token + E::PER_WORD <= rows.tokens {
            let (first, last) = (rows.row(token), rows.row(token + E::PER_WORD - 1));
            for ((to, &first), &last) in to.iter_mut().zip(first).zip(last) {
                *to = E::word([first, last]);
            }
        } else if token < rows.tokens {
            for (to, &first) in to.iter_mut().zip(rows.row(token)) {
                *to = E::word([first, E::of_f32(0.0)]);
            }
        } else {
            to.fill(0.0);
        }
    }
}

/// Rows as the second factor of a product that sums over the width, transposed: panels `[words, PANEL · N]`, whose columns
/// are tokens, 0 where there is none.
#[inline(always)]
pub(super) fn panels<L: Lanes, E: Element>(rows: Rows<E>, to: &mut [f32]) {
    let words = rows.head_dim / E::PER_WORD;
    let width = L::PANEL * L::N;
    for (panel, to) in to.chunks_exact_mut(words * width).enumerate() {
        for column in 0..width {
            let token = panel * width + column;
            if token < rows.tokens {
                let values = rows.row(token).chunks_exact(E::PER_WORD);
                for (to, values) in to[column..].iter_mut().step_by(width).zip(values) {
                    *to = E::word([values[0], values[E::PER_WORD - 1]]);
                }
            } else {
                for to in to[column..].iter_mut().step_by(width) {
                    *to = 0.0;
                }
            }
        }
    }
}
