#!/usr/bin/env python3
"""Writes experiments/tests/fixtures/plans.json: the numbers of every experiment and variant, by the recipe's formulas.

    python scripts/make_experiment_fixtures.py

Needs Python alone. Reads neither the crate `experiments` nor its TOML files: the recipe's tables are written down a second time here, so
that an error in one of the two is found.
"""

import json
from math import ceil, floor, log2, sqrt
from pathlib import Path

VOCAB = {"marin": 144_644, "qwen3x": 151_669 + 1 + 4 + 8 * 2048}
# hidden, mlp, layers, heads, kv heads, head_dim
SIZES = {
    "30m": (192, 448, 8, 2, 2, 96), "50m": (256, 896, 12, 4, 4, 64), "75m": (336, 1024, 16, 4, 4, 84),
    "135m": (512, 1792, 15, 8, 8, 64), "150m": (512, 1792, 20, 8, 8, 64), "600m": (1024, 3072, 28, 16, 8, 128),
    "600m-hd64": (1024, 3072, 28, 16, 8, 64), "1.7b": (2048, 6144, 28, 16, 8, 128), "4b": (2560, 9728, 36, 32, 8, 128),
}
SEQ = 4096
WSD = ("wsd", 0.1, 0.2, 0.0)
LINEAR = ("linear", 0.0, 1.0, 0.0)
PRETRAINING = dict(weight_decay=0.033, beta1=0.98, beta2=0.98, epsilon=1e-16)
ANNEALING = PRETRAINING | dict(weight_decay=0.05)


def parameters(shape, vocab, tied):
    h, mlp, layers, heads, kv, d = shape
    layer = 2 * h * heads * d + 2 * h * kv * d + 3 * h * mlp + 2 * h + 2 * d
    return layers * layer + h + vocab * h * (1 if tied else 2)


def forward_flops_per_token(shape, vocab, seq):
    h, i, layers, heads, kv, _ = shape
    d = h / heads
    layer = 6 * h * i + 2 * h * (heads * d + 2 * kv * d) + 2 * h**2 + seq * (4 * heads * d + 3 * heads)
    return layers * layer + 2 * h * vocab


def plan(name, shape, tied, mix, batch, lr, tokens=None, steps=None, vocab="marin", seq=SEQ, schedule=WSD, optimizer=PRETRAINING):
    kind, warmup, decay, min_lr_ratio = schedule
    steps = steps or ceil(tokens / (batch * seq))
    warmup_steps = floor(warmup * steps)
    rows = VOCAB[vocab]
    return {
        "name": name, "mix": mix, "tied": tied, "vocab": rows, "batch": batch, "seq": seq, "steps": steps, "lr": lr,
        "schedule": kind, "min_lr_ratio": min_lr_ratio, "warmup_steps": warmup_steps,
        "decay_steps": floor(decay * steps) if kind == "wsd" else steps - warmup_steps,
        "tokens": steps * batch * seq, "parameters": parameters(shape, rows, tied),
        "non_embedding_parameters": parameters(shape, 0, tied),
        "forward_flops": forward_flops_per_token(shape, rows, seq) * (steps * batch * seq), **optimizer,
    }


def by_rule(batch, width):
    return 0.003 * sqrt(batch / 256) * sqrt(1024 / width)


def first_run():
    for batch, lr in ((2048, 0.003), (512, 0.003 * sqrt(2))):
        yield plan(f"exp1.1-batch{batch}", SIZES["600m-hd64"], False, "yodas2", batch, lr, 500e9)


def anneals():
    settings = dict(steps=50_000, schedule=LINEAR, optimizer=ANNEALING)
    mixes = {"mls-en": "mls-en", "emilia-en": "emilia-english", "yodas-en": "yodas2-en", "mix3-v1": "mix3-v1", "mix2-v1": "mix2-v1"}
    for name, mix in mixes.items():
        yield plan(f"exp1.3-{name}", SIZES["600m-hd64"], False, mix, 512, 0.003 * sqrt(2), **settings)
    for name, mix in {"mix3-v3": "anneal-mix3-v3", "mix2-v2": "anneal-mix2-v2", "mix3-v5": "anneal-mix3-v5(w=.05)"}.items():
        yield plan(f"135m-anneal-{name}", SIZES["135m"], False, mix, 512, 0.003 * sqrt(2), **settings)


