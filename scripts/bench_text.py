#!/usr/bin/env python3
"""Measure the text encoder beside Hugging Face's tokenizers, and check that both give the same ids.

    cargo build --release -p shards --example encode_text && cargo build --release --bin tokenize
    scripts/bench_text.py [--keep DIR] [--threads 2] [--rounds 5] [--json FILE]

The corpus is English prose that every machine with this Python has: the docstrings of the standard library and of all
installed packages, one document a source file, in an order drawn once, as jsonl.gz like Nemotron's. The tokenizer is
Llama 3's pipeline with 32,000 merges, trained on a fifth of it.
Two things are measured, in turn, several rounds, and their medians reported: encoding alone, texts in memory, where
tokenizers runs encode_batch_fast with the batch size that is fastest; and the whole way from jsonl.gz to parquet, ours
with `tokenize nemotron`, theirs with Python's gzip and json, and pyarrow (zstd). Needs tokenizers 0.23.3 and pyarrow.
"""

import argparse
import ast
import gzip
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time

CORPUS_BYTES = 40_000_000
SHORTEST_BYTES = 500  # of a document
TRAINED_SHARE = 5
MERGES = 32_000
BATCHES = [64, 256, 1024, 4096]


# ---------------------------------------------------------------- corpus and tokenizer, made once

def docstrings(path: pathlib.Path) -> str:
    try:
        tree = ast.parse(path.read_text())
    except (OSError, SyntaxError, UnicodeDecodeError, ValueError):
        return ""  # a test of the parser, or another version's syntax
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    return "\n\n".join(text for text in found if text)


def make_corpus(path: pathlib.Path) -> None:
    files = sorted(file for key in ("stdlib", "purelib") for file in pathlib.Path(sysconfig.get_path(key)).rglob("*.py"))
    random.Random("text bench").shuffle(files)
    # A page that several packages carry, or one installed twice, counts once.
    texts, total = {}, 0
    for file in files:
        text = docstrings(file)
        if len(text) >= SHORTEST_BYTES and text not in texts:
            texts[text] = str(file.name)
            total += len(text)
        if total >= CORPUS_BYTES:
            break
    with gzip.open(path, "wt", encoding="utf-8") as out:
        for at, (text, source) in enumerate(texts.items()):
            out.write(json.dumps({"id": f"{at:06}", "text": text, "source": source}, ensure_ascii=False) + "\n")


def make_tokenizer(path: pathlib.Path, texts: list[str]) -> None:
    import make_text_fixtures
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = make_text_fixtures.split(r"\p{N}{1,3}")
    make_text_fixtures.train(tokenizer, texts, 256 + MERGES)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    tokenizer.save(str(path))


def read(path: pathlib.Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


# ---------------------------------------------------------------- tokenizers

def peer_encode(tokenizer, texts: list[str], batch: int) -> float:
    start = time.perf_counter()
    for at in range(0, len(texts), batch):
        tokenizer.encode_batch_fast(texts[at : at + batch], add_special_tokens=False)
    return time.perf_counter() - start


def peer_whole(tokenizer, corpus: pathlib.Path, batch: int, out: pathlib.Path) -> float:
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = time.perf_counter()
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("ids", pa.list_(pa.uint32()))])
    with gzip.open(corpus, "rt", encoding="utf-8") as lines, pq.ParquetWriter(out, schema, compression="zstd") as writer:
        rows = []
        for line in lines:
            rows.append(json.loads(line))
            if len(rows) == batch:
                write(tokenizer, rows, schema, writer)
                rows = []
        if rows:
            write(tokenizer, rows, schema, writer)
    return time.perf_counter() - start


def write(tokenizer, rows: list[dict], schema, writer) -> None:
    import pyarrow as pa

    texts = [row["text"] for row in rows]
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    writer.write_table(pa.table([[row["id"] for row in rows], texts, ids], schema=schema))


# ---------------------------------------------------------------- both

def ours(args: argparse.Namespace, base: pathlib.Path, texts: pathlib.Path, rounds: int, *ids: pathlib.Path) -> dict:
    command = [args.program, base, texts, args.threads, rounds, *ids]
    return json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout)


