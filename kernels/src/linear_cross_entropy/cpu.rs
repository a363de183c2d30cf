//! The kernel on a processor: chunks of rows, tiles of the vocabulary over the threads, three GEMMs.
//!
//! Deterministic for any number of threads: a tile's work is sequential, and the sums over tiles are
//! made in the order of the tiles, in a number of groups that depends on the shapes alone.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{Flex, FlexTensor, Layout};
use rayon::prelude::*;

use super::{LossAndGrads, LossInput, LossOutput};
use crate::simd;

/// Rows of logits that exist at a time.
const ROWS: usize = 256;
/// Columns of a tile: a `[ROWS, TILE]` tile of f32 stays in the second-level cache.
const TILE: usize = 1024;
/// Partial sums of the hidden states' gradient: tiles are summed in this many contiguous groups.
const GROUPS: usize = 16;

/// Sizes and slices of one call.
struct Operands<'a> {
    hidden: &'a [f32],
    weight: &'a [f32],
    targets: &'a [usize],
    token_weights: &'a [f32],
    tokens: usize,
    width: usize,
    vocab: usize,
    z_loss: f32,
}

/// Rows `start .. start + count` of a call.
#[derive(Clone, Copy)]
struct Chunk {
    start: usize,
    count: usize,
}

/// See [`super::linear_cross_entropy`].
pub(crate) fn linear_cross_entropy(
    input: LossInput<Flex>,
    need: [bool; 2],
) -> LossAndGrads<FlexTensor> {
    let hidden = input.hidden.to_contiguous();
    let weight = input.weight.to_contiguous();
    let token_weights = input.token_weights.to_contiguous();
    let targets = indices(&input.targets);
    let (tokens, width) = (hidden.layout().shape()[0], hidden.layout().shape()[1]);
    let vocab = weight.layout().shape()[0];
    let operands = Operands {
        hidden: f32_slice(&hidden),
        weight: f32_slice(&weight),
        targets: &targets,
        token_weights: f32_slice(&token_weights),
        tokens,
        width,
        vocab,
        z_loss: input.z_loss,
    };
    let out = operands.run(need);
    LossAndGrads {
        output: LossOutput {
            loss: tensor(vec![out.loss], [1]),
            nll: tensor(out.nll, [tokens]),
            logit_square: tensor(out.logit_square, [tokens]),
        },
        hidden: out.hidden.map(|grad| tensor(grad, [tokens, width])),
        weight: out.weight.map(|grad| tensor(grad, [vocab, width])),
    }
}

