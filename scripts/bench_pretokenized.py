#!/usr/bin/env python3
"""Measure `tokenize pretokenized` beside Hugging Face's tokenizers, and check that both give the same ids.

    cargo build --release --bin tokenize
    scripts/bench_pretokenized.py [--keep DIR] [--threads 2] [--rounds 3] [--audio-tokens 20000000] [--json FILE]

The input has the form of the published *-mm-pretrain parquet: columns id, split and text, in which an audio token is a
character; each document has a row with text first and one with audio first. Utterances last 2 to 20 s with 2.7 words a
second, documents have 10 to 60 of them. Codes are uniformly random, which no compression makes smaller than 11 bits;
words are those of bench_text.py's corpus, as they follow one another there, and the tokenizer is the one it trains.
The peer is what trains from such files: tokenizers with the audio characters as added tokens, encode_batch_fast over all
rows with the batch size that is fastest, and pyarrow to read rows and write ids (zstd). Three things are measured in turn:
tokenizers alone with texts in memory, the peer from parquet to parquet, and ours, a process from start to end; each with the
processor time of its threads, which a busy machine changes less. Speed is counted in audio characters of the input, which
are the same for all: two for each audio token of our shards.
Needs tokenizers 0.23.3, pyarrow and numpy.
"""

import argparse
import itertools
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import bench_text
from bench_quickstart import run

FRAMES_PER_SEC, CODEBOOKS, SIZE = 12.5, 8, 2048
FIRST_CHARACTER = 0xE000
WORDS_PER_SEC = 2.7
UTTERANCE_SECS = (2.0, 20.0)
UTTERANCES = (10, 60)
ROWS_OF_A_GROUP = 1000
BATCHES = [16, 64, 256]
SOURCE = "bench"


# ---------------------------------------------------------------- input, made once

def words(folder: pathlib.Path):
    """Words in running order, without those whose characters could stand for audio."""
    corpus, base = folder / "corpus.jsonl.gz", folder / "tokenizer.json"
    if not corpus.exists():
        bench_text.make_corpus(corpus)
    texts = bench_text.read(corpus)
    if not base.exists():
        bench_text.make_tokenizer(base, texts[:: bench_text.TRAINED_SHARE])
    usable = (word for text in texts for word in text.split() if word.isascii() and "<|" not in word)
    return itertools.cycle(list(usable))


def document(rng: np.random.Generator, source) -> tuple[str, str, int]:
    """Both rows' texts, and audio tokens in each."""
    rows, frames = ([], []), 0
    for _ in range(rng.integers(*UTTERANCES, endpoint=True)):
        secs = rng.uniform(*UTTERANCE_SECS)
        codes = rng.integers(0, SIZE, (round(secs * FRAMES_PER_SEC), CODEBOOKS), dtype="<u4")
        characters = (codes + (FIRST_CHARACTER + SIZE * np.arange(CODEBOOKS, dtype="<u4"))).tobytes().decode("utf-32-le")
        audio = f"<|audio_start|>{characters}<|audio_end|>"
        text = f"<|text_start|>{' '.join(itertools.islice(source, max(1, round(secs * WORDS_PER_SEC))))}<|text_end|>"
        rows[0].append(text + audio)
        rows[1].append(audio + text)
        frames += len(codes)
    whole = [f"<|begin_of_text|>{''.join(row)}<|end_of_text|>" for row in rows]
    return whole[0], whole[1], frames * CODEBOOKS


def make_input(folder: pathlib.Path, out: pathlib.Path, audio_tokens: int, files: int) -> None:
    rng, source = np.random.default_rng(0), words(folder)
    scratch = out.with_name("making")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for file in range(files):
        ids, texts, made = [], [], 0
        while made < audio_tokens / files:
            *both, count = document(rng, source)
            made += count
            ids += [f"{file:02}-{len(ids):06}_type{kind}" for kind in (1, 2)]
            texts += both
        table = pa.table({"id": ids, "split": ["en000"] * len(ids), "text": texts})
        pq.write_table(table, scratch / f"{file:05}.parquet", row_group_size=ROWS_OF_A_GROUP)
    scratch.rename(out)


