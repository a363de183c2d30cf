#!/usr/bin/env python3
"""Measure the memory that `tokenize` takes for inputs that are large in one place.

    cargo build --release --bin tokenize
    scripts/bench_memory.py [--keep DIR] [--threads 2] [--only WORD …]

Prints a Markdown table for docs/benchmarks.md: peak resident memory and time of the whole process, with the embedded codec
where there is audio. The inputs: a recording of 4 hours in a tar.gz, cut into chunks of 5 s or of the longest that is
taken, an hour; 1 GB of jsonl.gz, in short lines or with one document of 60 MB; parquet files of one row group of 1.4 GB, in
pages of 5 MB, or as pyarrow makes them by default, which looks at the size of a page every 1024 rows only. Needs numpy and
pyarrow.
"""

import argparse
import gzip
import io
import json
import pathlib
import shutil
import sys
import tarfile
import tempfile
import wave

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench_quickstart import ROOT, run, target

WANTED_MIB = 2000
HOURS = 4
JSONL_BYTES = 1_000_000_000
LINE_BYTES = 3_000
DOCUMENT_BYTES = 60_000_000  # longer lines are refused from 64 MiB on
ROWS, ROW_SECS, ROW_RATE_HZ = 3000, 15, 16_000
WORDS = "the quick brown fox jumps over a lazy dog, and then it sleeps until morning; nobody knows why or for how long.".split()


def noise(rng: np.random.Generator, samples: int) -> bytes:
    return rng.normal(0, 3000, samples).astype("<i2").tobytes()


