//! The transformer of Mimi, with a cache of keys and values: rows of all streams go through its matrices together,
//! attention through each stream's own window.

use kernels::gemm::lanes::{Lanes, Op};
use kernels::gemm::{
    Activation, Element, Finish, Job, Output, Packed, Segments, Values, ValuesMut, vectorized,
};

use super::attention::{Attention, Cache};
use super::program::Scratch;
use crate::Precision;
use crate::network::{self, LayerNorm, Linear, Transformer};

/// A [`Transformer`] ready to run.
pub struct TransformerStep {
    layers: Vec<BlockStep>,
    attention: Attention,
    norm_eps: f32,
    hidden: usize,
    element: Element,
}

struct BlockStep {
    attention_norm: LayerNorm,
    /// Queries, keys and values beside each other.
    qkv: Dense,
    o: Dense,
    mlp_norm: LayerNorm,
    fc1: Dense,
    fc2: Dense,
}

struct Dense {
    matrix: Packed,
    finish: Finish,
    activation: Activation,
    k: usize,
}

/// Where one stream is.
pub struct TransformerState {
    /// Rows so far.
    position: usize,
    caches: Vec<Cache>,
}

/// Memory between calls.
#[derive(Default)]
pub struct Buffers {
    normed: Operand,
    qkv: Vec<f32>,
    heads: Operand,
    inner: Operand,
    sum: Vec<f32>,
    attention: super::attention::Buffers,
}

/// The input of a product, as f32 or also as bf16.
#[derive(Default)]
struct Operand {
    floats: Vec<f32>,
    halves: Vec<u16>,
}

impl TransformerState {
    /// As before any input.
    pub fn reset(&mut self) {
        self.position = 0;
        self.caches.iter_mut().for_each(Cache::clear);
    }
}

impl TransformerStep {
    /// Packs the weights.
    pub fn new(transformer: Transformer, hidden: usize, precision: Precision) -> Self {
        let even = hidden.is_multiple_of(2)
            && (transformer.heads * transformer.head_dim).is_multiple_of(2)
            && transformer
                .layers
                .iter()
                .all(|layer| layer.fc1.weight.shape[0].is_multiple_of(2));
        let element = match precision {
            Precision::Bf16 if even => Element::Bf16,
            _ => Element::F32,
        };
        Self {
            attention: Attention::new(&transformer),
            norm_eps: transformer.norm_eps,
            hidden,
            element,
            layers: transformer
                .layers
                .into_iter()
                .map(|layer| BlockStep::new(layer, element))
                .collect(),
        }
    }

    /// A stream without input so far.
    pub fn state(&self) -> TransformerState {
        TransformerState {
            position: 0,
            caches: self.layers.iter().map(|_| Cache::default()).collect(),
        }
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> usize {
        self.layers
            .iter()
            .flat_map(|layer| [&layer.qkv, &layer.o, &layer.fc1, &layer.fc2])
            .map(|dense| dense.matrix.bytes())
            .sum()
    }

    /// Replaces `rows`, stream after stream, `counts` rows each, by the output.
    pub fn run(
        &self,
        rows: &mut Vec<f32>,
        counts: &[usize],
        states: &mut [&mut TransformerState],
        scratch: &mut Scratch,
    ) {
        let Scratch {
            transformer: buffers,
            sums,
            ..
        } = scratch;
        let Buffers {
            normed,
            qkv,
            heads,
            inner,
            sum,
            attention,
        } = buffers;
        let total: usize = counts.iter().sum();
        let (qkv_width, heads_width) = (self.attention.qkv_width(), self.attention.heads_width());
        for (index, layer) in self.layers.iter().enumerate() {
            self.normalize(rows, &layer.attention_norm, normed);
            let normed_values = normed.values(self.element);
            layer.qkv.multiply(
                total,
                normed_values,
                None,
                floats(qkv, total * qkv_width),
                sums,
            );
            heads.floats.resize(total * heads_width, 0.0);
            let mut row = 0;
            for (&count, state) in counts.iter().zip(states.iter_mut()) {
                self.attention.run(
                    &mut qkv[row * qkv_width..(row + count) * qkv_width],
                    &mut heads.floats[row * heads_width..(row + count) * heads_width],
                    state.position,
                    &mut state.caches[index],
                    attention,
                    sums,
                );
                row += count;
            }
            heads.convert(self.element, heads_width);
            let target = floats(sum, total * self.hidden);
            layer
                .o
                .multiply(total, heads.values(self.element), Some(rows), target, sums);
            std::mem::swap(rows, sum);

            self.normalize(rows, &layer.mlp_norm, normed);
            let target = inner.target(self.element, total * layer.fc1.matrix.columns());
            layer
                .fc1
                .multiply(total, normed.values(self.element), None, target, sums);
            let target = floats(sum, total * self.hidden);
            layer
                .fc2
                .multiply(total, inner.values(self.element), Some(rows), target, sums);
            std::mem::swap(rows, sum);
        }
        for (&count, state) in counts.iter().zip(states) {
            state.position += count;
        }
    }

    fn normalize(&self, rows: &[f32], norm: &LayerNorm, to: &mut Operand) {
        to.floats.resize(rows.len(), 0.0);
        let op = Normalize {
            rows,
            norm,
            eps: self.norm_eps,
            to: &mut to.floats,
        };
        // SAFETY: `Normalize` checks the lengths of its slices.
        unsafe { vectorized(op) };
        to.convert(self.element, self.hidden);
    }
}

impl Operand {
    fn values(&self, element: Element) -> Values<'_> {
        match element {
            Element::F32 => Values::F32(&self.floats),
            Element::Bf16 => Values::Bf16(&self.halves),
        }
    }

