//! Transformer with causal attention in a window.

use std::ops::Range;

use burn::tensor::activation::{gelu, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{Device, Tensor};

use super::linear::Linear;
use super::norm::LayerNorm;
use super::signal::floats;
use crate::network;

/// Added to the scores of what must not be attended to: their weights become 0.
const HIDDEN_SCORE: f32 = -1e9;

/// See [`network::Transformer`].
pub struct Transformer<B: Backend> {
    layers: Vec<Layer<B>>,
    heads: Heads,
    rope_theta: f32,
}

#[derive(Clone, Copy)]
struct Heads {
    query: usize,
    key_value: usize,
    dim: usize,
    window: usize,
}

struct Layer<B: Backend> {
    attention_norm: LayerNorm<B>,
    q: Linear<B>,
    k: Linear<B>,
    v: Linear<B>,
    o: Linear<B>,
    /// `[1, 1, hidden]`
    attention_scale: Tensor<B, 3>,
    mlp_norm: LayerNorm<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
    /// `[1, 1, hidden]`
    mlp_scale: Tensor<B, 3>,
}

impl<B: Backend> Transformer<B> {
    /// Copies the weights to `device`.
    pub fn new(transformer: &network::Transformer, device: &B::Device) -> Self {
        let layer = |layer: &network::TransformerLayer| {
            let norm = |norm| LayerNorm::new(norm, transformer.norm_eps, device);
            let linear = |layer| Linear::new(layer, device);
            let scale = |scale: &[f32]| floats(scale.to_vec(), [1, 1, scale.len()], device);
            Layer {
                attention_norm: norm(&layer.attention_norm),
                q: linear(&layer.q),
                k: linear(&layer.k),
                v: linear(&layer.v),
                o: linear(&layer.o),
                attention_scale: scale(&layer.attention_scale),
                mlp_norm: norm(&layer.mlp_norm),
                fc1: linear(&layer.fc1),
                fc2: linear(&layer.fc2),
                mlp_scale: scale(&layer.mlp_scale),
            }
        };
        Self {
            layers: transformer.layers.iter().map(layer).collect(),
            heads: Heads {
                query: transformer.heads,
                key_value: transformer.kv_heads,
                dim: transformer.head_dim,
                window: transformer.window,
            },
            rope_theta: transformer.rope_theta,
        }
    }

    /// `[batch, time, hidden]`. It looks back only, so that an item's output does not depend on what stands behind its own
    /// elements.
    pub fn forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let [_, time, _] = input.dims();
        let heads = Heads {
            window: self.heads.window.min(time),
            ..self.heads
        };
        let positions = Positions::new(heads, self.rope_theta, time, &input.device());
        self.layers.iter().fold(input, |x, layer| {
            let attended = layer.attention(layer.attention_norm.forward(x.clone()), &positions);
            let x = x + attended * layer.attention_scale.clone();
            let hidden = gelu(layer.fc1.forward(layer.mlp_norm.forward(x.clone())));
            x + layer.fc2.forward(hidden) * layer.mlp_scale.clone()
        })
    }
}

impl<B: Backend> Layer<B> {
    /// `[batch, time, hidden]`
    fn attention(&self, input: Tensor<B, 3>, positions: &Positions<B>) -> Tensor<B, 3> {
        let heads = positions.heads;
        let q = positions.rotate(split(self.q.forward(input.clone()), heads.query));
        let k = positions.rotate(split(self.k.forward(input.clone()), heads.key_value));
        let v = split(self.v.forward(input), heads.key_value);
        let [batch, _, time, dim] = q.dims();
        let repeat = |x: Tensor<B, 4>| share(x, heads.query / heads.key_value);
        let (q, k, v) = (q * (dim as f32).powf(-0.5), repeat(k), repeat(v));
        // a window of queries at a time: memory grows with time, not with its square
        let blocks = (0..time).step_by(heads.window).map(|start| {
            let queries = start..(start + heads.window).min(time);
            let keys = start.saturating_sub(heads.window - 1)..queries.end;
            let part = |x: &Tensor<B, 4>, range: &Range<usize>| {
                x.clone().narrow(2, range.start, range.len())
            };
            let scores = part(&q, &queries).matmul(part(&k, &keys).swap_dims(2, 3));
            let weights = softmax(scores + positions.bias(&queries, &keys), 3);
            weights.matmul(part(&v, &keys)) // [batch, heads, queries, head_dim]
        });
        let attended = Tensor::cat(blocks.collect(), 2).swap_dims(1, 2);
        self.o
            .forward(attended.reshape([batch, time, heads.query * dim]))
    }
}

