//! The Qwen3 architecture: pre-norm residual layers of grouped-query attention with QK-norm and
//! rotary positions, then SwiGLU; RMSNorm; no biases (Qwen3 technical report, arXiv 2505.09388;
//! transformers' `Qwen3ForCausalLM`).
//!
//! Parameters have the names and layouts of transformers' checkpoints. Deviations: attention is
//! blocked across the documents of a packed sequence, while rotary positions run on through them,
//! as in Levanter (pinned by `tests/tests/trajectory.rs`); linear layers start as Levanter's.

mod attention;
mod init;
mod layers;
mod mask;
mod mlp;
mod params;
mod rope;

pub use attention::Cache;
pub use layers::{Embedding, Linear, RmsNorm};
pub use mask::attention_mask;
pub(crate) use params::Path;
pub use params::{NamedTensor, ParamsError, load_params, named_params};
pub use rope::RopeTable;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor};
use experiments::ModelConfig;
use kernels::Kernels;

use attention::Attention;
use init::Init;
use mlp::Mlp;

/// A decoder with its output head.
#[derive(Module, Debug)]
pub struct Qwen3<B: Backend> {
    /// Everything but the head.
    pub model: Decoder<B>,
    /// The output head `[vocab, hidden]`; none when it is the embedding matrix.
    pub lm_head: Option<Linear<B>>,
}

/// Embedding, layers and final norm.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    /// Token embedding `[vocab, hidden]`.
    pub embed_tokens: Embedding<B>,
    /// The transformer's layers.
    pub layers: Vec<DecoderLayer<B>>,
    /// Norm before the output head.
    pub norm: RmsNorm<B>,
}

/// Attention and MLP, each after a norm and added to the residual stream.
#[derive(Module, Debug)]
pub struct DecoderLayer<B: Backend> {
    self_attn: Attention<B>,
    mlp: Mlp<B>,
    input_layernorm: RmsNorm<B>,
    post_attention_layernorm: RmsNorm<B>,
}

/// What a forward pass needs besides tokens and parameters.
pub struct Context<'a, B: Backend> {
    /// Rotary tables of the positions of these tokens.
    pub rope: &'a RopeTable<B>,
    /// `[batch or 1, 1, time, keys]`, true where a key is hidden from a query.
    pub mask: Option<Tensor<B, 4, Bool>>,
}

impl<B: Backend> Qwen3<B> {
    /// A model with initial weights drawn from `seed`, the same on every backend.
    pub fn new(config: &ModelConfig, vocab_size: usize, seed: u64, device: &B::Device) -> Self {
        let init = Init { seed, device };
        let hidden = config.hidden_size;
        let layers = (0..config.num_hidden_layers).map(|layer| {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            DecoderLayer {
                self_attn: Attention::new(config, &name("self_attn"), &init),
                mlp: Mlp::new(config, &name("mlp"), &init),
                input_layernorm: init.norm(hidden, config.rms_norm_eps),
                post_attention_layernorm: init.norm(hidden, config.rms_norm_eps),
            }
        });
        let model = Decoder {
            embed_tokens: init.embedding(
                "model.embed_tokens",
                vocab_size,
                hidden,
                config.initializer_range,
            ),
            layers: layers.collect(),
            norm: init.norm(hidden, config.rms_norm_eps),
        };
        let untied = !config.tie_word_embeddings;
        Self {
            model,
            lm_head: untied.then(|| init.linear("lm_head", hidden, vocab_size)),
        }
    }

    /// The output head `[vocab, hidden]`.
    pub fn head(&self) -> Tensor<B, 2> {
        match &self.lm_head {
            Some(head) => head.weight.val(),
            None => self.model.embed_tokens.weight.val(),
        }
    }

    /// Hidden states after the final norm: tokens `[batch, time]` to `[batch, time, hidden]`.
    pub fn hidden(&self, tokens: Tensor<B, 2, Int>, context: &Context<B>) -> Tensor<B, 3> {
        self.run(tokens, context, None)
    }

    /// Logits of the last position `[batch, vocab]`; the keys and values of `tokens` are appended to
    /// `cache`, and `context` is that of the new positions.
    pub fn next_logits(
        &self,
        tokens: Tensor<B, 2, Int>,
        context: &Context<B>,
        cache: &mut [Cache<B>],
    ) -> Tensor<B, 2> {
        let hidden = self.run(tokens, context, Some(cache));
        let [_, time, _] = hidden.dims();
        let last = hidden.narrow(1, time - 1, 1).squeeze_dim::<2>(1); // [batch, hidden]
        last.matmul(self.head().transpose())
    }

    /// An empty cache for each layer.
    pub fn new_cache(&self) -> Vec<Cache<B>> {
        self.model.layers.iter().map(|_| Cache::default()).collect()
    }

    fn run(
        &self,
        tokens: Tensor<B, 2, Int>,
        context: &Context<B>,
        mut cache: Option<&mut [Cache<B>]>,
    ) -> Tensor<B, 3> {
        let mut x = self.model.embed_tokens.forward(tokens);
        for (index, layer) in self.model.layers.iter().enumerate() {
            let cache = cache.as_deref_mut().map(|cache| &mut cache[index]);
            x = x.clone()
                + layer
                    .self_attn
                    .forward(layer.input_layernorm.forward(x), context, cache);
            x = x.clone() + layer.mlp.forward(layer.post_attention_layernorm.forward(x));
        }
        self.model.norm.forward(x)
    }
}

impl<B: Kernels> Qwen3<B> {
    /// Weighted loss `[1]` and each token's negative log-likelihood `[batch · time]` in nats.
    ///
    /// # Shapes
    /// `tokens`, `targets`, `weights`: `[batch, time]`
    pub fn loss(
        &self,
        tokens: Tensor<B, 2, Int>,
        targets: Tensor<B, 2, Int>,
        weights: Tensor<B, 2>,
        context: &Context<B>,
        z_loss_weight: f64,
    ) -> (Tensor<B, 1>, Tensor<B, 1>) {
        let hidden = self.hidden(tokens, context);
        let [batch, time, width] = hidden.dims();
        kernels::linear_cross_entropy::linear_cross_entropy(
            hidden.reshape([batch * time, width]),
            self.head(),
            targets.reshape([batch * time]),
            weights.reshape([batch * time]),
            z_loss_weight as f32,
        )
    }
}
