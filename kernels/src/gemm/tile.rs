//! The product itself: tiles of a few rows by one panel of columns, their sums in registers.

use super::lanes::{Lanes, Op, dispatch};
use super::word::Word;
use super::{Activation, Element, Finish, Job, Packed, Snake, Values, ValuesMut, math, panels};

/// Sums of a tile: at most 24 vectors of 16.
pub(super) type Sums = [f32; 24 * 16];

/// See [`Packed::multiply`].
pub(super) struct Multiply<'a, 'b> {
    pub matrix: &'a Packed,
    pub finish: &'a Finish,
    pub jobs: &'a mut [Job<'b>],
    pub scratch: &'a mut Vec<f32>,
}

impl Op for Multiply<'_, '_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        unsafe {
            match self.matrix.element {
                Element::F32 => self.passes::<L, f32>(),
                Element::Bf16 => self.passes::<L, u16>(),
            }
        }
    }
}

impl Multiply<'_, '_> {
    /// Block by block, panel by panel, so that a panel's block is read from memory once for all rows; sums wait in
    /// `scratch`, `[rows, n]` padded to whole vectors, while blocks are left.
    #[inline(always)]
    unsafe fn passes<L: Lanes, W: Word>(self) {
        let Self {
            matrix,
            finish,
            jobs,
            scratch,
        } = self;
        let padded = matrix.n.next_multiple_of(L::N);
        let rows: usize = jobs.iter().map(|job| job.rows).sum();
        if matrix.blocks.len() > 1 && scratch.len() < rows * padded {
            scratch.resize(rows * padded, 0.0);
        }
        let mut sums: Sums = [0.0; 24 * 16];
        for (index, block) in matrix.blocks.iter().enumerate() {
            let (first, last) = (index == 0, index + 1 == matrix.blocks.len());
            for (column, width) in panels(L::N * L::PANEL, L::N, matrix.n) {
                let vectors = width / L::N;
                let b = unsafe {
                    matrix
                        .words
                        .as_ptr()
                        .add(matrix.k_words * column + block.first_word * width)
                };
                let mut scratch_row = 0;
                for job in jobs.iter_mut() {
                    let a = unsafe { pointer::<W>(job.a).add(block.a_offset) };
                    let mut row = 0;
                    while row < job.rows {
                        let tile_rows = tile_height::<L>(vectors, job.rows - row);
                        let wait = scratch
                            .as_mut_ptr()
                            .wrapping_add((scratch_row + row) * padded + column);
                        let sums = sums.as_mut_ptr();
                        unsafe {
                            if !first {
                                copy(wait, padded, sums, width, [tile_rows, width]);
                            }
                            let tile = Tile {
                                a: a.add(row * job.stride),
                                stride: job.stride,
                                word_stride: W::PER_WORD,
                                segments: block.segments,
                                segment_stride: matrix.row.stride,
                                segment_words: block.segment_words,
                                b,
                                sums,
                                resume: !first,
                            };
                            tile.run::<L>(tile_rows, vectors);
                            if last {
                                let place = Place {
                                    row,
                                    rows: tile_rows,
                                    column,
                                    width,
                                };
                                finish_tile::<L>(finish, matrix.n, job, sums, place);
                            } else {
                                copy(sums, width, wait, padded, [tile_rows, width]);
                            }
                        }
                        row += tile_rows;
                    }
                    scratch_row += job.rows;
                }
            }
        }
    }
}

/// Where values of a known type lie.
#[inline(always)]
fn pointer<W>(values: Values) -> *const W {
    match values {
        Values::F32(values) => values.as_ptr().cast(),
        Values::Bf16(values) => values.as_ptr().cast(),
    }
}

/// Rows of the next tile: the sums of a tile fill 24 of 32 registers, or 12 of 16. Odd heights come last.
#[inline(always)]
pub(super) fn tile_height<L: Lanes>(vectors: usize, left: usize) -> usize {
    let limit = 6 * L::PANEL / vectors;
    for height in [12, 8, 6, 4, 3, 2] {
        if height <= limit && height <= left {
            return height;
        }
    }
    1
}

#[inline(always)]
unsafe fn copy(
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
    [rows, width]: [usize; 2],
) {
    for row in 0..rows {
        unsafe {
            std::ptr::copy_nonoverlapping(
                from.add(row * from_stride),
                to.add(row * to_stride),
                width,
            );
        }
    }
}

