#!/usr/bin/env python3
"""Measure what reading, decoding, resampling and writing cost beside the codec.

    cargo build --release --bins && cargo build --release -p encodec-rs --example codec
    scripts/bench_tokenize.py --codec DIR [--threads 2] [--rounds 3] [--json FILE]

64 utterances of 2 to 20 s, as in bench_codec.py, in the forms that corpora have: an Emilia tar of 24 kHz mp3, a Yodas
tar.gz of 24 kHz wav, and a folder of 16 kHz flac. `tokenize` turns each into shards; the codec alone encodes the same
utterances from memory (`--example codec`). Both in turn, several rounds; the medians of audio a second and their ratio are
reported, and the bytes an audio token costs. DIR holds config.json and model.safetensors, such as codec_parity.py makes.
Needs numpy, soundfile, safetensors, ffmpeg; and torch for the module that makes the utterances.
"""

import argparse
import io
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile

import numpy as np
import soundfile
from safetensors.numpy import save_file

import bench_codec

RATE_HZ = 24_000


def ffmpeg(wave: bytes, form: str, *options: str) -> bytes:
    # to a file: into a pipe it cannot write the tag that gives an mp3's exact length
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"out.{form}"
        subprocess.run(["ffmpeg", "-v", "error", "-i", "pipe:0", *options, path], input=wave, check=True)
        return path.read_bytes()


def wav(samples: np.ndarray) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    return out.getvalue()


def member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def emilia(folder: pathlib.Path, waves: list[np.ndarray]) -> list[str]:
    path = folder / "Emilia/EN/EN-B000000.tar"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as archive:
        for index, samples in enumerate(waves):
            name = f"EN_B00000_S{index:05}_W000000"
            about = {"id": name, "wav": f"{name}.mp3", "text": "a text", "duration": len(samples) / RATE_HZ,
                     "speaker": "s", "language": "en"}
            member(archive, f"{name}.mp3", ffmpeg(wav(samples), "mp3", "-b:a", "64k"))
            member(archive, f"{name}.json", json.dumps(about).encode())
    return ["emilia", "--langs", "EN", "--split", "Emilia", "--input", str(folder)]


def yodas(folder: pathlib.Path, waves: list[np.ndarray]) -> list[str]:
    (folder / "data/en000/audio").mkdir(parents=True)
    (folder / "data/en000/text").mkdir()
    texts = []
    with tarfile.open(folder / "data/en000/audio/00000000.tar.gz", "w:gz", compresslevel=6) as archive:
        for index, samples in enumerate(waves):
            whole = samples[: len(samples) // 240 * 240]
            chunk = f"video{index:03}-00000-00000000-{len(whole) // 240:08}"
            texts.append({"audio_id": f"video{index:03}", "text": {chunk: "a text"}})
            member(archive, f"00000000/video{index:03}.wav", wav(whole))
    (folder / "data/en000/text/00000000.json").write_text(json.dumps(texts))
    return ["yodas", "--langs", "en", "--shards", "en000", "--input", str(folder)]


def flac(folder: pathlib.Path, waves: list[np.ndarray]) -> list[str]:
    folder.mkdir(parents=True)
    for index, samples in enumerate(waves):
        (folder / f"{index:03}.flac").write_bytes(ffmpeg(wav(samples), "flac", "-ar", "16000"))
    return ["folder", str(folder)]


def tokenize(args: argparse.Namespace, command: list[str], vocabulary: pathlib.Path, out: pathlib.Path) -> dict:
    shutil.rmtree(out, ignore_errors=True)
    command = [args.bin / "tokenize", *command, "--codec", args.codec, "--tokenizer", vocabulary, "--out", out,
               "--threads", args.threads, "--json"]
    report = json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout)
    return report[0] if isinstance(report, list) else report


def codec(args: argparse.Namespace, tensors: pathlib.Path, scratch: pathlib.Path) -> float:
    command = [args.bin / "examples/codec", "encode", args.codec, tensors, scratch / "codes", "--codebooks", 8,
               "--threads", args.threads, "--repeat", 1]
    report = json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout)
    return report["secs"][0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("target/release"))
    parser.add_argument("--json", type=pathlib.Path, help="write the results here")
    args = parser.parse_args()
    waves = [wave[:, 0] for wave in bench_codec.utterances(RATE_HZ, 64)]
    audio_secs = sum(map(len, waves)) / RATE_HZ
    base = pathlib.Path(__file__).parent.parent / "tokenize/assets/tokenizer.json"
    results = {"audio_secs": audio_secs, "codec": [], "tokenize": {}, "bytes_per_audio_token": {}}
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        vocabulary = scratch / "vocabulary"
        subprocess.run([args.bin / "tokenize", "vocab", "--base", base, "--out", vocabulary], check=True,
                       stdout=subprocess.DEVNULL)
        save_file({f"{index:03}": wave[:, None] for index, wave in enumerate(waves)}, scratch / "waves")
        commands = {make.__name__: make(scratch / make.__name__, waves) for make in (emilia, yodas, flac)}
        for _ in range(args.rounds):
            results["codec"].append(audio_secs / codec(args, scratch / "waves", scratch))
            for form, command in commands.items():
                report = tokenize(args, command, vocabulary, scratch / f"{form}-out")
                if report["skipped"]:
                    sys.exit(f"{form}: left out {report['skipped']}")
                results["tokenize"].setdefault(form, []).append(report["times_real_time"])
                results["bytes_per_audio_token"][form] = report["bytes_per_audio_token"]
    alone = statistics.median(results["codec"])
    print(f"{audio_secs:.0f} s of audio; the codec alone: {alone:.1f} x real time")
    for form, rates in results["tokenize"].items():
        rate = statistics.median(rates)
        print(f"{form:8} {rate:6.1f} x real time, {100 * rate / alone:5.1f} % of the codec alone, "
              f"{results['bytes_per_audio_token'][form]:.3f} bytes an audio token")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