def text_ratio():
    ratios = {"0": "0", "2.5": ".025", "5": ".05", "7.5": ".075", "100": "1"} | {str(p): f".{p // 10}" for p in range(10, 100, 10)}
    for size in ("150m", "30m", "50m", "75m"):
        for percent, r in ratios.items():
            yield plan(f"exp1.4-{size}-text{percent}", SIZES[size], True, f"nemotron(r={r})", 128, 0.003 * sqrt(1 / 2), 10e9)


def isoflop_targets():
    targets = {1e20: (2304, 2048, 2816, 3072), 6e19: (2048, 2304), 3e19: (2048,)}
    for budget, widths in targets.items():
        for h in widths:
            layers, heads = round(h / (64 + 4 * log2(h) - 7)), max(1, h // 128)
            shape = (h, 4 * h, layers, heads, heads, h // heads)
            flops = forward_flops_per_token(shape, VOCAB["marin"], SEQ)
            batch = 2 ** max(0, ceil(log2(budget / (flops * 65_536 * SEQ))))
            while 0.33 * sqrt(batch) / h > 0.01:
                batch //= 2
            steps = round(budget / (flops * batch * SEQ))
            assert batch >= 8 and abs(flops * batch * SEQ * steps / budget - 1) <= 0.01 and steps < 400_000
            optimizer = dict(weight_decay=0.1, beta1=0.95, beta2=0.98 ** (batch / 128), epsilon=1e-15)
            name = f"exp1.6-{budget:.0e}-{h}".replace("+", "")
            yield plan(name, shape, False, "pretrain", batch, 0.33 * sqrt(batch) / h, steps=steps, optimizer=optimizer)


def token_ablation():
    lr = 0.002 * sqrt(128 / 256) * sqrt(2048 / 1024)
    for name, mix in {"interleaved": "yodas2-en", "acoustic": "yodas2-en-acoustic", "semantic": "yodas2-en-semantic"}.items():
        yield plan(f"exp1.7-{name}", SIZES["1.7b"], True, mix, 128, lr, 30e9)


def main_runs():
    for size, width in {"4b": 2560, "1.7b": 2048, "600m": 1024, "135m": 1024}.items():
        yield plan(f"exp2.1-{size}", SIZES[size], False, "pretrain", 512, by_rule(512, width), 500e9)
    for size, width in {"1.7b": 2048, "600m": 1024}.items():
        yield plan(f"exp2.2-{size}", SIZES[size], False, "pretrain", 512, by_rule(512, width), 500e9, vocab="qwen3x")


def small_mixes():
    lr = 0.003 * sqrt(128 / 256) * sqrt(512 / 1024)
    mixes = {m: m for m in "pretrain mix2-v1 mix2-v2 mix2-v3 mix3-v1 mix3-v2 mix3-v3 mix3-v4".split()}
    mixes |= {"mix3-v5": "mix3-v5(w=1)", "cooldown": "cooldown(n=1)"}
    single = "yodas2 yodas2-en mls-en emilia-english emilia librispeech libritts commonvoice17-en peoples-speech-clean".split()
    for billions, names in ((10, mixes), (3, mixes | {m: m for m in single})):
        for name, mix in names.items():
            yield plan(f"data-mix-{billions}b-{name}", SIZES["150m"], True, mix, 128, lr, billions * 1e9)
    for w in (".8", ".6", ".4", ".2", ".1", ".05", "1.5"):
        yield plan(f"yodas-sweep-w{float(w)}", SIZES["150m"], True, f"mix3-v5(w={w})", 128, lr, 10e9)
    for percent, r in {0: "0", 10: ".1", 25: ".25", 50: ".5"}.items():
        yield plan(f"unimodal-mix-text{percent}", SIZES["150m"], False, f"unimodal(r={r})", 512, 0.003 * sqrt(2), 100e9)


def fine_tuning():
    optimizer = dict(weight_decay=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8)
    for method in (1, 2):
        yield plan(
            f"sft-cvss-method{method}", SIZES["600m"], False, "sft-cvss", 64, 2e-5, 5 * 750e6, seq=2048,
            schedule=("cosine", 0.03, 1.0, 0.1), optimizer=optimizer,
        )


if __name__ == "__main__":
    makers = (first_run, anneals, text_ratio, isoflop_targets, token_ablation, main_runs, small_mixes, fine_tuning)
    plans = [plan for maker in makers for plan in maker()]
    path = Path(__file__).resolve().parent.parent / "experiments/tests/fixtures/plans.json"
    path.write_text("[\n" + ",\n".join(json.dumps(plan) for plan in plans) + "\n]\n")
    print(f"{len(plans)} plans in {path}")
