//! Products with a matrix that is packed once and used many times: `C = f(A · B)` for f32 and bf16.
//!
//! A is read in place. Its rows may overlap, and a row may be made of equal segments at equal distances, so a convolution
//! over channels-last samples is one product, without a copy: the row of output t starts at input `t · stride`, and each
//! tap is a segment (one long segment where taps are adjacent). What follows the product (bias, scale, addition,
//! activations, conversion) happens while the sums are in cache.
//!
//! The result of a row does not depend on the other rows, nor on how many there are: the order of its sums is fixed by B.

pub mod lanes;
pub mod math;
pub(crate) mod panels;
pub(crate) mod product;
pub(crate) mod tile;
pub(crate) mod word;

use lanes::{Isa, Op, to_bf16};
use tile::Multiply;

/// Words (f32, or pairs of bf16) of B's rows in one pass: its panel then stays in the second-level cache.
const BLOCK_WORDS: usize = 512;

/// Numbers that are multiplied. Sums are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32 bits.
    F32,
    /// bfloat16, in pairs: segments have even lengths.
    Bf16,
}

/// How a row of A lies in memory: `count` segments of `len` values that start `stride` values apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Segments of a row.
    pub count: usize,
    /// Values of a segment.
    pub len: usize,
    /// Values from the start of a segment to the start of the next.
    pub stride: usize,
}

impl Segments {
    /// One segment.
    pub fn whole(len: usize) -> Self {
        Self {
            count: 1,
            len,
            stride: len,
        }
    }

    /// Values from the first to the last of a row.
    pub fn span(&self) -> usize {
        (self.count - 1) * self.stride + self.len
    }
}

/// B, `[k, n]`, in panels of columns.
pub struct Packed {
    isa: Isa,
    element: Element,
    n: usize,
    row: Segments,
    blocks: Vec<Block>,
    /// Panel after panel, `[words, width]` each; the last may be narrower.
    words: Vec<f32>,
    k_words: usize,
}

/// Rows of B that are multiplied in one pass.
#[derive(Clone, Copy)]
struct Block {
    /// Where its part of a row of A starts, in values.
    a_offset: usize,
    segments: usize,
    segment_words: usize,
    /// Where it starts in a panel of B, in words.
    first_word: usize,
}

impl Packed {
    /// Packs `value(k, n)` for the best instruction set here.
    ///
    /// # Panics
    /// If segments of bf16 have an odd length.
    pub fn new(
        element: Element,
        row: Segments,
        n: usize,
        value: impl Fn(usize, usize) -> f32,
    ) -> Self {
        Self::for_isa(Isa::detect(), element, row, n, value)
    }

    /// Packs for one of the instruction sets [available](Isa::available).
    pub fn for_isa(
        isa: Isa,
        element: Element,
        row: Segments,
        n: usize,
        value: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let per_word = element.per_word();
        assert!(
            row.len.is_multiple_of(per_word),
            "segments of bf16 have even lengths"
        );
        let k_words = row.count * row.len / per_word;
        let mut words = Vec::with_capacity(k_words * n.next_multiple_of(isa.lanes()));
        for (first, width) in panels(isa.panel(), isa.lanes(), n) {
            for word in 0..k_words {
                for column in first..first + width {
                    let at = |k| if column < n { value(k, column) } else { 0.0 };
                    words.push(match element {
                        Element::F32 => at(word),
                        Element::Bf16 => {
                            let (low, high) = (to_bf16(at(2 * word)), to_bf16(at(2 * word + 1)));
                            f32::from_bits(u32::from(low) | u32::from(high) << 16)
                        }
                    });
                }
            }
        }
        Self {
            isa,
            element,
            n,
            row,
            blocks: blocks(row, per_word),
            words,
            k_words,
        }
    }

    /// Puts a value in the place of another one of a matrix of f32.
    ///
    /// # Panics
    /// If there is no such row or column, or the matrix is of bf16.
    pub fn set(&mut self, k: usize, n: usize, value: f32) {
        assert!(k < self.k_words && n < self.n, "[{k}, {n}]");
        assert_eq!(self.element, Element::F32);
        let panel = self.isa.panel();
        let first = n / panel * panel;
        let width = (self.n - first)
            .min(panel)
            .next_multiple_of(self.isa.lanes());
        self.words[first * self.k_words + k * width + n - first] = value;
    }

    /// Rows, k.
    pub fn rows(&self) -> usize {
        self.row.count * self.row.len
    }

    /// Columns, n.
    pub fn columns(&self) -> usize {
        self.n
    }

    /// What is multiplied.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.words.len() * size_of::<f32>()
    }

    /// Computes `output = activation((A · B + bias) * scale + add)` for every job.
    ///
    /// # Panics
    /// If a slice is too short for its job, or A is not of this matrix's element.
    pub fn multiply(&self, finish: &Finish, jobs: &mut [Job], scratch: &mut Vec<f32>) {
        for job in jobs.iter() {
            self.check(finish, job);
        }
        let op = Multiply {
            matrix: self,
            finish,
            jobs,
            scratch,
        };
        // SAFETY: the instruction set was detected or is one of those available; `check` has compared all lengths.
        unsafe { lanes::dispatch(self.isa, op) }
    }

    fn check(&self, finish: &Finish, job: &Job) {
        if job.rows == 0 {
            return;
        }
        let last = (job.rows - 1) * job.stride + self.row.span();
        let (element, len) = match job.a {
            Values::F32(a) => (Element::F32, a.len()),
            Values::Bf16(a) => (Element::Bf16, a.len()),
        };
        assert_eq!(element, self.element, "element of A");
        assert!(last <= len, "A has {len} values, its rows need {last}");
        finish.check(self.isa, self.n, job);
    }
}

