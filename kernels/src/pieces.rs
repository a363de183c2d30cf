//! Work over memory in pieces.
//!
//! Where pieces begin depends on shapes alone, so that sums of their results have one order for any number of threads.

use rayon::prelude::*;

use crate::gemm::lanes::{Isa, Op, dispatch};

/// Values of a piece: it stays in the second-level cache, and outlasts the waking of a thread. A tensor of one piece is
/// computed where it is.
pub(crate) const PIECE: usize = 1 << 15;

/// Rows of a piece.
pub(crate) fn rows(width: usize) -> usize {
    (PIECE / width).max(1)
}

/// Runs the pieces on all threads; their results in their order.
pub(crate) fn run<O>(isa: Isa, mut pieces: Vec<O>) -> Vec<O::Out>
where
    O: Op<Out: Send> + Send,
{
    // SAFETY: the caller has asked for instructions that the processor has.
    let run = |piece| unsafe { dispatch(isa, piece) };
    match pieces.len() {
        0 | 1 => pieces.pop().map(run).into_iter().collect(),
        _ => pieces.into_par_iter().map(run).collect(),
    }
}

/// Sums of the pieces' results, element by element.
pub(crate) fn sum(pieces: Vec<Vec<f32>>) -> Vec<f32> {
    let add = |mut sum: Vec<f32>, piece: Vec<f32>| {
        sum.iter_mut().zip(piece).for_each(|(sum, x)| *sum += x);
        sum
    };
    pieces.into_iter().reduce(add).expect("there is a piece")
}
