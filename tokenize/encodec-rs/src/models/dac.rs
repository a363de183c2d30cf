//! DAC, the Descript audio codec, [Kumar et al. 2023](https://arxiv.org/abs/2306.06546).

use serde::Deserialize;

use super::{Config, Source};
use crate::network::{
    Activation, Conv1d, ConvTranspose1d, FactorizedVq, Framing, Layer, Linear, Model, Network,
    Padding, Quantizer, Residual,
};
use crate::weights::Weights;
use crate::{CodecSpec, Result};

/// `config.json` with transformers' defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct DacConfig {
    encoder_hidden_size: usize,
    downsampling_ratios: Vec<usize>,
    decoder_hidden_size: usize,
    n_codebooks: usize,
    codebook_size: usize,
    codebook_dim: usize,
    sampling_rate: u32,
}

impl Default for DacConfig {
    fn default() -> Self {
        Self {
            encoder_hidden_size: 64,
            downsampling_ratios: vec![2, 4, 8, 8],
            decoder_hidden_size: 1536,
            n_codebooks: 9,
            codebook_size: 1024,
            codebook_dim: 8,
            sampling_rate: 16_000,
        }
    }
}

/// Reads the model.
pub fn model(config: &Config, source: &Source) -> Result<Model> {
    let c: DacConfig = config.parse()?;
    config.require_sizes(&[
        ("encoder_hidden_size", c.encoder_hidden_size),
        ("decoder_hidden_size", c.decoder_hidden_size),
        ("n_codebooks", c.n_codebooks),
        ("codebook_dim", c.codebook_dim),
        ("sampling_rate", c.sampling_rate as usize),
    ])?;
    config.require_ratios("downsampling_ratios", &c.downsampling_ratios)?;
    config.require_codebook_size(c.codebook_size)?;
    if c.decoder_hidden_size >> c.downsampling_ratios.len() == 0 {
        return Err(config.bad(format!(
            "`decoder_hidden_size` is {}, which cannot be halved {} times",
            c.decoder_hidden_size,
            c.downsampling_ratios.len()
        )));
    }
    let weights = &source.weights;
    let codebooks = source.codebooks(c.n_codebooks)?;
    let hop: usize = c.downsampling_ratios.iter().product();
    let latent = c.encoder_hidden_size << c.downsampling_ratios.len();
    let quantizer = |index: usize| {
        let name = |what: &str| format!("quantizer.quantizers.{index}.{what}");
        Ok(FactorizedVq {
            in_proj: pointwise(weights, &name("in_proj"), latent, c.codebook_dim)?,
            out_proj: pointwise(weights, &name("out_proj"), c.codebook_dim, latent)?,
            codebook: weights
                .tensor(&name("codebook.weight"), &[c.codebook_size, c.codebook_dim])?,
        })
    };
    Ok(Model {
        framing: Framing {
            pad_to: hop,
            chunk: None,
            normalize: false,
        },
        encoder: Network {
            channels: 1,
            layers: encoder(&c, weights)?,
        },
        quantizer: Quantizer::Factorized((0..codebooks).map(quantizer).collect::<Result<_>>()?),
        decoder: Network {
            channels: latent,
            layers: decoder(&c, weights, latent)?,
        },
        spec: CodecSpec {
            name: source.name.to_owned(),
            sha256: weights.sha256(),
            sample_rate_hz: c.sampling_rate,
            channels: 1,
            frame_rate_hz: f64::from(c.sampling_rate) / hop as f64,
            codebooks,
            codebook_size: c.codebook_size,
        },
    })
}

