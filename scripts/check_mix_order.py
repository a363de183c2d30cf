#!/usr/bin/env python3
"""Computes the order of the data a second time, from docs/mixes.md alone, and compares it with `mixes sequences`.

    scripts/check_mix_order.py MIX.toml DATA [--mixes PROGRAM] [--count 100] [--from 0] [--seq-len 4096] [--seed 0] [--window 8]
    scripts/check_mix_order.py --example

The first reads the shards of DATA with pyarrow and exits 1 at the first sequence whose tokens or documents differ. MIX.toml
names `source` components with numbers as weights, or `weights` of stages that start at sequences; views that tag or join
texts (`tts`, and `text` of several segments) are refused, since they need the tokenizer. The second prints the worked example of docs/mixes.md.
Needs Python 3.11 and, for the first, the package `pyarrow`.
"""

import argparse
import bisect
import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

MASK = (1 << 64) - 1


# Permutations


def mix(value):
    """SplitMix64."""
    z = (value + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def derive_key(*parts):
    key = 0
    for part in parts:
        key = mix(key ^ part)
    return key


class Permutation:
    """A bijection of range(n)."""

    def __init__(self, kind, n, key):
        self.kind, self.n = kind, n
        state = key
        if kind == "feistel":
            self.half = max(1, (max(n - 1, 0).bit_length() + 1) // 2)
            self.keys = []
            for _ in range(6):
                state = mix(state)
                self.keys.append(state)
        else:
            self.offset = mix(key ^ 1) % n
            while True:
                state = mix(state)
                self.factor = state % n
                if gcd(self.factor, n) == 1 or n <= 1:
                    break

    def __call__(self, i):
        if self.kind == "linear":
            return (self.factor * i + self.offset) % self.n
        while True:
            i = self.network(i)
            if i < self.n:
                return i

    def network(self, value):
        mask = (1 << self.half) - 1
        left, right = value >> self.half, value & mask
        for key in self.keys:
            left, right = right, left ^ (mix(right ^ key) & mask)
        return left << self.half | right


def gcd(a, b):
    return a if b == 0 else gcd(b, a % b)


# Schedule


class Schedule:
    """`stages`: (first sequence, weights of sum 1, weights to go to or None), in order."""

    def __init__(self, stages, block_size, seed):
        self.block_size, self.seed = block_size, seed
        firsts = [-(-start // block_size) for start, _, _ in stages]
        self.stairs = []  # first block, counts of a block, sequences of each component before
        for number, (_, weights, until) in enumerate(stages):
            if until is None:
                self.add(firsts[number], weights)
                continue
            blocks = firsts[number + 1] - firsts[number]
            stairs = min(blocks, 256)
            edges = [blocks * stair // stairs for stair in range(stairs + 1)]
            for begin, end in zip(edges, edges[1:]):
                way = (begin + end) / 2 / blocks
                between = [a * (1 - way) + b * way for a, b in zip(weights, until)]
                self.add(firsts[number] + begin, between)

    def add(self, first, weights):
        counts = [int(weight * self.block_size + 1e-9) for weight in weights]
        counts[counts.index(max(counts))] += self.block_size - sum(counts)
        before = [0] * len(counts)
        if self.stairs:
            last, of_block, earlier = self.stairs[-1]
            before = [b + n * (first - last) for b, n in zip(earlier, of_block)]
        self.stairs.append((first, counts, before))

    def locate(self, index):
        block, place = divmod(index, self.block_size)
        at = bisect.bisect([first for first, _, _ in self.stairs], block) - 1
        first, counts, before = self.stairs[at]
        key = derive_key(self.seed, int.from_bytes(b"blkorder", "big"), block)
        slot = Permutation("feistel", self.block_size, key)(place)
        component = 0
        while slot >= counts[component]:
            slot -= counts[component]
            component += 1
        return component, before[component] + counts[component] * (block - first) + slot


# The order of a component


class Order:
    """`groups`: sequences of each group. Places are epoch, group and sequence within it."""

    def __init__(self, kind, key, window, groups):
        self.kind, self.key, self.window = kind, key, window
        self.visited = [(group, count) for group, count in enumerate(groups) if count > 0]
        self.sequences = sum(groups)

    def permutation(self, n, epoch, purpose, item):
        return Permutation(self.kind, n, derive_key(self.key, epoch, purpose, item))

    def place(self, number):
        epoch, at = divmod(number, self.sequences)
        permute = self.permutation(len(self.visited), epoch, 1, 0)
        groups = [self.visited[permute(i)] for i in range(len(self.visited))]
        for window in range(0, len(groups), self.window):
            size = sum(count for _, count in groups[window : window + self.window])
            if at < size:
                break
            at -= size
        at = self.permutation(size, epoch, 2, window // self.window)(at)
        for group, count in groups[window:]:
            if at < count:
                return epoch, group, at
            at -= count


# Documents


def component_key(seed, name):
    return derive_key(seed, int(hashlib.sha256(name.encode()).hexdigest()[:16], 16))


def is_validation(identifier, fraction):
    head = int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8], "big")
    return (head >> 11) / 2**53 < fraction


ORDERS = {
    "both": ["text-first", "audio-first"],
    "text-first": ["text-first"],
    "audio-first": ["audio-first"],
    "asr": ["audio-first"],
    "acoustic": ["audio"],
    "semantic": ["audio"],
    "text": ["text"],
}


def orders(view, document):
    """How a document is rendered."""
    text = any(ids for ids, _ in document)
    audio = any(codes for _, codes in document)
    if not {"audio": audio, "text": text}.get(ORDERS[view][0], text or audio):
        return []
    return ORDERS[view] if text and audio else ORDERS[view][:1]


def render(document, order, vocab, stored, used):
    """The tokens of a document in one order."""
    tokens = [vocab["bos"]]
    for ids, codes in document:
        frames = [codes[at : at + stored][:used] for at in range(0, len(codes), stored)]
        base, size = vocab["audio_base"], vocab["codebook_size"]
        audio = [base + book * size + code for frame in frames for book, code in enumerate(frame)]
        text = list(ids)
        if order != "text":
            text = [vocab["text_start"], *text, vocab["text_end"]] if text else []
            audio = [vocab["audio_start"], *audio, vocab["audio_end"]] if audio else []
        tokens += {"text-first": text + audio, "audio-first": audio + text, "audio": audio, "text": text}[order]
    return tokens + [vocab["eos"]]


class Corpus:
    """The training renderings of a component, group by group."""

    def __init__(self, data, component, fraction, seq_len):
        import pyarrow.parquet as parquet

        self.seq_len, row_groups = seq_len, []
        view = component["view"]
        if view not in ORDERS:
            sys.exit(f"view {view} is not computed here")
        sources = component["source"]
        for source in [sources] if isinstance(sources, str) else sources:
            folder = Path(data) / source
            self.vocab = json.loads((folder / "tokenizer/audio_vocab.json").read_text())
            for shard in json.loads((folder / "manifest.json").read_text())["shards"]:
                file = parquet.ParquetFile(folder / shard["file"])
                codec = json.loads(file.metadata.metadata.get(b"timbre.codec", b"null"))
                stored = codec["codebooks"] if codec else 1
                used = 1 if view == "semantic" else component.get("codebooks", 8)
                for number in range(file.num_row_groups):
                    renderings = []
                    for row in file.read_row_group(number, columns=["id", "segments"]).to_pylist():
                        document = [(s["text_ids"], s["codes"]) for s in row["segments"]]
                        if view == "text" and sum(bool(ids) for ids, _ in document) > 1:
                            sys.exit(f"document {row['id']}: view text of several segments is not computed here")
                        if not is_validation(row["id"], fraction):
                            for order in orders(view, document):
                                renderings.append(render(document, order, self.vocab, stored, used))
                    row_groups.append(renderings)
        self.groups, group = [], []
        for renderings in row_groups:
            group = group + renderings
            if sum(map(len, group)) >= 1000 * seq_len:
                self.groups.append(group)
                group = []
        if self.groups:
            self.groups[-1] = self.groups[-1] + group
        else:
            self.groups.append(group)


def concatenated(renderings, seq_len):
    """Laid end to end, and cut; each sequence is a list of pieces."""
    sequences, pieces, room = [], [], seq_len
    for tokens in renderings:
        while tokens:
            pieces.append(tokens[:room])
            tokens, room = tokens[room:], room - len(pieces[-1])
            if room == 0:
                sequences.append(pieces)
                pieces, room = [], seq_len
    return sequences


def best_fitted(renderings, seq_len):
    """The longest first, each into the fullest sequence that has room."""
    bins = []
    for tokens in sorted((t for t in renderings if len(t) <= seq_len), key=len, reverse=True):
        fitting = [(room, at) for at, (room, _) in enumerate(bins) if room >= len(tokens)]
        if not fitting:
            bins.append((seq_len, []))
            fitting = [(seq_len, len(bins) - 1)]
        room, at = min(fitting)
        bins[at] = (room - len(tokens), bins[at][1] + [tokens])
    return [pieces for _, pieces in bins]


# The loader


def normalised(weights):
    total = 0.0
    for weight in weights:
        total += weight
    return [weight / total for weight in weights]


class Loader:
    def __init__(self, path, data, seq_len, seed, window):
        mixture = tomllib.loads(Path(path).read_text())
        self.seq_len, self.window = seq_len, window
        self.kind = mixture.get("permutation", "feistel")
        self.packing = mixture.get("packing", "concat")
        fraction = mixture["validation_fraction"]
        components = mixture["components"]
        self.names = [c.get("name", c["source"]) for c in components]
        stages = [(0, [c["weight"] for c in components], False)] if "stages" not in mixture else [
            (s["start_sequences"], [s["weights"].get(name, 0.0) for name in self.names], s.get("interpolate", False))
            for s in mixture["stages"]
        ]
        weights = [normalised(weights) for _, weights, _ in stages]
        until = [weights[i + 1] if stage[2] else None for i, stage in enumerate(stages)]
        stages = [(stage[0], weights[i], until[i]) for i, stage in enumerate(stages)]
        self.schedule = Schedule(stages, mixture.get("block_size", 2048), seed)
        self.corpora = [Corpus(data, component, fraction, seq_len) for component in components]
        self.orders = []
        for name, corpus in zip(self.names, self.corpora):
            sizes = [len(self.packed(corpus.groups[g])) for g in range(len(corpus.groups))]
            self.orders.append(Order(self.kind, component_key(seed, name), window, sizes))
        self.kept = {}

    def packed(self, renderings):
        return {"concat": concatenated, "best-fit": best_fitted}[self.packing](renderings, self.seq_len)

    def group(self, component, epoch, group):
        """The sequences of a group in an epoch."""
        if (component, epoch, group) not in self.kept:
            renderings = self.corpora[component].groups[group]
            permute = self.orders[component].permutation(len(renderings), epoch, 3, group)
            renderings = [renderings[permute(i)] for i in range(len(renderings))]
            self.kept[component, epoch, group] = self.packed(renderings)
        return self.kept[component, epoch, group]

    def sequence(self, index):
        """Component, tokens, and which document of the sequence each token is of."""
        component, number = self.schedule.locate(index)
        epoch, group, at = self.orders[component].place(number)
        pieces = self.group(component, epoch, group)[at]
        padding = self.seq_len - sum(map(len, pieces))
        if padding:
            pieces = pieces + [[self.corpora[component].vocab["eos"]] * padding]
        tokens = [token for piece in pieces for token in piece]
        segments = [number for number, piece in enumerate(pieces) for _ in piece]
        return self.names[component], tokens, segments


def example():
    """The worked example of docs/mixes.md."""
    print("keys   ", *(f"{derive_key(*parts):016x}" for parts in [(0,), (7, 0), (7, 1)]))
    print("small  ", f"{component_key(7, 'small'):016x}")
    for kind in ["feistel", "linear"]:
        permute = Permutation(kind, 10, 42)
        print(f"{kind:7}", *(permute(i) for i in range(10)))
    schedule = Schedule([(0, [0.625, 0.25, 0.125], None)], 8, 7)
    print("locate ", *("{}:{}".format(*schedule.locate(i)) for i in range(16)))
    order = Order("feistel", component_key(7, "small"), 2, [3, 0, 5, 4])
    print("places ", *("{}:{}:{}".format(*order.place(i)) for i in range(16)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mix", nargs="?")
    parser.add_argument("data", nargs="?")
    parser.add_argument("--example", action="store_true")
    parser.add_argument("--mixes", default="mixes")
    for name, default in [("from", 0), ("count", 100), ("seq-len", 4096), ("seed", 0), ("window", 8)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    if arguments.example:
        return example()
    if arguments.data is None:
        parser.error("give a mixture and its data, or --example")
    options = vars(arguments)
    loader = Loader(arguments.mix, arguments.data, arguments.seq_len, arguments.seed, arguments.window)
    command = [arguments.mixes, "sequences", arguments.mix, "--data", arguments.data, "--json"]
    for name in ["from", "count", "seq_len", "seed", "window"]:
        command += ["--" + name.replace("_", "-"), str(options[name])]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(run.returncode)
    lines = run.stdout.splitlines()
    for line in lines:
        found = json.loads(line)
        expected = loader.sequence(found["sequence"])
        if expected != (found["component"], found["tokens"], found["segment_ids"]):
            sys.exit(f"sequence {found['sequence']} differs: expected {expected}, found {found}")
    print(f"{len(lines)} sequences are as docs/mixes.md has them")


if __name__ == "__main__":
    main()
