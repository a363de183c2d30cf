#!/usr/bin/env python3
"""Make the recordings and the codes that `tokenize folder` is tested with, one codec of each architecture.

    scripts/make_golden_shards.py --tokenize target/release/tokenize [--out tokenize/tests/golden]

Recordings are synthetic, at the codecs' own rates, so that nothing is resampled. Codes are what transformers makes of them
with the models in tokenize/encodec-rs/tests/fixtures/lengths; none is a near-tie, so that another implementation must give
the same. There is no other implementation of mel-rvq: its codes are those of the program given, and guard against change.
Needs torch 2.15, transformers 5.23 and pyarrow.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import wave

import numpy as np
import pyarrow.parquet as pq

import codec_models as codecs

ROOT = pathlib.Path(__file__).parent.parent
MODELS = ROOT / "tokenize/encodec-rs/tests/fixtures/lengths"
MIN_GAP = 2e-4  # as in make_codec_fixtures.py

# Folder of recordings: rate, and for each recording its channels and length in samples.
RECORDINGS = {
    "16khz": (16_000, {"long": (1, 14_001), "short": (1, 200)}),
    "24khz": (24_000, {"long": (1, 21_007), "short": (1, 300)}),
    # more than a chunk of one second; one channel is given to a stereo codec twice
    "48khz": (48_000, {"long": (2, 50_003), "mono": (1, 9_600)}),
}
# Codec: folder of recordings, model.
NEURAL = {"mimi": "24khz", "encodec_24khz": "24khz", "encodec_48khz": "48khz", "dac_16khz": "16khz"}


def recording(channels: int, samples: int, seed: int) -> np.ndarray:
    """`[samples, channels]`, 16 bits."""
    return np.round(codecs.synthetic(samples, channels, seed) * 32767).astype("<i2")


def codes_of(model, content: np.ndarray):
    """Codes `[frames, codebooks]`, or none if one is a near-tie."""
    channels = codecs.channels_of(model)
    samples = content.astype(np.float32) / 32768
    if samples.shape[1] != channels:
        samples = np.repeat(samples, channels, axis=1)
    encoded = codecs.encode(model, samples)
    return encoded.codes if codecs.gaps(model, encoded).min() > MIN_GAP else None


def write_wav(path: pathlib.Path, content: np.ndarray, rate_hz: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(content.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(content.tobytes())


def write_golden(path: pathlib.Path, recordings: str, size: int, documents: dict[str, list[list[int]]]) -> None:
    """One line a document and frame, so that a difference is seen where it is."""
    codebooks = len(next(iter(documents.values()))[0])
    lines = [f' "{name}": [\n' + ",\n".join(f"  {json.dumps(frame)}" for frame in frames) + "\n ]"
             for name, frames in documents.items()]
    head = f'{{"recordings": "{recordings}", "codebooks": {codebooks}, "codebook_size": {size}, "documents": {{\n'
    path.write_text(head + ",\n".join(lines) + "\n}}\n")
    print(path, {name: len(frames) for name, frames in documents.items()})


def mel_rvq_codes(program: pathlib.Path, folder: pathlib.Path) -> dict[str, list[list[int]]]:
    with tempfile.TemporaryDirectory() as temp:
        vocab, out = f"{temp}/vocab", f"{temp}/out"
        base = ROOT / "tokenize/assets/tokenizer.json"
        subprocess.run([program, "vocab", "--base", base, "--out", vocab], check=True)
        subprocess.run([program, "folder", folder, "--codec", "mel-rvq", "--tokenizer", vocab, "--out", out], check=True)
        rows = pq.read_table(f"{out}/part-00000.parquet").to_pylist()
    return {row["id"]: np.reshape(row["segments"][0]["codes"], (-1, 8)).tolist() for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenize", type=pathlib.Path, required=True, help="the program, for mel-rvq")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tokenize/tests/golden")
    args = parser.parse_args()
    models = {name: codecs.load(MODELS / name) for name in NEURAL}
    goldens = {name: {} for name in NEURAL}
    for folder, (rate_hz, recordings) in RECORDINGS.items():
        users = [name for name, used in NEURAL.items() if used == folder]
        (args.out / folder).mkdir(parents=True, exist_ok=True)
        for name, (channels, samples) in recordings.items():
            for seed in range(1000):
                content = recording(channels, samples, seed)
                codes = {user: codes_of(models[user], content) for user in users}
                if all(found is not None for found in codes.values()):
                    break
            else:
                raise SystemExit(f"{folder}/{name}: every waveform has a near-tie")
            write_wav(args.out / folder / f"{name}.wav", content, rate_hz)
            for user, found in codes.items():
                goldens[user][name] = found.tolist()
    for name, documents in goldens.items():
        write_golden(args.out / f"{name}.json", NEURAL[name], models[name].config.codebook_size, documents)
    write_golden(args.out / "mel-rvq.json", "24khz", 2048, mel_rvq_codes(args.tokenize, args.out / "24khz"))


if __name__ == "__main__":
    main()
