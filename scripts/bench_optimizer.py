"""Compares the optimizer step (global norm, clip, AdamW) with its plain form and with PyTorch's fused one, in alternation.

    cargo build --release --workspace --examples
    python scripts/bench_optimizer.py [--sizes 30m 135m] [--rounds 3]         # needs torch
"""

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/adamw_speed"
VOCABULARY = 144_644
STEPS, WARMUP = 6, 2
# glibc keeps freed memory: PyTorch and the plain form at their best
ENVIRONMENT = os.environ | {
    "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(256 << 20), "MIMALLOC_PURGE_DELAY": "-1",
}  # fmt: skip
VARIANTS = ["torch", "plain adamw", "fused adamw", "plain cautious", "fused cautious"]


def lengths(size: str) -> list[int]:
    """Elements of each parameter of a tied model."""
    model = tomllib.loads((ROOT / "experiments/models.toml").read_text())[size]
    hidden, inner, head = model["hidden_size"], model["intermediate_size"], model["head_dim"]
    queries, keys = (head * model[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    attention = [queries * hidden, keys * hidden, keys * hidden, hidden * queries, head, head]
    layer = [*attention, hidden * inner, hidden * inner, inner * hidden, hidden, hidden]
    return [VOCABULARY * hidden, *(layer * model["num_hidden_layers"]), hidden]


def torch_steps(elements: list[int]) -> None:
    import time

    import torch

    torch.set_num_threads(int(os.environ.get("RAYON_NUM_THREADS", os.cpu_count())))
    params = [torch.nn.Parameter(torch.randn(n)) for n in elements]
    optimizer = torch.optim.AdamW(params, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)
    for _ in range(STEPS):
        for param in params:
            param.grad = torch.randn(param.shape)
        start = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        print(time.perf_counter() - start)


def seconds(variant: str, size: str) -> float:
    elements = list(map(str, lengths(size)))
    command = [sys.executable, __file__, "--torch"] if variant == "torch" else [str(PROGRAM), *variant.split(), str(STEPS)]
    out = subprocess.run([*command, *elements], check=True, text=True, capture_output=True, env=ENVIRONMENT).stdout
    return median(list(map(float, out.split()))[WARMUP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["30m", "135m"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch", nargs="+", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch:
        return torch_steps(args.torch)
    print("| model | parameters, M | variant | ms | ratio to the fused one | GB/s |\n|---|--:|---|--:|--:|--:|")
    for size in args.sizes:
        rounds = [{variant: seconds(variant, size) for variant in VARIANTS} for _ in range(args.rounds)]
        parameters = sum(lengths(size))
        for variant in VARIANTS:
            ours = "fused cautious" if "cautious" in variant else "fused adamw"
            time = median(times[variant] for times in rounds)
            ratio = median(times[variant] / times[ours] for times in rounds)
            # 4 bytes for the norm, and those of kernels/src/adamw/cpu.rs
            traffic = {"fused adamw": 32, "fused cautious": 40}.get(variant)
            rate = f"{traffic * parameters / time / 1e9:.1f}" if traffic else ""
            print(f"| {size} | {parameters / 1e6:.1f} | {variant} | {time * 1e3:.1f} | {ratio:.2f} | {rate} |", flush=True)


if __name__ == "__main__":
    main()
