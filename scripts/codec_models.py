"""Codec checkpoints with random weights, and what transformers makes of them: shared by the scripts about codecs.

Weights as initialised are of no use as a reference: activations fade from layer to layer and every frame gets the same
code. `liven` scales each layer to a steady output, and `fit_codebooks` draws codebooks from what the encoder gives.
"""

import dataclasses
import json
import math
import pathlib

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel)
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()

CLASSES = {"mimi": (MimiConfig, MimiModel), "encodec": (EncodecConfig, EncodecModel), "dac": (DacConfig, DacModel)}

# The architectures of the published checkpoints, as their config.json files have them; what is not named is the default.
PUBLISHED = {
    "mimi": ("mimi", {"frame_rate": 12.5}),
    "encodec_24khz": ("encodec", {}),
    "encodec_48khz": ("encodec", dict(sampling_rate=48_000, audio_channels=2, normalize=True, chunk_length_s=1.0,
                                      overlap=0.01, norm_type="time_group_norm", use_causal_conv=False,
                                      target_bandwidths=[3.0, 6.0, 12.0, 24.0])),
    "dac_16khz": ("dac", dict(n_codebooks=12, downsampling_ratios=[2, 4, 5, 8], sampling_rate=16_000)),
    "dac_24khz": ("dac", dict(n_codebooks=32, downsampling_ratios=[2, 4, 5, 8], sampling_rate=24_000)),
    "dac_44khz": ("dac", dict(n_codebooks=9, downsampling_ratios=[2, 4, 8, 8], sampling_rate=44_100)),
}


@dataclasses.dataclass
class Encoded:
    """What the encoder makes of one waveform."""
    codes: np.ndarray  # [frames, codebooks]
    latents: np.ndarray  # [frames, latent], before quantization
    scales: np.ndarray  # [chunks], loudness; empty without normalisation
    chunks: list[int]  # frames of each chunk


def build(kind: str, options: dict, seed: int) -> nn.Module:
    """A model as initialised by transformers."""
    torch.manual_seed(seed)
    config, model = CLASSES[kind]
    return model(config(**options)).eval()


def load(folder: pathlib.Path) -> nn.Module:
    """A checkpoint, in f32."""
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    tensors = load_file(folder / "model.safetensors")
    if kind == "dac" and any(name.endswith("original0") for name in tensors):  # which from_pretrained would ignore
        model = DacModel(DacConfig.from_pretrained(folder))
        model.apply_weight_norm()
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return model.eval()
    model = CLASSES[kind][1].from_pretrained(folder, dtype=torch.float32).eval()
    for conv in model.modules():
        if hasattr(conv, "padding_left") and hasattr(conv, "padding_total"):  # from_pretrained leaves them on "meta"
            conv.padding_right = conv.padding_total // 2
            conv.padding_left = conv.padding_total - conv.padding_right
    return model


def published(name: str, folder: pathlib.Path, waves: list[np.ndarray], seed: int = 1) -> nn.Module:
    """The checkpoint `folder` with the architecture of the published `name`; made, and fitted to `waves`
    (`[samples, channels]`), if it is not there."""
    if not (folder / "model.safetensors").exists():
        kind, options = PUBLISHED[name]
        model = build(kind, options, seed)
        longest = int(10 * model.config.sampling_rate)
        chunk = getattr(model.config, "chunk_length", None) or longest
        liven(model, waves[0][:min(longest, chunk)], seed)
        fit_codebooks(model, waves, seed)
        model.save_pretrained(folder)
    return load(folder)


def channels_of(model: nn.Module) -> int:
    return getattr(model.config, "audio_channels", 1)


def hop_of(model: nn.Module) -> int:
    """Samples of a frame."""
    c = model.config
    if kind_of(model) == "mimi":
        return math.prod(c.upsampling_ratios) * c.latent_stride
    return math.prod(c.downsampling_ratios if kind_of(model) == "dac" else c.upsampling_ratios)


def kind_of(model: nn.Module) -> str:
    return model.config.model_type


# ---------------------------------------------------------------- signals

