"""Arithmetic of the codecs by formula: floating-point operations of a second of audio, a multiply-add counted as two.

Each function takes a transformers configuration. What is not a product of matrices (activations, norms) is not counted.
"""

import math


def conv(inputs: int, outputs: int, kernel: int, rate: float) -> float:
    """A convolution with `rate` outputs a second, or a transposed one with `rate` inputs."""
    return 2 * inputs * outputs * kernel * rate


def residuals(c, channels: int, rate: float) -> float:
    hidden = channels // c.compress
    one = conv(channels, hidden, c.residual_kernel_size, rate) + conv(hidden, channels, 1, rate)
    if c.use_conv_shortcut:
        one += conv(channels, channels, 1, rate)
    return c.num_residual_layers * one


def lstm(c, channels: int, rate: float) -> float:
    return getattr(c, "num_lstm_layers", 0) * 2 * 8 * channels * channels * rate


def seanet_encoder(c) -> float:
    rate, channels = float(c.sampling_rate), c.num_filters
    total = conv(c.audio_channels, channels, c.kernel_size, rate)
    for ratio in reversed(c.upsampling_ratios):
        total += residuals(c, channels, rate)
        rate /= ratio
        total += conv(channels, 2 * channels, 2 * ratio, rate)
        channels *= 2
    return total + lstm(c, channels, rate) + conv(channels, c.hidden_size, c.last_kernel_size, rate)


def seanet_decoder(c) -> float:
    rate, channels = c.sampling_rate / math.prod(c.upsampling_ratios), c.num_filters * 2 ** len(c.upsampling_ratios)
    total = conv(c.hidden_size, channels, c.kernel_size, rate) + lstm(c, channels, rate)
    for ratio in c.upsampling_ratios:
        total += conv(channels, channels // 2, 2 * ratio, rate)
        rate *= ratio
        channels //= 2
        total += residuals(c, channels, rate)
    return total + conv(channels, c.audio_channels, c.last_kernel_size, rate)


def transformer(c, rate: float, secs: float) -> float:
    """For utterances of `secs`: a position looks at the window before it, or at what there is."""
    heads, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    positions = max(1, round(secs * rate))
    keys = sum(min(at + 1, c.sliding_window) for at in range(positions)) / positions
    weights = 2 * heads * c.hidden_size + 2 * kv * c.hidden_size + 2 * c.hidden_size * c.intermediate_size
    return c.num_hidden_layers * 2 * rate * (weights + 2 * heads * keys)


def mimi(c, codebooks: int, secs: float, decode: bool) -> float:
    inner = c.sampling_rate / math.prod(c.upsampling_ratios)
    stride = c.latent_stride
    frames = inner / stride
    projections = 2 * 2 * c.hidden_size * c.vector_quantization_hidden_dimension * frames
    if decode:
        upsample = conv(c.hidden_size, c.hidden_size // c.upsample_groups, 2 * stride, frames)
        return projections + upsample + transformer(c, inner, secs) + seanet_decoder(c)
    search = 2 * codebooks * c.codebook_size * c.codebook_dim * frames
    downsample = conv(c.hidden_size, c.hidden_size, 2 * stride, frames)
    return seanet_encoder(c) + transformer(c, inner, secs) + downsample + projections + search


def encodec(c, codebooks: int, decode: bool) -> float:
    if decode:
        return seanet_decoder(c)
    frames = c.sampling_rate / math.prod(c.upsampling_ratios)
    return seanet_encoder(c) + 2 * codebooks * c.codebook_size * c.codebook_dim * frames


def dac_units(channels: int, rate: float) -> float:
    return 3 * (conv(channels, channels, 7, rate) + conv(channels, channels, 1, rate))


def dac(c, codebooks: int, decode: bool) -> float:
    frames = c.sampling_rate / math.prod(c.downsampling_ratios)
    latent = c.encoder_hidden_size * 2 ** len(c.downsampling_ratios)
    if decode:
        rate, channels = frames, c.decoder_hidden_size
        total = conv(latent, channels, 7, rate) + codebooks * conv(c.codebook_dim, latent, 1, rate)
        for ratio in reversed(c.downsampling_ratios):
            total += conv(channels, channels // 2, 2 * ratio, rate)
            rate *= ratio
            channels //= 2
            total += dac_units(channels, rate)
        return total + conv(channels, 1, 7, rate)
    rate, channels = float(c.sampling_rate), c.encoder_hidden_size
    total = conv(1, channels, 7, rate)
    for ratio in c.downsampling_ratios:
        total += dac_units(channels, rate)
        rate /= ratio
        total += conv(channels, 2 * channels, 2 * ratio, rate)
        channels *= 2
    one = 2 * conv(c.codebook_dim, latent, 1, frames) + 2 * c.codebook_size * c.codebook_dim * frames
    return total + conv(channels, latent, 3, frames) + codebooks * one


def flops(config, codebooks: int, secs: float, decode: bool) -> float:
    """Operations for a second of audio in utterances of `secs`."""
    if config.model_type == "mimi":
        return mimi(config, codebooks, secs, decode)
    return {"encodec": encodec, "dac": dac}[config.model_type](config, codebooks, decode)
