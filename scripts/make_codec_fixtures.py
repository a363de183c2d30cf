#!/usr/bin/env python3
"""Make the checkpoints and references that the neural codecs are tested against.

    scripts/make_codec_fixtures.py [--out tokenize/encodec-rs/tests/fixtures] [--only NAME]

Small models with random weights, one folder each, with every option of the architectures on in at least one:
`config.json` and `model.safetensors` as transformers writes them, and what transformers makes of a few waveforms in
`reference.safetensors`. And models of few channels with the strides and kernels of the published ones, with
`lengths.safetensors`: frames of every length of audio up to 4000 samples, and codes for some.
No code in the references is a near-tie, so that another implementation must give the same ones.
Needs torch 2.15 and transformers 5.23. The same versions on the same machine give the same bytes.
"""

import argparse
import copy
import dataclasses
import json
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import load_file
from safetensors.torch import save_file as save_torch

import codec_models as codecs

MIN_GAP = 2e-4  # of a code to the second nearest; the sums of two implementations differ by 1e-6
TABLE_SAMPLES = 4000
TABLE_FRAMES = 64


@dataclasses.dataclass
class Fixture:
    """A small model. `lengths`: of the waveforms."""
    kind: str
    lengths: list[int]
    options: dict
    dtype: torch.dtype = torch.float32
    weight_g: bool = False  # the older names of weight normalisation's tensors
    weight_norm: bool = False  # DAC is published without
    old_config: bool = False  # Mimi's keys as in the published config.json


SMALL_MIMI = dict(sampling_rate=1200, hidden_size=16, num_filters=4, upsampling_ratios=[4, 3, 2], codebook_size=64,
                  codebook_dim=8, vector_quantization_hidden_dimension=8, num_quantizers=10, num_hidden_layers=2,
                  intermediate_size=32, num_attention_heads=4, num_key_value_heads=4, upsample_groups=16)
SMALL_ENCODEC = dict(sampling_rate=1200, hidden_size=16, num_filters=4, upsampling_ratios=[4, 3, 2], codebook_size=32,
                     target_bandwidths=[0.5, 1.0, 2.5])
SMALL_DAC = dict(encoder_hidden_size=2, sampling_rate=16_000, codebook_size=64)