/// A tile of one block. Distances are in values.
pub(super) struct Tile<W> {
    pub a: *const W,
    /// From a row of A to the next.
    pub stride: usize,
    /// From a word of a row to the next.
    pub word_stride: usize,
    pub segments: usize,
    pub segment_stride: usize,
    pub segment_words: usize,
    pub b: *const f32,
    /// `[rows, width]`
    pub sums: *mut f32,
    /// Whether `sums` holds those of earlier blocks.
    pub resume: bool,
}

/// A tile and its size.
struct SizedTile<'a, W> {
    tile: &'a Tile<W>,
    rows: usize,
    vectors: usize,
}

impl<W: Word> Op for SizedTile<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        macro_rules! heights {
            ($vectors:literal: $($rows:literal)*) => {
                match self.rows {
                    $($rows => unsafe { self.tile.sum::<L, $rows, $vectors>() },)*
                    _ => unreachable!(),
                }
            };
        }
        match self.vectors {
            1 => heights!(1: 1 2 3 4 6 8 12),
            2 => heights!(2: 1 2 3 4 6 8 12),
            3 => heights!(3: 1 2 3 4 6 8),
            4 => heights!(4: 1 2 3 4 6),
            _ => unreachable!(),
        }
    }
}

impl<W: Word> Tile<W> {
    /// Adds up the products.
    #[inline(always)]
    pub unsafe fn run<L: Lanes>(&self, rows: usize, vectors: usize) {
        let tile = self;
        let sized = SizedTile {
            tile,
            rows,
            vectors,
        };
        // Not in place: it is the same code for all that follows a product.
        unsafe { dispatch(L::ISA, sized) }
    }

    #[inline(always)]
    unsafe fn sum<L: Lanes, const ROWS: usize, const VECTORS: usize>(&self) {
        unsafe {
            let mut acc = [[L::splat(0.0); VECTORS]; ROWS];
            if self.resume {
                for (row, acc) in acc.iter_mut().enumerate() {
                    for (vector, acc) in acc.iter_mut().enumerate() {
                        *acc = L::load(self.sums.add((row * VECTORS + vector) * L::N));
                    }
                }
            }
            let mut b = self.b;
            for segment in 0..self.segments {
                let a = self.a.add(segment * self.segment_stride);
                let rows: [*const W; ROWS] = std::array::from_fn(
                    #[inline(always)]
                    |row| a.add(row * self.stride),
                );
                for word in 0..self.segment_words {
                    let mut columns = [L::splat(0.0); VECTORS];
                    for (vector, column) in columns.iter_mut().enumerate() {
                        *column = L::load(b.add(vector * L::N));
                    }
                    for (row, acc) in acc.iter_mut().enumerate() {
                        let a = W::splat::<L>(rows[row].add(word * self.word_stride));
                        for (acc, column) in acc.iter_mut().zip(columns) {
                            *acc = W::madd::<L>(*acc, a, column);
                        }
                    }
                    b = b.add(VECTORS * L::N);
                }
            }
            for (row, acc) in acc.iter().enumerate() {
                for (vector, acc) in acc.iter().enumerate() {
                    L::store(self.sums.add((row * VECTORS + vector) * L::N), *acc);
                }
            }
        }
    }
}

/// Where a tile lies in the result.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub row: usize,
    pub rows: usize,
    pub column: usize,
    /// Whole vectors; those beyond the last column are of zeros.
    pub width: usize,
}

/// Bias, scale, addition, activations and storing of `sums`, `[rows, width]`.
#[inline(always)]
unsafe fn finish_tile<L: Lanes>(
    finish: &Finish,
    n: usize,
    job: &mut Job,
    sums: *mut f32,
    place: Place,
) {
    for offset in (0..place.width).step_by(L::N) {
        let column = place.column + offset;
        let whole = column + L::N <= n;
        unsafe {
            let bias = L::load(finish.bias.as_ptr().add(column));
            for row in 0..place.rows {
                let at = sums.add(row * place.width + offset);
                let to = (place.row + row) * n + column;
                let mut x = L::add(L::load(at), bias);
                if let Some(scale) = &finish.scale {
                    x = L::mul(x, L::load(scale.as_ptr().add(column)));
                }
                if let Some(add) = job.add {
                    let add = add.as_ptr().add(to);
                    x = L::add(
                        x,
                        if whole {
                            L::load(add)
                        } else {
                            f32::load_part::<L>(add, n - column)
                        },
                    );
                }
                L::store(at, x);
            }
        }
    }
    for output in &mut job.outputs {
        let to = &mut output.to;
        unsafe {
            match output.activation {
                Activation::Identity => emit::<L, _>(to, n, sums, place, Identity),
                Activation::Elu => emit::<L, _>(to, n, sums, place, Elu),
                Activation::Gelu => emit::<L, _>(to, n, sums, place, Gelu),
                Activation::Tanh => emit::<L, _>(to, n, sums, place, Tanh),
                Activation::Snake(snake) => emit::<L, _>(to, n, sums, place, snake),
            }
        }
    }
}

