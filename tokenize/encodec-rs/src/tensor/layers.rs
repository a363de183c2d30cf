//! Layers on a device, in order.

use burn::tensor::Tensor;
use burn::tensor::activation::elu;
use burn::tensor::backend::Backend;

use super::conv::{Conv, ConvTranspose};
use super::lstm::Lstm;
use super::signal::{Signal, floats};
use super::transformer::Transformer;
use crate::network::{self, Activation};

/// One of [`network::Layer`].
pub enum Layer<B: Backend> {
    Conv(Conv<B>),
    ConvTranspose(ConvTranspose<B>),
    Elu,
    Snake(Snake<B>),
    Tanh,
    Residual {
        body: Vec<Layer<B>>,
        shortcut: Option<Conv<B>>,
    },
    Lstm(Vec<Lstm<B>>),
    Transformer(Transformer<B>),
}

/// Copies the weights of `layers` to `device`.
pub fn upload<B: Backend>(layers: &[network::Layer], device: &B::Device) -> Vec<Layer<B>> {
    layers
        .iter()
        .map(|layer| match layer {
            network::Layer::Conv(conv) => Layer::Conv(Conv::new(conv, device)),
            network::Layer::ConvTranspose(conv) => {
                Layer::ConvTranspose(ConvTranspose::new(conv, device))
            }
            network::Layer::Activation(Activation::Elu) => Layer::Elu,
            network::Layer::Activation(Activation::Snake(alpha)) => {
                Layer::Snake(Snake::new(alpha, device))
            }
            network::Layer::Activation(Activation::Tanh) => Layer::Tanh,
            network::Layer::Residual(residual) => Layer::Residual {
                body: upload(&residual.body, device),
                shortcut: residual
                    .shortcut
                    .as_ref()
                    .map(|conv| Conv::new(conv, device)),
            },
            network::Layer::Lstm(lstms) => {
                Layer::Lstm(lstms.iter().map(|lstm| Lstm::new(lstm, device)).collect())
            }
            network::Layer::Transformer(transformer) => {
                Layer::Transformer(Transformer::new(transformer, device))
            }
        })
        .collect()
}

/// All layers in order: `[batch, in, time]` to `[batch, out, time]`.
pub fn forward<B: Backend>(layers: &[Layer<B>], signal: Signal<B>) -> Signal<B> {
    layers
        .iter()
        .fold(signal, |signal, layer| layer.forward(signal))
}

impl<B: Backend> Layer<B> {
    fn forward(&self, signal: Signal<B>) -> Signal<B> {
        match self {
            Self::Conv(conv) => conv.forward(signal),
            Self::ConvTranspose(conv) => conv.forward(signal),
            Self::Elu => signal.map(|x| elu(x, 1.0)),
            Self::Snake(snake) => signal.map(|x| snake.forward(x)),
            Self::Tanh => signal.map(Tensor::tanh),
            Self::Residual { body, shortcut } => {
                let main = forward(body, signal.clone());
                let side = match shortcut {
                    None => signal,
                    Some(conv) => conv.forward(signal),
                };
                side.map(|x| x + main.data)
            }
            Self::Lstm(lstms) => signal.map(|x| {
                let sequence = x.clone().swap_dims(1, 2); // [batch, time, channels]
                let output = lstms.iter().fold(sequence, |x, lstm| lstm.forward(x));
                x + output.swap_dims(1, 2)
            }),
            Self::Transformer(transformer) => {
                signal.map(|x| transformer.forward(x.swap_dims(1, 2)).swap_dims(1, 2))
            }
        }
    }
}

/// See [`Activation::Snake`].
pub struct Snake<B: Backend> {
    /// `[1, channels, 1]`
    alpha: Tensor<B, 3>,
    /// `1 / (alpha + 1e-9)`
    inverse: Tensor<B, 3>,
}

impl<B: Backend> Snake<B> {
    fn new(alpha: &[f32], device: &B::Device) -> Self {
        let alpha = floats(alpha.to_vec(), [1, alpha.len(), 1], device);
        Self {
            inverse: (alpha.clone() + 1e-9).recip(),
            alpha,
        }
    }

    /// `[batch, channels, time]`
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let sine = (x.clone() * self.alpha.clone()).sin();
        x + sine.square() * self.inverse.clone()
    }
}