fn encoder(c: &DacConfig, weights: &Weights) -> Result<Vec<Layer>> {
    let mut channels = c.encoder_hidden_size;
    let mut layers = vec![conv(
        weights,
        "encoder.conv1",
        [1, channels],
        Taps::same(7, 1),
    )?];
    for (index, &stride) in c.downsampling_ratios.iter().enumerate() {
        let prefix = format!("encoder.block.{index}");
        layers.extend(residual_units(weights, &prefix, channels)?);
        layers.push(snake(weights, &format!("{prefix}.snake1"), channels)?);
        layers.push(conv(
            weights,
            &format!("{prefix}.conv1"),
            [channels, channels * 2],
            Taps {
                kernel: 2 * stride,
                stride,
                dilation: 1,
                padding: stride.div_ceil(2),
            },
        )?);
        channels *= 2;
    }
    layers.push(snake(weights, "encoder.snake1", channels)?);
    layers.push(conv(
        weights,
        "encoder.conv2",
        [channels, channels],
        Taps::same(3, 1),
    )?);
    Ok(layers)
}

fn decoder(c: &DacConfig, weights: &Weights, latent: usize) -> Result<Vec<Layer>> {
    let mut channels = c.decoder_hidden_size;
    let mut layers = vec![conv(
        weights,
        "decoder.conv1",
        [latent, channels],
        Taps::same(7, 1),
    )?];
    for (index, &stride) in c.downsampling_ratios.iter().rev().enumerate() {
        let prefix = format!("decoder.block.{index}");
        layers.push(snake(weights, &format!("{prefix}.snake1"), channels)?);
        let (name, output, kernel) = (format!("{prefix}.conv_t1"), channels / 2, 2 * stride);
        layers.push(Layer::ConvTranspose(ConvTranspose1d {
            weight: weights.weight(&name, &[channels, output, kernel])?,
            bias: Some(weights.vector(&format!("{name}.bias"), output)?),
            stride,
            trim_left: stride.div_ceil(2),
            trim_right: stride.div_ceil(2),
            norm: None,
        }));
        channels = output;
        layers.extend(residual_units(weights, &prefix, channels)?);
    }
    layers.push(snake(weights, "decoder.snake1", channels)?);
    layers.push(conv(
        weights,
        "decoder.conv2",
        [channels, 1],
        Taps::same(7, 1),
    )?);
    layers.push(Layer::Activation(Activation::Tanh));
    Ok(layers)
}

fn residual_units(weights: &Weights, prefix: &str, channels: usize) -> Result<Vec<Layer>> {
    let unit = |(number, dilation): (usize, usize)| {
        let name = |what: &str| format!("{prefix}.res_unit{number}.{what}");
        Ok(Layer::Residual(Residual {
            body: vec![
                snake(weights, &name("snake1"), channels)?,
                conv(
                    weights,
                    &name("conv1"),
                    [channels; 2],
                    Taps::same(7, dilation),
                )?,
                snake(weights, &name("snake2"), channels)?,
                conv(weights, &name("conv2"), [channels; 2], Taps::same(1, 1))?,
            ],
            shortcut: None,
        }))
    };
    [(1, 1), (2, 3), (3, 9)].into_iter().map(unit).collect()
}

fn snake(weights: &Weights, prefix: &str, channels: usize) -> Result<Layer> {
    let alpha = weights.tensor(&format!("{prefix}.alpha"), &[1, channels, 1])?;
    Ok(Layer::Activation(Activation::Snake(alpha.data)))
}

struct Taps {
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: usize,
}

impl Taps {
    /// Stride 1, the length kept.
    fn same(kernel: usize, dilation: usize) -> Self {
        Self {
            kernel,
            stride: 1,
            dilation,
            padding: (kernel - 1) * dilation / 2,
        }
    }
}

fn conv(weights: &Weights, prefix: &str, [input, output]: [usize; 2], taps: Taps) -> Result<Layer> {
    Ok(Layer::Conv(Conv1d {
        weight: weights.weight(prefix, &[output, input, taps.kernel])?,
        bias: Some(weights.vector(&format!("{prefix}.bias"), output)?),
        stride: taps.stride,
        dilation: taps.dilation,
        padding: Padding::symmetric(taps.padding),
        norm: None,
    }))
}

fn pointwise(weights: &Weights, prefix: &str, input: usize, output: usize) -> Result<Linear> {
    let mut weight = weights.weight(prefix, &[output, input, 1])?;
    weight.shape.pop();
    Ok(Linear {
        weight,
        bias: Some(weights.vector(&format!("{prefix}.bias"), output)?),
    })
}