def prose(rng: np.random.Generator, size: int) -> str:
    return " ".join(np.array(WORDS)[rng.integers(0, len(WORDS), size // 5)])[:size]


def yodas(folder: pathlib.Path, chunk_secs: int) -> list[str]:
    rate, rng = 24_000, np.random.default_rng(0)
    (folder / "data/en000/audio").mkdir(parents=True)
    (folder / "data/en000/text").mkdir()
    starts = range(0, HOURS * 3600, chunk_secs)
    texts = {f"video-{n:05}-{100 * start:08}-{100 * (start + chunk_secs):08}": "a text" for n, start in enumerate(starts)}
    (folder / "data/en000/text/00000000.json").write_text(json.dumps([{"audio_id": "video", "text": texts}]))
    minute = noise(rng, 60 * rate)
    with tempfile.TemporaryFile() as file:
        with wave.open(file, "wb") as out:
            out.setparams((1, 2, rate, 0, "NONE", ""))
            for _ in range(HOURS * 60):
                out.writeframesraw(minute)
        info = tarfile.TarInfo("00000000/video.wav")
        info.size = file.tell()
        file.seek(0)
        with tarfile.open(folder / "data/en000/audio/00000000.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.addfile(info, file)
    return ["yodas", "--langs", "en", "--shards", "en000", "--input", folder, "--codec", "mel-rvq"]


def nemotron(folder: pathlib.Path, size: int, lines: int) -> list[str]:
    place = folder / "contrib/Nemotron/Nemotron-CC/data-jsonl/quality=high/kind=actual/kind2=actual"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    texts = [prose(rng, size) for _ in range(min(lines, 100))]
    with gzip.open(place / "part-00000.jsonl.gz", "wt", compresslevel=1) as out:
        for n in range(lines):
            out.write(json.dumps({"id": str(n), "text": texts[n % len(texts)]}) + "\n")
    return ["nemotron", "--split", "hq_actual", "--input", folder]


def recordings() -> pa.Array:
    rng = np.random.default_rng(0)
    files = []
    for _ in range(ROWS):
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setparams((1, 2, ROW_RATE_HZ, 0, "NONE", ""))
            file.writeframes(noise(rng, ROW_SECS * ROW_RATE_HZ))
        files.append(out.getvalue())
    return pa.StructArray.from_arrays([pa.array(files, pa.binary()), pa.array(["x.wav"] * ROWS)], ["bytes", "path"])


def write_rows(path: pathlib.Path, columns: dict, rows_of_a_page: int) -> None:
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path, row_group_size=ROWS, write_batch_size=rows_of_a_page)


def librispeech(folder: pathlib.Path, rows_of_a_page: int) -> list[str]:
    write_rows(folder / "all/train.clean.100/0000.parquet", {
        "id": [f"1-1-{n:04}" for n in range(ROWS)], "text": ["A TEXT"] * ROWS, "audio": recordings(),
        "speaker_id": [1] * ROWS}, rows_of_a_page)
    return ["librispeech", "--input", folder, "--codec", "mel-rvq"]


def mls(folder: pathlib.Path, rows_of_a_page: int) -> list[str]:
    begins = [float(ROW_SECS * n) for n in range(ROWS)]
    write_rows(folder / "data/train-00000-of-00001.parquet", {
        "original_path": ["http://host/book.mp3"] * ROWS, "begin_time": begins,
        "end_time": [begin + ROW_SECS for begin in begins], "speaker_id": ["1"] * ROWS, "transcript": ["a text"] * ROWS,
        "audio": recordings(), "audio_duration": [float(ROW_SECS)] * ROWS}, rows_of_a_page)
    return ["mls", "--input", folder, "--codec", "mel-rvq"]


CASES = {
    f"yodas: {HOURS} h of wav in a tar.gz, chunks of 5 s": lambda folder: yodas(folder, 5),
    f"yodas: {HOURS} h of wav in a tar.gz, chunks of an hour": lambda folder: yodas(folder, 3600),
    "nemotron: 1 GB of jsonl.gz, lines of 3 kB": lambda folder: nemotron(folder, LINE_BYTES, JSONL_BYTES // LINE_BYTES),
    "nemotron: a document of 60 MB in a line": lambda folder: nemotron(folder, DOCUMENT_BYTES, 1),
    "librispeech: a row group of 1.4 GB, pages of 5 MB": lambda folder: librispeech(folder, 10),
    "mls: a row group of 1.4 GB, pages of 5 MB": lambda folder: mls(folder, 10),
    "librispeech: a row group of 1.4 GB, pages of 490 MB": lambda folder: librispeech(folder, 1024),
    "mls: a row group of 1.4 GB, pages of 490 MB": lambda folder: mls(folder, 1024),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the inputs, of 9 GB in all; else one at a time is there")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[""], help="cases whose names have one of these words")
    parser.add_argument("--tokenize", type=pathlib.Path, default=target() / "release/tokenize")
    args = parser.parse_args()
    tokenize, large = args.tokenize.resolve(), []
    print("| input | peak memory | time |\n|---|---|---|")
    for name, make in CASES.items():
        if not any(word in name for word in args.only):
            continue
        with tempfile.TemporaryDirectory() as name_of_scratch:
            scratch = pathlib.Path(name_of_scratch)
            folder = (args.keep.resolve() if args.keep else scratch) / name.replace(" ", "-").replace(":", "")
            done = folder.with_name(folder.name + ".json")
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                done.write_text(json.dumps([str(word) for word in make(folder)]))
            vocabulary = scratch / "vocabulary"
            run(tokenize, "vocab", "--base", ROOT / "tokenize/assets/tokenizer.json", "--out", vocabulary)
            command = [tokenize, *json.loads(done.read_text()), "--tokenizer", vocabulary, "--out", scratch / "out",
                       "--threads", args.threads]
            secs, peak_mib, _ = run(*command)
        print(f"| {name} | {peak_mib:.0f} MiB | {secs:.0f} s |", flush=True)
        if peak_mib > WANTED_MIB:
            large.append(name)
    if large:
        sys.exit(f"more than {WANTED_MIB} MiB: {', '.join(large)}")


if __name__ == "__main__":
    main()