impl Element {
    fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }
}

/// First column and width of each panel; widths are multiples of the vector's.
#[inline(always)]
fn panels(panel: usize, lanes: usize, n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n)
        .step_by(panel)
        .map(move |first| (first, (n - first).min(panel).next_multiple_of(lanes)))
}

fn blocks(row: Segments, per_word: usize) -> Vec<Block> {
    let segment_words = row.len / per_word;
    let mut blocks = Vec::new();
    if segment_words > BLOCK_WORDS || row.count == 1 {
        for segment in 0..row.count {
            for word in (0..segment_words).step_by(BLOCK_WORDS) {
                blocks.push(Block {
                    a_offset: segment * row.stride + word * per_word,
                    segments: 1,
                    segment_words: BLOCK_WORDS.min(segment_words - word),
                    first_word: segment * segment_words + word,
                });
            }
        }
        return blocks;
    }
    let group = (BLOCK_WORDS / segment_words.max(1)).max(1);
    for segment in (0..row.count).step_by(group) {
        blocks.push(Block {
            a_offset: segment * row.stride,
            segments: group.min(row.count - segment),
            segment_words,
            first_word: segment * segment_words,
        });
    }
    blocks
}

/// One product: `rows` rows of A that start `stride` values apart.
pub struct Job<'a> {
    /// A, from the start of its first row.
    pub a: Values<'a>,
    /// Values from one row to the next.
    pub stride: usize,
    /// Rows.
    pub rows: usize,
    /// Added to the result, `[rows, n]`.
    pub add: Option<&'a [f32]>,
    /// Where the result goes, as many times and in as many forms as it is needed.
    pub outputs: Vec<Output<'a>>,
}

/// Values read.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    /// f32
    F32(&'a [f32]),
    /// bf16
    Bf16(&'a [u16]),
}

/// Values written.
pub enum ValuesMut<'a> {
    /// f32
    F32(&'a mut [f32]),
    /// bf16
    Bf16(&'a mut [u16]),
}

/// One form of the result, `[rows, n]`.
pub struct Output<'a> {
    /// Where it goes.
    pub to: ValuesMut<'a>,
    /// What is applied before.
    pub activation: &'a Activation,
}

/// An elementwise function of the result.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    /// The result itself.
    Identity,
    /// `x > 0 ? x : exp(x) - 1`
    Elu,
    /// `x Φ(x)`
    Gelu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x + sin²(αx) / (α + 1e-9)`, by column.
    Snake(Snake),
}

/// α and `1 / (α + 1e-9)`, padded to whole panels.
#[derive(Clone, Debug, PartialEq)]
pub struct Snake {
    alpha: Vec<f32>,
    inverse: Vec<f32>,
}

impl Snake {
    /// For columns with these α.
    pub fn new(alpha: &[f32]) -> Self {
        let inverse: Vec<f32> = alpha.iter().map(|alpha| 1.0 / (alpha + 1e-9)).collect();
        Self {
            alpha: padded(alpha),
            inverse: padded(&inverse),
        }
    }
}

/// What happens to a product before its activation: `(x + bias) * scale`.
#[derive(Clone, Debug)]
pub struct Finish {
    bias: Vec<f32>,
    scale: Option<Vec<f32>>,
}

impl Finish {
    /// For `n` columns.
    pub fn new(n: usize, bias: Option<&[f32]>, scale: Option<&[f32]>) -> Self {
        Self {
            bias: padded(bias.unwrap_or(&vec![0.0; n])),
            scale: scale.map(padded),
        }
    }

    /// Applies this, the addition and the activations to rows that are already there: `job.a` is `[rows, n]`, f32.
    ///
    /// # Panics
    /// If a slice is too short.
    pub fn apply(&self, n: usize, job: &mut Job) {
        let isa = Isa::detect();
        let Values::F32(a) = job.a else {
            panic!("rows to finish are f32");
        };
        assert!(job.rows == 0 || (job.rows - 1) * job.stride + n <= a.len());
        self.check(isa, n, job);
        let op = tile::Apply {
            finish: self,
            n,
            job,
        };
        // SAFETY: the instruction set was detected, and all lengths were compared.
        unsafe { lanes::dispatch(isa, op) }
    }

    fn check(&self, isa: Isa, n: usize, job: &Job) {
        let (size, columns) = (job.rows * n, n.next_multiple_of(isa.lanes()));
        assert!(self.bias.len() >= columns, "bias");
        assert!(self.scale.as_ref().is_none_or(|s| s.len() >= columns));
        assert!(job.add.is_none_or(|add| add.len() >= size), "addend");
        for output in &job.outputs {
            let len = match &output.to {
                ValuesMut::F32(to) => to.len(),
                ValuesMut::Bf16(to) => to.len(),
            };
            assert!(len >= size, "output of {len} values, {size} needed");
            if let Activation::Snake(snake) = output.activation {
                assert!(snake.alpha.len() >= columns, "alpha");
            }
        }
    }
}

/// `values` and zeros up to a whole number of the widest vectors.
fn padded(values: &[f32]) -> Vec<f32> {
    let mut values = values.to_vec();
    values.resize(values.len().next_multiple_of(16), 0.0);
    values
}

/// Runs `op` with the widest vectors there are.
///
/// # Safety
/// As `op` asks.
pub unsafe fn vectorized<O: Op>(op: O) -> O::Out {
    unsafe { lanes::dispatch(Isa::detect(), op) }
}

#[cfg(test)]
mod tests;
