//! Grouped-query attention with QK-norm and rotary positions.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, activation};
use experiments::ModelConfig;
use kernels::Kernels;
use kernels::attention::attention;

use super::Context;
use super::init::Init;
use super::layers::{Linear, RmsNorm};

#[derive(Module, Debug)]
pub(super) struct Attention<B: Backend> {
    q_proj: Linear<B>,
    k_proj: Linear<B>,
    v_proj: Linear<B>,
    o_proj: Linear<B>,
    q_norm: RmsNorm<B>,
    k_norm: RmsNorm<B>,
    #[module(skip)]
    head_dim: usize,
}

/// Rotated keys and values of the positions seen so far, `[batch, time, kv_heads, head_dim]`.
#[derive(Clone, Debug)]
pub struct Cache<B: Backend> {
    keys_values: Option<(Tensor<B, 4>, Tensor<B, 4>)>,
}

impl<B: Backend> Default for Cache<B> {
    fn default() -> Self {
        Self { keys_values: None }
    }
}

impl<B: Kernels> Cache<B> {
    /// Appends the new positions, and returns their attention to all up to themselves, in the shape of the query. The
    /// first call may bring several, later ones bring one each.
    fn attend(
        &mut self,
        query: Tensor<B, 4>,
        key: Tensor<B, 4>,
        value: Tensor<B, 4>,
        starts: Tensor<B, 2, Int>,
    ) -> Tensor<B, 4> {
        let Some((keys, values)) = self.keys_values.take() else {
            self.keys_values = Some((key.clone(), value.clone()));
            return attention(query, key, value, starts);
        };
        let [batch, time, heads, head_dim] = query.dims();
        assert_eq!(time, 1, "positions after the first are taken one at a time");
        let keys = Tensor::cat(vec![keys, key], 1);
        let values = Tensor::cat(vec![values, value], 1);
        self.keys_values = Some((keys.clone(), values.clone()));
        let kv_heads = keys.dims()[2];
        let query = query.reshape([batch, kv_heads, heads / kv_heads, head_dim]);
        let scores = query.matmul(keys.permute([0, 2, 3, 1])) * (head_dim as f64).powf(-0.5);
        let shares = activation::softmax(scores, 3); // [batch, kv_heads, groups, time]
        let out = shares.matmul(values.swap_dims(1, 2));
        out.reshape([batch, 1, heads, head_dim])
    }
}

impl<B: Backend> Attention<B> {
    pub(super) fn new(config: &ModelConfig, name: &str, init: &Init<B>) -> Self {
        let (hidden, head_dim) = (config.hidden_size, config.head_dim);
        let query = config.num_attention_heads * head_dim;
        let key_value = config.num_key_value_heads * head_dim;
        let linear =
            |part: &str, input, output| init.linear(&format!("{name}.{part}"), input, output);
        Self {
            q_proj: linear("q_proj", hidden, query),
            k_proj: linear("k_proj", hidden, key_value),
            v_proj: linear("v_proj", hidden, key_value),
            o_proj: linear("o_proj", query, hidden),
            q_norm: init.norm(head_dim, config.rms_norm_eps),
            k_norm: init.norm(head_dim, config.rms_norm_eps),
            head_dim,
        }
    }

    /// The linear layers, by name.
    pub(super) fn linears_mut(&mut self) -> Vec<(&'static str, &mut Linear<B>)> {
        vec![
            ("q_proj", &mut self.q_proj),
            ("k_proj", &mut self.k_proj),
            ("v_proj", &mut self.v_proj),
            ("o_proj", &mut self.o_proj),
        ]
    }
}

impl<B: Kernels> Attention<B> {
    /// `[batch, time, hidden]` to the same shape.
    pub(super) fn forward(
        &self,
        x: Tensor<B, 3>,
        context: &Context<B>,
        cache: Option<&mut Cache<B>>,
    ) -> Tensor<B, 3> {
        let [batch, time, _] = x.dims();
        // [batch, time, heads, head_dim]
        let q = self.heads(self.q_proj.forward(x.clone()));
        let k = self.heads(self.k_proj.forward(x.clone()));
        let v = self.heads(self.v_proj.forward(x));
        let q = context.rope.norm_rotate(q, &self.q_norm);
        let k = context.rope.norm_rotate(k, &self.k_norm);
        let starts = context.starts.clone();
        let out = match cache {
            Some(cache) => cache.attend(q, k, v, starts),
            None => attention(q, k, v, starts),
        };
        let [_, _, heads, head_dim] = out.dims();
        self.o_proj
            .forward(out.reshape([batch, time, heads * head_dim]))
    }

    /// `[batch, time, heads · head_dim]` to `[batch, time, heads, head_dim]`.
    fn heads(&self, x: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, time, width] = x.dims();
        x.reshape([batch, time, width / self.head_dim, self.head_dim])
    }
}