def ours_whole(args: argparse.Namespace, folder: pathlib.Path, corpus: pathlib.Path) -> float:
    """`tokenize nemotron` over the corpus, laid out as Nemotron-CC is; with its start and its checks."""
    split = folder / "nemotron/contrib/Nemotron/Nemotron-CC/data-jsonl/quality=high/kind=actual/kind2=actual"
    split.mkdir(parents=True, exist_ok=True)
    if not (split / "part-00000.jsonl.gz").exists():
        os.link(corpus, split / "part-00000.jsonl.gz")
    if not (folder / "vocabulary").exists():
        subprocess.run([args.tokenize, "vocab", "--base", folder / "tokenizer.json", "--out", folder / "vocabulary"],
                       check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder / "out", ignore_errors=True)
    command = [args.tokenize, "nemotron", "--split", "hq_actual", "--input", folder / "nemotron", "--tokenizer",
               folder / "vocabulary", "--out", folder / "out", "--threads", args.threads]
    start = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def check_ids(tokenizer, texts: list[str], path: pathlib.Path) -> None:
    import numpy as np

    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    expected = np.concatenate([np.array(encoding.ids, np.uint32) for encoding in encodings])
    if not np.array_equal(expected, np.fromfile(path, "<u4")):
        sys.exit("the ids differ")


def bench(args: argparse.Namespace, folder: pathlib.Path) -> dict:
    from tokenizers import Tokenizer

    corpus, base, plain = folder / "corpus.jsonl.gz", folder / "tokenizer.json", folder / "corpus.jsonl"
    if not corpus.exists():
        make_corpus(corpus)
    texts = read(corpus)
    if not base.exists():
        make_tokenizer(base, texts[::TRAINED_SHARE])
    with plain.open("w") as out:
        out.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    tokenizer = Tokenizer.from_file(str(base))
    tokenizer.encode_special_tokens = True
    ids = folder / "ids"
    first = ours(args, base, plain, 1, ids)
    check_ids(tokenizer, texts, ids)
    batch = min(BATCHES, key=lambda size: peer_encode(tokenizer, texts, size))
    secs = {"ours": [], "tokenizers": [], "ours, gz to parquet": [], "tokenizers, gz to parquet": []}
    for _ in range(args.rounds):
        secs["tokenizers"].append(peer_encode(tokenizer, texts, batch))
        secs["ours"].append(ours(args, base, plain, 1)["secs"][0])
        secs["ours, gz to parquet"].append(ours_whole(args, folder, corpus))
        secs["tokenizers, gz to parquet"].append(peer_whole(tokenizer, corpus, batch, folder / "peer.parquet"))
    return {"threads": args.threads, "documents": len(texts), "bytes": first["bytes"], "tokens": first["tokens"],
            "load_secs": first["load_secs"], "peer_batch": batch, "secs": secs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the corpus and the tokenizer, which are used again")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/examples/encode_text"))
    parser.add_argument("--tokenize", type=pathlib.Path, default=pathlib.Path("target/release/tokenize"))
    parser.add_argument("--json", type=pathlib.Path, help="write the results here")
    args = parser.parse_args()
    os.environ |= {"RAYON_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "true"}  # before tokenizers is loaded
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        report = bench(args, folder)
    print(f"{report['documents']} documents, {report['bytes'] / 1e6:.1f} MB, {report['tokens'] / 1e6:.2f} M tokens; same ids; "
          f"batches of {report['peer_batch']}; our tokenizer loads in {report['load_secs']:.2f} s")
    for name, secs in report["secs"].items():
        median = statistics.median(secs)
        own = statistics.median(report["secs"][name.replace("tokenizers", "ours")])
        print(f"{name:26} {report['bytes'] / 1e6 / median:7.1f} MB/s {report['tokens'] / 1e6 / median:6.2f} M tokens/s "
              f"{median / own:6.2f} x ours  ({', '.join(f'{value:.2f}' for value in secs)} s)")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