    /// Room for a product to be written to.
    fn target(&mut self, element: Element, len: usize) -> ValuesMut<'_> {
        match element {
            Element::F32 => floats(&mut self.floats, len),
            Element::Bf16 => {
                self.halves.resize(len, 0);
                ValuesMut::Bf16(&mut self.halves)
            }
        }
    }

    /// Makes `values` of the f32 rows.
    fn convert(&mut self, element: Element, width: usize) {
        if element == Element::Bf16 {
            self.halves.resize(self.floats.len(), 0);
            let mut job = Job {
                a: Values::F32(&self.floats),
                stride: width,
                rows: self.floats.len() / width,
                add: None,
                outputs: vec![Output {
                    to: ValuesMut::Bf16(&mut self.halves),
                    activation: &Activation::Identity,
                }],
            };
            Finish::new(width, None, None).apply(width, &mut job);
        }
    }
}

fn floats(values: &mut Vec<f32>, len: usize) -> ValuesMut<'_> {
    values.resize(len, 0.0);
    ValuesMut::F32(values)
}

impl BlockStep {
    fn new(layer: network::TransformerLayer, element: Element) -> Self {
        let network::TransformerLayer {
            attention_norm,
            q,
            k,
            v,
            o,
            attention_scale,
            mlp_norm,
            fc1,
            fc2,
            mlp_scale,
        } = layer;
        let plain = Activation::Identity;
        Self {
            attention_norm,
            qkv: Dense::new(&[q, k, v], None, plain.clone(), element),
            o: Dense::new(&[o], Some(&attention_scale), plain.clone(), element),
            mlp_norm,
            fc1: Dense::new(&[fc1], None, Activation::Gelu, element),
            fc2: Dense::new(&[fc2], Some(&mlp_scale), plain, element),
        }
    }
}

impl Dense {
    /// Linear layers of one input, their outputs beside each other.
    fn new(
        linears: &[Linear],
        scale: Option<&[f32]>,
        activation: Activation,
        element: Element,
    ) -> Self {
        let k = linears[0].weight.shape[1];
        let weight: Vec<&[f32]> = linears
            .iter()
            .flat_map(|linear| linear.weight.data.chunks_exact(k))
            .collect();
        let n = weight.len();
        let bias: Vec<f32> = linears
            .iter()
            .flat_map(|linear| match &linear.bias {
                Some(bias) => bias.clone(),
                None => vec![0.0; linear.weight.shape[0]],
            })
            .collect();
        Self {
            matrix: Packed::new(element, Segments::whole(k), n, |k, n| weight[n][k]),
            finish: Finish::new(n, Some(&bias), scale),
            activation,
            k,
        }
    }

    fn multiply(
        &self,
        rows: usize,
        input: Values,
        add: Option<&[f32]>,
        to: ValuesMut,
        sums: &mut Vec<f32>,
    ) {
        let job = Job {
            a: input,
            stride: self.k,
            rows,
            add,
            outputs: vec![Output {
                to,
                activation: &self.activation,
            }],
        };
        self.matrix.multiply(&self.finish, &mut [job], sums);
    }
}

/// Layer normalisation of rows.
struct Normalize<'a> {
    rows: &'a [f32],
    norm: &'a LayerNorm,
    eps: f32,
    to: &'a mut [f32],
}

impl Op for Normalize<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let n = self.norm.weight.len();
        assert!(self.norm.bias.len() == n && self.rows.len() == self.to.len());
        for (row, to) in self.rows.chunks_exact(n).zip(self.to.chunks_exact_mut(n)) {
            // SAFETY: `sums` reads whole vectors within the row.
            let mean = unsafe { sum::<L>(row, 0.0, false) } / n as f32;
            let variance = unsafe { sum::<L>(row, mean, true) } / n as f32;
            let inverse = 1.0 / (variance + self.eps).sqrt();
            for ((to, x), (weight, bias)) in to
                .iter_mut()
                .zip(row)
                .zip(self.norm.weight.iter().zip(&self.norm.bias))
            {
                *to = (x - mean) * inverse * weight + bias;
            }
        }
    }
}

/// Sum of `x - mean`, or of its square, in `L::N` parts.
#[inline(always)]
unsafe fn sum<L: Lanes>(row: &[f32], mean: f32, square: bool) -> f32 {
    let whole = row.len() / L::N * L::N;
    let mut parts = [0.0f32; 16];
    unsafe {
        let mut acc = L::splat(0.0);
        let shift = L::splat(mean);
        for at in (0..whole).step_by(L::N) {
            let x = L::sub(L::load(row.as_ptr().add(at)), shift);
            acc = match square {
                true => L::fma(x, x, acc),
                false => L::add(x, acc),
            };
        }
        L::store(parts.as_mut_ptr(), acc);
    }
    for x in &row[whole..] {
        let x = x - mean;
        parts[0] += if square { x * x } else { x };
    }
    parts[..L::N].iter().sum()
}
