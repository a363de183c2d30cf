#!/usr/bin/env python3
"""Measure the neural codecs on a CPU, beside transformers at its best.

    cargo build --release -p encodec-rs --example codec
    scripts/bench_codec.py [--only mimi-encode] [--keep DIR] [--json FILE] [--markdown FILE]

64 utterances of 2 to 20 s, 8 codebooks, 2 threads, models of the published architectures with random weights.
transformers gets the same utterances sorted by length in padded batches; and, since its kernels are at their best when
no length is new, 8 utterances of 10 s, warm. Both in batches of the size that is fastest on the latter, with glibc
settings that keep memory instead of returning it to the system. Ours and theirs are measured in turn, several rounds; the medians are
reported, the ratio against the better of the two, the arithmetic by formula (`codec_flops.py`), and its share of the peak
that the same threads reach in a loop of f32 multiply-adds. Memory is ours, above weights and input, for each thread.
The bf16 part is measured against our own f32. Needs torch 2.15 and transformers 5.23.
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
BATCHES = [1, 2, 4, 8]
SAME_SECS = 80  # in 8 utterances of one length
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

def peer(folder: pathlib.Path, command: str, threads: int, files: list[pathlib.Path]) -> None:
    """Answers each line `FILE BATCH`, FILE a position, with the seconds that its utterances take in batches of BATCH."""
    torch.set_num_threads(threads)
    model = codecs.load(folder)
    sets = [sorted((torch.from_numpy(array.astype(np.int64 if command == "decode" else np.float32).T)
                    for array in load_file(file).values()), key=lambda tensor: tensor.shape[-1]) for file in files]
    for line in sys.stdin:
        position, batch = map(int, line.split())
        inputs = sets[position]
        start = time.perf_counter()
        with torch.inference_mode():
            for at in range(0, len(inputs), batch):
                one = inputs[at : at + batch]
                longest = one[-1].shape[-1]
                work(model, command, torch.stack([torch.nn.functional.pad(x, (0, longest - x.shape[-1])) for x in one]))
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
    """The other process, over the whole set and over one length."""

    SETS = ["whole", "same"]

    def __init__(self, folder: pathlib.Path, files: dict[str, pathlib.Path], command: str, threads: int):
        arguments = [sys.executable, __file__, "--peer", folder, command, threads, *(files[key] for key in self.SETS)]
        self.process = subprocess.Popen(list(map(str, arguments)), env=os.environ | PEER_ENVIRONMENT, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # each size once to warm and once for the clock
        self.batch = min(BATCHES, key=lambda batch: (self.secs("same", batch), self.secs("same", batch))[1])

    def secs(self, which: str, batch: int | None = None) -> float:
        self.process.stdin.write(f"{self.SETS.index(which)} {batch or self.batch}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

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
    twenty = codecs.synthetic(20 * rate_hz, 1, 0)
    sets = {"whole": waves, "same": [twenty[: SAME_SECS // 8 * rate_hz]] * 8,
            "short": [twenty], "long": [np.tile(twenty, (30, 1))]}
    files = {key: scratch / f"{key}.safetensors" for key in sets}
    for key, arrays in sets.items():
        tensors_of(part, model, arrays, files[key])
    del model
    single = dataclasses.replace(part, bf16=False)
    other = None if part.bf16 else Peer(folder, files, part.command, args.threads)
    own, theirs = [], {"ours in f32": []} if part.bf16 else {key: [] for key in Peer.SETS}
    for _ in range(args.rounds):
        for key, secs in theirs.items():
            secs.append(other.secs(key) if other else whole(args, single, folder, files))
        own.append(whole(args, part, folder, files))
    if other:
        other.close()
    rates = {key: (SAME_SECS if key == "same" else audio_secs) / statistics.median(secs) for key, secs in theirs.items()}
    rate = audio_secs / statistics.median(own)
    memory = {key: working_memory(ours(args, part, folder, files[key], threads, 1))
              for key, threads in [("whole", args.threads), ("short", 1), ("long", 1)]}
    return {"part": name, "threads": args.threads, "audio_secs": audio_secs, "secs": own, "rival_secs": theirs,
            "peer_batch": other and other.batch, "times_real_time": rate, "rival_times_real_time": rates,
            "ratio": rate / max(rates.values()), "gflop_per_audio_sec": arithmetic / 1e9, "gflops": arithmetic * rate / 1e9,
            "peak_gflops": peak_flops / 1e9, "share_of_peak": arithmetic * rate / peak_flops, "memory_per_thread": memory}


def whole(args: argparse.Namespace, part: Part, folder: pathlib.Path, files: dict[str, pathlib.Path]) -> float:
    """Our seconds for the whole set, warm as the peer is."""
    return ours(args, part, folder, files["whole"], args.threads, 2)["secs"][1]


def markdown(results: list[dict]) -> str:
    lines = ["| | x real time | against | ratio | GFLOP/s of audio | GFLOP/s | of f32 peak | MiB a thread | 20 s | 10 min |",
             "|-|-|-|-|-|-|-|-|-|-|"]
    for r in results:
        memory = " | ".join(f"{value / 2**20:.0f}" for value in r["memory_per_thread"].values())
        rivals = ", ".join(f"{key} {rate:.1f}" for key, rate in r["rival_times_real_time"].items())
        batch = f" (batch {r['peer_batch']})" if r["peer_batch"] else ""
        lines.append(f"| {r['part']} | {r['times_real_time']:.1f} | {rivals}{batch} | {r['ratio']:.2f} | "
                     f"{r['gflop_per_audio_sec']:.2f} | {r['gflops']:.0f} | {100 * r['share_of_peak']:.0f} % | {memory} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        folder, command, threads, *files = sys.argv[2:]
        return peer(pathlib.Path(folder), command, int(threads), list(map(pathlib.Path, files)))
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
