#!/usr/bin/env python3
"""Writes mixes/tests/fixtures/mixes.json: the weights of every mix and the counts of a block, by the paper's formulas.

    python scripts/make_mix_fixtures.py

Made with Python 3.11 and numpy 2.4. Reads neither the crate `mixes` nor its TOML files: formulas and counts are written down a
second time here, so that an error in one of the two is found.
"""

import json
from math import ceil
from pathlib import Path

import numpy as np

BLOCK_SIZE = 2048
MAX_STAIRS = 256
MLS, EMILIA, EMILIA_YODAS, YODAS = "mls-en", "emilia-en", "emilia-yodas-en", "yodas2-en"
TEXT = "nemotron-hq_actual"
CVSS = "ar ca cy de es et fa fr id it ja lv mn nl pt ru sl sv-SE ta tr zh-CN".split()

# Billions of tokens.
SIZE = {EMILIA: 37, EMILIA_YODAS: 73, YODAS: 131}
YODAS2 = {
    "en": 0.355727909201, "th": 0.000970575517, "ar": 0.00059, "de": 0.023203517508,
    "es": 0.073786617338, "fr": 0.034971397976, "hi": 0.000784368275, "zh": 0.00050167398,
}
EMILIA_LANGS = {
    "en": 0.217169374, "zh": 0.231554524, "de": 0.007424594, "fr": 0.006496520, "ja": 0.007888631, "ko": 0.000928074,
}
EMILIA_YODAS_LANGS = {
    "en": 0.427842227, "zh": 0.001392111, "de": 0.025986079, "fr": 0.034338747, "ja": 0.005104408, "ko": 0.033874710,
}


def component(source, weight, view="both", codebooks=8, sources=None):
    sources = sources or [source]
    return {"name": source, "sources": sources, "view": view, "codebooks": codebooks, "weight": weight}


def text(weight, source=TEXT):
    return component(source, weight, "text")


def by_size(share, sources):
    total = sum(SIZE[source] for source in sources)
    return [component(source, share * SIZE[source] / total) for source in sources]


def third_of_each():
    """MLS, Emilia and YouTube (Emilia-YODAS and Yodas2, 204 billion tokens)."""
    return [component(MLS, 1 / 3), component(EMILIA, 1 / 3)] + by_size(1 / 3, [EMILIA_YODAS, YODAS])


def mix2_v1():
    return [component(EMILIA, 1 / 2)] + by_size(1 / 2, [EMILIA_YODAS, YODAS])


def mix2_v2():
    return [component(source, 1 / 3) for source in (MLS, EMILIA, EMILIA_YODAS)]


def recognised_youtube():
    """Emilia-YODAS, and 65 billion tokens of Yodas2 for recognition."""
    return [component(EMILIA_YODAS, 73 / 138 / 3), component(YODAS, 65 / 138 / 3, "asr")]


def mix3_v2():
    return [
        component(MLS, 51 / 165 / 2, "tts"),
        component(EMILIA_YODAS, 114 / 165 / 2, "tts"),
        component(YODAS, 1 / 2, "asr"),
    ]


def mix3_v5(w):
    weights = {MLS: 0.333, EMILIA: 0.333, EMILIA_YODAS: 0.119, YODAS: 0.214 * w}
    return [component(source, weight) for source, weight in weights.items()]


def pretrain():
    return by_size(0.95, [EMILIA, EMILIA_YODAS, YODAS]) + [text(0.05)]


def cooldown(n):
    more = n - 1
    return [
        component(MLS, 0.205),
        component(EMILIA, 0.217 - 0.053 * 0.336 * more),
        component(EMILIA_YODAS, 0.428 - 0.053 * 0.664 * more),
        component(YODAS, 0.05),
        text(0.05),
        component("peoples-speech-clean", 0.035 * n),
        component("commonvoice17-en", 0.01 * n),
        component("librispeech-train", 0.005 * n),
        component("libritts-train", 0.003 * n),
    ]


def nemotron(r):
    return [component(YODAS, 1 - r), text(r)]


def unimodal(r):
    return [component(EMILIA, 0.33669 * (1 - r)), component(EMILIA_YODAS, 0.66331 * (1 - r)), text(r, "dclm")]


def with_text(components):
    return [{**c, "weight": 0.95 * c["weight"]} for c in normalised(components)] + [text(0.05)]


def languages(prefix, weights):
    return [component(f"{prefix}-{lang}", weight) for lang, weight in weights.items()]


def normalised(components):
    present = [c for c in components if c["weight"] != 0]
    weights = np.array([c["weight"] for c in present])
    weights = weights / weights.sum()
    return [{**c, "weight": weight} for c, weight in zip(present, weights.tolist())]


def block_counts(weights):
    """Levanter's rule: rounded down, and the rest to the largest."""
    counts = np.floor(np.asarray(weights) * BLOCK_SIZE + 1e-9).astype(int)
    counts[np.argmax(counts)] += BLOCK_SIZE - counts.sum()
    return counts.tolist()