def synthetic(samples: int, channels: int, seed: int) -> np.ndarray:
    """A sweep of harmonics, modulated, in noise: `[samples, channels]`, f32."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples)[:, None]
    start, end = rng.uniform(0.003, 0.02, channels), rng.uniform(0.003, 0.06, channels)
    phase = 2 * np.pi * (start * time + (end - start) * time**2 / (2 * max(samples, 400))) + rng.uniform(0, 6, channels)
    tone = sum(np.sin(h * phase) / h for h in range(1, 6))
    level = 0.55 + 0.45 * np.sin(2 * np.pi * time / rng.uniform(150, 900) + rng.uniform(0, 6))
    wave = 0.25 * level * tone + rng.uniform(0.02, 0.2) * rng.standard_normal((samples, channels))
    return np.clip(wave, -1, 1).astype(np.float32)


# ---------------------------------------------------------------- weights

@torch.inference_mode()
def liven(model: nn.Module, wave: np.ndarray, seed: int) -> None:
    """Random biases, norms, activations and scales, then every layer's weights scaled so that its output for `wave`
    (`[samples, channels]`) has a standard deviation of 1 (0.3 for the sound)."""
    generator = torch.Generator().manual_seed(seed)

    def normal_like(tensor: torch.Tensor) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=generator)

    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        last = name.rsplit(".", 1)[-1]
        if "quantizer" in name and last != "bias":
            continue
        if last.endswith("bias") or ".bias_" in name:
            tensor.copy_(0.15 * normal_like(tensor))
        elif last == "alpha" or "norm.weight" in name or "layernorm.weight" in name:
            tensor.copy_(torch.exp(0.4 * normal_like(tensor)))
        elif last == "scale":
            tensor.copy_(0.4 * torch.exp(0.3 * normal_like(tensor)))
        elif last == "original0":
            tensor.mul_(torch.exp(0.3 * normal_like(tensor)))
        elif last == "original1":  # its length is of no consequence, so it may not be 1
            tensor.mul_(torch.exp(0.5 * torch.randn(tensor.shape[0], 1, 1, generator=generator)))
        elif "lstm.weight" in name:
            tensor.mul_(2.0)

    def steady(module: nn.Module, _inputs, output: torch.Tensor) -> torch.Tensor:
        shape = [-1, 1] if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)) else [-1]
        bias = 0.0 if module.bias is None else module.bias.view(shape)
        scale = getattr(module, "target", 1.0) / (output - bias).std().clamp(min=1e-12)
        if hasattr(module, "parametrizations"):
            module.parametrizations.weight.original0.mul_(scale)
        else:
            module.weight.mul_(scale)
        return (output - bias) * scale + bias

    hooks = [m.register_forward_hook(steady) for n, m in model.named_modules()
             if isinstance(m, (nn.Conv1d, nn.ConvTranspose1d, nn.Linear)) and "quantizer" not in n]
    sound = [m for n, m in model.named_modules() if "decoder" in n and isinstance(m, nn.Conv1d)][-1]
    sound.target = 0.3
    decoder(model)(encoder_latents(model, batch(wave)))
    for hook in hooks:
        hook.remove()


def fit_codebooks(model: nn.Module, waves: list[np.ndarray], seed: int) -> None:
    """Codebooks from the residuals of the waves' latents, each varied by chance."""
    generator = torch.Generator().manual_seed(seed)
    latents = np.concatenate([encode(model, wave, fitted=False).latents for wave in waves])
    latents = torch.from_numpy(latents)  # [frames, latent]
    with torch.inference_mode():
        if kind_of(model) == "dac":
            fit_factorized(model.quantizer.quantizers, latents, generator)
            return
        for part, books in rvq_parts(model):
            fit_rvq(part, books, latents, generator)


def drawn_from(pool: torch.Tensor, size: int, least: float, generator: torch.Generator) -> torch.Tensor:
    """`size` rows of `pool`, `[n, dim]`, each varied in length, and by noise of at least `least`."""
    rows = pool[torch.randint(len(pool), (size,), generator=generator)]
    length = 0.5 + 0.6 * torch.rand(size, 1, generator=generator)
    noise = max(0.25 * float(pool.std()), least)
    return rows * length + noise * torch.randn(rows.shape, generator=generator)


