//! EnCodec: a SEANet with an LSTM and a residual quantizer, [Défossez et al. 2022](https://arxiv.org/abs/2210.13438).

use serde::Deserialize;

use super::seanet::SeaNet;
use super::{Config, LIMIT, Source};
use crate::network::{Chunk, Framing, Model, Network, PadMode, Quantizer, Rvq};
use crate::{CodecSpec, Result};

/// An hour: no limit in practice, and nothing overflows.
const MAX_CHUNK_SECS: f64 = 3600.0;

/// `config.json` with transformers' defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct EncodecConfig {
    target_bandwidths: Vec<f64>,
    sampling_rate: u32,
    audio_channels: usize,
    normalize: bool,
    chunk_length_s: Option<f64>,
    overlap: Option<f64>,
    hidden_size: usize,
    num_filters: usize,
    num_residual_layers: usize,
    upsampling_ratios: Vec<usize>,
    norm_type: String,
    kernel_size: usize,
    last_kernel_size: usize,
    residual_kernel_size: usize,
    dilation_growth_rate: usize,
    use_causal_conv: bool,
    pad_mode: PadMode,
    compress: usize,
    num_lstm_layers: usize,
    trim_right_ratio: f64,
    codebook_size: usize,
    codebook_dim: Option<usize>,
    use_conv_shortcut: bool,
}

impl Default for EncodecConfig {
    fn default() -> Self {
        Self {
            target_bandwidths: vec![1.5, 3.0, 6.0, 12.0, 24.0],
            sampling_rate: 24_000,
            audio_channels: 1,
            normalize: false,
            chunk_length_s: None,
            overlap: None,
            hidden_size: 128,
            num_filters: 32,
            num_residual_layers: 1,
            upsampling_ratios: vec![8, 5, 4, 2],
            norm_type: "weight_norm".to_owned(),
            kernel_size: 7,
            last_kernel_size: 7,
            residual_kernel_size: 3,
            dilation_growth_rate: 2,
            use_causal_conv: true,
            pad_mode: PadMode::Reflect,
            compress: 2,
            num_lstm_layers: 2,
            trim_right_ratio: 1.0,
            codebook_size: 1024,
            codebook_dim: None,
            use_conv_shortcut: true,
        }
    }
}

/// Reads the model.
pub fn model(config: &Config, source: &Source) -> Result<Model> {
    let c: EncodecConfig = config.parse()?;
    let seanet = c.seanet();
    seanet.check(config)?;
    config.require_sizes(&[
        ("sampling_rate", c.sampling_rate as usize),
        ("num_lstm_layers", c.num_lstm_layers),
    ])?;
    config.require(
        "norm_type",
        &c.norm_type.as_str(),
        &["weight_norm", "time_group_norm"],
    )?;
    config.require_codebook_size(c.codebook_size)?;
    let dim = c.codebook_dim.unwrap_or(c.hidden_size);
    // codewords are subtracted from latents
    config.require("codebook_dim", &dim, &[c.hidden_size])?;
    let weights = &source.weights;
    let codebooks = source.codebooks(c.num_quantizers(config, seanet.hop())?)?;
    let codebook = |index: usize| {
        weights.tensor(
            &format!("quantizer.layers.{index}.codebook.embed"),
            &[c.codebook_size, dim],
        )
    };
    Ok(Model {
        framing: Framing {
            pad_to: 1,
            chunk: c.chunk(config)?,
            normalize: c.normalize,
        },
        encoder: Network {
            channels: c.audio_channels,
            layers: seanet.encoder(weights)?,
        },
        quantizer: Quantizer::Euclidean(vec![Rvq {
            input_proj: None,
            output_proj: None,
            codebooks: (0..codebooks).map(codebook).collect::<Result<_>>()?,
        }]),
        decoder: Network {
            channels: c.hidden_size,
            layers: seanet.decoder(weights)?,
        },
        spec: CodecSpec {
            name: source.name.to_owned(),
            sha256: weights.sha256(),
            sample_rate_hz: c.sampling_rate,
            channels: c.audio_channels,
            frame_rate_hz: f64::from(c.sampling_rate) / seanet.hop() as f64,
            codebooks,
            codebook_size: c.codebook_size,
        },
    })
}

impl EncodecConfig {
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
            num_lstm_layers: self.num_lstm_layers,
            group_norm: self.norm_type == "time_group_norm",
        }
    }

    /// Codebooks that the last bandwidth pays for.
    fn num_quantizers(&self, config: &Config, hop: usize) -> Result<usize> {
        let frame_rate = (self.sampling_rate as usize).div_ceil(hop);
        let code_bits = self.codebook_size.next_power_of_two().ilog2() as usize;
        let frame_bits = (frame_rate * code_bits) as f64;
        let kbits = self.target_bandwidths.last().copied().unwrap_or(0.0);
        // Python's `//`: exact where a quotient of floats would be rounded up
        let bits = 1000.0 * kbits;
        let count = ((bits - bits % frame_bits) / frame_bits).round();
        match (1.0..=LIMIT as f64).contains(&count) {
            true => Ok(count as usize),
            false => Err(config.bad(format!(
                "`target_bandwidths` ends with {kbits} kbit/s, which pays for {count} codebooks of {frame_bits} bit/s; at \
                 least 1 is needed"
            ))),
        }
    }

    fn chunk(&self, config: &Config) -> Result<Option<Chunk>> {
        let Some(secs) = self.chunk_length_s else {
            return Ok(None);
        };
        let length = (secs * f64::from(self.sampling_rate)) as usize;
        let overlap = self.overlap.unwrap_or(0.0);
        if length == 0 || secs > MAX_CHUNK_SECS || !(0.0..1.0).contains(&overlap) {
            return Err(config.bad(format!(
                "`chunk_length_s` is {secs} and `overlap` {overlap}; the first must be above 0 and up to {MAX_CHUNK_SECS}, \
                 the second from 0 to below 1"
            )));
        }
        let stride = (((1.0 - overlap) * length as f64) as usize).max(1);
        Ok(Some(Chunk { length, stride }))
    }
}