def golden(components, permutation="feistel", packing="concat", validation_fraction=1e-4):
    components = normalised(components)
    counts = block_counts([c["weight"] for c in components])
    components = [{**c, "count": count} for c, count in zip(components, counts)]
    head = {"permutation": permutation, "packing": packing, "validation_fraction": validation_fraction}
    return {**head, "components": components}


def mixes():
    single = {
        "mls-en": MLS,
        "yodas2-en": YODAS,
        "librispeech": "librispeech-train",
        "libritts": "libritts-train",
        "commonvoice17-en": "commonvoice17-en",
        "peoples-speech-clean": "peoples-speech-clean",
    }
    out = {name: golden([component(source, 1)]) for name, source in single.items()}
    emilia = [languages("emilia", EMILIA_LANGS), languages("emilia-yodas", EMILIA_YODAS_LANGS)]
    out |= {
        "quickstart": golden([component("quickstart", 1)], validation_fraction=0.1),
        "pretrain": golden(pretrain()),
        "mix2-v1": golden(mix2_v1()),
        "mix2-v2": golden(mix2_v2()),
        "mix2-v3": golden([component(EMILIA, 1 / 3)] + recognised_youtube()),
        "mix3-v1": golden(third_of_each()),
        "mix3-v2": golden(mix3_v2()),
        "mix3-v3": golden(third_of_each()),
        "mix3-v4": golden([component(MLS, 1 / 3), component(EMILIA, 1 / 3)] + recognised_youtube()),
        "anneal-mix3-v3": golden(with_text(third_of_each())),
        "anneal-mix2-v2": golden(with_text(mix2_v2())),
        "anneal-mix3-v5(w=0.05)": golden(with_text(mix3_v5(0.05))),
        "yodas2": golden(languages("yodas2", YODAS2)),
        "yodas2-en-acoustic": golden([component(YODAS, 1, "acoustic")]),
        "yodas2-en-semantic": golden([component(YODAS, 1, "semantic", 1)]),
        "emilia": golden(emilia[0] + emilia[1]),
        "emilia-english": golden([emilia[0][0], emilia[1][0]]),
        "sft-cvss": golden([component("cvss", 1, "sft", sources=[f"cvss-{lang}" for lang in CVSS])], packing="best-fit"),
    }
    out |= {f"cooldown(n={n})": golden(cooldown(n)) for n in (1, 2, 4)}
    out |= {f"mix3-v5(w={w})": golden(mix3_v5(w)) for w in (1, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 1.5)}
    out |= {f"nemotron(r={r})": golden(nemotron(r), "linear") for r in (0, 0.025, 0.5, 1)}
    out |= {f"unimodal(r={r})": golden(unimodal(r), "linear") for r in (0, 0.1, 0.25, 0.5)}
    return out


def staged(total_tokens, decay, n, seq_len=4096):
    """The counts of every block of pretrain-to-cooldown, until two blocks into the cooldown."""
    first, last = normalised(pretrain()), normalised(cooldown(n))
    names = [c["name"] for c in first]
    names += [c["name"] for c in last if c["name"] not in names]

    def row(components):
        weights = {c["name"]: c["weight"] for c in components}
        return np.array([weights.get(name, 0.0) for name in names])

    start, end = (ceil(ceil(tokens / seq_len) / BLOCK_SIZE) for tokens in (total_tokens * (1 - decay), total_tokens))
    stairs = min(end - start, MAX_STAIRS)
    edges = [(end - start) * stair // stairs for stair in range(stairs + 1)]
    blocks = [block_counts(row(first))] * start
    for begin, stop in zip(edges, edges[1:]):
        way = (begin + stop) / 2 / (end - start)
        blocks += [block_counts(row(first) * (1 - way) + row(last) * way)] * (stop - begin)
    blocks += [block_counts(row(last))] * 2
    name = f"pretrain-to-cooldown(total_tokens={total_tokens}, decay={decay}, n={n})"
    return {"mix": name, "seq_len": seq_len, "components": names, "counts": blocks}


def main():
    block_tokens = BLOCK_SIZE * 4096
    # A whole number of blocks, one token more, and more blocks than stairs.
    stages = [staged(20 * block_tokens, 0.25, 1), staged(13 * block_tokens + 1, 0.5, 2), staged(700 * block_tokens, 0.9, 1)]
    path = Path(__file__).parent.parent / "mixes/tests/fixtures/mixes.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in mixes().items()]
    mixes_json = "{\n" + ",\n".join(rows) + "\n}"
    stages_json = "[\n" + ",\n".join(f"  {json.dumps(stage)}" for stage in stages) + "\n]"
    path.write_text(f'{{"block_size": {BLOCK_SIZE},\n"mixes": {mixes_json},\n"staged": {stages_json}}}\n')


if __name__ == "__main__":
    main()
