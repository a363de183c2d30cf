#!/usr/bin/env python3
"""Measure the loader beside what researchers read shards with in Python.

    cargo build --release -p mixes --example read_sequences
    scripts/bench_mixes.py [--keep DIR] [--threads 2] [--rounds 3] [--json FILE]

A corpus of random codes (speech-like documents, 8 codebooks, 100 M tokens, zstd parquet) is read in view `both`, in
sequences of 4,096 tokens. Peers, on the same files: pyarrow and numpy, which flatten row group by row group, shuffle a row
group's documents, concatenate and cut; and Hugging Face datasets: two streams of the parquet files interleaved, flattened by
the same numpy code in `map`, packed by hand. Each in turn, several rounds; the medians of tokens a second are reported.
Ours does more: its sequences carry document numbers and loss weights, and are shuffled over eight row groups.
Needs numpy, pyarrow and datasets.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

SEQ_LEN = 4096
CORPUS_TOKENS = 100_000_000
SEQUENCES = 24_000
DATASETS_TOKENS = 4_000_000  # the slow peer reads a part
CODEBOOKS, SIZE = 8, 2048


def layout(corpus: pathlib.Path) -> dict:
    return json.loads((corpus / "speech/tokenizer/audio_vocab.json").read_text())


def flatten(segments: dict, layout: dict):
    """Both orders of a document, of its columns `text_ids` and `codes`."""
    import numpy as np

    offsets = layout["audio_base"] + SIZE * np.arange(CODEBOOKS, dtype=np.uint32)
    marks = {name: np.array([layout[name]], np.uint32)
             for name in ("bos", "eos", "text_start", "text_end", "audio_start", "audio_end")}
    text_first, audio_first = [marks["bos"]], [marks["bos"]]
    for ids, codes in zip(segments["text_ids"], segments["codes"]):
        text = [marks["text_start"], np.asarray(ids, np.uint32), marks["text_end"]]
        frames = np.asarray(codes, np.uint32).reshape(-1, CODEBOOKS) + offsets
        audio = [marks["audio_start"], frames.reshape(-1), marks["audio_end"]]
        text_first += text + audio
        audio_first += audio + text
    return [np.concatenate(row + [marks["eos"]]) for row in (text_first, audio_first)]


def documents_of(group):
    """The segments of each document of a row group, as views into its columns."""
    segments = group.column("segments").combine_chunks()
    ends, fields = segments.offsets.to_numpy(), segments.values
    text, codes = fields.field("text_ids"), fields.field("codes")
    text_ends, text_values = text.offsets.to_numpy(), text.values.to_numpy()
    code_ends, code_values = codes.offsets.to_numpy(), codes.values.to_numpy()
    for begin, end in zip(ends, ends[1:]):
        yield {"text_ids": [text_values[text_ends[at] : text_ends[at + 1]] for at in range(begin, end)],
               "codes": [code_values[code_ends[at] : code_ends[at + 1]] for at in range(begin, end)]}


def with_pyarrow(corpus: pathlib.Path) -> float:
    import numpy as np
    import pyarrow.parquet as pq

    names, random, tokens = layout(corpus), np.random.default_rng(0), 0
    start = time.perf_counter()
    for path in sorted((corpus / "speech").glob("*.parquet")):
        file = pq.ParquetFile(path)
        for number in range(file.num_row_groups):
            group = file.read_row_group(number, columns=["segments.list.element.text_ids", "segments.list.element.codes"])
            rows = [row for document in documents_of(group) for row in flatten(document, names)]
            random.shuffle(rows)
            packed = np.concatenate(rows)
            sequences = packed[: len(packed) // SEQ_LEN * SEQ_LEN].reshape(-1, SEQ_LEN)
            tokens += sequences.size
    return tokens / (time.perf_counter() - start)


def with_datasets(corpus: pathlib.Path) -> float:
    import datasets
    import numpy as np

    datasets.disable_progress_bars()
    names, files = layout(corpus), sorted(map(str, (corpus / "speech").glob("*.parquet")))
    half = len(files) // 2
    streams = [datasets.load_dataset("parquet", data_files=part, split="train", streaming=True, columns=["segments"])
               for part in (files[:half], files[half:])]
    mixed = datasets.interleave_datasets(streams, probabilities=[0.5, 0.5], seed=0)
    start, tokens, rest = time.perf_counter(), 0, np.zeros(0, np.uint32)
    for document in mixed:
        segments = document["segments"]
        columns = {name: [segment[name] for segment in segments] for name in ("text_ids", "codes")}
        packed = np.concatenate([rest, *flatten(columns, names)])
        whole = len(packed) // SEQ_LEN * SEQ_LEN
        tokens, rest = tokens + whole, packed[whole:]
        if tokens >= DATASETS_TOKENS:
            break
    return tokens / (time.perf_counter() - start)


def ours(args: argparse.Namespace, corpus: pathlib.Path, *first: str) -> dict:
    command = [args.program, "read", corpus, SEQUENCES, SEQ_LEN, *first]
    return json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout)


def bench(args: argparse.Namespace, corpus: pathlib.Path) -> dict:
    if not (corpus / "speech/manifest.json").exists():
        subprocess.run([args.program, "make", corpus, str(CORPUS_TOKENS)], check=True)
    os.environ["TIMBRE_CACHE"] = str(corpus / "cache")
    ours(args, corpus)  # counts the row groups
    peers = {"pyarrow + numpy": with_pyarrow, "datasets": with_datasets}
    runs, rates = [], {name: [] for name in peers}
    for _ in range(args.rounds):
        runs.append(ours(args, corpus))
        for name, peer in peers.items():
            rates[name].append(peer(corpus))
    return {"threads": args.threads, "ours": runs, "resumed": ours(args, corpus, "1000000"), "tokens_per_sec": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the corpus, which is used again")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/examples/read_sequences"))
    parser.add_argument("--json", type=pathlib.Path, help="write the results here")
    args = parser.parse_args()
    os.environ |= {"RAYON_NUM_THREADS": str(args.threads), "OMP_NUM_THREADS": str(args.threads)}
    with tempfile.TemporaryDirectory() as scratch:
        report = bench(args, args.keep or pathlib.Path(scratch))
    own = statistics.median(run["tokens_per_sec"] for run in report["ours"])
    print(f"ours             {own / 1e6:8.2f} M tokens/s, {max(run['peak_mib'] for run in report['ours'])} MiB")
    for name, rates in report["tokens_per_sec"].items():
        median = statistics.median(rates)
        print(f"{name:16} {median / 1e6:8.2f} M tokens/s, {own / median:6.1f} x slower "
              f"({', '.join(f'{rate / 1e6:.2f}' for rate in rates)})")
    print(f"at step 1,000,000 the first batch of 128 sequences is there after {report['resumed']['first_batch_secs']:.2f} s")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
