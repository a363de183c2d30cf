//! The kernel on a processor: three products of f32 or bf16, and one exponential a logit.
//!
//! Exponentials do not wait for the logsumexp. A first pass over the vocabulary makes `e = exp(logit − r)` with a reference r
//! of each row (its target's logit, raised where a logit is far above), adds up what the logsumexp and the hidden states'
//! gradient need, and keeps e. The gradient of a logit is then `c e`, with a factor c of each row, less the target's
//! part; the factor multiplies the hidden states in the weight's product and the sums in the hidden states', so that no
//! second pass over the elements is made. The target's part is one row a token, added exactly.
//!
//! Deterministic for any number of threads: a tile's work is sequential, and sums over tiles are made in the order of the
//! tiles, in a number of groups that depends on the shapes alone.

mod first_pass;
mod second_pass;

use std::mem::MaybeUninit;

use burn::tensor::FloatDType;
use burn::tensor::ops::FloatTensorOps;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::{LossAndGrads, LossInput, LossOutput};
use crate::gemm::Values;
use crate::gemm::lanes::{Isa, dispatch};
use crate::gemm::panels::Panels;
use crate::gemm::word::Word;
use crate::storage::{filled, floats, indices, tensor, values};
use first_pass::{Group, Sums};
use second_pass::WeightTile;

/// Bytes of exponentials that are kept at a time: those of 1024 tokens in bf16 at the recipe's vocabulary.
const KEPT_BYTES: usize = 300 << 20;
/// Rows of a chunk, at most: the groups hold a partial gradient of each.
const MOST_ROWS: usize = 4096;
/// Rows of a chunk are a multiple of this, if there are as many.
pub(super) const ROWS: usize = 256;
/// Words of a row of a tile: a tile of [`ROWS`] stays in the second-level cache.
const TILE_WORDS: usize = 256;
/// The hidden states' gradient is summed in this many contiguous groups of tiles.
const GROUPS: usize = 16;

/// Bytes that the loss of `tokens` hidden states of `width` numbers takes beside its operands and gradients, on a processor;
/// `bytes` are those of a number: 4, or 2 for bf16.
pub fn working_bytes(tokens: usize, width: usize, vocab: usize, bytes: usize) -> usize {
    let rows = chunk_rows(vocab, bytes).min(tokens);
    // Exponentials; the groups' parts of the gradient, and references.
    rows * (vocab * bytes + GROUPS * width * 4 + vocab.div_ceil(TILE_WORDS) * 4)
}

/// Tokens whose exponentials are kept at a time.
fn chunk_rows(vocab: usize, bytes: usize) -> usize {
    let rows = (KEPT_BYTES / (vocab * bytes)).clamp(1, MOST_ROWS);
    match rows / ROWS {
        0 => rows.next_multiple_of(2),
        blocks => blocks * ROWS,
    }
}

/// Sizes and slices of one call.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a, W> {
    /// `[tokens, width]`; width is even for bf16.
    pub hidden: &'a [W],
    /// `[vocab, width]`
    pub weight: &'a [f32],
    pub targets: &'a [usize],
    pub token_weights: &'a [f32],
    pub width: usize,
    pub vocab: usize,
    pub z_loss: f32,
    pub need: [bool; 2],
    pub isa: Isa,
}

/// See [`super::linear_cross_entropy`].
pub(crate) fn linear_cross_entropy(
    input: LossInput<Flex>,
    need: [bool; 2],
) -> LossAndGrads<FlexTensor> {
    let hidden = input.hidden.to_contiguous();
    match values(&hidden) {
        Values::F32(values) => run(values, &hidden, input, need),
        // Pairs of bf16 do not go over the end of a row.
        Values::Bf16(values) if hidden.layout().shape()[1].is_multiple_of(2) => {
            run(values, &hidden, input, need)
        }
        Values::Bf16(_) => {
            let input = LossInput {
                hidden: Flex::float_cast(hidden, FloatDType::F32),
                ..input
            };
            let out = linear_cross_entropy(input, need);
            LossAndGrads {
                hidden: out
                    .hidden
                    .map(|grad| Flex::float_cast(grad, FloatDType::BF16)),
                ..out
            }
        }
    }
}

