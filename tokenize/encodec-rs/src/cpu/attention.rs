//! Causal attention within a window, over keys and values kept in blocks of positions.
//!
//! Blocks begin at multiples of their size, counted from the start of the stream, so that sums have the same order however
//! the stream was pushed.

use std::collections::VecDeque;

use kernels::gemm::lanes::{Lanes, Op};
use kernels::gemm::{
    Activation, Element, Finish, Job, Output, Packed, Segments, Values, ValuesMut, math, vectorized,
};

use crate::network::Transformer;

/// Positions of a block.
const BLOCK: usize = 64;

/// Heads, window and rotary angles.
pub struct Attention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: usize,
    /// `theta^(-2i / head_dim)`
    frequencies: Vec<f32>,
    /// Of scores, and of a head's output.
    score_finish: Finish,
    head_finish: Finish,
}

/// Keys and values of the last positions.
#[derive(Default)]
pub struct Cache {
    /// Position of the first block.
    start: usize,
    blocks: VecDeque<Block>,
    /// Blocks to be used again; what they hold is finite, and is not looked at.
    spare: Vec<Block>,
}

/// Keys and values of [`BLOCK`] positions: for each head, `[head_dim, BLOCK]` and `[BLOCK, head_dim]`.
type Block = Vec<[Packed; 2]>;

/// Memory between calls.
#[derive(Default)]
pub struct Buffers {
    /// `[blocks, queries, BLOCK]`
    scores: Vec<f32>,
    /// `[queries]`
    totals: Vec<f32>,
    /// `[queries, head_dim]`, written in turn.
    sums: [Vec<f32>; 2],
    /// Cosines and sines, `[rows, head_dim / 2]` each.
    angles: [Vec<f32>; 2],
}

impl Cache {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.start = 0;
        self.spare.extend(self.blocks.drain(..));
    }
}

impl Attention {
    /// Of `transformer`.
    pub fn new(transformer: &Transformer) -> Self {
        let head_dim = transformer.head_dim;
        let frequency = |i: usize| {
            let exponent = (2 * i) as f32 / head_dim as f32;
            1.0 / transformer.rope_theta.powf(exponent)
        };
        Self {
            heads: transformer.heads,
            kv_heads: transformer.kv_heads,
            head_dim,
            window: transformer.window,
            frequencies: (0..head_dim / 2).map(frequency).collect(),
            score_finish: Finish::new(BLOCK, None, None),
            head_finish: Finish::new(head_dim, None, None),
        }
    }

    /// Queries, keys and values of a row.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Output of a row.
    pub fn heads_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Attention of new rows, of which the first has `position`.
    ///
    /// # Shapes
    /// - qkv: `[rows, qkv_width]`, overwritten
    /// - output: `[rows, heads_width]`
    pub fn run(
        &self,
        qkv: &mut [f32],
        output: &mut [f32],
        position: usize,
        cache: &mut Cache,
        buffers: &mut Buffers,
        sums: &mut Vec<f32>,
    ) {
        let rows = qkv.len() / self.qkv_width();
        self.rotate(qkv, position, buffers);
        self.append(qkv, position, cache);
        let mut row = 0;
        while row < rows {
            // queries of one block, so that its first and last key are the same for any push
            let first = position + row;
            let count = (BLOCK - first % BLOCK).min(rows - row);
            for head in 0..self.heads {
                let queries = &qkv[row * self.qkv_width() + head * self.head_dim..];
                let to = &mut output[row * self.heads_width() + head * self.head_dim..];
                self.head(head, queries, to, [first, count], cache, buffers, sums);
            }
            row += count;
        }
        let oldest = (position + rows).saturating_sub(self.window - 1);
        while cache.start + BLOCK <= oldest {
            cache.spare.extend(cache.blocks.pop_front());
            cache.start += BLOCK;
        }
    }

    /// Rotary positions of queries and keys (halves of a head rotate against each other); queries are also divided by
    /// √head_dim.
    fn rotate(&self, qkv: &mut [f32], position: usize, buffers: &mut Buffers) {
        let (width, half) = (self.qkv_width(), self.head_dim / 2);
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        let [cosines, sines] = &mut buffers.angles;
        cosines.resize(half, 0.0);
        sines.resize(half, 0.0);
        for (row, qkv) in qkv.chunks_exact_mut(width).enumerate() {
            for ((cosine, sine), frequency) in cosines
                .iter_mut()
                .zip(sines.iter_mut())
                .zip(&self.frequencies)
            {
                (*sine, *cosine) = ((position + row) as f32 * frequency).sin_cos();
            }
            let rotated = self.heads + self.kv_heads;
            for (index, head) in qkv
                .chunks_exact_mut(self.head_dim)
                .take(rotated)
                .enumerate()
            {
                let scale = if index < self.heads { scale } else { 1.0 };
                let (low, high) = head.split_at_mut(half);
                for (((a, b), cosine), sine) in low.iter_mut().zip(high).zip(&*cosines).zip(&*sines)
                {
                    let (x, y) = (*a, *b);
                    *a = (x * cosine - y * sine) * scale;
                    *b = (y * cosine + x * sine) * scale;
                }
            }
        }
    }