def fit_rvq(part: nn.Module, books: list[nn.Module], latents: torch.Tensor, generator: torch.Generator) -> None:
    if getattr(part, "input_proj", None) is not None:
        latents = latents @ part.input_proj.weight[:, :, 0].T
        part.output_proj.weight.mul_(1.0 / (part.output_proj.weight[:, :, 0] @ latents.T).std())
    least = 0.1 * float(latents.std())  # or nothing would be left for the last of 32 codebooks
    for book in books:
        size = len(book.embed)
        entries = drawn_from(latents, size, least, generator)
        if hasattr(book, "embed_sum"):
            book.cluster_usage.copy_(torch.exp(1.5 * torch.randn(size, generator=generator)))
            book.cluster_usage[0] = 0.0  # a dead entry: transformers divides it by 1e-5
            book.embed_sum.copy_(entries * book.cluster_usage.clamp(min=book.epsilon)[:, None])
            book._embed = None
        else:
            book.embed.copy_(entries)
            book.embed_avg.copy_(entries)
            book.cluster_size.fill_(1.0)
        nearest = torch.cdist(latents, book.embed).argmin(dim=-1)
        latents = latents - book.embed[nearest]


def fit_factorized(books: list[nn.Module], latents: torch.Tensor, generator: torch.Generator) -> None:
    for book in books:
        weight = book.in_proj.weight[:, :, 0]
        weight.mul_(1.0 / (latents @ weight.T).std())
        # a codebook takes away what it sees, roughly
        book.out_proj.weight[:, :, 0].copy_(torch.linalg.pinv(weight))
        book.out_proj.weight.mul_(torch.exp(0.2 * torch.randn(book.out_proj.weight.shape, generator=generator)))
        for bias in (book.in_proj.bias, book.out_proj.bias):
            bias.copy_(0.05 * torch.randn(bias.shape, generator=generator))
        projected = latents @ weight.T + book.in_proj.bias
        book.codebook.weight.copy_(drawn_from(projected, len(book.codebook.weight), 0.0, generator))
        latents = latents - book(latents.T[None])[0][0].T


# ---------------------------------------------------------------- encoding and decoding

def batch(wave: np.ndarray) -> torch.Tensor:
    """`[samples, channels]` to `[1, channels, samples]`."""
    return torch.from_numpy(np.ascontiguousarray(wave.T))[None]