/// A function of a value and its column. (Closures do not inherit the instructions enabled around them.)
trait Map {
    unsafe fn apply<L: Lanes>(&self, x: L::V, column: usize) -> L::V;
}

struct Identity;
struct Elu;
struct Gelu;
struct Tanh;

impl Map for Identity {
    #[inline(always)]
    unsafe fn apply<L: Lanes>(&self, x: L::V, _: usize) -> L::V {
        x
    }
}

impl Map for Elu {
    #[inline(always)]
    unsafe fn apply<L: Lanes>(&self, x: L::V, _: usize) -> L::V {
        unsafe {
            let zero = L::splat(0.0);
            L::add(L::max(zero, x), math::expm1::<L>(L::min(zero, x)))
        }
    }
}

impl Map for Gelu {
    #[inline(always)]
    unsafe fn apply<L: Lanes>(&self, x: L::V, _: usize) -> L::V {
        unsafe { math::gelu::<L>(x) }
    }
}

impl Map for Tanh {
    #[inline(always)]
    unsafe fn apply<L: Lanes>(&self, x: L::V, _: usize) -> L::V {
        unsafe { math::tanh::<L>(x) }
    }
}

impl Map for &Snake {
    #[inline(always)]
    unsafe fn apply<L: Lanes>(&self, x: L::V, column: usize) -> L::V {
        unsafe {
            let alpha = L::load(self.alpha.as_ptr().add(column));
            let inverse = L::load(self.inverse.as_ptr().add(column));
            L::fma(inverse, math::sin_squared::<L>(L::mul(alpha, x)), x)
        }
    }
}

/// Stores `map(sums, column)`.
#[inline(always)]
unsafe fn emit<L: Lanes, M: Map>(
    to: &mut ValuesMut,
    n: usize,
    sums: *const f32,
    place: Place,
    map: M,
) {
    for row in 0..place.rows {
        for offset in (0..place.width).step_by(L::N) {
            let column = place.column + offset;
            let at = (place.row + row) * n + column;
            unsafe {
                let x = map.apply::<L>(L::load(sums.add(row * place.width + offset)), column);
                match (&mut *to, column + L::N <= n) {
                    (ValuesMut::F32(to), true) => L::store(to.as_mut_ptr().add(at), x),
                    (ValuesMut::Bf16(to), true) => L::store_bf16(to.as_mut_ptr().add(at), x),
                    (ValuesMut::F32(to), false) => {
                        let mut part = [0.0; 16];
                        L::store(part.as_mut_ptr(), x);
                        to[at..at + n - column].copy_from_slice(&part[..n - column]);
                    }
                    (ValuesMut::Bf16(to), false) => {
                        let mut part = [0; 16];
                        L::store_bf16(part.as_mut_ptr(), x);
                        to[at..at + n - column].copy_from_slice(&part[..n - column]);
                    }
                }
            }
        }
    }
}

/// See [`Finish::apply`].
pub(super) struct Apply<'a, 'b> {
    pub finish: &'a Finish,
    pub n: usize,
    pub job: &'a mut Job<'b>,
}

impl Op for Apply<'_, '_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { finish, n, job } = self;
        let mut sums: Sums = [0.0; 24 * 16];
        let Values::F32(a) = job.a else {
            unreachable!("checked before");
        };
        for row in 0..job.rows {
            for column in (0..n).step_by(sums.len()) {
                let count = (n - column).min(sums.len());
                let from = row * job.stride + column;
                sums[..count].copy_from_slice(&a[from..from + count]);
                let place = Place {
                    row,
                    rows: 1,
                    column,
                    width: count.next_multiple_of(L::N),
                };
                unsafe { finish_tile::<L>(finish, n, job, sums.as_mut_ptr(), place) };
            }
        }
    }
}
