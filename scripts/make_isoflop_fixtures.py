#!/usr/bin/env python3
"""Derive the grids of the recipe's seven budgets, and its targets, a second time, for the tests of `isoflop`.

    scripts/make_isoflop_fixtures.py [--sample SAMPLE.json] [tests/fixtures/isoflop-grids.json]

The formulas are those of the SODA sweep (arXiv 2602.16687, marin `experiments/audio`), written without a look at the Rust
code. The sample, by default tests/fixtures/isoflop-grid-sample.json, holds two budgets computed with the reference
implementation; the script ends with an error if it derives anything else. Needs Python's own library only.
"""

import argparse
import json
import math
import pathlib

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
BUDGETS = [1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20]
TARGETS = [(1e20, [2304, 2048, 2816, 3072]), (6e19, [2048, 2304]), (3e19, [2048])]
V, T = 144_644, 4096  # vocabulary rows, tokens a sequence


def forward_flops(h: int, i: int, layers: int, heads: int, kv: int) -> float:
    """Of a token."""
    d = h / heads
    layer = 6 * h * i + 2 * h * (heads * d + 2 * kv * d) + 2 * h * h + T * (4 * heads * d + 3 * heads)
    return layers * layer + 2 * h * V


def derive(budget: float, h: int) -> tuple[dict | None, dict | None]:
    """A candidate, or why there is none, or both if it is not run."""
    i = 4 * h
    layers = round(h / (64 + 4 * math.log2(h) - 7))
    heads = kv = max(1, h // 128)
    flops = forward_flops(h, i, layers, heads, kv)
    wanted = budget / (flops * 65536 * T)
    batch = 2 ** math.ceil(math.log2(wanted)) if wanted > 1 else 1
    first = batch
    while 0.33 * math.sqrt(batch) / h > 0.01:
        batch /= 2
    if batch < 8:
        return None, {"hidden": h, "rule": "small-batch", "batch": batch, "before_halving": first}
    batch = int(batch)
    steps = round(budget / (flops * batch * T))
    off = abs(steps * flops * batch * T - budget) / budget
    if off > 0.01:
        return None, {"hidden": h, "rule": "off-budget", "by": off}
    candidate = {
        "budget": budget, "hidden": h, "intermediate": i, "layers": layers, "heads": heads, "kv_heads": kv,
        "batch": batch, "steps": steps, "lr": 0.33 * math.sqrt(batch) / h, "beta2": 0.98 ** (batch / 128),
        "params": layers * (2 * h * h + 2 * kv * (h // heads) * h + 3 * h * i + 2 * h) + 2 * V * h,
        "tokens": batch * T * steps, "kept": steps < 400_000,
    }
    left = None if candidate["kept"] else {"hidden": h, "rule": "many-steps", "steps": steps}
    return candidate, left


def grid(budget: float, widths: list[int]) -> dict:
    derived = [derive(budget, h) for h in widths]
    candidates = [candidate for candidate, _ in derived if candidate]
    kept = [c for c in candidates if c["kept"]]
    forward = sum(forward_flops(c["hidden"], c["intermediate"], c["layers"], c["heads"], c["kv_heads"]) * c["tokens"]
                  for c in kept)
    return {
        "budget": budget,
        "candidates": candidates,
        "left_out": [left for _, left in derived if left],
        "kept": {
            "candidates": len(kept),
            "tokens": sum(c["tokens"] for c in kept),
            "flops": {"forward": forward, "training": 3 * forward, "6nd": sum(6 * c["params"] * c["tokens"] for c in kept)},
        },
    }


def check(sample: dict, grids: list[dict]) -> None:
    """Whole numbers must be equal, others within rounding."""
    assert (sample["vocab"], sample["seq_len"]) == (V, T)
    for budget, expected in sample["budgets"].items():
        found = next(grid for grid in grids if grid["budget"] == float(budget))["candidates"]
        assert len(found) == len(expected), budget
        for a, b in zip(found, expected):
            assert a.keys() == b.keys(), (a, b)
            for key, value in b.items():
                same = math.isclose(a[key], value, rel_tol=1e-12) if isinstance(value, float) else a[key] == value
                assert same, (key, a, b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=pathlib.Path, default=FIXTURES / "isoflop-grid-sample.json")
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=FIXTURES / "isoflop-grids.json")
    args = parser.parse_args()
    sweep = [grid(budget, list(range(128, 2049, 256 if budget > 9e18 else 128))) for budget in BUDGETS]
    check(json.loads(args.sample.read_text()), sweep)
    targets = [grid(budget, widths) for budget, widths in TARGETS]
    fixture = {"vocab": V, "seq_len": T, "sweep": sweep, "targets": targets}
    args.out.write_text(json.dumps(fixture, indent=None, separators=(",", ":")).replace('{"budget"', '\n{"budget"') + "\n")
    kept = sum(grid["kept"]["candidates"] for grid in sweep)
    print(f"{args.out}: {sum(len(g['candidates']) for g in sweep)} candidates of {len(sweep)} budgets, {kept} run; "
          f"{sum(len(g['candidates']) for g in targets)} targets; the sample agrees")


if __name__ == "__main__":
    main()