impl Operands<'_> {
    fn run(&self, need: [bool; 2]) -> HostOutput {
        let mut out = HostOutput {
            loss: 0.0,
            nll: Vec::with_capacity(self.tokens),
            logit_square: Vec::with_capacity(self.tokens),
            hidden: need[0].then(|| vec![0.0; self.tokens * self.width]),
            weight: need[1].then(|| vec![0.0; self.vocab * self.width]),
        };
        let mut logits = vec![0f32; ROWS.min(self.tokens) * self.vocab];
        let mut loss = 0f64;
        for start in (0..self.tokens).step_by(ROWS) {
            let chunk = Chunk {
                start,
                count: ROWS.min(self.tokens - start),
            };
            let logits = &mut logits[..chunk.count * self.vocab];
            let (lse, squares) = self.logits(chunk, logits);
            out.logit_square.extend(squares);
            for (row, &lse) in lse.iter().enumerate() {
                let nll = lse - self.target_logit(chunk, logits, row);
                let weight = self.token_weights[start + row];
                out.nll.push(nll);
                if weight != 0.0 {
                    loss += f64::from(weight) * f64::from(nll + self.z_loss * lse * lse);
                }
            }
            if need[0] || need[1] {
                self.gradients(chunk, logits, &lse, &mut out);
            }
        }
        out.loss = loss as f32;
        out
    }

    /// Fills `logits`, tile after tile, each `[rows, columns]`; returns each row's logsumexp and mean square.
    fn logits(&self, chunk: Chunk, logits: &mut [f32]) -> (Vec<f32>, Vec<f32>) {
        let rows = chunk.count;
        let hidden = &self.hidden[chunk.start * self.width..][..rows * self.width];
        let partial: Vec<Vec<simd::Sums>> = logits
            .par_chunks_mut(TILE * rows)
            .zip(self.weight.par_chunks(TILE * self.width))
            .map(|(tile, weight)| {
                let columns = tile.len() / rows;
                let a = Matrix {
                    data: hidden,
                    rows,
                    columns: self.width,
                    transposed: false,
                };
                let b = Matrix {
                    data: weight,
                    rows: columns,
                    columns: self.width,
                    transposed: true,
                };
                matmul(tile, a, b, false);
                tile.chunks_exact(columns).map(simd::sums).collect()
            })
            .collect();
        let lse = |row: usize| {
            let max = partial
                .iter()
                .map(|tile| tile[row].max)
                .fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = partial
                .iter()
                .map(|tile| f64::from(tile[row].exp * (tile[row].max - max).exp()))
                .sum();
            max + sum.ln() as f32
        };
        let square = |row: usize| {
            let sum: f64 = partial.iter().map(|tile| f64::from(tile[row].square)).sum();
            (sum / self.vocab as f64) as f32
        };
        (
            (0..rows).map(lse).collect(),
            (0..rows).map(square).collect(),
        )
    }

    fn target_logit(&self, chunk: Chunk, logits: &[f32], row: usize) -> f32 {
        let target = self.targets[chunk.start + row];
        let (tile, column) = (target / TILE, target % TILE);
        let columns = TILE.min(self.vocab - tile * TILE);
        logits[tile * TILE * chunk.count + row * columns + column]
    }

    /// Turns `logits` into their gradient in place, and adds its products to the outputs.
    fn gradients(&self, chunk: Chunk, logits: &mut [f32], lse: &[f32], out: &mut HostOutput) {
        let (rows, width) = (chunk.count, self.width);
        let hidden = &self.hidden[chunk.start * width..][..rows * width];
        let tiles = self.vocab.div_ceil(TILE);
        let group = tiles.div_ceil(GROUPS) * TILE; // columns
        let want_hidden = out.hidden.is_some();
        // Without a wanted weight gradient the groups get empty slices of it.
        let mut no_weight = Vec::new();
        let weight_grad = out.weight.as_mut().unwrap_or(&mut no_weight);
        let mut groups: Vec<&mut [f32]> = weight_grad.chunks_mut(group * width).collect();
        groups.resize_with(self.vocab.div_ceil(group), || &mut []);
        let partial: Vec<Vec<f32>> = logits
            .par_chunks_mut(group * rows)
            .zip(self.weight.par_chunks(group * width))
            .zip(groups)
            .enumerate()
            .map(|(index, ((logits, weight), weight_grad))| {
                let mut hidden_grad = vec![0f32; if want_hidden { rows * width } else { 0 }];
                let mut weight_grad = weight_grad.chunks_mut(TILE * width);
                let tiles = logits
                    .chunks_mut(TILE * rows)
                    .zip(weight.chunks(TILE * width));
                for (i, (tile, weight)) in tiles.enumerate() {
                    let columns = tile.len() / rows;
                    self.logit_gradient(chunk, tile, lse, index * group + i * TILE);
                    let grad = Matrix {
                        data: tile,
                        rows,
                        columns,
                        transposed: false,
                    };
                    if let Some(weight_grad) = weight_grad.next() {
                        let hidden = Matrix {
                            data: hidden,
                            rows,
                            columns: width,
                            transposed: false,
                        };
                        matmul(weight_grad, grad.transpose(), hidden, chunk.start > 0);
                    }
                    if want_hidden {
                        let weight = Matrix {
                            data: weight,
                            rows: columns,
                            columns: width,
                            transposed: false,
                        };
                        matmul(&mut hidden_grad, grad, weight, true);
                    }
                }
                hidden_grad
            })
            .collect();
        if let Some(hidden_grad) = &mut out.hidden {
            let rows = &mut hidden_grad[chunk.start * width..][..rows * width];
            for partial in &partial {
                rows.iter_mut().zip(partial).for_each(|(sum, x)| *sum += x);
            }
        }
    }

    /// `w · ((1 + 2 z lse) · softmax − onehot)` in place, for the columns from `first` on.
    fn logit_gradient(&self, chunk: Chunk, tile: &mut [f32], lse: &[f32], first: usize) {
        let columns = tile.len() / chunk.count;
        for (row, logits) in tile.chunks_exact_mut(columns).enumerate() {
            let weight = self.token_weights[chunk.start + row];
            if weight == 0.0 {
                logits.fill(0.0);
                continue;
            }
            let scale = weight * (1.0 + 2.0 * self.z_loss * lse[row]);
            simd::scaled_exp(logits, lse[row], scale);
            let target = self.targets[chunk.start + row];
            if (first..first + columns).contains(&target) {
                logits[target - first] -= weight;
            }
        }
    }
}

/// Result of a call in host memory, as in [`LossAndGrads`].
struct HostOutput {
    loss: f32,
    nll: Vec<f32>,
    logit_square: Vec<f32>,
    hidden: Option<Vec<f32>>,
    weight: Option<Vec<f32>>,
}

/// A row-major matrix, read as it lies or transposed.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl Matrix<'_> {
    fn transpose(self) -> Self {
        Self {
            transposed: !self.transposed,
            ..self
        }
    }

    /// (rows, columns, row stride, column stride) as read.
    fn view(&self) -> (usize, usize, isize, isize) {
        let stride = self.columns as isize;
        match self.transposed {
            false => (self.rows, self.columns, stride, 1),
            true => (self.columns, self.rows, 1, stride),
        }
    }
}

/// `out (+)= a · b` on one thread; `out` is row-major.
fn matmul(out: &mut [f32], a: Matrix, b: Matrix, accumulate: bool) {
    let (rows, inner, a_row, a_column) = a.view();
    let (b_inner, columns, b_row, b_column) = b.view();
    assert_eq!(inner, b_inner, "inner dimensions differ");
    assert!(
        out.len() == rows * columns
            && a.data.len() >= a.rows * a.columns
            && b.data.len() >= b.rows * b.columns
    );
    // SAFETY: the extents were checked against the slices' lengths, and `out` is borrowed mutably.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            columns as isize,
            accumulate,
            a.data.as_ptr(),
            a_column,
            a_row,
            b.data.as_ptr(),
            b_column,
            b_row,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(data),
        Layout::contiguous(shape.into()),
        DType::F32,
    )
}

fn f32_slice(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice()
        .expect("loss operands are f32 and were made contiguous")
}

fn indices(tensor: &FlexTensor) -> Vec<usize> {
    let tensor = tensor.to_contiguous();
    match tensor.dtype() {
        DType::I64 => tensor
            .as_slice::<i64>()
            .expect("i64")
            .iter()
            .map(|&x| x as usize)
            .collect(),
        DType::I32 => tensor
            .as_slice::<i32>()
            .expect("i32")
            .iter()
            .map(|&x| x as usize)
            .collect(),
        other => panic!("targets are {other:?}; the CPU backend makes i32 or i64"),
    }
}
