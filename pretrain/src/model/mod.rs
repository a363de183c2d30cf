//! The Qwen3 architecture: pre-norm residual layers of grouped-query attention with QK-norm and
//! rotary positions, then SwiGLU; RMSNorm; no biases (Qwen3 technical report, arXiv 2505.09388;
//! transformers' `Qwen3ForCausalLM`).
//!
//! Parameters have the names and layouts of transformers' checkpoints. Deviations: attention is
//! blocked across the documents of a packed sequence, while rotary positions run on through them,
//! as in Levanter (pinned by `tests/tests/trajectory.rs`); linear layers start as Levanter's.

mod attention;
mod grads;
mod init;
mod layers;
mod lora;
mod mlp;
mod params;
mod rope;
mod starts;
mod trace;

pub use attention::Cache;
pub use grads::{Forward, Graph, LossAndGrads, Segment};
pub(crate) use init::normals;
pub use layers::{Embedding, Linear, RmsNorm};
pub use lora::Lora;
pub(crate) use params::Path;
pub use params::{NamedTensor, ParamsError, Part, fill_params, load_params, named_params, parts};
pub use rope::RopeTable;
pub use starts::document_starts;
pub use trace::{Activations, gradient_norms};

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, FloatDType, Int, Tensor};
use experiments::{ModelConfig, Precision};
use kernels::Kernels;
use kernels::linear_cross_entropy::{LossOutput, linear_cross_entropy};

use attention::Attention;
use init::Init;
use layers::{Residual, cast};
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
pub struct Context<B: Backend> {
    /// Rotary tables of the positions of these tokens.
    pub rope: RopeTable<B>,
    /// See [`document_starts`].
    pub starts: Tensor<B, 2, Int>,
    /// What the layers compute in, but for norms, rotation and softmax, which are f32.
    pub precision: Precision,
}

/// What is the same for all batches of a run.
#[derive(Clone, Debug)]
pub struct Setup<B: Backend> {
    /// Rotary tables of the positions of a sequence.
    pub rope: RopeTable<B>,
    /// See [`Context`].
    pub precision: Precision,
    /// Weight of logsumexp² in the loss.
    pub z_loss_weight: f64,
}

impl<B: Backend> Qwen3<B> {
    /// Where the parameters are.
    pub fn device(&self) -> B::Device {
        self.model.norm.weight.val().device()
    }
}

impl<B: Backend> Setup<B> {
    /// For sequences of `time` tokens.
    pub fn new(
        model: &ModelConfig,
        time: usize,
        precision: Precision,
        z_loss_weight: f64,
        device: &B::Device,
    ) -> Self {
        Self {
            rope: RopeTable::new(&model.rope, model.head_dim, 0, time, device),
            precision,
            z_loss_weight,
        }
    }

    fn context(&self, batch: &Batch<B>) -> Context<B> {
        Context {
            rope: self.rope.clone(),
            starts: batch.starts.clone(),
            precision: self.precision,
        }
    }
}

/// A batch as the loss takes it.
#[derive(Clone, Debug)]
pub struct Batch<B: Backend> {
    /// Token ids `[batch, time]`.
    pub tokens: Tensor<B, 2, Int>,
    /// The next token of each `[batch, time]`, any where the weight is 0.
    pub targets: Tensor<B, 2, Int>,
    /// Loss weights `[batch, time]`.
    pub weights: Tensor<B, 2>,
    /// See [`document_starts`].
    pub starts: Tensor<B, 2, Int>,
}

impl<B: Backend> Qwen3<B> {
    /// A model with initial weights drawn from `seed`, the same on every backend.
    pub fn new(config: &ModelConfig, vocab_size: usize, seed: u64, device: &B::Device) -> Self {
        let init = Init {
            seed: Some(seed),
            device,
        };
        Self::build(config, vocab_size, &init)
    }

    /// A model of zeros, whose weights are to be loaded.
    pub fn zeros(config: &ModelConfig, vocab_size: usize, device: &B::Device) -> Self {
        Self::build(config, vocab_size, &Init { seed: None, device })
    }

