//! Mimi: a SEANet with a transformer at its narrow end and a split quantizer, [Moshi](https://arxiv.org/abs/2410.00037).

use serde::Deserialize;

use super::seanet::SeaNet;
use super::{Config, Source};
use crate::network::{
    Conv1d, ConvTranspose1d, Framing, Layer, LayerNorm, Linear, Model, Network, PadMode, Padding,
    Quantizer, Rvq, Tensor, Transformer, TransformerLayer,
};
use crate::weights::Weights;
use crate::{CodecSpec, Result};

/// `config.json` with transformers' defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct MimiConfig {
    sampling_rate: u32,
    #[serde(alias = "_frame_rate")]
    frame_rate: Option<f64>,
    audio_channels: usize,
    hidden_size: usize,
    num_filters: usize,
    num_residual_layers: usize,
    upsampling_ratios: Vec<usize>,
    kernel_size: usize,
    last_kernel_size: usize,
    residual_kernel_size: usize,
    dilation_growth_rate: usize,
    use_causal_conv: bool,
    pad_mode: PadMode,
    compress: usize,
    trim_right_ratio: f64,
    codebook_size: usize,
    codebook_dim: Option<usize>,
    num_quantizers: usize,
    use_conv_shortcut: bool,
    vector_quantization_hidden_dimension: usize,
    num_semantic_quantizers: usize,
    upsample_groups: usize,
    num_hidden_layers: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: Option<usize>,
    hidden_act: String,
    norm_eps: f32,
    rope_theta: Option<f32>,
    rope_parameters: Option<Rope>,
    sliding_window: usize,
    attention_bias: bool,
}

#[derive(Debug, Deserialize)]
struct Rope {
    rope_theta: f32,
    rope_type: String,
}

impl Default for MimiConfig {
    fn default() -> Self {
        Self {
            sampling_rate: 24_000,
            frame_rate: None,
            audio_channels: 1,
            hidden_size: 512,
            num_filters: 64,
            num_residual_layers: 1,
            upsampling_ratios: vec![8, 6, 5, 4],
            kernel_size: 7,
            last_kernel_size: 3,
            residual_kernel_size: 3,
            dilation_growth_rate: 2,
            use_causal_conv: true,
            pad_mode: PadMode::Constant,
            compress: 2,
            trim_right_ratio: 1.0,
            codebook_size: 2048,
            codebook_dim: Some(256),
            num_quantizers: 32,
            use_conv_shortcut: false,
            vector_quantization_hidden_dimension: 256,
            num_semantic_quantizers: 1,
            upsample_groups: 512,
            num_hidden_layers: 8,
            intermediate_size: 2048,
            num_attention_heads: 8,
            num_key_value_heads: 8,
            head_dim: None,
            hidden_act: "gelu".to_owned(),
            norm_eps: 1e-5,
            rope_theta: None,
            rope_parameters: None,
            sliding_window: 250,
            attention_bias: false,
        }
    }
}

/// Reads the model.
pub fn model(config: &Config, source: &Source) -> Result<Model> {
    let c: MimiConfig = config.parse()?;
    c.check(config)?;
    let seanet = c.seanet();
    let weights = &source.weights;
    let stride = c.latent_stride(config, &seanet)?;
    let codebooks = source.codebooks(c.num_quantizers)?;

    let mut encoder = seanet.encoder(weights)?;
    encoder.push(Layer::Transformer(
        c.transformer(weights, "encoder_transformer")?,
    ));
    encoder.push(Layer::Conv(Conv1d {
        weight: weights.weight(
            "downsample.conv",
            &[c.hidden_size, c.hidden_size, 2 * stride],
        )?,
        bias: None,
        stride,
        dilation: 1,
        padding: Padding::same(2 * stride, stride, 1, c.use_causal_conv, PadMode::Replicate),
        norm: None,
    }));
    let mut decoder = vec![
        Layer::ConvTranspose(c.upsample(weights, stride)?),
        Layer::Transformer(c.transformer(weights, "decoder_transformer")?),
    ];
    decoder.extend(seanet.decoder(weights)?);

    let semantic = codebooks.min(c.num_semantic_quantizers);
    let mut parts = vec![c.rvq(weights, "semantic", semantic)?];
    if codebooks > semantic {
        parts.push(c.rvq(weights, "acoustic", codebooks - semantic)?);
    }
    Ok(Model {
        spec: CodecSpec {
            name: source.name.to_owned(),
            sha256: weights.sha256(),
            sample_rate_hz: c.sampling_rate,
            channels: c.audio_channels,
            frame_rate_hz: f64::from(c.sampling_rate) / (seanet.hop() * stride) as f64,
            codebooks,
            codebook_size: c.codebook_size,
        },
        framing: Framing {
            pad_to: 1,
            chunk: None,
            normalize: false,
        },
        encoder: Network {
            channels: c.audio_channels,
            layers: encoder,
        },
        quantizer: Quantizer::Euclidean(parts),
        decoder: Network {
            channels: c.hidden_size,
            layers: decoder,
        },
    })
}