fn run<W: Word>(
    values: &[W],
    hidden: &FlexTensor,
    input: LossInput<Flex>,
    need: [bool; 2],
) -> LossAndGrads<FlexTensor> {
    let shape = hidden.layout().shape();
    let (tokens, width) = (shape[0], shape[1]);
    let weight = input.weight.to_contiguous();
    let vocab = weight.layout().shape()[0];
    let token_weights = input.token_weights.to_contiguous();
    let targets = indices(&input.targets);
    check(&targets, vocab);
    let operands = Operands {
        hidden: values,
        weight: floats(&weight),
        targets: &targets,
        token_weights: floats(&token_weights),
        width,
        vocab,
        z_loss: input.z_loss,
        need,
        isa: Isa::detect(),
    };
    let mut out = Output::new(&operands);
    let rows = chunk_rows(vocab, size_of::<W>());
    for start in (0..tokens).step_by(rows) {
        operands.chunk(start, rows.min(tokens - start), &mut out);
    }
    LossAndGrads {
        output: LossOutput {
            loss: tensor(vec![out.loss as f32], [1]),
            nll: tensor(out.nll, [tokens]),
            logit_square: tensor(out.logit_square, [tokens]),
        },
        hidden: need[0].then(|| tensor(out.hidden, [tokens, width])),
        weight: need[1].then(|| tensor(out.weight, [vocab, width])),
    }
}

/// # Panics
/// On a target that is not in the vocabulary.
fn check(targets: &[usize], vocab: usize) {
    if let Some(target) = targets.iter().find(|&&target| target >= vocab) {
        panic!("linear_cross_entropy: target {target} in a vocabulary of {vocab}");
    }
}

/// What the chunks add to.
struct Output<W> {
    loss: f64,
    nll: Vec<f32>,
    logit_square: Vec<f32>,
    /// `[tokens so far, width]`
    hidden: Vec<W>,
    /// `[vocab, width]`, empty before the first chunk.
    weight: Vec<f32>,
}

impl<W> Output<W> {
    fn new(operands: &Operands<W>) -> Self {
        let tokens = operands.targets.len();
        Self {
            loss: 0.0,
            nll: Vec::with_capacity(tokens),
            logit_square: Vec::with_capacity(tokens),
            hidden: Vec::with_capacity(operands.hidden.len()),
            weight: Vec::new(),
        }
    }
}

/// Both passes' results for a row.
struct Row {
    lse: f32,
    /// Gradient of a logit over its probability, without the target's part.
    scale: f32,
}