    fn build(config: &ModelConfig, vocab_size: usize, init: &Init<B>) -> Self {
        let hidden = config.hidden_size;
        let layers = (0..config.num_hidden_layers).map(|layer| {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            DecoderLayer {
                self_attn: Attention::new(config, &name("self_attn"), init),
                mlp: Mlp::new(config, &name("mlp"), init),
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

    /// An empty cache for each layer.
    pub fn new_cache(&self) -> Vec<Cache<B>> {
        self.model.layers.iter().map(|_| Cache::default()).collect()
    }

    /// The output head `[vocab, hidden]`.
    pub fn head(&self) -> Tensor<B, 2> {
        match &self.lm_head {
            Some(head) => head.weight.val(),
            None => self.model.embed_tokens.weight.val(),
        }
    }
}

impl<B: Kernels> Qwen3<B> {
    /// Hidden states after the final norm: tokens `[batch, time]` to `[batch, time, hidden]`.
    pub fn hidden(&self, tokens: Tensor<B, 2, Int>, context: &Context<B>) -> Tensor<B, 3> {
        self.run(tokens, context, None)
    }

    /// Logits of the last position `[batch, vocab]`; the keys and values of `tokens` are appended to `cache`, and `context`
    /// is that of the new positions: any number of them if the cache is empty, else one.
    pub fn next_logits(
        &self,
        tokens: Tensor<B, 2, Int>,
        context: &Context<B>,
        cache: &mut [Cache<B>],
    ) -> Tensor<B, 2> {
        let hidden = self.run(tokens, context, Some(cache));
        let hidden = cast(hidden, DType::F32);
        let [_, time, _] = hidden.dims();
        let last = hidden.narrow(1, time - 1, 1).squeeze_dim::<2>(1); // [batch, hidden]
        last.matmul(self.head().transpose())
    }

    fn run(
        &self,
        tokens: Tensor<B, 2, Int>,
        context: &Context<B>,
        mut cache: Option<&mut [Cache<B>]>,
    ) -> Tensor<B, 3> {
        let mut residual = self.embed(tokens, context.precision);
        for (index, layer) in self.model.layers.iter().enumerate() {
            let cache = cache.as_deref_mut().map(|cache| &mut cache[index]);
            residual = layer.forward(residual, context, cache);
        }
        let (_, hidden) = self.model.norm.residual(residual);
        hidden
    }

    /// What the first layer begins with, in the type that all layers compute in.
    fn embed(&self, tokens: Tensor<B, 2, Int>, precision: Precision) -> Residual<B> {
        let dtype = match precision {
            Precision::F32 => FloatDType::F32,
            Precision::Bf16 => FloatDType::BF16,
        };
        Residual::new(self.model.embed_tokens.forward(tokens, dtype))
    }

    /// Weighted loss, and what each token of the flattened batch adds to it.
    pub fn loss(&self, batch: &Batch<B>, setup: &Setup<B>) -> LossOutput<Tensor<B, 1>> {
        let hidden = self.hidden(batch.tokens.clone(), &setup.context(batch));
        self.head_loss(hidden, batch, setup.z_loss_weight)
    }

    /// The loss of hidden states `[batch, time, hidden]` that have passed the final norm.
    fn head_loss(
        &self,
        hidden: Tensor<B, 3>,
        batch: &Batch<B>,
        z_loss_weight: f64,
    ) -> LossOutput<Tensor<B, 1>> {
        let [sequences, time, width] = hidden.dims();
        let tokens = sequences * time;
        linear_cross_entropy(
            hidden.reshape([tokens, width]),
            self.head(),
            batch.targets.clone().reshape([tokens]),
            batch.weights.clone().reshape([tokens]),
            z_loss_weight as f32,
        )
    }
}

impl<B: Kernels> DecoderLayer<B> {
    /// The layer's own delta is that of its MLP.
    fn forward(
        &self,
        residual: Residual<B>,
        context: &Context<B>,
        cache: Option<&mut Cache<B>>,
    ) -> Residual<B> {
        let (stream, normed) = self.input_layernorm.residual(residual);
        let delta = Some(self.self_attn.forward(normed, context, cache));
        let residual = Residual { stream, delta };
        let (stream, normed) = self.post_attention_layernorm.residual(residual);
        let delta = Some(self.mlp.forward(normed));
        Residual { stream, delta }
    }
}
