//! Grouped-query attention with QK-norm and rotary positions.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, activation};
use experiments::ModelConfig;

use super::Context;
use super::init::Init;
use super::layers::{Linear, RmsNorm, cast};

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

/// Rotated keys and values of the positions seen so far, `[batch, kv_heads, time, head_dim]`.
#[derive(Clone, Debug)]
pub struct Cache<B: Backend> {
    keys_values: Option<(Tensor<B, 4>, Tensor<B, 4>)>,
}

impl<B: Backend> Default for Cache<B> {
    fn default() -> Self {
        Self { keys_values: None }
    }
}

impl<B: Backend> Cache<B> {
    /// Appends, and returns everything seen.
    fn append(&mut self, keys: Tensor<B, 4>, values: Tensor<B, 4>) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let all = match self.keys_values.take() {
            Some((k, v)) => (
                Tensor::cat(vec![k, keys], 2),
                Tensor::cat(vec![v, values], 2),
            ),
            None => (keys, values),
        };
        self.keys_values = Some(all.clone());
        all
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

    /// `[batch, time, hidden]` to the same shape.
    pub(super) fn forward(
        &self,
        x: Tensor<B, 3>,
        context: &Context<B>,
        cache: Option<&mut Cache<B>>,
    ) -> Tensor<B, 3> {
        let [batch, time, _] = x.dims();
        let q = self.heads(self.q_proj.forward(x.clone()));
        let k = self.heads(self.k_proj.forward(x.clone()));
        let v = self.heads(self.v_proj.forward(x)).swap_dims(1, 2);
        // [batch, heads, time, head_dim]
        let q = context.rope.rotate(self.q_norm.forward(q).swap_dims(1, 2));
        let k = context.rope.rotate(self.k_norm.forward(k).swap_dims(1, 2));
        let (k, v) = match cache {
            Some(cache) => cache.append(k, v),
            None => (k, v),
        };
        let groups = q.dims()[1] / k.dims()[1];
        let (k, v) = (repeat_heads(k, groups), repeat_heads(v, groups));
        let dtype = q.dtype();
        let scores = cast(q.matmul(k.swap_dims(2, 3)), DType::F32);
        let scores = scores * (self.head_dim as f64).powf(-0.5);
        let scores = match &context.mask {
            Some(mask) => {
                let shape = scores.shape();
                scores.mask_fill(mask.clone().expand(shape), f32::NEG_INFINITY)
            }
            None => scores,
        };
        let shares = cast(activation::softmax(scores, 3), dtype);
        let out = shares.matmul(v).swap_dims(1, 2);
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

/// Each key-value head serves `groups` consecutive query heads.
fn repeat_heads<B: Backend>(x: Tensor<B, 4>, groups: usize) -> Tensor<B, 4> {
    if groups == 1 {
        return x;
    }
    let [batch, heads, time, head_dim] = x.dims();
    x.unsqueeze_dim::<5>(2)
        .expand([batch, heads, groups, time, head_dim])
        .reshape([batch, heads * groups, time, head_dim])
}