/// `[batch, time, heads * head_dim]` to `[batch, heads, time, head_dim]`
fn split<B: Backend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    let [batch, time, width] = x.dims();
    x.reshape([batch, time, heads, width / heads])
        .swap_dims(1, 2)
}

/// Each of the heads `times` times: `[batch, heads, time, head_dim]` to `[batch, heads * times, time, head_dim]`
fn share<B: Backend>(x: Tensor<B, 4>, times: usize) -> Tensor<B, 4> {
    if times == 1 {
        return x;
    }
    let [batch, heads, time, dim] = x.dims();
    x.reshape([batch, heads, 1, time, dim])
        .expand([batch, heads, times, time, dim])
        .reshape([batch, heads * times, time, dim])
}

/// What depends on the positions only, the same in all layers.
struct Positions<B: Backend> {
    heads: Heads,
    /// `[1, 1, time, head_dim]`
    cos: Tensor<B, 4>,
    /// `[1, 1, time, head_dim]`
    sin: Tensor<B, 4>,
    /// `[window, 2 * window - 1]`: of the i-th query of a window, against the keys from `window - 1` before the first query
    /// on.
    bias: Tensor<B, 2>,
}

impl<B: Backend> Positions<B> {
    fn new(heads: Heads, theta: f32, time: usize, device: &Device<B>) -> Self {
        let half = heads.dim / 2;
        let angle = |position: usize, channel: usize| {
            let exponent = (2 * (channel % half)) as f32 / heads.dim as f32;
            position as f32 * (1.0 / theta.powf(exponent))
        };
        let table = |function: fn(f32) -> f32| {
            let values = (0..time)
                .flat_map(|position| (0..heads.dim).map(move |channel| (position, channel)))
                .map(|(position, channel)| function(angle(position, channel)))
                .collect();
            floats(values, [1, 1, time, heads.dim], device)
        };
        let window = heads.window;
        let bias = (0..window)
            .flat_map(|query| (0..2 * window - 1).map(move |key| (query, key)))
            .map(
                |(query, key)| match (query..query + window).contains(&key) {
                    true => 0.0,
                    false => HIDDEN_SCORE,
                },
            )
            .collect();
        Self {
            heads,
            cos: table(f32::cos),
            sin: table(f32::sin),
            bias: floats(bias, [window, 2 * window - 1], device),
        }
    }

    /// Rotary positions, [Su et al. 2021](https://arxiv.org/abs/2104.09864), channel i paired with `i + head_dim / 2`:
    /// `[batch, heads, time, head_dim]`
    fn rotate(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let half = self.heads.dim / 2;
        let first = x.clone().narrow(3, 0, half);
        let second = x.clone().narrow(3, half, half);
        let turned = Tensor::cat(vec![-second, first], 3);
        x * self.cos.clone() + turned * self.sin.clone()
    }

    /// `[1, 1, queries, keys]` of a block of queries that starts a window, and its keys.
    fn bias(&self, queries: &Range<usize>, keys: &Range<usize>) -> Tensor<B, 4> {
        let first = keys.start + self.heads.window - 1 - queries.start;
        self.bias
            .clone()
            .narrow(0, 0, queries.len())
            .narrow(1, first, keys.len())
            .unsqueeze()
    }
}
