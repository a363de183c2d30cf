//! Products of small matrices whose sums stay in registers.

use std::marker::PhantomData;
use std::ops::Range;

use crate::gemm::lanes::{Isa, Lanes, Op, dispatch};
use crate::gemm::word::Word;

/// The second factor of a product, in panels of columns.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub words: *const f32,
    /// Words from a row of a panel to the next.
    pub row: usize,
    /// Columns of a panel, a multiple of `N` and at most `PANEL` vectors.
    pub width: usize,
    /// Words from a panel to the next.
    pub panel: usize,
}

impl Panels {
    /// A matrix in rows of `width` values, cut into panels of about the same width.
    #[inline(always)]
    pub fn rows<L: Lanes>(words: &[f32], width: usize) -> Self {
        let vectors = width / L::N;
        let columns = vectors.div_ceil(vectors.div_ceil(L::PANEL)) * L::N;
        Self {
            words: words.as_ptr(),
            row: width,
            width: columns,
            panel: columns,
        }
    }

    /// [`pack::panels`](super::pack::panels) of `steps` words.
    #[inline(always)]
    pub fn packed<L: Lanes>(words: &[f32], steps: usize) -> Self {
        let width = L::PANEL * L::N;
        Self {
            words: words.as_ptr(),
            row: width,
            width,
            panel: width * steps,
        }
    }
}

/// The first factor, in words, at any address.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub words: *const f32,
    /// From a row to the next.
    pub row: usize,
    /// From a step of the sum to the next.
    pub step: usize,
}

impl Left {
    /// [Rows](super::pack::rows) of `steps` words.
    #[inline(always)]
    pub fn rows(words: &[f32], steps: usize) -> Self {
        Self {
            words: words.as_ptr(),
            row: steps,
            step: 1,
        }
    }
}

/// Where sums go.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub to: *mut f32,
    /// From a row to the next.
    pub stride: usize,
    /// Whether they are added to what is there.
    pub add: bool,
}

/// First row and number of rows of each strip: the sums of a strip and a panel fill 24 of 32 registers, or 12 of 16. Only
/// the last strip may have an odd number of rows, one.
#[inline(always)]
pub(super) fn strips<L: Lanes>(rows: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    let limit = 6 * L::PANEL * L::N / width;
    let mut row = 0;
    std::iter::from_fn(move || {
        let fits = |height: &usize| *height <= limit && *height <= rows - row;
        let height = [8, 6, 4, 2, 1].into_iter().find(fits)?;
        row += height;
        Some((row - height, height))
    })
}

/// The whole vectors that a range of columns touches.
#[inline(always)]
pub(super) fn vectors<L: Lanes>(columns: &Range<usize>) -> Range<usize> {
    columns.start / L::N * L::N..columns.end.next_multiple_of(L::N)
}

/// The words that a range of values touches.
#[inline(always)]
pub(super) fn words<W: Word>(values: Range<usize>) -> Range<usize> {
    values.start / W::PER_WORD..values.end.div_ceil(W::PER_WORD)
}

/// The product of a few rows with some columns, in words of `W`.
pub(super) struct Strip<W> {
    pub left: Left,
    pub right: Panels,
    /// One of the numbers of [`strips`].
    pub rows: usize,
    /// Multiples of `N`.
    pub columns: Range<usize>,
    /// Words that are summed over.
    pub steps: usize,
    /// To the first row, and the first column of the factor.
    pub sums: Sums,
    pub word: PhantomData<W>,
}

impl<W: Word> Strip<W> {
    /// Computes it. This is a call, so that the many shapes of a tile are compiled once.
    ///
    /// # Safety
    /// As [`Lanes`]; the factors and sums have these rows, columns and steps.
    pub unsafe fn compute(self, isa: Isa) {
        unsafe { dispatch(isa, self) }
    }
}

impl<W: Word> Op for Strip<W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Range { mut start, end } = self.columns;
        while start < end {
            let (panel, offset) = (start / self.right.width, start % self.right.width);
            let width = (self.right.width - offset).min(end - start);
            unsafe {
                let right = self.right.words.add(panel * self.right.panel + offset);
                let to = self.sums.to.add(start);
                self.tile::<L>(right, to, width / L::N);
            }
            start += width;
        }
    }
}

impl<W: Word> Strip<W> {
    #[inline(always)]
    unsafe fn tile<L: Lanes>(&self, right: *const f32, to: *mut f32, vectors: usize) {
        macro_rules! heights {
            ($vectors:literal: $($rows:literal)*) => {
                match self.rows {
                    $($rows => unsafe { self.sum::<L, $rows, $vectors>(right, to) },)*
                    _ => unreachable!("a strip of this width has another number of rows"),
                }
            };
        }
        match vectors {
            1 => heights!(1: 1 2 4 6 8),
            2 => heights!(2: 1 2 4 6 8),
            3 => heights!(3: 1 2 4 6 8),
            4 => heights!(4: 1 2 4 6),
            _ => unreachable!("a panel has at most 4 vectors"),
        }
    }

    #[inline(always)]
    unsafe fn sum<L: Lanes, const ROWS: usize, const VECTORS: usize>(
        &self,
        mut right: *const f32,
        to: *mut f32,
    ) {
        unsafe {
            let mut sums = [[L::splat(0.0); VECTORS]; ROWS];
            let mut left = self.left.words;
            for _ in 0..self.steps {
                let mut columns = [L::splat(0.0); VECTORS];
                for (vector, column) in columns.iter_mut().enumerate() {
                    *column = L::load(right.add(vector * L::N));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = L::splat(left.add(row * self.left.row).read_unaligned());
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = W::madd::<L>(*sum, x, column);
                    }
                }
                left = left.add(self.left.step);
                right = right.add(self.right.row);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (vector, sum) in sums.into_iter().enumerate() {
                    let to = to.add(row * self.sums.stride + vector * L::N);
                    let sum = if self.sums.add {
                        L::add(L::load(to), sum)
                    } else {
                        sum
                    };
                    L::store(to, sum);
                }
            }
        }
    }
}

/// `left · right` for `rows` rows and `columns` columns; a strip is summed over those of the `steps` that matter to its rows.
pub(super) struct Product {
    pub left: Left,
    pub right: Panels,
    pub rows: usize,
    pub columns: usize,
    pub sums: Sums,
}

impl Product {
    /// Computes it. Strips without steps are left as they are.
    ///
    /// # Safety
    /// As [`Strip::compute`].
    #[inline(always)]
    pub unsafe fn compute<L: Lanes, W: Word>(
        self,
        isa: Isa,
        steps: impl Fn(Range<usize>) -> Range<usize>,
    ) {
        let Self {
            left, right, sums, ..
        } = self;
        for (row, rows) in strips::<L>(self.rows, right.width) {
            let steps = steps(row..row + rows);
            if steps.is_empty() {
                continue;
            }
            unsafe {
                let strip = Strip::<W> {
                    left: Left {
                        words: left.words.add(row * left.row + steps.start * left.step),
                        ..left
                    },
                    right: Panels {
                        words: right.words.add(steps.start * right.row),
                        ..right
                    },
                    rows,
                    columns: 0..self.columns,
                    steps: steps.len(),
                    sums: Sums {
                        to: sums.to.add(row * sums.stride),
                        ..sums
                    },
                    word: PhantomData,
                };
                strip.compute(isa);
            }
        }
    }
}
