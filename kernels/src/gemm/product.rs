//! Products of two matrices that both change from step to step, as training makes them: the right factor is packed
//! ([`Panels`]), the left one is read where it lies.

use super::lanes::Lanes;
use super::panels::{Panels, widths};
use super::tile::{Place, Sums, Tile, tile_height};
use super::word::Word;

/// The left factor `[rows, k]`: word `k` of row `i` starts at value `i · row + k · word`.
#[derive(Clone, Copy)]
pub(crate) struct Left<W> {
    /// The first row.
    pub values: *const W,
    /// Values from a row to the next.
    pub row: usize,
    /// Values from a word to the next.
    pub word: usize,
}

impl<W: Word> Left<W> {
    /// A matrix in rows of `stride` values. (Of bf16, k is even.)
    pub fn rows(values: *const W, stride: usize) -> Self {
        Self {
            values,
            row: stride,
            word: W::PER_WORD,
        }
    }

    /// The transposed of a panel of [`Panels`], `[width, k]`.
    pub fn panel(words: *const f32, width: usize) -> Self {
        Self {
            values: words.cast(),
            row: W::PER_WORD,
            word: width * W::PER_WORD,
        }
    }
}

/// What takes the sums of a product.
pub(crate) trait Sink {
    /// Takes a tile's sums, `[rows, width]`.
    ///
    /// # Safety
    /// As [`Lanes`].
    unsafe fn take<L: Lanes>(&mut self, sums: *const f32, place: Place);
}

/// `left · right`, for `rows` rows, on this thread. The sums of a row do not depend on the other rows.
///
/// # Safety
/// As [`Lanes`]; `left` has that many rows of `right.k_words` words.
#[inline(always)]
pub(crate) unsafe fn product<L: Lanes, W: Word>(
    left: Left<W>,
    rows: usize,
    right: &Panels,
    sink: &mut impl Sink,
) {
    let mut sums: Sums = [0.0; 24 * 16];
    for (column, width) in widths::<L>(right.n) {
        let vectors = width / L::N;
        let mut row = 0;
        while row < rows {
            let height = tile_height::<L>(vectors, rows - row);
            let tile = Tile {
                a: left.values.wrapping_add(row * left.row),
                stride: left.row,
                word_stride: left.word,
                segments: 1,
                segment_stride: 0,
                segment_words: right.k_words,
                b: right.words.as_ptr().wrapping_add(right.k_words * column),
                sums: sums.as_mut_ptr(),
                resume: false,
            };
            let place = Place {
                row,
                rows: height,
                column,
                width,
            };
            unsafe {
                tile.run::<L>(height, vectors);
                sink.take::<L>(sums.as_ptr(), place);
            }
            row += height;
        }
    }
}

/// Writes a product, or adds it.
pub(crate) struct Store<'a, T> {
    /// `[rows, n]`
    pub to: &'a mut [T],
    pub n: usize,
    pub add: bool,
}

impl<T: Word> Sink for Store<'_, T> {
    #[inline(always)]
    unsafe fn take<L: Lanes>(&mut self, sums: *const f32, place: Place) {
        debug_assert!((place.row + place.rows) * self.n <= self.to.len());
        for row in 0..place.rows {
            for offset in (0..place.width).step_by(L::N) {
                let column = place.column + offset;
                let count = (self.n - column).min(L::N);
                let at = (place.row + row) * self.n + column;
                unsafe {
                    let to = self.to.as_mut_ptr().add(at);
                    let mut x = L::load(sums.add(row * place.width + offset));
                    if self.add {
                        x = L::add(x, T::load_part::<L>(to, count));
                    }
                    T::store_part::<L>(to, x, count);
                }
            }
        }
    }
}
