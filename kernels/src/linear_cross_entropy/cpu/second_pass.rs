//! The second pass over the vocabulary: the weight's gradient, from the exponentials that were kept.

use super::Operands;
use crate::gemm::lanes::{Lanes, Op};
use crate::gemm::panels::{Order, Panels, Source, widths};
use crate::gemm::product::{Left, Store, product};
use crate::gemm::word::Word;

/// The hidden states of a chunk, each row times a factor, as the right factor of the product.
pub(super) fn scaled<'a, W>(
    operands: &Operands<'a, W>,
    start: usize,
    factors: &'a [f32],
) -> Source<'a, W> {
    let width = operands.width;
    Source {
        values: &operands.hidden[start * width..][..factors.len() * width],
        order: Order::Rows,
        k: factors.len(),
        n: width,
        scale: Some(factors),
    }
}

/// One tile of the weight's gradient.
pub(super) struct WeightTile<'a, W> {
    pub operands: &'a Operands<'a, W>,
    /// The chunk's first row.
    pub start: usize,
    /// The exponentials, `[row words, columns]` in panels.
    pub kept: &'a [f32],
    /// What a row's exponentials are multiplied by to be the gradients of logits, without the target's part.
    pub factors: &'a [f32],
    /// The hidden states times these factors, if someone packed them.
    pub hidden: Option<&'a Panels>,
    /// The tile's columns.
    pub first: usize,
    pub columns: usize,
    /// Targets in this tile and their rows in the chunk.
    pub targets: &'a [(usize, usize)],
    /// `[columns, width]`
    pub to: &'a mut [f32],
    /// Whether `to` holds the gradients of earlier chunks.
    pub add: bool,
}

impl<W: Word> Op for WeightTile<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let width = self.operands.width;
        let mut own = Panels::default();
        let hidden = match self.hidden {
            Some(hidden) => hidden,
            None => {
                let source = scaled(self.operands, self.start, self.factors);
                unsafe { own.repack::<L, W, W>(source) };
                &own
            }
        };
        for (column, panel) in widths::<L>(self.columns) {
            let rows = panel.min(self.columns - column);
            let left = Left::<W>::panel(self.kept[hidden.k_words * column..].as_ptr(), panel);
            let mut sink = Store {
                to: &mut self.to[column * width..][..rows * width],
                n: width,
                add: self.add,
            };
            unsafe { product::<L, W>(left, rows, hidden, &mut sink) };
        }
        for &(target, row) in self.targets {
            let token = self.start + row;
            let weight = self.operands.token_weights[token];
            let hidden = &self.operands.hidden[token * width..][..width];
            let to = &mut self.to[(target - self.first) * width..][..width];
            for (to, x) in to.iter_mut().zip(hidden) {
                *to -= weight * x.value();
            }
        }
    }
}
