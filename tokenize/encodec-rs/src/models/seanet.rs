//! The convolutional encoder and decoder that Mimi and EnCodec share,
//! [SoundStream](https://arxiv.org/abs/2107.03312), [EnCodec](https://arxiv.org/abs/2210.13438).

use super::{Config, LIMIT};
use crate::Result;
use crate::network::{
    Activation, Conv1d, ConvTranspose1d, GroupNorm, Layer, Lstm, PadMode, Padding, Residual,
};
use crate::weights::Weights;

/// Hyper-parameters, named as in `config.json`.
#[derive(Clone, Debug)]
pub struct SeaNet {
    pub audio_channels: usize,
    pub hidden_size: usize,
    pub num_filters: usize,
    pub num_residual_layers: usize,
    pub upsampling_ratios: Vec<usize>,
    pub kernel_size: usize,
    pub last_kernel_size: usize,
    pub residual_kernel_size: usize,
    pub dilation_growth_rate: usize,
    pub use_causal_conv: bool,
    pub pad_mode: PadMode,
    pub compress: usize,
    pub trim_right_ratio: f64,
    pub use_conv_shortcut: bool,
    /// Layers of the LSTM; 0 for none.
    pub num_lstm_layers: usize,
    /// Whether convolutions are followed by a [`GroupNorm`].
    pub group_norm: bool,
}

/// Kernel, stride and dilation.
#[derive(Clone, Copy)]
struct Taps(usize, usize, usize);

impl SeaNet {
    /// Checks all settings but the widths of tensors, which the checkpoint's shapes are compared with.
    pub fn check(&self, config: &Config) -> Result<()> {
        config.require_sizes(&[
            ("audio_channels", self.audio_channels),
            ("hidden_size", self.hidden_size),
            ("num_filters", self.num_filters),
            ("kernel_size", self.kernel_size),
            ("last_kernel_size", self.last_kernel_size),
            ("residual_kernel_size", self.residual_kernel_size),
            ("dilation_growth_rate", self.dilation_growth_rate),
            ("compress", self.compress),
        ])?;
        config.require("audio_channels", &self.audio_channels, &[1, 2])?;
        config.require_ratios("upsampling_ratios", &self.upsampling_ratios)?;
        if self.compress > self.num_filters {
            return Err(config.bad(format!(
                "`compress` is {}; it must not be above `num_filters`, {}",
                self.compress, self.num_filters
            )));
        }
        let last = self.num_residual_layers.saturating_sub(1);
        if self.dilation(last).is_none_or(|dilation| dilation > LIMIT) {
            return Err(config.bad(format!(
                "`num_residual_layers` is {} and `dilation_growth_rate` {}; the dilation of the last layer, rate^{last}, \
                 must not be above {LIMIT}",
                self.num_residual_layers, self.dilation_growth_rate
            )));
        }
        // transformers: without causal convolutions nothing but 1 makes sense
        let trim = self.trim_right_ratio;
        if !(0.0..=1.0).contains(&trim) || (!self.use_causal_conv && trim != 1.0) {
            return Err(config.bad(format!(
                "`trim_right_ratio` is {trim}; it must be from 0 to 1, and 1 where `use_causal_conv` is false"
            )));
        }
        Ok(())
    }

    /// Dilation of the residual layer `index`.
    fn dilation(&self, index: usize) -> Option<usize> {
        self.dilation_growth_rate
            .checked_pow(u32::try_from(index).ok()?)
    }

    /// Samples of a latent frame.
    pub fn hop(&self) -> usize {
        self.upsampling_ratios.iter().product()
    }

    /// `[audio_channels, n]` to `[hidden_size, ceil(n / hop)]`; tensors `encoder.layers.N.…`.
    pub fn encoder(&self, weights: &Weights) -> Result<Vec<Layer>> {
        let mut build = Builder::new(self, weights, "encoder.layers");
        let mut channels = self.num_filters;
        build.conv(self.audio_channels, channels, Taps(self.kernel_size, 1, 1))?;
        for &ratio in self.upsampling_ratios.iter().rev() {
            build.residuals(channels)?;
            build.activation();
            build.conv(channels, channels * 2, Taps(ratio * 2, ratio, 1))?;
            channels *= 2;
        }
        build.lstm(channels)?;
        build.activation();
        build.conv(
            channels,
            self.hidden_size,
            Taps(self.last_kernel_size, 1, 1),
        )?;
        Ok(build.layers)
    }

    /// `[hidden_size, frames]` to `[audio_channels, frames * hop]`; tensors `decoder.layers.N.…`.
    pub fn decoder(&self, weights: &Weights) -> Result<Vec<Layer>> {
        let mut build = Builder::new(self, weights, "decoder.layers");
        let mut channels = self.num_filters << self.upsampling_ratios.len();
        build.conv(self.hidden_size, channels, Taps(self.kernel_size, 1, 1))?;
        build.lstm(channels)?;
        for &ratio in &self.upsampling_ratios {
            build.activation();
            build.conv_transpose(channels, channels / 2, ratio)?;
            channels /= 2;
            build.residuals(channels)?;
        }
        build.activation();
        build.conv(
            channels,
            self.audio_channels,
            Taps(self.last_kernel_size, 1, 1),
        )?;
        Ok(build.layers)
    }