FIXTURES = {
    "mimi": Fixture("mimi", [1, 2, 7, 47, 48, 49, 144, 333, 1200], SMALL_MIMI | dict(frame_rate=25.0), old_config=True),
    "mimi-options": Fixture("mimi", [1, 5, 95, 96, 97, 288, 701, 1500], SMALL_MIMI | dict(
        frame_rate=12.5, audio_channels=2, use_conv_shortcut=True, num_residual_layers=2, dilation_growth_rate=3,
        num_key_value_heads=2, head_dim=6, attention_bias=True, pad_mode="replicate", num_semantic_quantizers=2,
        codebook_dim=16, vector_quantization_hidden_dimension=16, upsample_groups=4, sliding_window=5, compress=1,
        norm_eps=1e-3, last_kernel_size=5, kernel_size=5, rope_parameters=dict(rope_type="default", rope_theta=500.0))),
    "mimi-noncausal": Fixture("mimi", [1, 2, 3, 29, 30, 31, 120, 457], SMALL_MIMI | dict(
        sampling_rate=1500, upsampling_ratios=[5, 3], use_causal_conv=False, pad_mode="reflect", upsample_groups=1,
        num_filters=6, residual_kernel_size=5)),
    "mimi-trim": Fixture("mimi", [1, 13, 48, 200, 600], SMALL_MIMI | dict(
        trim_right_ratio=0.6, sliding_window=3, pad_mode="reflect"), dtype=torch.float16),
    "encodec-24khz": Fixture("encodec", [1, 2, 7, 23, 24, 25, 72, 333, 1100], SMALL_ENCODEC),
    "encodec-options": Fixture("encodec", [1, 2, 11, 20, 61, 404], SMALL_ENCODEC | dict(
        upsampling_ratios=[5, 2, 2], sampling_rate=1000, pad_mode="constant", trim_right_ratio=0.5, num_lstm_layers=1,
        use_conv_shortcut=False, num_residual_layers=2, dilation_growth_rate=3, compress=4, last_kernel_size=5),
        dtype=torch.bfloat16, weight_g=True),
    "encodec-48khz": Fixture("encodec", [1, 3, 24, 500, 1187, 1189, 1200, 1500, 2400, 2600], SMALL_ENCODEC | dict(
        audio_channels=2, normalize=True, chunk_length_s=1.0, overlap=0.01, norm_type="time_group_norm",
        use_causal_conv=False)),
    "encodec-chunks": Fixture("encodec", [5, 700, 757, 1100, 1850, 2600], SMALL_ENCODEC | dict(
        sampling_rate=1010, chunk_length_s=1.0, overlap=0.25, norm_type="time_group_norm", pad_mode="replicate",
        target_bandwidths=[1.0, 2.0])),
    "encodec-normalize": Fixture("encodec", [1, 4, 50, 611], SMALL_ENCODEC | dict(
        normalize=True, use_causal_conv=False, pad_mode="replicate", num_lstm_layers=3, hidden_size=12,
        dilation_growth_rate=1, kernel_size=5), weight_g=True),
    "dac": Fixture("dac", [1, 2, 319, 320, 321, 1280, 3001], SMALL_DAC | dict(
        downsampling_ratios=[2, 4, 5, 8], decoder_hidden_size=32, n_codebooks=12, codebook_dim=4)),
    "dac-weight-norm": Fixture("dac", [1, 23, 24, 25, 480, 1003], SMALL_DAC | dict(
        encoder_hidden_size=4, downsampling_ratios=[3, 2, 4], decoder_hidden_size=24, n_codebooks=9, codebook_dim=8),
        weight_norm=True),
    # sounds that are worked on in several pieces, of odd lengths where the stride is 5, and 32 channels, from where on
    # convolutions may be done otherwise
    "mimi-wide": Fixture("mimi", [1, 100, 803, 2201], SMALL_MIMI | dict(
        frame_rate=120.0, num_filters=32, upsampling_ratios=[5], num_quantizers=2, codebook_size=16, compress=1,
        num_hidden_layers=1, sliding_window=50, use_conv_shortcut=True), dtype=torch.bfloat16),
    "encodec-wide": Fixture("encodec", [1, 100, 803, 2201], SMALL_ENCODEC | dict(
        num_filters=32, upsampling_ratios=[5], hidden_size=8, codebook_size=16, num_lstm_layers=1, compress=1,
        target_bandwidths=[1.92]), dtype=torch.bfloat16),
    "encodec-wide-noncausal": Fixture("encodec", [1, 100, 1603, 6001], SMALL_ENCODEC | dict(
        num_filters=16, upsampling_ratios=[8], hidden_size=8, codebook_size=16, num_lstm_layers=1,
        target_bandwidths=[1.2], norm_type="time_group_norm", use_causal_conv=False), dtype=torch.bfloat16),
    "dac-wide": Fixture("dac", [1, 100, 803, 2201], SMALL_DAC | dict(
        encoder_hidden_size=32, downsampling_ratios=[5], decoder_hidden_size=64, n_codebooks=2, codebook_size=16,
        codebook_dim=4), dtype=torch.bfloat16),
}

# Few channels; strides, kernels and paddings as published.
NARROW = {
    "mimi": dict(num_filters=2, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
                 intermediate_size=16, codebook_size=16, codebook_dim=4, vector_quantization_hidden_dimension=4,
                 num_quantizers=4, upsample_groups=8),
    "encodec": dict(num_filters=2, compress=1, hidden_size=8, codebook_size=16),
    "dac": dict(encoder_hidden_size=2, decoder_hidden_size=32, codebook_size=16, codebook_dim=4, n_codebooks=4),
}
# Beyond the table: around chunks, and a second or so
LONG_SAMPLES = [23_999, 24_000, 24_001, 47_519, 47_520, 47_521, 47_840, 47_999, 48_000, 48_001, 95_040, 95_041, 95_361,
                95_520, 95_521, 100_000]
