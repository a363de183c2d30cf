//! The first pass over the vocabulary: logits, their exponentials, and the sums of both gradients' first factors.

use super::{Operands, ROWS};
use crate::gemm::lanes::{Lanes, Op};
use crate::gemm::math;
use crate::gemm::panels::{Order, Panels, Source};
use crate::gemm::product::{Left, Sink, Store, product};
use crate::gemm::tile::Place;
use crate::gemm::word::Word;

/// How far above its reference a logit may be: the exponentials' sums stay far below the largest f32.
const HEADROOM: f32 = 60.0;
/// Exponents above are cut, so that a sum that is too large is seen as such.
const LARGEST: f32 = 80.0;
/// Lanes of a vector, at most.
const LANES: usize = 16;

/// Tiles that one thread takes, for all rows of a chunk.
pub(super) struct Group<'a, W> {
    pub operands: &'a Operands<'a, W>,
    /// Of the chunk.
    pub start: usize,
    pub rows: usize,
    /// Columns of a tile.
    pub tile: usize,
    /// Of the vocabulary.
    pub columns: std::ops::Range<usize>,
    /// References to begin with, of each row.
    pub references: &'a [f32],
    /// The exponentials `[row words, columns]`, in panels; empty if the weight's gradient is not wanted.
    pub kept: &'a mut [f32],
    /// References that each tile was made with, `[tiles, rows]`.
    pub used: &'a mut [f32],
}

/// What a group adds up, of each row.
pub(super) struct Sums {
    /// What the exponentials are relative to.
    pub reference: Vec<f32>,
    /// Of the exponentials.
    pub exp: Vec<f64>,
    /// Of the logits' squares.
    pub square: Vec<f64>,
    /// Of the exponentials times the weight's rows, `[rows, width]`; empty if the hidden states' gradient is not wanted.
    pub hidden: Vec<f32>,
}

impl<W: Word> Op for Group<'_, W> {
    type Out = Sums;

    #[inline(always)]
    unsafe fn run<L: Lanes>(mut self) -> Sums {
        let Operands { width, need, .. } = *self.operands;
        let mut sums = Sums {
            reference: self.references.to_vec(),
            exp: vec![0.0; self.rows],
            square: vec![0.0; self.rows],
            hidden: vec![0.0; if need[0] { self.rows * width } else { 0 }],
        };
        let mut buffers = Buffers {
            logits: Panels::default(),
            hidden: Panels::default(),
            exponentials: vec![W::default(); ROWS.min(self.rows) * self.tile],
        };
        for (index, first) in self.columns.clone().step_by(self.tile).enumerate() {
            let columns = (self.columns.end - first).min(self.tile);
            let source = Source {
                values: &self.operands.weight[first * width..][..columns * width],
                order: Order::Columns,
                k: width,
                n: columns,
                scale: None,
            };
            let transposed = Source {
                order: Order::Rows,
                k: columns,
                n: width,
                ..source
            };
            unsafe {
                buffers.logits.repack::<L, f32, W>(source);
                if need[0] {
                    buffers.hidden.repack::<L, f32, W>(transposed);
                }
                for row in (0..self.rows).step_by(ROWS) {
                    self.block::<L>(index, columns, row, &mut buffers, &mut sums);
                }
            }
        }
        sums
    }
}

/// What a group works with.
struct Buffers<W> {
    /// A tile's part of the weight, as the right factor of either product.
    logits: Panels,
    hidden: Panels,
    /// `[ROWS, tile]`
    exponentials: Vec<W>,
}

impl<W: Word> Group<'_, W> {
    /// One tile of [`ROWS`] rows.
    #[inline(always)]
    unsafe fn block<L: Lanes>(
        &mut self,
        tile: usize,
        columns: usize,
        row: usize,
        buffers: &mut Buffers<W>,
        sums: &mut Sums,
    ) {
        let Operands { width, need, .. } = *self.operands;
        let rows = ROWS.min(self.rows - row);
        let hidden = self.operands.hidden[(self.start + row) * width..].as_ptr();
        let row_words = self.rows.div_ceil(W::PER_WORD);
        let padded = columns.next_multiple_of(L::N);
        let kept = match need[1] {
            true => self.kept[row_words * tile * self.tile..][..row_words * padded].as_mut_ptr(),
            false => std::ptr::null_mut(),
        };
        let mut partial = [[0f32; 2 * LANES]; ROWS];
        loop {
            partial[..rows].fill([0.0; 2 * LANES]);
            let mut sink = Exponentials::<W> {
                references: &sums.reference[row..row + rows],
                sums: &mut partial[..rows],
                columns,
                tile: need[0].then_some((buffers.exponentials.as_mut_ptr(), self.tile)),
                kept: (kept, row_words, row),
            };
            unsafe {
                let hidden = Left::rows(hidden, width);
                product::<L, W>(hidden, rows, &buffers.logits, &mut sink);
                if !self.raise::<L>(hidden, row, &partial[..rows], buffers, sums) {
                    break;
                }
            }
        }
        for (at, partial) in partial[..rows].iter().enumerate() {
            let sum = |part: &[f32]| part.iter().map(|&x| f64::from(x)).sum::<f64>();
            sums.exp[row + at] += sum(&partial[..LANES]);
            sums.square[row + at] += sum(&partial[LANES..]);
        }
        self.used[tile * self.rows + row..][..rows]
            .copy_from_slice(&sums.reference[row..row + rows]);
        if need[0] {
            let mut sink = Store {
                to: &mut sums.hidden[row * width..][..rows * width],
                n: width,
                add: true,
            };
            unsafe {
                let left = Left::rows(buffers.exponentials.as_ptr(), self.tile);
                product::<L, W>(left, rows, &buffers.hidden, &mut sink);
            }
        }
    }

    /// Raises the references of rows with a logit far above, and says whether there was one.
    #[inline(always)]
    unsafe fn raise<L: Lanes>(
        &self,
        hidden: Left<W>,
        row: usize,
        partial: &[[f32; 2 * LANES]],
        buffers: &Buffers<W>,
        sums: &mut Sums,
    ) -> bool {
        let limit = HEADROOM.exp();
        let above = |partial: &[f32; 2 * LANES]| partial[..LANES].iter().any(|&x| x > limit);
        if !partial.iter().any(above) {
            return false;
        }
        let mut largest = Largest([f32::NEG_INFINITY; ROWS], buffers.logits.n);
        unsafe { product::<L, W>(hidden, partial.len(), &buffers.logits, &mut largest) };
        let mut raised = false;
        for (at, partial) in partial.iter().enumerate() {
            let (at, largest) = (row + at, largest.0[at]);
            if !above(partial) || largest <= sums.reference[at] {
                continue;
            }
            raised = true;
            let factor = (sums.reference[at] - largest).exp();
            sums.reference[at] = largest;
            sums.exp[at] *= f64::from(factor);
            let width = self.operands.width;
            if self.operands.need[0] {
                let hidden = &mut sums.hidden[at * width..][..width];
                hidden.iter_mut().for_each(|x| *x *= factor);
            }
        }
        raised
    }
}