impl MimiConfig {
    fn check(&self, config: &Config) -> Result<()> {
        self.seanet().check(config)?;
        config.require_sizes(&[
            ("sampling_rate", self.sampling_rate as usize),
            ("codebook_dim", self.codebook_dim()),
            ("num_semantic_quantizers", self.num_semantic_quantizers),
            (
                "vector_quantization_hidden_dimension",
                self.vector_quantization_hidden_dimension,
            ),
            ("upsample_groups", self.upsample_groups),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim()),
            ("sliding_window", self.sliding_window),
        ])?;
        config.require_codebook_size(self.codebook_size)?;
        config.require("hidden_act", &self.hidden_act.as_str(), &["gelu"])?;
        // codewords are subtracted from projected latents
        let dim = self.vector_quantization_hidden_dimension;
        config.require("codebook_dim", &self.codebook_dim(), &[dim])?;
        if let Some(rope) = &self.rope_parameters {
            config.require("rope_type", &rope.rope_type.as_str(), &["default"])?;
        }
        for (key, value) in [
            ("norm_eps", self.norm_eps),
            ("rope_theta", self.rope_theta()),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(config.bad(format!("`{key}` is {value}; it must be above 0")));
            }
        }
        if !self.codebook_size.is_power_of_two() {
            return Err(config.bad(format!(
                "`codebook_size` is {}; it must be a power of two",
                self.codebook_size
            )));
        }
        if self.num_semantic_quantizers >= self.num_quantizers {
            return Err(config.bad(format!(
                "`num_semantic_quantizers` is {}; it must be below `num_quantizers`, {}",
                self.num_semantic_quantizers, self.num_quantizers
            )));
        }
        // rotary positions turn pairs
        if !self.head_dim().is_multiple_of(2) {
            return Err(config.bad(format!(
                "`head_dim` is {}; it must be even",
                self.head_dim()
            )));
        }
        for (key, divisor, of) in [
            (
                "num_key_value_heads",
                self.num_key_value_heads,
                self.num_attention_heads,
            ),
            (
                "num_attention_heads",
                self.num_attention_heads,
                self.hidden_size,
            ),
            ("upsample_groups", self.upsample_groups, self.hidden_size),
        ] {
            if !of.is_multiple_of(divisor) {
                return Err(config.bad(format!("`{key}` is {divisor}, which does not divide {of}")));
            }
        }
        Ok(())
    }

    fn head_dim(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    /// Given alone in older files.
    fn rope_theta(&self) -> f32 {
        let rope = self.rope_parameters.as_ref();
        rope.map(|rope| rope.rope_theta)
            .or(self.rope_theta)
            .unwrap_or(10_000.0)
    }

    fn codebook_dim(&self) -> usize {
        self.codebook_dim.unwrap_or(self.hidden_size)
    }

    fn seanet(&self) -> SeaNet {
        SeaNet {
            audio_channels: self.audio_channels,
            hidden_size: self.hidden_size,
            num_filters: self.num_filters,
            num_residual_layers: self.num_residual_layers,
            upsampling_ratios: self.upsampling_ratios.clone(),
            kernel_size: self.kernel_size,
            last_kernel_size: self.last_kernel_size,
            residual_kernel_size: self.residual_kernel_size,
            dilation_growth_rate: self.dilation_growth_rate,
            use_causal_conv: self.use_causal_conv,
            pad_mode: self.pad_mode,
            compress: self.compress,
            trim_right_ratio: self.trim_right_ratio,
            use_conv_shortcut: self.use_conv_shortcut,
            num_lstm_layers: 0,
            group_norm: false,
        }
    }

    /// SEANet frames of a code frame.
    fn latent_stride(&self, config: &Config, seanet: &SeaNet) -> Result<usize> {
        let seanet_rate = self.sampling_rate.div_ceil(seanet.hop() as u32);
        // what transformers assumes where no rate is given
        let frame_rate = self
            .frame_rate
            .unwrap_or(f64::from(self.sampling_rate) / (2 * seanet.hop()) as f64);
        let stride = f64::from(seanet_rate) / frame_rate;
        match stride.is_finite() && (2.0..=64.0).contains(&stride) {
            true => Ok(stride as usize),
            false => Err(config.bad(format!(
                "`frame_rate` is {frame_rate} and the convolutions give {seanet_rate} frames a second; it must be \
                 between 1/64 and 1/2 of that"
            ))),
        }
    }

    /// Grouped in the checkpoint, dense here: it is a thousandth of the work.
    fn upsample(&self, weights: &Weights, stride: usize) -> Result<ConvTranspose1d> {
        let (channels, kernel) = (self.hidden_size, 2 * stride);
        let group = channels / self.upsample_groups;
        let grouped = weights.weight("upsample.conv", &[channels, group, kernel])?;
        let mut weight = vec![0.0; channels * channels * kernel];
        for input in 0..channels {
            for index in 0..group {
                let output = input / group * group + index;
                let (to, from) = (
                    (input * channels + output) * kernel,
                    (input * group + index) * kernel,
                );
                weight[to..to + kernel].copy_from_slice(&grouped.data[from..from + kernel]);
            }
        }
        let total = kernel - stride;
        let trim_right = match self.use_causal_conv {
            true => (total as f64 * self.trim_right_ratio).ceil() as usize,
            false => total / 2,
        };
        Ok(ConvTranspose1d {
            weight: Tensor {
                shape: vec![channels, channels, kernel],
                data: weight,
            },
            bias: None,
            stride,
            trim_left: total - trim_right,
            trim_right,
            norm: None,
        })
    }

    fn transformer(&self, weights: &Weights, prefix: &str) -> Result<Transformer> {
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        let (hidden, head_dim) = (self.hidden_size, self.head_dim());
        let layer = |index: usize| {
            let name = |what: &str| format!("{prefix}.layers.{index}.{what}");
            let linear = |what: &str, output: usize, input: usize, bias: bool| {
                Ok::<_, crate::Error>(Linear {
                    weight: weights.tensor(&name(&format!("{what}.weight")), &[output, input])?,
                    bias: match bias {
                        true => Some(weights.vector(&name(&format!("{what}.bias")), output)?),
                        false => None,
                    },
                })
            };
            let attention = |what: &str, output, input| {
                linear(
                    &format!("self_attn.{what}_proj"),
                    output,
                    input,
                    self.attention_bias,
                )
            };
            let norm = |what: &str| {
                Ok::<_, crate::Error>(LayerNorm {
                    weight: weights.vector(&name(&format!("{what}.weight")), hidden)?,
                    bias: weights.vector(&name(&format!("{what}.bias")), hidden)?,
                })
            };
            Ok(TransformerLayer {
                attention_norm: norm("input_layernorm")?,
                q: attention("q", heads * head_dim, hidden)?,
                k: attention("k", kv_heads * head_dim, hidden)?,
                v: attention("v", kv_heads * head_dim, hidden)?,
                o: attention("o", hidden, heads * head_dim)?,
                attention_scale: weights.vector(&name("self_attn_layer_scale.scale"), hidden)?,
                mlp_norm: norm("post_attention_layernorm")?,
                fc1: linear("mlp.fc1", self.intermediate_size, hidden, false)?,
                fc2: linear("mlp.fc2", hidden, self.intermediate_size, false)?,
                mlp_scale: weights.vector(&name("mlp_layer_scale.scale"), hidden)?,
            })
        };
        Ok(Transformer {
            layers: (0..self.num_hidden_layers)
                .map(layer)
                .collect::<Result<_>>()?,
            heads,
            kv_heads,
            head_dim,
            window: self.sliding_window,
            rope_theta: self.rope_theta(),
            norm_eps: self.norm_eps,
        })
    }

    fn rvq(&self, weights: &Weights, part: &str, codebooks: usize) -> Result<Rvq> {
        let prefix = format!("quantizer.{part}_residual_vector_quantizer");
        let (hidden, dim) = (self.hidden_size, self.vector_quantization_hidden_dimension);
        let projection = |name: &str, output, input| match dim == hidden {
            true => Ok(None),
            false => {
                let mut tensor =
                    weights.weight(&format!("{prefix}.{name}_proj"), &[output, input, 1])?;
                tensor.shape.pop();
                Ok(Some(tensor))
            }
        };
        let codebook = |index: usize| {
            let name = |what: &str| format!("{prefix}.layers.{index}.codebook.{what}");
            let shape = [self.codebook_size, self.codebook_dim()];
            let mut sums = weights.tensor(&name("embed_sum"), &shape)?;
            let usage = weights.vector(&name("cluster_usage"), self.codebook_size)?;
            for (row, usage) in sums.data.chunks_exact_mut(shape[1]).zip(usage) {
                let usage = usage.max(1e-5);
                row.iter_mut().for_each(|x| *x /= usage);
            }
            weights.check_finite(
                &format!("{} / cluster_usage", name("embed_sum")),
                &sums.data,
            )?;
            Ok(sums)
        };
        Ok(Rvq {
            input_proj: projection("input", dim, hidden)?,
            output_proj: projection("output", hidden, dim)?,
            codebooks: (0..codebooks).map(codebook).collect::<Result<_>>()?,
        })
    }
}