CODED_LENGTHS = [*range(1, 41), 47, 64, 79, 80, 81, 127, 159, 160, 161, 255, 319, 320, 321, 512, 513, 639, 640, 641, 960,
                 961, 1279, 1919, 1920, 1921, 2048, 2561, 3200, 3333, 3839, 3840, 3841, 3999, 4000]


def save_file(tensors: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """Arrays in the order of their indices: the library writes a transposed one as it lies in memory."""
    save_numpy({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)


def save(fixture: Fixture, model: torch.nn.Module, folder: pathlib.Path) -> torch.nn.Module:
    """Writes the checkpoint; returns it as read again, so that the reference is of what is stored."""
    if fixture.weight_norm:
        model.apply_weight_norm()
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for name, tensor in model.named_parameters():
                if name.endswith("original1"):
                    tensor.mul_(torch.exp(0.5 * torch.randn(tensor.shape[0], 1, 1, generator=generator)))
    copy.deepcopy(model).to(fixture.dtype).save_pretrained(folder)
    model.load_state_dict({name: tensor.to(fixture.dtype).float() for name, tensor in model.state_dict().items()})
    path = folder / "model.safetensors"
    if fixture.weight_g:
        rename = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        tensors = load_file(path)
        for old, new in rename.items():
            tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
        save_torch(tensors, path, metadata={"format": "pt"})
    if fixture.old_config:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        config |= {"rope_theta": config.pop("rope_parameters")["rope_theta"], "frame_rate": config.pop("_frame_rate")}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    stored = codecs.load(folder)
    wave = codecs.synthetic(500, codecs.channels_of(model), 0)
    ours, theirs = (codecs.encode(m, wave).latents for m in (model, stored))
    assert np.abs(ours - theirs).max() < 1e-4, "transformers does not read what was written"
    return stored


def untied(model: torch.nn.Module, wave) -> codecs.Encoded | None:
    """The codes of `wave`, unless one of them is a near-tie."""
    encoded = codecs.encode(model, wave)
    smallest = codecs.gaps(model, encoded).min()
    assert smallest > -1e-4, "a code is not the nearest entry"
    return encoded if smallest > MIN_GAP else None


def fitted(kind: str, options: dict, seed: int) -> torch.nn.Module:
    model = codecs.build(kind, options, seed)
    config = model.config
    channels = codecs.channels_of(model)
    samples = min(getattr(config, "chunk_length", None) or 4000, 4000)
    waves = [codecs.synthetic(samples, channels, 1000 * seed + index) for index in range(8)]
    codecs.liven(model, waves[0], seed)
    codecs.fit_codebooks(model, waves, seed)
    return model


def make_fixture(name: str, fixture: Fixture, folder: pathlib.Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model = save(fixture, fitted(fixture.kind, fixture.options, seed), folder)
    channels = codecs.channels_of(model)
    tensors, used = {}, []
    for length in fixture.lengths:
        for attempt in range(1000):
            wave = codecs.synthetic(length, channels, 10_000 * length + attempt)
            if encoded := untied(model, wave):
                break
        else:
            raise SystemExit(f"{name}: every waveform of {length} samples has a near-tie")
        used.append(encoded.codes)
        tensors |= reference(model, f"{length}", wave, encoded)
    few = encoded.codes.shape[1] // 2
    tensors[f"{length}.decoded.{few}"] = codecs.decode(model, encoded, few)
    if fixture.options.get("normalize"):
        silence = np.zeros((100, channels), np.float32)
        encoded = untied(model, silence)
        assert encoded, "the codes of silence have a near-tie"
        tensors |= reference(model, "silence", silence, encoded)
    save_file(tensors, folder / "reference.safetensors")
    codes = np.concatenate(used)
    spread = [len(np.unique(column)) for column in codes.T]
    level = tensors[f"{length}.decoded"].std()
    print(f"{name}: {len(codes)} frames, different codes by codebook {spread}, decoded level {level:.2f}")


def reference(model: torch.nn.Module, name: str, wave, encoded: codecs.Encoded) -> dict[str, np.ndarray]:
    """Tensors `NAME.input` `[samples, channels]`, `.latents` `[frames, latent]`, `.codes` `[frames, codebooks]`,
    `.decoded` `[samples, channels]`, and `.scales` `[chunks]` for models that normalise."""
    tensors = {f"{name}.input": wave, f"{name}.latents": encoded.latents,
               f"{name}.codes": encoded.codes.astype(np.uint16), f"{name}.decoded": codecs.decode(model, encoded)}
    if len(encoded.scales):
        tensors[f"{name}.scales"] = encoded.scales
    return tensors


def make_lengths(name: str, folder: pathlib.Path, seed: int) -> None:
    """A narrow model with the geometry of the published `name`, and its frames and codes by length."""
    kind, published = codecs.PUBLISHED[name]
    options = published | NARROW[kind]
    if kind == "encodec":  # 4 bits a code, 4 codebooks
        rate = -(-options.get("sampling_rate", 24_000) // 320)
        options["target_bandwidths"] = [rate * 16 / 1000]
    folder.mkdir(parents=True, exist_ok=True)
    model = save(Fixture(kind, [], options), fitted(kind, options, seed), folder)
    channels = codecs.channels_of(model)

    def frames(length: int) -> int:
        return len(codecs.encode(model, np.zeros((length, channels), np.float32)).latents)

    tensors = {"frames": np.array([frames(n) for n in range(1, TABLE_SAMPLES + 1)], np.uint16),
               "long.lengths": np.array(LONG_SAMPLES, np.uint32),
               "long.frames": np.array([frames(n) for n in LONG_SAMPLES], np.uint16),
               "long.decoded": np.array([round_trip(model, n) for n in LONG_SAMPLES], np.uint32),
               "decoded": np.array([decoded_samples(model, n) for n in range(1, TABLE_FRAMES + 1)], np.uint32)}
    signal = codecs.synthetic(TABLE_SAMPLES + 400, channels, seed)
    offsets, codes = [], []
    for length in CODED_LENGTHS:
        for offset in range(0, 400):
            if encoded := untied(model, signal[offset : offset + length]):
                break
        else:
            raise SystemExit(f"{name}: every piece of {length} samples has a near-tie")
        offsets.append(offset)
        codes.append(encoded.codes)
    tensors |= {"signal": signal, "coded.lengths": np.array(CODED_LENGTHS, np.uint32),
                "coded.offsets": np.array(offsets, np.uint32), "codes": np.concatenate(codes).astype(np.uint16)}
    save_file(tensors, folder / "lengths.safetensors")
    print(f"{name}: {tensors['frames'][-1]} frames of {TABLE_SAMPLES} samples, "
          f"{len(np.unique(tensors['codes']))} different codes")


def round_trip(model: torch.nn.Module, length: int) -> int:
    """Decoded samples of so many samples of silence; 0 where transformers cannot join the chunks."""
    encoded = codecs.encode(model, np.zeros((length, codecs.channels_of(model)), np.float32))
    if len(set(encoded.chunks[:-1])) > 1:
        return 0
    try:
        return len(codecs.decode(model, encoded))
    except RuntimeError:  # the last chunk but one reaches beyond the last
        return 0


def decoded_samples(model: torch.nn.Module, frames: int) -> int:
    books = codecs.encode(model, np.zeros((1, codecs.channels_of(model)), np.float32)).codes.shape[1]
    scales = np.ones(1, np.float32) if getattr(model.config, "normalize", False) else np.zeros(0, np.float32)
    silent = codecs.Encoded(np.zeros((frames, books), np.int64), np.zeros(0), scales, [frames])
    return len(codecs.decode(model, silent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("tokenize/encodec-rs/tests/fixtures"))
    parser.add_argument("--only", help="one fixture")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed, (name, fixture) in enumerate(FIXTURES.items(), start=1):
        if args.only in (None, name):
            make_fixture(name, fixture, args.out / "codecs" / name, seed)
    for seed, name in enumerate(codecs.PUBLISHED, start=101):
        if args.only in (None, name) and name != "dac_24khz":  # it has the geometry of dac_16khz
            make_lengths(name, args.out / "lengths" / name, seed)


if __name__ == "__main__":
    main()