/// Turns logits into exponentials.
struct Exponentials<'a, W> {
    references: &'a [f32],
    /// Of exponentials and of squares, by lane.
    sums: &'a mut [[f32; 2 * LANES]],
    /// Of the tile.
    columns: usize,
    /// Where the tile goes, and its row's length.
    tile: Option<(*mut W, usize)>,
    /// Where it is kept (null: nowhere), of how many row words, from which row on.
    kept: (*mut f32, usize, usize),
}

impl<W: Word> Sink for Exponentials<'_, W> {
    #[inline(always)]
    unsafe fn take<L: Lanes>(&mut self, logits: *const f32, place: Place) {
        for row in (0..place.rows).step_by(W::PER_WORD) {
            unsafe {
                match (W::PER_WORD, row + 1 < place.rows) {
                    (2, true) => self.rows::<L, 2>(logits, place, row),
                    _ => self.rows::<L, 1>(logits, place, row),
                }
            }
        }
    }
}

impl<W: Word> Exponentials<'_, W> {
    /// Those of one row of words.
    #[inline(always)]
    unsafe fn rows<L: Lanes, const ROWS: usize>(
        &mut self,
        logits: *const f32,
        place: Place,
        first: usize,
    ) {
        let (kept, row_words, first_kept) = self.kept;
        let word = (first_kept + place.row + first) / W::PER_WORD;
        let kept = match kept.is_null() {
            true => None,
            false => Some(kept.wrapping_add(row_words * place.column + word * place.width)),
        };
        unsafe {
            let sums = self.sums.as_mut_ptr().add(place.row + first).cast::<f32>();
            let references = self.references.as_ptr().add(place.row + first);
            let mut reference = [L::splat(0.0); ROWS];
            let (mut exps, mut squares) = (reference, reference);
            for row in 0..ROWS {
                reference[row] = L::splat(*references.add(row));
                exps[row] = L::load(sums.add(2 * row * LANES));
                squares[row] = L::load(sums.add((2 * row + 1) * LANES));
            }
            for offset in (0..place.width).step_by(L::N) {
                let column = place.column + offset;
                let mut pair = [L::splat(0.0); 2];
                for row in 0..ROWS {
                    let x = L::load(logits.add((first + row) * place.width + offset));
                    // NaN is the second operand, and stays.
                    let over = L::min(L::splat(LARGEST), L::sub(x, reference[row]));
                    let mut exp = math::exp::<L>(over);
                    if self.columns - column < L::N {
                        let ones = [1f32; LANES];
                        let inside = self.columns - column;
                        exp = L::mul(exp, f32::load_part::<L>(ones.as_ptr(), inside));
                    }
                    exps[row] = L::add(exps[row], exp);
                    squares[row] = L::fma(x, x, squares[row]);
                    if let Some((tile, stride)) = self.tile {
                        let at = (place.row + first + row) * stride + column;
                        W::store::<L>(tile.add(at), exp);
                    }
                    pair[row] = exp;
                }
                if let Some(kept) = kept {
                    L::store(kept.add(offset), W::words::<L>(pair[0], pair[1]));
                }
            }
            for row in 0..ROWS {
                L::store(sums.add(2 * row * LANES), exps[row]);
                L::store(sums.add((2 * row + 1) * LANES), squares[row]);
            }
        }
    }
}

/// Largest logit of each row, of a number of columns.
struct Largest([f32; ROWS], usize);

impl Sink for Largest {
    #[inline(always)]
    unsafe fn take<L: Lanes>(&mut self, logits: *const f32, place: Place) {
        for row in 0..place.rows {
            for column in 0..place.width.min(self.1 - place.column) {
                let x = unsafe { *logits.add(row * place.width + column) };
                let largest = &mut self.0[place.row + row];
                *largest = largest.max(x);
            }
        }
    }
}
