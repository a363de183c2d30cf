//! The kernel on a processor: packed products over the threads.
//!
//! Each number of a result is made by one thread in an order that depends on the shapes alone.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::gemm::Values;
use crate::gemm::lanes::{Isa, Lanes, Op, dispatch};
use crate::gemm::panels::{Order, Panels, Source};
use crate::gemm::product::{Left, Store, product};
use crate::gemm::word::Word;
use crate::storage::{filled, floats, tensor, values};

/// Rows of a result that a thread makes at a time.
const ROWS: usize = 96;
/// Tokens whose products are added up in registers for the weight's gradient.
const TOKENS: usize = 1024;

/// See [`super::linear`].
pub(crate) fn forward(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
    let [rows, input] = shape(&x);
    let [output, weight_input] = shape(&weight);
    assert_eq!(
        input, weight_input,
        "linear: rows of {input} for a weight of [{output}, {weight_input}]"
    );
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let source = Source {
        values: floats(&weight),
        order: Order::Columns,
        k: input,
        n: output,
        scale: None,
    };
    match values(&x) {
        Values::F32(x) => rows_times(x, rows, source),
        Values::Bf16(x) => rows_times(x, rows, source),
    }
}

/// The gradient of `x` if it is wanted, and of the weight if there is an `x`.
pub(crate) fn backward(
    x: Option<FlexTensor>,
    weight: FlexTensor,
    upstream: FlexTensor,
    of_x: bool,
) -> [Option<FlexTensor>; 2] {
    let [output, input] = shape(&weight);
    let [rows, _] = shape(&upstream);
    let (weight, upstream) = (weight.to_contiguous(), upstream.to_contiguous());
    let source = Source {
        values: floats(&weight),
        order: Order::Rows,
        k: output,
        n: input,
        scale: None,
    };
    let of_x = of_x.then(|| match values(&upstream) {
        Values::F32(upstream) => rows_times(upstream, rows, source),
        Values::Bf16(upstream) => rows_times(upstream, rows, source),
    });
    let of_weight = x.map(|x| {
        let x = x.to_contiguous();
        let sizes = [rows, output, input];
        match (values(&x), values(&upstream)) {
            (Values::F32(x), Values::F32(upstream)) => transposed_times(upstream, x, sizes),
            (Values::Bf16(x), Values::Bf16(upstream)) => transposed_times(upstream, x, sizes),
            _ => panic!(
                "linear: activations are {:?}, their gradient {:?}",
                x.dtype(),
                upstream.dtype()
            ),
        }
    });
    [of_x, of_weight]
}

fn shape(tensor: &FlexTensor) -> [usize; 2] {
    let shape = tensor.layout().shape();
    [shape[0], shape[1]]
}

/// `a · right`: `[rows, k]` by `[k, n]`.
fn rows_times<W: Word>(a: &[W], rows: usize, right: Source<f32>) -> FlexTensor {
    let (k, n) = (right.k, right.n);
    let isa = Isa::detect();
    let even = k.next_multiple_of(W::PER_WORD);
    let padded = (even > k).then(|| padded(a, k, even));
    let a = padded.as_deref().unwrap_or(a);
    let right = Panels::pack::<f32, W>(isa, right);
    let fill = |out: &mut [W]| {
        out.par_chunks_mut((ROWS * n).max(1))
            .zip(a.par_chunks((ROWS * even).max(1)))
            .for_each(|(to, a)| {
                let work = Rows {
                    a,
                    k: even,
                    right: &right,
                    to,
                };
                // SAFETY: the processor has these instructions.
                unsafe { dispatch(isa, work) }
            });
    };
    // SAFETY: the products write every number.
    tensor(unsafe { filled(rows * n, fill) }, [rows, n])
}

/// Rows that are filled up with zeros.
fn padded<W: Word>(a: &[W], k: usize, even: usize) -> Vec<W> {
    let mut rows = vec![W::default(); a.len() / k * even];
    for (to, from) in rows.chunks_exact_mut(even).zip(a.chunks_exact(k)) {
        to[..k].copy_from_slice(from);
    }
    rows
}

/// Some rows of `a · right`.
struct Rows<'a, W> {
    a: &'a [W],
    k: usize,
    right: &'a Panels,
    to: &'a mut [W],
}

impl<W: Word> Op for Rows<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let n = self.right.n;
        let mut sink = Store {
            to: self.to,
            n,
            add: false,
        };
        let left = Left::rows(self.a.as_ptr(), self.k);
        unsafe { product::<L, W>(left, self.a.len() / self.k, self.right, &mut sink) }
    }
}

/// `aᵀ · b` in f32: `[rows, m]` and `[rows, n]` to `[m, n]`.
fn transposed_times<W: Word>(a: &[W], b: &[W], [rows, m, n]: [usize; 3]) -> FlexTensor {
    let isa = Isa::detect();
    let panel = isa.panel();
    let mut out = Vec::new();
    for first in (0..rows).step_by(TOKENS) {
        let count = (rows - first).min(TOKENS);
        let pack = |values: &[W], columns: usize| {
            let source = Source {
                values: &values[first * columns..][..count * columns],
                order: Order::Rows,
                k: count,
                n: columns,
                scale: None,
            };
            Panels::pack::<W, W>(isa, source)
        };
        let (a, b) = (pack(a, m), pack(b, n));
        let fill = |out: &mut [f32]| {
            out.par_chunks_mut((panel * n).max(1))
                .enumerate()
                .for_each(|(index, to)| {
                    let work = Columns::<W> {
                        a: &a,
                        column: index * panel,
                        right: &b,
                        to,
                        add: first > 0,
                        of: std::marker::PhantomData,
                    };
                    // SAFETY: the processor has these instructions.
                    unsafe { dispatch(isa, work) }
                });
        };
        match first {
            // SAFETY: the first products write every number.
            0 => out = unsafe { filled(m * n, fill) },
            _ => fill(&mut out),
        }
    }
    // Nothing was written without rows.
    out.resize(m * n, 0.0);
    tensor(out, [m, n])
}

/// Some rows of `aᵀ · right`: those of one panel.
struct Columns<'a, W> {
    a: &'a Panels,
    column: usize,
    right: &'a Panels,
    /// `[columns, n]`
    to: &'a mut [f32],
    add: bool,
    of: std::marker::PhantomData<W>,
}

impl<W: Word> Op for Columns<'_, W> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let n = self.right.n;
        let rows = self.to.len() / n;
        let words = &self.a.words[self.a.k_words * self.column..];
        let left = Left::<W>::panel(words.as_ptr(), rows.next_multiple_of(L::N));
        let mut sink = Store {
            to: self.to,
            n,
            add: self.add,
        };
        unsafe { product::<L, W>(left, rows, self.right, &mut sink) }
    }
}