    /// A convolution `P.conv` and its norm `P.norm`.
    fn conv_at(
        &self,
        weights: &Weights,
        prefix: &str,
        [input, output]: [usize; 2],
        Taps(kernel, stride, dilation): Taps,
    ) -> Result<Conv1d> {
        Ok(Conv1d {
            weight: weights.weight(&format!("{prefix}.conv"), &[output, input, kernel])?,
            bias: Some(weights.vector(&format!("{prefix}.conv.bias"), output)?),
            stride,
            dilation,
            padding: Padding::same(
                kernel,
                stride,
                dilation,
                self.use_causal_conv,
                self.pad_mode,
            ),
            norm: self.norm_at(weights, prefix, output)?,
        })
    }

    fn norm_at(
        &self,
        weights: &Weights,
        prefix: &str,
        channels: usize,
    ) -> Result<Option<GroupNorm>> {
        if !self.group_norm {
            return Ok(None);
        }
        Ok(Some(GroupNorm {
            weight: weights.vector(&format!("{prefix}.norm.weight"), channels)?,
            bias: weights.vector(&format!("{prefix}.norm.bias"), channels)?,
            eps: 1e-5,
        }))
    }
}

/// Layers so far; the next takes the next number in the tensors' names.
struct Builder<'a> {
    net: &'a SeaNet,
    weights: &'a Weights,
    prefix: &'static str,
    layers: Vec<Layer>,
}

impl<'a> Builder<'a> {
    fn new(net: &'a SeaNet, weights: &'a Weights, prefix: &'static str) -> Self {
        Self {
            net,
            weights,
            prefix,
            layers: Vec::new(),
        }
    }

    fn here(&self) -> String {
        format!("{}.{}", self.prefix, self.layers.len())
    }

    fn activation(&mut self) {
        self.layers.push(Layer::Activation(Activation::Elu));
    }

    fn conv(&mut self, input: usize, output: usize, taps: Taps) -> Result<()> {
        let conv = self
            .net
            .conv_at(self.weights, &self.here(), [input, output], taps)?;
        self.layers.push(Layer::Conv(conv));
        Ok(())
    }

    fn conv_transpose(&mut self, input: usize, output: usize, ratio: usize) -> Result<()> {
        let (kernel, prefix) = (2 * ratio, self.here());
        let total = kernel - ratio;
        let trim_right = match self.net.use_causal_conv {
            true => (total as f64 * self.net.trim_right_ratio).ceil() as usize,
            false => total / 2,
        };
        self.layers.push(Layer::ConvTranspose(ConvTranspose1d {
            weight: self
                .weights
                .weight(&format!("{prefix}.conv"), &[input, output, kernel])?,
            bias: Some(
                self.weights
                    .vector(&format!("{prefix}.conv.bias"), output)?,
            ),
            stride: ratio,
            trim_left: total - trim_right,
            trim_right,
            norm: self.net.norm_at(self.weights, &prefix, output)?,
        }));
        Ok(())
    }

    fn residuals(&mut self, channels: usize) -> Result<()> {
        for index in 0..self.net.num_residual_layers {
            let dilation = self.net.dilation(index).expect("checked");
            let hidden = channels / self.net.compress;
            let here = self.here();
            let conv = |at: &str, channels, taps| {
                self.net
                    .conv_at(self.weights, &format!("{here}.{at}"), channels, taps)
            };
            let kernel = self.net.residual_kernel_size;
            let body = vec![
                Layer::Activation(Activation::Elu),
                Layer::Conv(conv(
                    "block.1",
                    [channels, hidden],
                    Taps(kernel, 1, dilation),
                )?),
                Layer::Activation(Activation::Elu),
                Layer::Conv(conv("block.3", [hidden, channels], Taps(1, 1, 1))?),
            ];
            let shortcut = match self.net.use_conv_shortcut {
                true => Some(conv("shortcut", [channels, channels], Taps(1, 1, 1))?),
                false => None,
            };
            self.layers
                .push(Layer::Residual(Residual { body, shortcut }));
        }
        Ok(())
    }

    fn lstm(&mut self, hidden: usize) -> Result<()> {
        if self.net.num_lstm_layers == 0 {
            return Ok(());
        }
        let prefix = self.here();
        let layer = |index: usize| {
            let name = |what: &str| format!("{prefix}.lstm.{what}_l{index}");
            let mut bias = self.weights.vector(&name("bias_ih"), 4 * hidden)?;
            let other = self.weights.vector(&name("bias_hh"), 4 * hidden)?;
            bias.iter_mut().zip(other).for_each(|(a, b)| *a += b);
            Ok(Lstm {
                weight_ih: self
                    .weights
                    .tensor(&name("weight_ih"), &[4 * hidden, hidden])?,
                weight_hh: self
                    .weights
                    .tensor(&name("weight_hh"), &[4 * hidden, hidden])?,
                bias,
            })
        };
        let layers: Result<_> = (0..self.net.num_lstm_layers).map(layer).collect();
        self.layers.push(Layer::Lstm(layers?));
        Ok(())
    }
}
