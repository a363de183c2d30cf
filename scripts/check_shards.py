#!/usr/bin/env python3
"""Checks shards with pyarrow, independently of Timbre's own reader.

    scripts/check_shards.py DIR|FILE

Reads every shard of a dataset directory (or one file), compares schema and metadata with the format, the counts with the
lists, the codes and text ids with their ranges, and prints a table. Exits 1 on any mismatch. Needs the package `pyarrow`.
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def items(kind):
    return pa.list_(pa.field("element", kind, nullable=False))


SEGMENT = pa.struct(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_ids", items(pa.uint32()), nullable=False),
        pa.field("codes", items(pa.uint16()), nullable=False),
        pa.field("start_ms", pa.uint32()),
        pa.field("end_ms", pa.uint32()),
        pa.field("speaker", pa.uint16()),
    ]
)
COUNTS = ["n_text", "n_frames", "n_segments", "n_text_segments", "n_audio_segments"]
SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ["id", "source", "lang", "origin"]]
    + [pa.field("segments", items(SEGMENT), nullable=False)]
    + [pa.field(name, pa.uint32(), nullable=False) for name in COUNTS]
)
KEYS = ["format_version", "producer", "tokenizer", "vocab", "arguments_sha256"]


class Shard:
    """One shard: its totals and what is wrong with it."""

    def __init__(self, path: Path):
        self.path, self.problems = path, []
        self.documents = self.segments = self.text_tokens = self.frames = 0
        file = pq.ParquetFile(path)
        self.row_groups, self.bytes = file.num_row_groups, path.stat().st_size
        if not file.schema_arrow.equals(SCHEMA):
            self.problems.append(f"schema is {file.schema_arrow}")
            return
        meta = {k.decode(): v.decode() for k, v in (file.metadata.metadata or {}).items()}
        missing = [key for key in KEYS if f"timbre.{key}" not in meta]
        if missing or meta["timbre.format_version"] != "1":
            self.problems.append(f"metadata keys missing: {missing}, or another format version")
            return
        self.vocab = json.loads(meta["timbre.vocab"])
        codec = json.loads(meta.get("timbre.codec", "null"))
        self.codebooks = codec["codebooks"] if codec else 0
        self.ids = set()
        for group in range(file.num_row_groups):
            self.check_row_group(group, file.read_row_group(group))

    def expect(self, good, problem):
        if not good:
            self.problems.append(problem)

    def check_row_group(self, group, table):
        where = f"row group {group}"
        ids = table["id"].to_pylist()
        self.expect(len(set(ids)) == len(ids) and not self.ids & set(ids), f"{where}: ids repeat")
        self.ids.update(ids)
        segments = table["segments"].combine_chunks()
        parents = pc.list_parent_indices(segments)
        fields = segments.flatten()
        lengths = {name: pc.list_value_length(fields.field(name)) for name in ["text_ids", "codes"]}
        found = {"n_segments": pc.list_value_length(segments).to_pylist()}
        for name, length in [("text", lengths["text_ids"]), ("audio", lengths["codes"])]:
            totals, present = [0] * len(ids), [0] * len(ids)
            for parent, n in zip(parents.to_pylist(), length.to_pylist()):
                totals[parent] += n
                present[parent] += n > 0
            found[f"n_{name}_segments"] = present
            found["n_text" if name == "text" else "n_frames"] = (
                totals if name == "text" else [n // max(self.codebooks, 1) for n in totals]
            )
        for name in COUNTS:
            self.expect(table[name].to_pylist() == found[name], f"{where}: {name} differs from the lists")
        partial = [n for n in lengths["codes"].to_pylist() if n % max(self.codebooks, 1)]
        self.expect(not partial, f"{where}: {len(partial)} segments end within a frame")
        self.check_values(where, fields)
        self.documents += len(ids)
        self.segments += len(fields)
        self.text_tokens += sum(found["n_text"])
        self.frames += sum(found["n_frames"])

    def check_values(self, where, fields):
        codes, text = fields.field("codes").flatten(), fields.field("text_ids").flatten()
        size, base = self.vocab["codebook_size"], self.vocab["audio_base"]
        self.expect(not len(codes) or pc.max(codes).as_py() < size, f"{where}: a code is not below {size}")
        self.expect(not len(codes) or self.codebooks, f"{where}: codes without a codec")
        self.expect(not len(text) or pc.max(text).as_py() < base, f"{where}: a text id is not below {base}")
        names = ["bos", "eos", "text_start", "text_end", "audio_start", "audio_end"]
        markers = pa.array([self.vocab[name] for name in names], pa.uint32())
        self.expect(not pc.any(pc.is_in(text, markers)).as_py(), f"{where}: a text id is a marker")


def check_manifest(folder: Path, shards):
    """Yields what in manifest.json differs from the shards."""
    manifest = json.loads((folder / "manifest.json").read_text())
    entries = {entry["file"]: entry["summary"] for entry in manifest["shards"]}
    if sorted(entries) != sorted(shard.path.name for shard in shards):
        yield "manifest.json and the folder have different shards"
        return
    for shard in shards:
        for key in ["documents", "segments", "text_tokens", "frames", "row_groups", "bytes"]:
            if entries[shard.path.name][key] != getattr(shard, key):
                yield f"{shard.path.name}: manifest.json has another number of {key}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = Path(sys.argv[1])
    files = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
    shards = [Shard(file) for file in files]
    columns = ["documents", "segments", "text_tokens", "frames", "row_groups", "bytes"]
    print(f"{'shard':<22}" + "".join(f"{name:>14}" for name in columns))
    for shard in shards:
        print(f"{shard.path.name:<22}" + "".join(f"{getattr(shard, name):>14,}" for name in columns))
    problems = [f"{shard.path.name}: {problem}" for shard in shards for problem in shard.problems]
    if path.is_dir():
        problems += check_manifest(path, shards)
    if not shards:
        problems.append(f"{path} has no part-*.parquet")
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
