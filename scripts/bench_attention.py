"""Compares attention, forward and backward, with PyTorch's scaled_dot_product_attention, in alternation.

    cargo build --release --workspace --examples
    python scripts/bench_attention.py [--rounds 3] [--types f32 bf16]         # needs torch
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/attention_speed"
# batch, time, heads, key heads, head_dim: long sequences, then those of the models of 30 and 135 million parameters
SHAPES = [(1, 4096, 8, 8, 64), (1, 4096, 8, 2, 64), (1, 4096, 8, 8, 128), (2, 512, 2, 2, 96), (2, 512, 8, 8, 64)]
SECONDS = 2.0
# freed memory is kept: PyTorch at its best, and ours as the trainer has it
ENVIRONMENT = os.environ | {
    "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(256 << 20), "MIMALLOC_PURGE_DELAY": "-1",
}  # fmt: skip


def torch_passes(batch: int, length: int, heads: int, kv_heads: int, head_dim: int, kind: str) -> None:
    import time

    import torch
    from torch.nn.functional import scaled_dot_product_attention

    torch.set_num_threads(int(os.environ.get("RAYON_NUM_THREADS", os.cpu_count())))
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[kind]

    def random(heads: int):
        return torch.randn(batch, length, heads, head_dim).to(dtype).transpose(1, 2)

    inputs = [random(n).requires_grad_() for n in (heads, kv_heads, kv_heads)]
    upstream = random(heads)
    least = [float("inf")] * 2
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        begin = time.perf_counter()
        out = scaled_dot_product_attention(*inputs, is_causal=True, enable_gqa=heads != kv_heads)
        middle = time.perf_counter()
        torch.autograd.grad(out, inputs, upstream)
        end = time.perf_counter()
        least = [min(least[0], middle - begin), min(least[1], end - middle)]
    print("forward", least[0])
    print("backward", least[1])


def run(command: list) -> dict[str, list[float]]:
    out = subprocess.run(list(map(str, command)), check=True, text=True, capture_output=True, env=ENVIRONMENT).stdout
    lines = (line.split() for line in out.splitlines())
    return {name: list(map(float, numbers)) for name, *numbers in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--types", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--torch", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch:
        return torch_passes(*map(int, args.torch[:5]), args.torch[5])
    print("| batch, time, heads, key heads, head_dim | type | pass | ms | GFLOP/s | a core | PyTorch, ms | ratio |")
    print("|---|---|---|--:|--:|--:|--:|--:|")
    for shape in SHAPES:
        for kind in args.types:
            rounds = [
                (run([PROGRAM, kind, SECONDS, *shape]), run([sys.executable, __file__, "--torch", *shape, kind]))
                for _ in range(args.rounds)
            ]
            for name, (_, _, flops) in rounds[0][0].items():
                ours, busy = (min(ours[name][i] for ours, _ in rounds) for i in range(2))
                theirs = min(theirs[name][0] for _, theirs in rounds)
                rates = f"{flops / ours / 1e9:.0f} | {flops / busy / 1e9:.0f}"
                head = f"| {shape} | {kind} | {name} | {ours * 1e3:.2f}"
                print(f"{head} | {rates} | {theirs * 1e3:.2f} | {theirs / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
