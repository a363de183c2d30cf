//! Matrices packed for one use: the right factor of a product, `[k, n]`, in panels of columns.

use rayon::prelude::*;

use super::lanes::{Isa, Lanes, Op, dispatch};
use super::panels;
use super::word::Word;

/// Words of a row that are turned into columns at a time: the part of a panel that is written stays in the first-level cache.
const BLOCK: usize = 64;

/// How a matrix `[k, n]` lies in memory.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// Row after row.
    Rows,
    /// Column after column: it is the transposed matrix `[n, k]` that lies in rows.
    Columns,
}

/// A matrix to be packed.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, S> {
    pub values: &'a [S],
    pub order: Order,
    pub k: usize,
    pub n: usize,
    /// By which rows are multiplied, `[k]`; of matrices in rows only.
    pub scale: Option<&'a [f32]>,
}

impl<S: Word> Source<'_, S> {
    /// `count` values of a row, scaled; zeros for a row that there is not.
    #[inline(always)]
    unsafe fn vector<L: Lanes>(&self, row: usize, column: usize, count: usize) -> L::V {
        unsafe {
            if row >= self.k {
                return L::splat(0.0);
            }
            let x = S::load_part::<L>(self.values.as_ptr().add(row * self.n + column), count);
            match self.scale {
                Some(scale) => L::mul(x, L::splat(scale[row])),
                None => x,
            }
        }
    }
}

/// Panel after panel, `[k_words, width]` each. Words of bf16 hold two rows; an odd last one is paired with zeros, and so are
/// the columns that fill the last vector.
#[derive(Default)]
pub(crate) struct Panels {
    pub words: Vec<f32>,
    pub k_words: usize,
    pub n: usize,
}

impl Panels {
    /// Packs a matrix for products of `W`, over the threads.
    pub fn pack<S: Word, W: Word>(isa: Isa, source: Source<S>) -> Self {
        let mut packed = Self::default();
        packed.reset::<S, W>(isa.lanes(), &source);
        let panel = isa.panel();
        packed
            .words
            .par_chunks_mut((packed.k_words * panel).max(1))
            .enumerate()
            .for_each(|(index, to)| {
                let panel = Panel {
                    source,
                    column: index * panel,
                    to,
                    to_type: std::marker::PhantomData::<W>,
                };
                // SAFETY: the processor has these instructions.
                unsafe { dispatch(isa, panel) }
            });
        packed
    }

    /// Packs another matrix into the same memory, on this thread.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    pub unsafe fn repack<L: Lanes, S: Word, W: Word>(&mut self, source: Source<S>) {
        self.reset::<S, W>(L::N, &source);
        let mut rest = self.words.as_mut_slice();
        for (column, width) in widths::<L>(source.n) {
            let (to, left) = rest.split_at_mut(self.k_words * width);
            rest = left;
            let panel = Panel {
                source,
                column,
                to,
                to_type: std::marker::PhantomData::<W>,
            };
            unsafe { panel.run::<L>() }
        }
    }

    fn reset<S, W: Word>(&mut self, lanes: usize, source: &Source<S>) {
        assert!(source.values.len() >= source.k * source.n);
        assert!(source.scale.is_none_or(|scale| scale.len() == source.k));
        self.k_words = source.k.div_ceil(W::PER_WORD);
        self.n = source.n;
        self.words
            .resize(self.k_words * source.n.next_multiple_of(lanes), 0.0);
    }
}

/// First column and width of each panel.
#[inline(always)]
pub(crate) fn widths<L: Lanes>(n: usize) -> impl Iterator<Item = (usize, usize)> {
    panels(L::N * L::PANEL, L::N, n)
}

/// Packs one panel.
struct Panel<'a, S, W> {
    source: Source<'a, S>,
    column: usize,
    /// `[k_words, width]`
    to: &'a mut [f32],
    to_type: std::marker::PhantomData<W>,
}

impl<S: Word, W: Word> Op for Panel<'_, S, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let columns = (self.source.n - self.column).min(L::N * L::PANEL);
        let width = columns.next_multiple_of(L::N);
        unsafe {
            match self.source.order {
                Order::Rows => self.of_rows::<L>(columns, width),
                Order::Columns => self.of_columns::<L>(columns, width),
            }
        }
    }
}

impl<S: Word, W: Word> Panel<'_, S, W> {
    #[inline(always)]
    unsafe fn of_rows<L: Lanes>(self, columns: usize, width: usize) {
        for (word, to) in self.to.chunks_exact_mut(width).enumerate() {
            let first = word * W::PER_WORD;
            for offset in (0..columns).step_by(L::N) {
                let count = (columns - offset).min(L::N);
                let column = self.column + offset;
                unsafe {
                    let low = self.source.vector::<L>(first, column, count);
                    let words = match W::PER_WORD {
                        1 => low,
                        _ => W::words::<L>(low, self.source.vector::<L>(first + 1, column, count)),
                    };
                    L::store(to.as_mut_ptr().add(offset), words);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn of_columns<L: Lanes>(self, columns: usize, width: usize) {
        let k = self.source.k;
        let block = BLOCK * W::PER_WORD;
        for first in (0..k).step_by(block) {
            let count = (k - first).min(block);
            let to = &mut self.to[first / W::PER_WORD * width..];
            for column in 0..width {
                // The column's words, which a vector at a time are converted.
                let mut words = [0f32; BLOCK];
                if column < columns {
                    let from = (self.column + column) * k + first;
                    let from = &self.source.values[from..from + count];
                    let to = words.as_mut_ptr().cast::<W>();
                    for (at, from) in from.chunks(L::N).enumerate() {
                        unsafe {
                            let x = S::load_part::<L>(from.as_ptr(), from.len());
                            W::store_part::<L>(to.add(at * L::N), x, from.len());
                        }
                    }
                }
                for (row, word) in words[..count.div_ceil(W::PER_WORD)].iter().enumerate() {
                    to[row * width + column] = *word;
                }
            }
        }
    }
}
