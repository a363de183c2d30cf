//! What a neural codec is, as data: its layers with their weights, its quantizer, and how audio is cut for it.
//!
//! [`models`](crate::models) reads a checkpoint into a [`Model`]; this
//! one definition is then executed by [`cpu`](crate::cpu) (streams, on one thread each) or by
//! [`tensor`](crate::tensor) (batches, on any Burn backend).
//!
//! Tensors have PyTorch's shapes. A signal is `[channels, time]` in these descriptions.

use crate::CodecSpec;

/// A neural codec.
pub struct Model {
    /// Identity and geometry.
    pub spec: CodecSpec,
    /// How audio is cut and scaled before the encoder.
    pub framing: Framing,
    /// Audio `[channels, samples]` to latents `[latent, frames]`.
    pub encoder: Network,
    /// Latents to codes and back.
    pub quantizer: Quantizer,
    /// Latents `[latent, frames]` to audio `[channels, samples]`.
    pub decoder: Network,
}

/// How audio is cut and scaled before the encoder, and put together after the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Zeros are appended until the length is a multiple of this; 1 for none.
    pub pad_to: usize,
    /// Audio is encoded in chunks that know nothing of each other; `None`: in one.
    pub chunk: Option<Chunk>,
    /// Each chunk is divided by its root mean square (of the mean over channels, plus 1e-8), which the decoder undoes.
    pub normalize: bool,
}

/// Chunks of `length` samples that start every `stride` samples. The last may be shorter.
///
/// Decoded chunks are added with triangular weights where they overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Samples of a chunk.
    pub length: usize,
    /// Samples from the start of one chunk to the start of the next.
    pub stride: usize,
}

/// Layers in order.
pub struct Network {
    /// Channels of the input.
    pub channels: usize,
    /// The layers.
    pub layers: Vec<Layer>,
}

/// One layer.
pub enum Layer {
    /// Convolution.
    Conv(Conv1d),
    /// Transposed convolution.
    ConvTranspose(ConvTranspose1d),
    /// Elementwise function.
    Activation(Activation),
    /// `shortcut(x) + body(x)`
    Residual(Residual),
    /// `lstm(x) + x`
    Lstm(Vec<Lstm>),
    /// Transformer with causal attention in a window.
    Transformer(Transformer),
}

/// A dense array of weights, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// `shape.product()` values.
    pub data: Vec<f32>,
}

/// Convolution with its padding.
///
/// For n inputs there are `(left + n + right + extra - dilation * (kernel - 1) - 1) / stride + 1` outputs, where `extra`
/// is the number of elements that completes the last window, see [`Padding::complete`].
pub struct Conv1d {
    /// `[out, in, kernel]`
    pub weight: Tensor,
    /// `[out]`
    pub bias: Option<Vec<f32>>,
    /// Inputs from one output to the next.
    pub stride: usize,
    /// Inputs from one tap of the kernel to the next.
    pub dilation: usize,
    /// What stands before and after the signal.
    pub padding: Padding,
    /// Normalisation of the output over channels and time.
    pub norm: Option<GroupNorm>,
}

/// Padding of a convolution's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Elements before the signal.
    pub left: usize,
    /// Elements after it.
    pub right: usize,
    /// Whether so many elements more follow on the right that no input is left out, `ceil(n / stride)` outputs in all.
    pub complete: bool,
    /// Values of the elements.
    pub mode: PadMode,
}

/// Values outside the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PadMode {
    /// 0
    Constant,
    /// The signal mirrored about its first and last element; where it is not longer than the padding, zeros are first
    /// put behind it.
    Reflect,
    /// The first or last element.
    Replicate,
}

/// Transposed convolution; for n inputs there are `(n - 1) * stride + kernel - trim_left - trim_right` outputs.
pub struct ConvTranspose1d {
    /// `[in, out, kernel]`
    pub weight: Tensor,
    /// `[out]`
    pub bias: Option<Vec<f32>>,
    /// Outputs from one input to the next.
    pub stride: usize,
    /// Outputs dropped at the start.
    pub trim_left: usize,
    /// Outputs dropped at the end.
    pub trim_right: usize,
    /// Normalisation of the output, before it is trimmed, over channels and time.
    pub norm: Option<GroupNorm>,
}

/// Normalisation to mean 0 and variance 1 over all channels and all time (one group), then `weight * x + bias` by channel.
pub struct GroupNorm {
    /// `[channels]`
    pub weight: Vec<f32>,
    /// `[channels]`
    pub bias: Vec<f32>,
    /// Added to the variance.
    pub eps: f32,
}

/// An elementwise function.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    /// `x > 0 ? x : exp(x) - 1`
    Elu,
    /// `x + sin²(αx) / (α + 1e-9)` with α `[channels]`, [Ziyin et al. 2020](https://arxiv.org/abs/2006.08195)
    Snake(Vec<f32>),
    /// Hyperbolic tangent.
    Tanh,
}

/// `shortcut(x) + body(x)`; the body keeps the length.
pub struct Residual {
    /// The layers.
    pub body: Vec<Layer>,
    /// Kernel 1; `None`: the identity.
    pub shortcut: Option<Conv1d>,
}

/// One layer of a uni-directional LSTM, gates in PyTorch's order: input, forget, cell, output.
pub struct Lstm {
    /// `[4 * hidden, in]`
    pub weight_ih: Tensor,
    /// `[4 * hidden, hidden]`
    pub weight_hh: Tensor,
    /// `[4 * hidden]`, both biases added.
    pub bias: Vec<f32>,
}

