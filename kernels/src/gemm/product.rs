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

#[cfg(test)]
mod tests {
    use super::super::lanes::{Isa, Op, dispatch};
    use super::super::panels::{Order, Source};
    use super::*;

    fn noise(seed: u32, count: usize) -> Vec<f32> {
        let number = |i: usize| {
            let hash = (i as u32 ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            let hash = (hash ^ hash >> 15).wrapping_mul(0xc2b2_ae35);
            ((hash ^ hash >> 13) >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..count).map(number).collect()
    }

    fn rounded<W: Word>(values: &[f32]) -> Vec<W> {
        values.iter().map(|&x| W::round(x)).collect()
    }

    /// `a · b` and `aᵀ · b` with `a` `[rows, k]`, and `b` given in either order, with rows scaled.
    struct Case<'a, W> {
        sizes: [usize; 3],
        a: &'a [W],
        b: &'a [f32],
        scale: &'a [f32],
    }

    impl<W: Word> Op for Case<'_, W> {
        type Out = [Vec<f32>; 3];

        #[inline(always)]
        unsafe fn run<L: Lanes>(self) -> [Vec<f32>; 3] {
            let [rows, k, n] = self.sizes;
            let rows_first = Source {
                values: self.b,
                order: Order::Rows,
                k,
                n,
                scale: Some(self.scale),
            };
            let columns_first = Source {
                order: Order::Columns,
                k: n,
                n: k,
                scale: None,
                ..rows_first
            };
            let mut out = [rows * n, rows * k, k * n].map(|size| vec![1.0; size]);
            let [scaled, transposed, of_columns] = &mut out;
            let mut right = Panels::default();
            unsafe {
                // a · diag(scale) b, added to ones
                right.repack::<L, f32, W>(rows_first);
                let left = Left::rows(self.a.as_ptr(), k);
                let (to, add) = (scaled.as_mut_slice(), true);
                product::<L, W>(left, rows, &right, &mut Store { to, n, add });
                // (a · b) · bᵀ, from the rounded first result
                right.repack::<L, f32, W>(columns_first);
                let first: Vec<W> = rounded(&noise(7, rows * n));
                let left = Left::rows(first.as_ptr(), n);
                let (to, n_, add) = (transposed.as_mut_slice(), k, false);
                product::<L, W>(left, rows, &right, &mut Store { to, n: n_, add });
                // aᵀ · noise, with a packed
                let a = Source {
                    values: self.a,
                    order: Order::Rows,
                    k: rows,
                    n: k,
                    scale: None,
                };
                let mut packed = Panels::default();
                packed.repack::<L, W, W>(a);
                right.repack::<L, f32, W>(Source {
                    values: &noise(8, rows * n),
                    order: Order::Rows,
                    k: rows,
                    n,
                    scale: None,
                });
                for (column, width) in widths::<L>(k) {
                    let words = packed.words[packed.k_words * column..].as_ptr();
                    let count = width.min(k - column);
                    let (to, add) = (&mut of_columns[column * n..], false);
                    let left = Left::panel(words, width);
                    product::<L, W>(left, count, &right, &mut Store { to, n, add });
                }
            }
            out
        }
    }

    fn check<W: Word>(isa: Isa, sizes: [usize; 3], tolerance: f64) {
        let [rows, k, n] = sizes;
        let (a, b, scale) = (noise(1, rows * k), noise(2, k * n), noise(3, k));
        let a: Vec<W> = rounded(&a);
        let case = Case {
            sizes,
            a: &a,
            b: &b,
            scale: &scale,
        };
        // SAFETY: only what is available is asked for.
        let got = unsafe { dispatch(isa, case) };
        let value = |x: W| f64::from(x.value());
        let near = |x: f32| value(W::round(x));
        let (first, last) = (noise(7, rows * n), noise(8, rows * n));
        let sum = |count: usize, term: &dyn Fn(usize) -> f64| (0..count).map(term).sum::<f64>();
        for (at, got) in got[0].iter().enumerate() {
            let (row, column) = (at / n, at % n);
            let term = |i: usize| value(a[row * k + i]) * near(b[i * n + column] * scale[i]);
            let want = 1.0 + sum(k, &term);
            assert!(
                (f64::from(*got) - want).abs() <= tolerance,
                "{isa:?} {sizes:?}: {got}, {want}"
            );
        }
        for (at, got) in got[1].iter().enumerate() {
            let (row, column) = (at / k, at % k);
            let term = |i: usize| near(first[row * n + i]) * near(b[column * n + i]);
            let want = sum(n, &term);
            assert!(
                (f64::from(*got) - want).abs() <= tolerance,
                "{isa:?} {sizes:?}: {got}, {want}"
            );
        }
        for (at, got) in got[2].iter().enumerate() {
            let (row, column) = (at / n, at % n);
            let term = |i: usize| value(a[i * k + row]) * near(last[i * n + column]);
            let want = sum(rows, &term);
            assert!(
                (f64::from(*got) - want).abs() <= tolerance,
                "{isa:?} {sizes:?}: {got}, {want}"
            );
        }
    }

    /// Whole and partial tiles, panels and vectors; of bf16, rows of A have even lengths.
    #[test]
    fn products_are_right_with_every_instruction_set() {
        for isa in Isa::available() {
            for sizes in [
                [1, 1, 1],
                [7, 3, 17],
                [13, 130, 65],
                [30, 65, 150],
                [5, 200, 48],
            ] {
                check::<f32>(isa, sizes, 3e-5);
                let even = [sizes[0], sizes[1] + sizes[1] % 2, sizes[2] + sizes[2] % 2];
                check::<u16>(isa, even, 3e-5);
            }
        }
    }

    #[test]
    fn pairs_of_bf16_are_packed_and_read_alike() {
        struct Pairs<'a>(&'a [f32]);
        impl Op for Pairs<'_> {
            type Out = (Vec<u16>, Vec<f32>);
            unsafe fn run<L: Lanes>(self) -> Self::Out {
                let (mut pairs, mut loaded) = (vec![0u16; 2 * L::N], vec![0f32; L::N]);
                unsafe {
                    let (low, high) = (self.0.as_ptr(), self.0.as_ptr().add(16));
                    let words = L::pair_bf16(L::load(low), L::load(high));
                    L::store(pairs.as_mut_ptr().cast(), words);
                    L::store(loaded.as_mut_ptr(), L::load_bf16(pairs.as_ptr()));
                }
                (pairs, loaded)
            }
        }
        let mut values = noise(5, 32);
        values[2] = f32::INFINITY;
        values[3] = -0.0;
        for isa in Isa::available() {
            // SAFETY: only what is available is asked for.
            let (pairs, loaded) = unsafe { dispatch(isa, Pairs(&values)) };
            for (i, pair) in pairs.chunks(2).enumerate() {
                assert_eq!(
                    pair,
                    [u16::round(values[i]), u16::round(values[16 + i])],
                    "{isa:?}"
                );
            }
            let wanted: Vec<f32> = pairs[..loaded.len()].iter().map(|x| x.value()).collect();
            assert_eq!(loaded, wanted, "{isa:?}");
        }
    }
}