def encoder_latents(model: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """`[1, channels, samples]` to `[1, latent, frames]`."""
    output = model.encoder(values)
    return output.latents if kind_of(model) == "mimi" else output


def decoder(model: nn.Module):
    """Latents `[1, latent, frames]` to sound `[1, channels, samples]`."""
    return (lambda z: model.decoder(z).audio_values) if kind_of(model) == "mimi" else model.decoder


@torch.inference_mode()
def encode(model: nn.Module, wave: np.ndarray, codebooks: int | None = None, fitted: bool = True) -> Encoded:
    """Codes of one waveform `[samples, channels]`, alone and unpadded (DAC: padded as its extractor does), by the
    model's own `encode`. Without `fitted` codebooks: the latents alone."""
    seen = []

    def keep(_module, _inputs, output):
        seen.append((output if torch.is_tensor(output) else output.latents)[0].T.numpy())

    hook = model.encoder.register_forward_hook(keep)
    values = batch(wave)
    scales: list[float] = []
    if kind_of(model) == "mimi":
        if fitted:
            codes = model.encode(values, num_quantizers=codebooks).audio_codes[0].T
        else:
            model.encoder(values)
    elif kind_of(model) == "dac":
        values = nn.functional.pad(values, (0, -values.shape[-1] % hop_of(model)))
        codes = model.encode(values, n_quantizers=codebooks).audio_codes[0].T
    else:
        codes, scales = encode_chunks(model, values)
        codes = codes[:, :codebooks]
    hook.remove()
    latents = np.concatenate(seen)
    codes = np.ascontiguousarray(codes.numpy()) if fitted else np.zeros((len(latents), 0), int)
    return Encoded(codes, latents.astype(np.float32),
                   np.array(scales, np.float32), [len(chunk) for chunk in seen])


def encode_chunks(model: nn.Module, values: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """EnCodec's chunks one by one: its `encode` refuses audio whose last chunk but one is not whole."""
    length = model.config.chunk_length or values.shape[-1]
    stride = model.config.chunk_stride or values.shape[-1]
    frames = [model._encode_frame(values[..., at : at + length], model.config.target_bandwidths[-1])
              for at in range(0, values.shape[-1], stride)]
    codes = torch.cat([codes[0].T for codes, _ in frames])
    return codes, [float(scale) for _, scale in frames if scale is not None]


@torch.inference_mode()
def decode(model: nn.Module, encoded: Encoded, codebooks: int | None = None) -> np.ndarray:
    """Sound `[samples, channels]` of the first `codebooks` codebooks."""
    codes = torch.from_numpy(encoded.codes[:, :codebooks].astype(np.int64)).T[None]  # [1, codebooks, frames]
    if kind_of(model) == "mimi":
        wave = model.decode(codes).audio_values[0]
    elif kind_of(model) == "dac":
        wave = model.decode(audio_codes=codes).audio_values
    else:
        scales = [torch.tensor([[s]]) for s in encoded.scales] or [None] * len(encoded.chunks)
        wave = model.decode(list(codes.split(encoded.chunks, dim=-1)), scales).audio_values[0]
    return np.ascontiguousarray(wave.numpy().T.astype(np.float32))


# ---------------------------------------------------------------- margins

def rvq_parts(model: nn.Module) -> list[tuple[nn.Module, list[nn.Module]]]:
    """Quantizers of the same latent, each with its codebooks."""
    if kind_of(model) == "mimi":
        parts = [model.quantizer.semantic_residual_vector_quantizer, model.quantizer.acoustic_residual_vector_quantizer]
    else:
        parts = [model.quantizer]
    return [(part, [layer.codebook for layer in part.layers]) for part in parts]


@torch.inference_mode()
def squared_distances(model: nn.Module, encoded: Encoded):
    """For each codebook in turn the squared distances `[frames, size]`, in f64, of what the codes before it left. (DAC:
    of the unit vectors.)"""
    latents = torch.from_numpy(encoded.latents).double()
    codes = torch.from_numpy(encoded.codes.astype(np.int64))
    used = codes.shape[1]
    if kind_of(model) == "dac":
        for index, book in enumerate(model.quantizer.quantizers[:used]):
            projected = latents @ book.in_proj.weight[:, :, 0].double().T + book.in_proj.bias.double()
            entries = book.codebook.weight.double()
            yield torch.cdist(nn.functional.normalize(projected), nn.functional.normalize(entries)).square().numpy()
            chosen = entries[codes[:, index]]
            latents = latents - chosen @ book.out_proj.weight[:, :, 0].double().T - book.out_proj.bias.double()
        return
    index = 0
    for part, books in rvq_parts(model):
        residual = latents
        if getattr(part, "input_proj", None) is not None:
            residual = latents @ part.input_proj.weight[:, :, 0].double().T
        for book in books[: used - index]:
            entries = book.embed.double()
            yield torch.cdist(residual, entries).square().numpy()
            residual = residual - entries[codes[:, index]]
            index += 1


def gaps(model: nn.Module, encoded: Encoded) -> np.ndarray:
    """By how much of itself the second nearest entry is farther (squared distance) than the code: `[frames, codebooks]`;
    negative where the code is not the nearest."""
    columns = []
    for index, distances in enumerate(squared_distances(model, encoded)):
        rows = np.arange(len(distances))
        chosen = distances[rows, encoded.codes[:, index]].copy()
        distances[rows, encoded.codes[:, index]] = np.inf
        second = distances.min(axis=1)
        columns.append((second - chosen) / np.maximum(second, 1e-30))
    return np.stack(columns, axis=1)
