//! Rows of heads in tensors `[batch, time, heads, head_dim]`.

use std::marker::PhantomData;

use crate::gemm::lanes::Lanes;
use crate::gemm::word::Word;

/// Which head of which sequence.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub batch: usize,
    pub head: usize,
    /// Heads of the tensor.
    pub heads: usize,
}

/// Rows `[tokens, head_dim]` that are read, `stride` values apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, W> {
    /// From the first value of the first row on.
    pub values: &'a [W],
    pub stride: usize,
    pub tokens: usize,
    pub head_dim: usize,
}

impl<'a, W: Word> Rows<'a, W> {
    pub fn new(values: &'a [W], head: Head, [time, head_dim]: [usize; 2]) -> Self {
        Self {
            values: &values[(head.batch * time * head.heads + head.head) * head_dim..],
            stride: head.heads * head_dim,
            tokens: time,
            head_dim,
        }
    }

    /// The rows from `token` on.
    pub fn from(&self, token: usize) -> Self {
        Self {
            values: &self.values[token * self.stride..],
            tokens: self.tokens - token,
            ..*self
        }
    }

    pub fn row(&self, token: usize) -> &'a [W] {
        &self.values[token * self.stride..][..self.head_dim]
    }

    /// The words of a row, at any address.
    pub fn words(&self, token: usize) -> *const f32 {
        self.row(token).as_ptr().cast()
    }

    /// Values of a row, 0 where there is none.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    pub unsafe fn vector<L: Lanes>(&self, token: usize, column: usize) -> L::V {
        if token >= self.tokens || column >= self.head_dim {
            return unsafe { L::splat(0.0) };
        }
        let values = &self.row(token)[column..];
        unsafe { W::load_part::<L>(values.as_ptr(), values.len().min(L::N)) }
    }
}

/// A tensor that is written row by row, each by one thread.
pub(super) struct Output<'a, W> {
    values: *mut W,
    len: usize,
    time: usize,
    head_dim: usize,
    life: PhantomData<&'a mut [W]>,
}

// SAFETY: whoever writes a row promises that nobody else does at the same time.
unsafe impl<W: Send> Send for Output<'_, W> {}
unsafe impl<W: Send> Sync for Output<'_, W> {}

impl<'a, W: Word> Output<'a, W> {
    pub fn new(values: &'a mut [W], [time, head_dim]: [usize; 2]) -> Self {
        Self {
            values: values.as_mut_ptr(),
            len: values.len(),
            time,
            head_dim,
            life: PhantomData,
        }
    }

    /// Writes `scale · sums` to the row of a token; `sums` is padded to whole vectors.
    ///
    /// # Safety
    /// As [`Lanes`]; no other thread writes this row.
    #[inline(always)]
    pub unsafe fn write<L: Lanes>(&self, head: Head, token: usize, sums: &[f32], scale: f32) {
        let row = (head.batch * self.time + token) * head.heads + head.head;
        assert!((row + 1) * self.head_dim <= self.len);
        for (index, sums) in sums.chunks_exact(L::N).enumerate() {
            let column = index * L::N;
            let count = self.head_dim.saturating_sub(column).min(L::N);
            unsafe {
                let to = self.values.wrapping_add(row * self.head_dim + column);
                let x = L::mul(L::load(sums.as_ptr()), L::splat(scale));
                W::store_part::<L>(to, x, count);
            }
        }
    }
}