impl<W: Word> Operands<'_, W> {
    fn chunk(&self, start: usize, rows: usize, out: &mut Output<W>) {
        let tile = TILE_WORDS * W::PER_WORD;
        let row_words = rows.div_ceil(W::PER_WORD);
        let padded = self.vocab.next_multiple_of(self.isa.lanes());
        let tiles = self.vocab.div_ceil(tile);
        let references = self.target_logits(start, rows);
        let mut used = vec![0f32; tiles * rows];
        let mut kept: Box<[MaybeUninit<f32>]> =
            Box::new_uninit_slice(if self.need[1] { row_words * padded } else { 0 });
        // SAFETY: the first pass writes every word, and nothing reads one before.
        let kept = unsafe { std::slice::from_raw_parts_mut(kept.as_mut_ptr().cast(), kept.len()) };
        let group = tiles.div_ceil(GROUPS) * tile;
        let mut parts: Vec<&mut [f32]> = kept.chunks_mut(row_words * group).collect();
        parts.resize_with(self.vocab.div_ceil(group), Default::default);
        let groups: Vec<Sums> = parts
            .into_par_iter()
            .zip(used.par_chunks_mut(group / tile * rows))
            .enumerate()
            .map(|(index, (kept, used))| {
                let group = Group {
                    operands: self,
                    start,
                    rows,
                    tile,
                    columns: index * group..self.vocab.min((index + 1) * group),
                    references: &references,
                    kept,
                    used,
                };
                // SAFETY: the processor has these instructions.
                unsafe { dispatch(self.isa, group) }
            })
            .collect();
        let of_rows = self.finish_rows(start, &references, &groups, out);
        if self.need[0] {
            self.hidden_gradient(start, &of_rows, &groups, out);
        }
        drop(groups);
        if self.need[1] {
            self.weight_gradient(start, &of_rows, kept, &used, out);
        }
    }

    /// The logits of the targets, from values rounded as the products round them.
    fn target_logits(&self, start: usize, rows: usize) -> Vec<f32> {
        let width = self.width;
        let logit = |token: usize| {
            let hidden = &self.hidden[token * width..][..width];
            let weight = &self.weight[self.targets[token] * width..][..width];
            let products = hidden
                .iter()
                .zip(weight)
                .map(|(x, w)| f64::from(x.value()) * f64::from(W::round(*w).value()));
            products.sum::<f64>() as f32
        };
        (start..start + rows).into_par_iter().map(logit).collect()
    }

    /// Logsumexp of each row of a chunk; adds its loss.
    fn finish_rows(
        &self,
        start: usize,
        target_logits: &[f32],
        groups: &[Sums],
        out: &mut Output<W>,
    ) -> Vec<Row> {
        let rows = target_logits.iter().enumerate();
        rows.map(|(row, target_logit)| {
            let references = groups.iter().map(|group| group.reference[row]);
            let largest = references.fold(f32::NEG_INFINITY, f32::max);
            let relative =
                |group: &Sums| group.exp[row] * f64::from(group.reference[row] - largest).exp();
            let sum: f64 = groups.iter().map(relative).sum();
            let lse = largest + sum.ln() as f32;
            let weight = self.token_weights[start + row];
            let nll = lse - target_logit;
            if weight != 0.0 {
                out.loss += f64::from(weight) * f64::from(nll + self.z_loss * lse * lse);
            }
            out.nll.push(nll);
            let square: f64 = groups.iter().map(|group| group.square[row]).sum();
            out.logit_square.push((square / self.vocab as f64) as f32);
            Row {
                lse,
                scale: weight * (1.0 + 2.0 * self.z_loss * lse),
            }
        })
        .collect()
    }

    /// Adds up the groups' parts and the targets' rows.
    fn hidden_gradient(&self, start: usize, of_rows: &[Row], groups: &[Sums], out: &mut Output<W>) {
        let width = self.width;
        let gradient = |row: usize| {
            let Row { lse, scale } = of_rows[row];
            let token = start + row;
            let weight = self.token_weights[token];
            let target = &self.weight[self.targets[token] * width..][..width];
            let mut sum: Vec<f32> = target.iter().map(|x| -weight * x).collect();
            for group in groups {
                let factor = scale * (group.reference[row] - lse).exp();
                let part = &group.hidden[row * width..][..width];
                sum.iter_mut()
                    .zip(part)
                    .for_each(|(sum, x)| *sum += factor * x);
            }
            sum
        };
        // In blocks, so that a vector's memory is soon used again.
        let blocks: Vec<Vec<W>> = (0..of_rows.len().div_ceil(64))
            .into_par_iter()
            .map(|block| {
                let rows = block * 64..of_rows.len().min((block + 1) * 64);
                rows.flat_map(gradient).map(W::round).collect()
            })
            .collect();
        blocks
            .iter()
            .for_each(|block| out.hidden.extend_from_slice(block));
    }

    fn weight_gradient(
        &self,
        start: usize,
        of_rows: &[Row],
        kept: &[f32],
        used: &[f32],
        out: &mut Output<W>,
    ) {
        let (rows, width) = (of_rows.len(), self.width);
        let tile = TILE_WORDS * W::PER_WORD;
        let row_words = rows.div_ceil(W::PER_WORD);
        let factors = |used: &[f32]| -> Vec<f32> {
            let of_rows = of_rows.iter().zip(used);
            of_rows
                .map(|(row, reference)| row.scale * (reference - row.lse).exp())
                .collect()
        };
        // Most tiles have the first one's references.
        let usual = factors(&used[..rows]);
        let hidden = Panels::pack::<W, W>(self.isa, second_pass::scaled(self, start, &usual));
        let mut targets: Vec<(usize, usize)> = (0..rows)
            .map(|row| (self.targets[start + row], row))
            .collect();
        targets.sort_unstable();
        let add = !out.weight.is_empty();
        let fill = |weight: &mut [f32]| {
            weight
                .par_chunks_mut(tile * width)
                .zip(kept.par_chunks(row_words * tile))
                .zip(used.par_chunks(rows))
                .enumerate()
                .for_each(|(index, ((to, kept), own))| {
                    let same = own == &used[..rows];
                    let own = if same { Vec::new() } else { factors(own) };
                    let (first, columns) = (index * tile, to.len() / width);
                    let from = targets.partition_point(|&(target, _)| target < first);
                    let until = targets.partition_point(|&(target, _)| target < first + columns);
                    let work = WeightTile {
                        operands: self,
                        start,
                        kept,
                        factors: if same { &usual } else { &own },
                        hidden: same.then_some(&hidden),
                        first,
                        columns,
                        targets: &targets[from..until],
                        to,
                        add,
                    };
                    // SAFETY: the processor has these instructions.
                    unsafe { dispatch(self.isa, work) }
                });
        };
        match add {
            true => fill(&mut out.weight),
            // SAFETY: without `add` every value is written.
            false => out.weight = unsafe { filled(self.vocab * width, fill) },
        }
    }
}
