//! Convolutions, each item of a batch with its own padding.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module::{conv_transpose1d, conv1d};
use burn::tensor::ops::{ConvTransposeOptions, PaddedConvOptions};

use super::border::Border;
use super::norm::GroupNorm;
use super::signal::{Signal, upload, upload_vector};
use crate::network::{self, PadMode, Padding};

/// See [`network::Conv1d`].
pub struct Conv<B: Backend> {
    /// `[out, in, kernel]`
    weight: Tensor<B, 3>,
    /// `[out]`
    bias: Option<Tensor<B, 1>>,
    stride: usize,
    dilation: usize,
    padding: Padding,
    norm: Option<GroupNorm<B>>,
}

impl<B: Backend> Conv<B> {
    /// Copies the weights to `device`.
    pub fn new(conv: &network::Conv1d, device: &B::Device) -> Self {
        Self {
            weight: upload(&conv.weight, device),
            bias: conv.bias.as_ref().map(|bias| upload_vector(bias, device)),
            norm: conv.norm.as_ref().map(|norm| GroupNorm::new(norm, device)),
            stride: conv.stride,
            dilation: conv.dilation,
            padding: conv.padding,
        }
    }

    /// `[batch, in, time]` to `[batch, out, outputs]`
    pub fn forward(&self, signal: Signal<B>) -> Signal<B> {
        let [_, _, kernel] = self.weight.dims();
        let span = (kernel - 1) * self.dilation + 1;
        let right_of = |&n: &usize| self.padding.right_of(n, span, self.stride);
        let right: Vec<usize> = signal.lengths.iter().map(right_of).collect();
        let items = signal.lengths.iter().zip(&right);
        let outputs: Vec<usize> = items
            .map(|(n, right)| (self.padding.left + n + right - span) / self.stride + 1)
            .collect();
        let (padded, [before, behind]) = self.pad(signal, &right);
        let options =
            PaddedConvOptions::asymmetric([self.stride], [before], [behind], [self.dilation], 1);
        let data = conv1d(padded, self.weight.clone(), self.bias.clone(), options);
        let data = match &self.norm {
            None => data,
            Some(norm) => norm.forward(data, &outputs),
        };
        Signal {
            data,
            lengths: outputs,
        }
    }

    /// The signal with each item's own padding, and how many zeros are still to be put before and behind all.
    fn pad(&self, signal: Signal<B>, right: &[usize]) -> (Tensor<B, 3>, [usize; 2]) {
        let [_, _, time] = signal.data.dims();
        let lengths = signal.lengths.clone();
        let mut items = lengths.iter().zip(right);
        // most causal convolutions never reach what lies behind an item
        let data = match items.clone().any(|(&n, &right)| n < time && right > 0) {
            true => signal.masked(),
            false => signal.data,
        };
        let left = self.padding.left;
        if let PadMode::Constant = self.padding.mode {
            let end = items.map(|(n, right)| n + right).max().unwrap_or(time);
            return (data, [left, end - time]);
        }
        if left > 0 || items.any(|(_, &right)| right > 0) {
            let padding = self.padding;
            return (Border { padding, right }.around(data, &lengths), [0, 0]);
        }
        (data, [0, 0])
    }
}

/// See [`network::ConvTranspose1d`].
pub struct ConvTranspose<B: Backend> {
    /// `[in, out, kernel]`
    weight: Tensor<B, 3>,
    /// `[out]`
    bias: Option<Tensor<B, 1>>,
    stride: usize,
    trim_left: usize,
    trim_right: usize,
    norm: Option<GroupNorm<B>>,
}

impl<B: Backend> ConvTranspose<B> {
    /// Copies the weights to `device`.
    pub fn new(conv: &network::ConvTranspose1d, device: &B::Device) -> Self {
        Self {
            weight: upload(&conv.weight, device),
            bias: conv.bias.as_ref().map(|bias| upload_vector(bias, device)),
            stride: conv.stride,
            trim_left: conv.trim_left,
            trim_right: conv.trim_right,
            norm: conv.norm.as_ref().map(|norm| GroupNorm::new(norm, device)),
        }
    }

    /// `[batch, in, time]` to `[batch, out, outputs]`
    pub fn forward(&self, signal: Signal<B>) -> Signal<B> {
        let [_, output, kernel] = self.weight.dims();
        let full: Vec<usize> = signal
            .lengths
            .iter()
            .map(|n| (n - 1) * self.stride + kernel)
            .collect();
        // an item's tail overlaps with what the elements behind it give, unless all of the tail is cut off
        let data = match self.norm.is_some() || self.trim_right + self.stride < kernel {
            true => signal.masked(),
            false => signal.data,
        };
        let options = ConvTransposeOptions::new([self.stride], [0], [0], [1], 1);
        let data = conv_transpose1d(data, self.weight.clone(), self.bias.clone(), options);
        let data = match &self.norm {
            None => data,
            Some(norm) => norm.forward(data, &full),
        };
        let [batch, _, time] = data.dims();
        Signal {
            data: data.slice([0..batch, 0..output, self.trim_left..time - self.trim_right]),
            lengths: full
                .iter()
                .map(|n| n - self.trim_left - self.trim_right)
                .collect(),
        }
    }
}