    /// Puts keys and values into their blocks.
    fn append(&self, qkv: &[f32], position: usize, cache: &mut Cache) {
        let (width, dim) = (self.qkv_width(), self.head_dim);
        for (row, qkv) in qkv.chunks_exact(width).enumerate() {
            let place = position + row - cache.start;
            if place / BLOCK == cache.blocks.len() {
                let block = cache.spare.pop().unwrap_or_else(|| self.block());
                cache.blocks.push_back(block);
            }
            let (keys, values) = qkv[self.heads * dim..].split_at(self.kv_heads * dim);
            let block = &mut cache.blocks[place / BLOCK];
            let heads = keys.chunks_exact(dim).zip(values.chunks_exact(dim));
            for ([packed_keys, packed_values], (keys, values)) in block.iter_mut().zip(heads) {
                for (channel, (&key, &value)) in keys.iter().zip(values).enumerate() {
                    packed_keys.set(channel, place % BLOCK, key);
                    packed_values.set(place % BLOCK, channel, value);
                }
            }
        }
    }

    fn block(&self) -> Block {
        let zeros = |k, n| Packed::new(Element::F32, Segments::whole(k), n, |_, _| 0.0);
        (0..self.kv_heads)
            .map(|_| [zeros(self.head_dim, BLOCK), zeros(BLOCK, self.head_dim)])
            .collect()
    }

    /// One head of `count` queries, of which the first has position `first`.
    #[allow(clippy::too_many_arguments)]
    fn head(
        &self,
        head: usize,
        queries: &[f32],
        output: &mut [f32],
        [first, count]: [usize; 2],
        cache: &Cache,
        buffers: &mut Buffers,
        sums: &mut Vec<f32>,
    ) {
        let oldest = (first + 1).saturating_sub(self.window);
        let blocks = (oldest - cache.start) / BLOCK..(first + count - cache.start).div_ceil(BLOCK);
        let start = cache.start + blocks.start * BLOCK;
        let kv_head = head / (self.heads / self.kv_heads);
        let block_scores = count * BLOCK;
        buffers.scores.resize(blocks.len() * block_scores, 0.0);
        for (block, scores) in blocks
            .clone()
            .zip(buffers.scores.chunks_exact_mut(block_scores))
        {
            let job = Job {
                a: Values::F32(queries),
                stride: self.qkv_width(),
                rows: count,
                add: None,
                outputs: vec![identity(scores)],
            };
            let [keys, _] = &cache.blocks[block][kv_head];
            keys.multiply(&self.score_finish, &mut [job], sums);
        }
        buffers.totals.resize(count, 0.0);
        for query in 0..count {
            let position = first + query;
            let softmax = Softmax {
                scores: &mut buffers.scores,
                query,
                block_scores,
                visible: [
                    (position + 1).saturating_sub(self.window).max(start) - start,
                    position + 1 - start,
                ],
            };
            // SAFETY: `Softmax` indexes slices.
            buffers.totals[query] = unsafe { vectorized(softmax) };
        }
        let [sum, next] = &mut buffers.sums;
        for (index, block) in blocks.enumerate() {
            next.resize(count * self.head_dim, 0.0);
            let job = Job {
                a: Values::F32(&buffers.scores[index * block_scores..]),
                stride: BLOCK,
                rows: count,
                add: (index > 0).then_some(&sum[..]),
                outputs: vec![identity(next)],
            };
            let [_, values] = &cache.blocks[block][kv_head];
            values.multiply(&self.head_finish, &mut [job], sums);
            std::mem::swap(sum, next);
        }
        for ((to, from), total) in output
            .chunks_mut(self.heads_width())
            .zip(sum.chunks_exact(self.head_dim))
            .zip(&buffers.totals)
        {
            for (to, from) in to.iter_mut().zip(from) {
                *to = from / total;
            }
        }
    }
}

/// Turns one query's scores into `exp(score - max)`, exactly zero where it does not look, and gives their sum.
struct Softmax<'a> {
    /// `[blocks, queries, BLOCK]`
    scores: &'a mut [f32],
    query: usize,
    block_scores: usize,
    /// First key seen, and the one after the last.
    visible: [usize; 2],
}

impl Op for Softmax<'_> {
    type Out = f32;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> f32 {
        let [first, end] = self.visible;
        let (query, block_scores) = (self.query, self.block_scores);
        let mut max = f32::NEG_INFINITY;
        for (block, scores) in self.scores.chunks_exact(block_scores).enumerate() {
            let row = &scores[query * BLOCK..(query + 1) * BLOCK];
            let from = first.saturating_sub(block * BLOCK).min(BLOCK);
            let to = end.saturating_sub(block * BLOCK).min(BLOCK);
            for &score in &row[from..to.max(from)] {
                max = if score > max { score } else { max };
            }
        }
        let mut parts = [0.0f32; 16];
        for (block, scores) in self.scores.chunks_exact_mut(block_scores).enumerate() {
            let row = &mut scores[query * BLOCK..(query + 1) * BLOCK];
            let from = first.saturating_sub(block * BLOCK).min(BLOCK);
            let to = end.saturating_sub(block * BLOCK).clamp(from, BLOCK);
            for at in (0..BLOCK).step_by(L::N) {
                // SAFETY: `BLOCK` is a multiple of every vector's length.
                unsafe {
                    let at = row.as_mut_ptr().add(at);
                    L::store(at, math::exp::<L>(L::sub(L::load(at), L::splat(max))));
                }
            }
            row[..from].fill(0.0);
            row[to..].fill(0.0);
            for part in row.chunks_exact(16) {
                for (sum, x) in parts.iter_mut().zip(part) {
                    *sum += x;
                }
            }
        }
        parts.iter().sum()
    }
}

fn identity(to: &mut [f32]) -> Output<'_> {
    Output {
        to: ValuesMut::F32(to),
        activation: &Activation::Identity,
    }
}
