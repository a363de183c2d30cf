#!/usr/bin/env python3
"""Measure the neural codecs on a CPU, beside transformers at its best.

    cargo build --release -p encodec-rs --example codec
    scripts/bench_codec.py [--only mimi-encode] [--keep DIR] [--json FILE] [--markdown FILE]

64 utterances of 2 to 20 s, 8 codebooks, 2 threads, models of the published architectures with random weights.
transformers gets its utterances sorted by length in padded batches, of the size that is fastest on every fourth
utterance, and glibc settings that keep memory instead of returning it to the system. Both are measured in turn, several
rounds; the medians are reported, with the arithmetic by formula (`codec_flops.py`) and its share of the peak that the
same threads reach in a loop of f32 multiply-adds. Memory is ours, above weights and input, for each thread.
Needs torch 2.15 and transformers 5.23.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

import codec_flops
import codec_models as codecs

CODEBOOKS = 8
BANDWIDTH = 6.0  # of EnCodec 24 kHz, for 8 codebooks
BATCHES = [1, 2, 4, 8, 16]
PEER_ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1099511627776",
                    "MALLOC_TOP_PAD_": "268435456"}


@dataclasses.dataclass
class Part:
    model: str
    command: str
    bf16: bool = False


PARTS = {
    "mimi-encode": Part("mimi", "encode"),
    "encodec-encode": Part("encodec_24khz", "encode"),
    "dac-encode": Part("dac_16khz", "encode"),
    "mimi-decode": Part("mimi", "decode"),
    "mimi-encode-bf16": Part("mimi", "encode", bf16=True),
}


def utterances(rate_hz: int, count: int) -> list[np.ndarray]:
    """`[samples, 1]` each, 2 to 20 s."""
    rng = np.random.default_rng(7)
    return [codecs.synthetic(int(secs * rate_hz), 1, index) for index, secs in enumerate(rng.uniform(2, 20, count))]


# ---------------------------------------------------------------- transformers, in a process of its own

def peer(folder: pathlib.Path, tensors: pathlib.Path, command: str, bf16: bool, threads: int) -> None:
    """Answers each line `BATCH STEP` with the seconds that every STEPth utterance takes in batches of BATCH."""
    torch.set_num_threads(threads)
    model = codecs.load(folder).to(torch.bfloat16 if bf16 else torch.float32)
    dtype = next(model.parameters()).dtype
    inputs = [torch.from_numpy(array.astype(np.int64 if command == "decode" else np.float32).T)
              for array in load_file(tensors).values()]
    inputs.sort(key=lambda tensor: tensor.shape[-1])
    for line in sys.stdin:
        batch, step = map(int, line.split())
        chosen = inputs[step // 2 :: step]
        start = time.perf_counter()
        with torch.inference_mode():
            for at in range(0, len(chosen), batch):
                one = chosen[at : at + batch]
                longest = one[-1].shape[-1]
                values = torch.stack([torch.nn.functional.pad(x, (0, longest - x.shape[-1])) for x in one])
                work(model, command, values if command == "decode" else values.to(dtype))
        print(time.perf_counter() - start, flush=True)


def work(model: torch.nn.Module, command: str, values: torch.Tensor) -> None:
    kind = codecs.kind_of(model)
    if command == "decode":
        model.decode(values) if kind == "mimi" else model.decode(audio_codes=values)
    elif kind == "mimi":
        model.encode(values, num_quantizers=CODEBOOKS)
    elif kind == "encodec":
        model.encode(values, bandwidth=BANDWIDTH)
    else:
        model.encode(torch.nn.functional.pad(values, (0, -values.shape[-1] % model.config.hop_length)),
                     n_quantizers=CODEBOOKS)


class Peer:
    """The other process."""

    def __init__(self, folder: pathlib.Path, tensors: pathlib.Path, part: Part, threads: int):
        command = [sys.executable, __file__, "--peer", folder, tensors, part.command, str(int(part.bf16)), str(threads)]
        self.process = subprocess.Popen(list(map(str, command)), env=os.environ | PEER_ENVIRONMENT, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def secs(self, batch: int, step: int = 1) -> float:
        self.process.stdin.write(f"{batch} {step}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def best_batch(self) -> int:
        self.secs(1, 8)  # warm
        return min(BATCHES, key=lambda batch: self.secs(batch, 4))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


# ---------------------------------------------------------------- ours

def ours(args: argparse.Namespace, part: Part, folder: pathlib.Path, tensors: pathlib.Path, threads: int,
         repeat: int) -> dict:
    options = ["--codebooks", CODEBOOKS, "--threads", threads, "--repeat", repeat, *(["--bf16"] if part.bf16 else [])]
    command = [args.program, part.command, folder, tensors, tensors.with_suffix(".out"), *options]
    return json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout)


def peak(args: argparse.Namespace, threads: int) -> float:
    command = [args.program, "peak", "--threads", str(threads)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["flops"]


def working_memory(report: dict) -> float:
    return (report["memory_peak"] - report["memory_before"]) / report["threads"]


def tensors_of(part: Part, model: torch.nn.Module, waves: list[np.ndarray], path: pathlib.Path) -> None:
    if part.command == "encode":
        save_file({f"{index:03}": wave for index, wave in enumerate(waves)}, path)
        return
    rng, hop = np.random.default_rng(3), codecs.hop_of(model)
    save_file({f"{index:03}": rng.integers(0, model.config.codebook_size, (-(-len(wave) // hop), CODEBOOKS), np.uint16)
               for index, wave in enumerate(waves)}, path)


def bench(name: str, args: argparse.Namespace, scratch: pathlib.Path, peak_flops: float) -> dict:
    part = PARTS[name]
    folder = (args.keep or scratch) / part.model
    rate_hz = codecs.PUBLISHED[part.model][1].get("sampling_rate", 24_000)
    waves = utterances(rate_hz, args.utterances)
    model = codecs.published(part.model, folder, waves[:4])
    audio_secs = sum(map(len, waves)) / rate_hz
    arithmetic = codec_flops.flops(model.config, CODEBOOKS, audio_secs / len(waves), part.command == "decode")
    whole, short, long = (scratch / f"{size}.safetensors" for size in ("whole", "short", "long"))
    tensors_of(part, model, waves, whole)
    twenty = codecs.synthetic(20 * rate_hz, 1, 0)
    tensors_of(part, model, [twenty], short)
    tensors_of(part, model, [np.tile(twenty, (30, 1))], long)
    del model
    other = Peer(folder, whole, part, args.threads)
    batch = other.best_batch()
    theirs, own = [], []
    for _ in range(args.rounds):
        theirs.append(other.secs(batch))
        report = ours(args, part, folder, whole, args.threads, 2)
        own.append(report["secs"][1])  # the first time warms, as the peer is warm
    other.close()
    seconds, peer_seconds = statistics.median(own), statistics.median(theirs)
    one = {size: working_memory(ours(args, part, folder, path, 1, 1)) for size, path in [("short", short), ("long", long)]}
    return {"part": name, "threads": args.threads, "audio_secs": audio_secs, "secs": own, "peer_secs": theirs,
            "peer_batch": batch, "times_real_time": audio_secs / seconds, "peer_times_real_time": audio_secs / peer_seconds,
            "ratio": peer_seconds / seconds, "gflop_per_audio_sec": arithmetic / 1e9,
            "gflops": arithmetic * audio_secs / seconds / 1e9, "peak_gflops": peak_flops / 1e9,
            "share_of_peak": arithmetic * audio_secs / seconds / peak_flops,
            "memory_per_thread": working_memory(report), "memory_20_s": one["short"], "memory_10_min": one["long"]}


def markdown(results: list[dict]) -> str:
    lines = ["| | x real time | transformers (batch) | ratio | GFLOP/s of audio | GFLOP/s | of f32 peak | MiB a thread "
             "| 20 s | 10 min |", "|-|-|-|-|-|-|-|-|-|-|"]
    for r in results:
        memory = " | ".join(f"{r[key] / 2**20:.0f}" for key in ("memory_per_thread", "memory_20_s", "memory_10_min"))
        lines.append(f"| {r['part']} | {r['times_real_time']:.1f} | {r['peer_times_real_time']:.1f} ({r['peer_batch']}) | "
                     f"{r['ratio']:.2f} | {r['gflop_per_audio_sec']:.2f} | {r['gflops']:.0f} | "
                     f"{100 * r['share_of_peak']:.0f} % | {memory} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        folder, tensors, command, bf16, threads = sys.argv[2:]
        return peer(pathlib.Path(folder), pathlib.Path(tensors), command, bf16 == "1", int(threads))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be given again")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the checkpoints, which are used again")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--utterances", type=int, default=64)
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/examples/codec"))
    parser.add_argument("--json", type=pathlib.Path, help="write the results here")
    parser.add_argument("--markdown", type=pathlib.Path, help="write the table here")
    args = parser.parse_args()
    peak_flops = peak(args, args.threads)
    print(f"f32 peak: {peak(args, 1) / 1e9:.0f} GFLOP/s on one thread, {peak_flops / 1e9:.0f} on {args.threads}")
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.only or PARTS:
            results.append(bench(name, args, pathlib.Path(scratch), peak_flops))
            print(markdown(results[-1:]), flush=True)
    table = markdown(results)
    print(table, end="")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(table)


if __name__ == "__main__":
    main()