# ---------------------------------------------------------------- tokenizers

def load(vocabulary: pathlib.Path):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(vocabulary / "tokenizer.json"))


def encode(tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def peer_encode(tokenizer, texts: list[str], batch: int) -> tuple[float, float]:
    """Seconds, and those of processors."""
    start = time.perf_counter(), time.process_time()
    for at in range(0, len(texts), batch):
        tokenizer.encode_batch_fast(texts[at : at + batch], add_special_tokens=False)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def peer_whole(vocabulary: pathlib.Path, files: list[pathlib.Path], batch: int, out: pathlib.Path) -> tuple[float, float]:
    """Its start is not counted, but loading the tokenizer, as ours does, is."""
    start = time.perf_counter(), time.process_time()
    tokenizer = load(vocabulary)
    schema = pa.schema([("id", pa.string()), ("input_ids", pa.list_(pa.uint32()))])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for file in files:
        with pq.ParquetWriter(out / file.name, schema, compression="zstd") as writer:
            for rows in pq.ParquetFile(file).iter_batches(batch, columns=["id", "text"]):
                writer.write_table(pa.table([rows["id"], encode(tokenizer, rows["text"].to_pylist())], schema=schema))
    return time.perf_counter() - start[0], time.process_time() - start[1]


# ---------------------------------------------------------------- ours

def ours(args: argparse.Namespace, files: pathlib.Path, vocabulary: pathlib.Path, out: pathlib.Path) -> dict:
    def processors() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    shutil.rmtree(out, ignore_errors=True)
    before = processors()
    secs, peak_mib, report = run(args.tokenize, "pretokenized", "--source", SOURCE, "--input", files, "--tokenizer", vocabulary,
                                 "--out", out, "--threads", args.threads, "--json")
    report = json.loads(report)
    report = report[0] if isinstance(report, list) else report
    if report["skipped"]:
        sys.exit(f"left out: {report['skipped']}")
    return report | {"secs": (secs, processors() - before), "peak_mib": peak_mib}


def audio_bytes(shards: list[pathlib.Path]) -> int:
    """Compressed size of the columns of codes."""
    total = 0
    for shard in shards:
        about = pq.ParquetFile(shard).metadata
        chunks = (about.row_group(group).column(column) for group in range(about.num_row_groups)
                  for column in range(about.num_columns))
        total += sum(chunk.total_compressed_size for chunk in chunks if ".codes." in chunk.path_in_schema)
    return total


def check(vocabulary: pathlib.Path, tokenizer, files: list[pathlib.Path], shards: list[pathlib.Path]) -> None:
    """Both rows of every document, spelled from our shard, are the ids that tokenizers gives."""
    about = json.loads((vocabulary / "audio_vocab.json").read_text())
    base = np.uint32(about["audio_base"]) + SIZE * np.arange(CODEBOOKS, dtype=np.uint32)
    documents = {}
    for shard in shards:
        for rows in pq.ParquetFile(shard).iter_batches(64, columns=["id", "segments"]):
            for row in rows.to_pylist():
                halves = [(np.array([about["text_start"], *segment["text_ids"], about["text_end"]], np.uint32),
                           np.concatenate([[about["audio_start"]],
                                           (np.array(segment["codes"], np.uint32).reshape(-1, CODEBOOKS) + base).ravel(),
                                           [about["audio_end"]]]).astype(np.uint32))
                          for segment in row["segments"]]
                documents[row["id"]] = halves
    seen = 0
    for file in files:
        for rows in pq.ParquetFile(file).iter_batches(64, columns=["id", "text"]):
            for name, ids in zip(rows["id"].to_pylist(), encode(tokenizer, rows["text"].to_pylist())):
                document, kind = name.rsplit("_type", 1)
                parts = [half for pair in documents[document] for half in (pair if kind == "1" else pair[::-1])]
                expected = np.concatenate([[about["bos"]], *parts, [about["eos"]]])
                if not np.array_equal(expected, np.array(ids, np.uint32)):
                    sys.exit(f"{file.name}: {name}: the ids differ")
                seen += 1
    if seen != 2 * len(documents):
        sys.exit(f"{seen} rows, but {len(documents)} documents")


# ---------------------------------------------------------------- both

def bench(args: argparse.Namespace, folder: pathlib.Path) -> dict:
    files_at, out = folder / f"mm-pretrain-{args.audio_tokens}-{args.files}", folder / "shards"
    if not files_at.exists():
        make_input(folder, files_at, args.audio_tokens, args.files)
    vocabulary = folder / "vocabulary"
    if not vocabulary.exists():
        run(args.tokenize.resolve(), "vocab", "--base", folder / "tokenizer.json", "--out", vocabulary)
    files = sorted(files_at.glob("*.parquet"))
    texts = [text for file in files for text in pq.read_table(file, columns=["text"])["text"].to_pylist()]
    tokenizer = load(vocabulary)
    sample = texts[: max(BATCHES)]
    batch = min(BATCHES, key=lambda size: peer_encode(tokenizer, sample, size))
    report = ours(args, files_at, vocabulary, out)
    shards = sorted(out.glob(f"{SOURCE}/part-*.parquet"))
    check(vocabulary, tokenizer, files, shards)
    names = ["tokenize pretokenized, parquet to shards", "tokenizers and pyarrow, parquet to parquet", "tokenizers alone"]
    secs, peaks = {name: [] for name in names}, []
    for _ in range(args.rounds):
        secs[names[2]].append(peer_encode(tokenizer, texts, batch))
        secs[names[1]].append(peer_whole(vocabulary, files, batch, folder / "peer"))
        last = ours(args, files_at, vocabulary, out)
        secs[names[0]].append(last["secs"])
        peaks.append(last["peak_mib"])
    count = report["audio_tokens"]
    return {"threads": args.threads, "rows": len(texts), "documents": report["documents"], "audio_tokens": count,
            "text_tokens": report["text_tokens"], "input_bytes": sum(file.stat().st_size for file in files),
            "peer_batch": batch, "secs": secs, "peak_mib": max(peaks), "bytes_per_audio_token": {
                "codes": audio_bytes(shards) / count, "all": sum(shard.stat().st_size for shard in shards) / count}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the input and the tokenizer, which are used again")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--audio-tokens", type=int, default=20_000_000, help="of the documents; the rows have twice as many")
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--tokenize", type=pathlib.Path, default=pathlib.Path("target/release/tokenize"))
    parser.add_argument("--json", type=pathlib.Path, help="write the results here")
    args = parser.parse_args()
    args.tokenize = args.tokenize.resolve()
    os.environ |= {"RAYON_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "true"}  # before tokenizers is loaded
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.keep or pathlib.Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        report = bench(args, folder)
    size = report["bytes_per_audio_token"]
    print(f"{report['documents']} documents in {report['rows']} rows, {report['audio_tokens'] / 1e6:.1f} M audio and "
          f"{report['text_tokens'] / 1e6:.2f} M text tokens, {report['input_bytes'] / 1e6:.0f} MB; same ids; "
          f"{report['threads']} threads, the peer's batches of {report['peer_batch']}\n")
    print("| | M audio tokens of the rows a second | ratio | ratio of processor time | seconds (of processors) |")
    print("|---|---|---|---|---|")
    medians = {name: [statistics.median(part) for part in zip(*secs)] for name, secs in report["secs"].items()}
    own = next(iter(medians.values()))
    for name, (secs, busy) in medians.items():
        every = ", ".join(f"{wall:.2f} ({used:.2f})" for wall, used in report["secs"][name])
        rate = 2 * report["audio_tokens"] / 1e6 / secs
        print(f"| {name} | {rate:.2f} | {secs / own[0]:.1f} | {busy / own[1]:.1f} | {every} |")
    print(f"\nour shards: {size['codes']:.3f} bytes an audio token in the columns of codes, {size['all']:.3f} in all; "
          f"peak memory {report['peak_mib']:.0f} MiB")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
