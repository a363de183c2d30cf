//! Products of small matrices whose sums stay in registers.

use std::ops::Range;

use super::element::Element;
use crate::gemm::lanes::Lanes;

/// Where the factors of `A · B` lie, in words. B's rows are contiguous.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    pub a: *const f32,
    /// From a row of A to the next.
    pub a_row: usize,
    /// From a column of A to the next.
    pub a_step: usize,
    pub b: *const f32,
    /// From a row of B to the next.
    pub b_step: usize,
}

/// What is done with the sums of a tile.
pub(super) trait Finish {
    /// # Safety
    /// As [`Lanes`].
    unsafe fn finish<L: Lanes, const ROWS: usize, const VECTORS: usize>(
        &self,
        sums: &[[L::V; VECTORS]; ROWS],
        at: At,
    );
}

/// Place of a tile in the result, in values.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub row: usize,
    pub column: usize,
}

/// Rows of a tile of so many vectors, so that the sums fill 24 of 32 registers, or 12 of 16.
#[inline(always)]
fn height<L: Lanes>(vectors: usize, left: usize) -> usize {
    let limit = 6 * L::PANEL / vectors;
    let fits = |height: &usize| *height <= limit && *height <= left;
    [8, 6, 4, 2].into_iter().find(fits).unwrap_or(1)
}

/// The first `rows` rows of a product and a multiple of `N` columns, summed over the `steps` (in words) that matter to the
/// rows of a tile.
///
/// # Safety
/// As [`Lanes`], and the factors have these rows, columns and steps.
#[inline(always)]
pub(super) unsafe fn product<L: Lanes, E: Element, F: Finish>(
    factors: Factors,
    rows: usize,
    columns: usize,
    steps: impl Fn(Range<usize>) -> Range<usize>,
    finish: &F,
) {
    let vectors = columns / L::N;
    let panels = vectors.div_ceil(L::PANEL);
    let mut first = 0;
    for panel in 0..panels {
        let width = (vectors - first).div_ceil(panels - panel);
        let mut row = 0;
        while row < rows {
            let height = height::<L>(width, rows - row);
            let steps = steps(row..row + height);
            if !steps.is_empty() {
                let factors = Factors {
                    a: unsafe { factors.a.add(row * factors.a_row + steps.start * factors.a_step) },
                    b: unsafe { factors.b.add(first * L::N + steps.start * factors.b_step) },
                    ..factors
                };
                let at = At {
                    row,
                    column: first * L::N,
                };
                unsafe { tile::<L, E, F>(factors, [height, width], steps.len(), at, finish) };
            }
            row += height;
        }
        first += width;
    }
}

/// Up to `PANEL` vectors of up to 8 rows, as many as [`height`] allows.
///
/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn tile<L: Lanes, E: Element, F: Finish>(
    factors: Factors,
    [rows, vectors]: [usize; 2],
    steps: usize,
    at: At,
    finish: &F,
) {
    macro_rules! heights {
        ($vectors:literal: $($rows:literal)*) => {
            match rows {
                $($rows => unsafe { sum::<L, E, F, $rows, $vectors>(factors, steps, at, finish) },)*
                _ => unreachable!("a height of another width"),
            }
        };
    }
    match vectors {
        1 => heights!(1: 1 2 4 6 8),
        2 => heights!(2: 1 2 4 6 8),
        3 => heights!(3: 1 2 4 6 8),
        4 => heights!(4: 1 2 4 6),
        _ => unreachable!("more vectors than a panel has"),
    }
}

#[inline(always)]
unsafe fn sum<L: Lanes, E: Element, F: Finish, const ROWS: usize, const VECTORS: usize>(
    factors: Factors,
    steps: usize,
    at: At,
    finish: &F,
) {
    unsafe {
        let mut sums = [[L::splat(0.0); VECTORS]; ROWS];
        let Factors { mut a, mut b, .. } = factors;
        for _ in 0..steps {
            let mut columns = [L::splat(0.0); VECTORS];
            for (vector, column) in columns.iter_mut().enumerate() {
                *column = L::load(b.add(vector * L::N));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = L::splat(a.add(row * factors.a_row).read_unaligned());
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = E::multiply_add::<L>(a, column, *sum);
                }
            }
            a = a.add(factors.a_step);
            b = b.add(factors.b_step);
        }
        finish.finish::<L, ROWS, VECTORS>(&sums, at);
    }
}

/// The scores of `keys` rows of A with queries that lie transposed in [`panels`](super::pack::panels), for those `columns`
/// that matter to the rows of a tile, rounded to whole vectors.
///
/// # Safety
/// As [`product`].
#[inline(always)]
pub(super) unsafe fn scores<L: Lanes, E: Element, F: Finish>(
    factors: Factors,
    keys: usize,
    steps: usize,
    columns: impl Fn(Range<usize>) -> Range<usize>,
    finish: &F,
    queries: usize,
) {
    let width = L::PANEL * L::N;
    for panel in 0..queries / width {
        let mut row = 0;
        while row < keys {
            let height = height::<L>(L::PANEL, keys - row);
            let columns = columns(row..row + height);
            let first = (columns.start / L::N).max(panel * L::PANEL);
            let last = columns.end.div_ceil(L::N).min((panel + 1) * L::PANEL);
            if first < last {
                let at = At {
                    row,
                    column: first * L::N,
                };
                let factors = Factors {
                    a: unsafe { factors.a.add(row * factors.a_row) },
                    b: unsafe {
                        let panel_start = panel * width * steps;
                        factors.b.add(panel_start + (first - panel * L::PANEL) * L::N)
                    },
                    ..factors
                };
                unsafe { tile::<L, E, F>(factors, [height, last - first], steps, at, finish) };
            }
            row += height;
        }
    }
}
