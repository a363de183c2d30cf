#!/usr/bin/env python3
"""Checks an export against its dataset with pyarrow and transformers, independently of Timbre's own code.

    scripts/check_export.py DATASET EXPORT

The ids of every row are computed from the dataset's shards. In an export of ids they must be the row's; of a text (--to pua)
they must be what transformers' AutoTokenizer makes of it with the dataset's tokenizer. Exits 1 on any mismatch. Needs the
packages `pyarrow` and `transformers`.
"""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
from transformers import AutoTokenizer

MARKERS = ["bos", "eos", "text_start", "text_end", "audio_start", "audio_end"]


def render(document, vocab, stored, codebooks, text_first):
    """The token ids of a document with the first codebooks of each frame."""
    bos, eos, text_start, text_end, audio_start, audio_end = (vocab[name] for name in MARKERS)
    base, size, out = vocab["audio_base"], vocab["codebook_size"], [bos]
    for segment in document["segments"]:
        ids, codes = segment["text_ids"], segment["codes"]
        kept = [base + i % stored * size + code for i, code in enumerate(codes) if i % stored < codebooks]
        text = [text_start, *ids, text_end] if ids else []
        audio = [audio_start, *kept, audio_end] if codes else []
        out += text + audio if text_first else audio + text
    return out + [eos]


def rows_of_dataset(folder: Path, codebooks):
    """Every rendering by its row's id."""
    for file in sorted(folder.glob("part-*.parquet")):
        table = pq.ParquetFile(file)
        meta = {k.decode(): v.decode() for k, v in table.metadata.metadata.items()}
        vocab, codec = (json.loads(meta.get(f"timbre.{key}", "null")) for key in ["vocab", "codec"])
        stored = codec["codebooks"] if codec else 1
        for group in range(table.num_row_groups):
            for document in table.read_row_group(group).to_pylist():
                for kind, text_first in [(1, True), (2, False)]:
                    ids = render(document, vocab, stored, codebooks or stored, text_first)
                    yield f"{document['id']}_type{kind}", ids


def rows_of_export(folder: Path):
    for file in sorted(folder.glob("part-*.parquet")):
        yield from pq.read_table(file).to_pylist()
    for file in sorted(folder.glob("part-*.jsonl")):
        with open(file, encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    dataset, export = map(Path, sys.argv[1:])
    identity = json.loads((export / "export.json").read_text())
    expected = dict(rows_of_dataset(dataset, identity["codebooks"]))
    tokenizer = AutoTokenizer.from_pretrained(dataset / "tokenizer")
    rows = tokens = wrong = 0
    seen = set()
    for row in rows_of_export(export):
        ids = row["input_ids"] if "input_ids" in row else tokenizer.encode(row["text"], add_special_tokens=False)
        rows, tokens = rows + 1, tokens + len(ids)
        if expected.get(row["id"]) != ids:
            wrong += 1
            print(f"{row['id']}: other ids than the dataset's")
        if row["id"] in seen:
            wrong += 1
            print(f"{row['id']}: it occurs twice")
        seen.add(row["id"])
    print(f"{rows:,} rows, {tokens:,} tokens, {wrong} faults")
    sys.exit(1 if wrong or not rows else 0)


if __name__ == "__main__":
    main()
