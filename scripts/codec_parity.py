#!/usr/bin/env python3
"""Compare the neural codecs with transformers on real speech, at the size of the published models.

    cargo build --release -p encodec-rs --example codec
    scripts/codec_parity.py --audio DIR [--keep DIR] [--only mimi] [--max-secs 15]

The models have the published architectures and random weights, fitted to the audio. transformers encodes every file
alone, unpadded, in f32. Codes may differ only where the two nearest entries are as good as equally far: the script fails
where the first difference in a frame is no near-tie, where there are more than one in a thousand codes of such
differences (those after them in the frame are their consequence), or where the sound of the same codes differs by more
than 1e-4 of its largest value.
Needs torch 2.15, transformers 5.23 and soundfile 0.14.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import soundfile
import torch
from safetensors.numpy import load_file, save_file

import codec_models as codecs

NEAR_TIE = 1e-4
MAX_DIFFERENCES = 0.001
TOLERANCE = 1e-4


def resampled(wave: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """`[samples, channels]` at another rate, by its spectrum."""
    samples = len(wave) * to_hz // from_hz
    spectrum = np.fft.rfft(wave, axis=0)[: samples // 2 + 1]
    padded = np.zeros((samples // 2 + 1, wave.shape[1]), complex)
    padded[: len(spectrum)] = spectrum
    return (np.fft.irfft(padded, samples, axis=0) * samples / len(wave)).astype(np.float32)


def read(file: pathlib.Path, rate_hz: int, channels: int, max_secs: float) -> np.ndarray:
    """The beginning of a recording, `[samples, channels]`."""
    with soundfile.SoundFile(file) as sound:
        wave = sound.read(int(max_secs * sound.samplerate), dtype="float32", always_2d=True)
        wave = resampled(wave, sound.samplerate, rate_hz)
    if channels == 1:
        return np.ascontiguousarray(wave.mean(axis=1, keepdims=True))
    if wave.shape[1] == 1:  # a second microphone
        wave = np.concatenate([wave, 0.8 * np.roll(wave, rate_hz // 3000, axis=0)], axis=1)
    return np.ascontiguousarray(wave[:, :2])


def run(program: pathlib.Path, command: str, folder: pathlib.Path, tensors: dict, *options: str) -> dict:
    """The tensors that the program makes of `tensors`."""
    with tempfile.TemporaryDirectory() as scratch:
        before, after = pathlib.Path(scratch, "in.safetensors"), pathlib.Path(scratch, "out.safetensors")
        save_file(tensors, before)
        subprocess.run([program, command, folder, before, after, *options], check=True, stdout=subprocess.DEVNULL)
        return load_file(after)


def first_differences(model: torch.nn.Module, encoded: codecs.Encoded, ours: np.ndarray) -> list[dict]:
    """For each frame and quantizer the first code that differs, and by how much of itself the squared distance of ours
    is larger."""
    differ = ours != encoded.codes
    parts = [slice(0, None)]
    if codecs.kind_of(model) == "mimi":  # the semantic codebooks and the others do not know of each other
        semantic = model.config.num_semantic_quantizers
        parts = [slice(0, semantic), slice(semantic, None)]
    first = np.zeros_like(differ)
    for part in parts:
        first[:, part] = differ[:, part] & (np.cumsum(differ[:, part], axis=1) == 1)
    found = []
    for codebook, distances in enumerate(codecs.squared_distances(model, encoded)):
        for frame in np.flatnonzero(first[:, codebook]):
            theirs, own = (float(distances[frame, codes[frame, codebook]]) for codes in (encoded.codes, ours))
            found.append({"frame": int(frame), "codebook": codebook, "gap": (own - theirs) / max(own, 1e-30)})
    return found


def compare(name: str, args: argparse.Namespace, folder: pathlib.Path) -> dict:
    options = codecs.PUBLISHED[name][1]
    rate_hz, channels = options.get("sampling_rate", 24_000), options.get("audio_channels", 1)
    files = sorted(f for f in args.audio.iterdir() if f.suffix in (".flac", ".wav", ".ogg", ".mp3"))
    waves = [read(file, rate_hz, channels, args.max_secs) for file in files]
    model = codecs.published(name, folder, waves)
    encoded = [codecs.encode(model, wave) for wave in waves]
    codebooks = str(encoded[0].codes.shape[1])
    found = run(args.program, "encode", folder, {f"{i}": wave for i, wave in enumerate(waves)}, "--codebooks", codebooks)
    given = {}
    for index, reference in enumerate(encoded):
        given[f"{index}"] = reference.codes.astype(np.uint16)
        if len(reference.scales):
            given[f"{index}.scales"] = reference.scales
    sounds = run(args.program, "decode", folder, given, "--codebooks", codebooks)

    same, differences, errors = [], [], []
    for index, (file, reference) in enumerate(zip(files, encoded)):
        ours = found[f"{index}"].astype(np.int64)
        assert ours.shape == reference.codes.shape, f"{file.name}: {ours.shape}, transformers {reference.codes.shape}"
        same.append(ours == reference.codes)
        differences += [{"file": file.name} | found for found in first_differences(model, reference, ours)]
        sound, ours = codecs.decode(model, reference), sounds[f"{index}"]
        assert ours.shape == sound.shape, f"{file.name}: sound {ours.shape}, transformers {sound.shape}"
        errors.append(float(np.abs(ours - sound).max() / np.abs(sound).max()))
    same = np.concatenate(same)
    used = [len(np.unique(column)) for column in np.concatenate([e.codes for e in encoded]).T]
    return {"model": name, "frames": len(same), "codes": same.size, "same": float(same.mean()),
            "same_by_codebook": same.mean(axis=0).tolist(), "first_differences": differences,
            "largest_gap": max((abs(d["gap"]) for d in differences), default=0.0), "sound_error": max(errors),
            "entries_used": used}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=pathlib.Path, required=True, help="folder of recordings")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the checkpoints, which are used again")
    parser.add_argument("--only", choices=codecs.PUBLISHED, help="one model")
    parser.add_argument("--max-secs", type=float, default=15.0, help="of each recording")
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/examples/codec"))
    parser.add_argument("--json", type=pathlib.Path, help="write the results here too")
    args = parser.parse_args()
    results, failed = [], False
    with tempfile.TemporaryDirectory() as scratch:
        for name in [args.only] if args.only else codecs.PUBLISHED:
            result = compare(name, args, (args.keep or pathlib.Path(scratch)) / name)
            differences = len(result["first_differences"])
            good = (differences <= MAX_DIFFERENCES * result["codes"] and result["largest_gap"] < NEAR_TIE
                    and result["sound_error"] < TOLERANCE)
            failed |= not good
            results.append(result)
            print(f"{name}: {result['codes']} codes, {100 * result['same']:.4f} % the same (codebook with fewest: "
                  f"{100 * min(result['same_by_codebook']):.4f} %), {differences} first "
                  f"differences, largest gap {result['largest_gap']:.1e}, sound differs by {result['sound_error']:.1e}, "
                  f"{min(result['entries_used'])} to {max(result['entries_used'])} entries used"
                  f"{'' if good else '  FAILED'}", flush=True)
            for difference in result["first_differences"]:
                print("  {file}: frame {frame}, codebook {codebook}: gap {gap:.1e}".format(**difference))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