/// Pre-norm transformer with rotary positions, attention to the last `window` positions, and layer scale.
pub struct Transformer {
    /// The layers.
    pub layers: Vec<TransformerLayer>,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// A position attends to itself and the `window - 1` before it.
    pub window: usize,
    /// Base of the rotary angles (`rotate_half` convention).
    pub rope_theta: f32,
    /// Added to the variance in layer normalisation.
    pub norm_eps: f32,
}

/// `x += s₁·attention(norm₁(x)); x += s₂·fc2(gelu(fc1(norm₂(x))))`
pub struct TransformerLayer {
    /// Before attention.
    pub attention_norm: LayerNorm,
    /// `[heads * head_dim, hidden]`
    pub q: Linear,
    /// `[kv_heads * head_dim, hidden]`
    pub k: Linear,
    /// `[kv_heads * head_dim, hidden]`
    pub v: Linear,
    /// `[hidden, heads * head_dim]`
    pub o: Linear,
    /// `[hidden]`
    pub attention_scale: Vec<f32>,
    /// Before the feed-forward part.
    pub mlp_norm: LayerNorm,
    /// `[intermediate, hidden]`
    pub fc1: Linear,
    /// `[hidden, intermediate]`
    pub fc2: Linear,
    /// `[hidden]`
    pub mlp_scale: Vec<f32>,
}

/// `weight · x + bias`
pub struct Linear {
    /// `[out, in]`
    pub weight: Tensor,
    /// `[out]`
    pub bias: Option<Vec<f32>>,
}

/// Normalisation over channels.
pub struct LayerNorm {
    /// `[channels]`
    pub weight: Vec<f32>,
    /// `[channels]`
    pub bias: Vec<f32>,
}

/// Latents to codes and back.
pub enum Quantizer {
    /// Groups of codebooks that quantize the same latent apart; their sum is the decoder's input.
    Euclidean(Vec<Rvq>),
    /// Codebooks of few dimensions, each with its projections (DAC).
    Factorized(Vec<FactorizedVq>),
}

/// Residual vector quantization: each codebook codes what the ones before it left, by Euclidean distance.
pub struct Rvq {
    /// `[dim, latent]`; `None`: the identity.
    pub input_proj: Option<Tensor>,
    /// `[latent, dim]`; `None`: the identity.
    pub output_proj: Option<Tensor>,
    /// `[size, dim]` each
    pub codebooks: Vec<Tensor>,
}

/// A codebook searched among unit vectors in a projected space, [Kumar et al. 2023](https://arxiv.org/abs/2306.06546).
pub struct FactorizedVq {
    /// `[dim, latent]`
    pub in_proj: Linear,
    /// `[latent, dim]`
    pub out_proj: Linear,
    /// `[size, dim]`, not normalised
    pub codebook: Tensor,
}

impl Padding {
    /// Of a convolution that keeps `ceil(n / stride)` outputs: all on the left if `causal`, else on both sides, the odd one
    /// on the left.
    pub fn same(
        kernel: usize,
        stride: usize,
        dilation: usize,
        causal: bool,
        mode: PadMode,
    ) -> Self {
        let total = ((kernel - 1) * dilation + 1).saturating_sub(stride);
        let right = if causal { 0 } else { total / 2 };
        Self {
            left: total - right,
            right,
            complete: true,
            mode,
        }
    }

    /// `size` zeros on both sides.
    pub fn symmetric(size: usize) -> Self {
        Self {
            left: size,
            right: size,
            complete: false,
            mode: PadMode::Constant,
        }
    }
}

impl Padding {
    /// Elements that follow a signal of `n` before windows of `span` that start every `stride`.
    pub fn right_of(&self, n: usize, span: usize, stride: usize) -> usize {
        let padded = self.left + n + self.right;
        let extra = match padded.checked_sub(span) {
            _ if !self.complete => 0,
            None => span - padded,
            Some(starts) => starts.next_multiple_of(stride) - starts,
        };
        self.right + extra
    }

    /// The element of a signal of `n` that stands at `position`, which is negative before the signal and `n` or more after
    /// it; `None` is a zero. `pad_right` elements follow the signal, [`Conv1d::pad_right`].
    pub fn source(&self, position: isize, n: usize, pad_right: usize) -> Option<usize> {
        match self.mode {
            PadMode::Constant => None,
            PadMode::Replicate => Some(if position < 0 { 0 } else { n - 1 }),
            PadMode::Reflect => {
                // mirrored is the signal with the zeros that make it longer than the padding
                let mirrored = n.max(self.left.max(pad_right) + 1);
                let index = match usize::try_from(position) {
                    Err(_) => position.unsigned_abs(),
                    Ok(position) if position < mirrored => position,
                    Ok(position) => 2 * mirrored - 2 - position,
                };
                (index < n).then_some(index)
            }
        }
    }
}

impl Conv1d {
    /// Inputs that one output looks at, from the first tap to the last.
    pub fn span(&self) -> usize {
        (self.weight.shape[2] - 1) * self.dilation + 1
    }

    /// Elements that follow an input of `n`: the fixed padding and what completes the last window.
    pub fn pad_right(&self, n: usize) -> usize {
        self.padding.right_of(n, self.span(), self.stride)
    }

    /// Outputs for `n` inputs.
    pub fn outputs(&self, n: usize) -> usize {
        let padded = self.padding.left + n + self.pad_right(n);
        match padded < self.span() {
            true => 0,
            false => (padded - self.span()) / self.stride + 1,
        }
    }
}
