"""Compares the loss and linear layers, with their gradients, with PyTorch's, in alternation.

    cargo build --release --workspace --examples
    python scripts/bench_products.py [--rounds 3] [--types f32 bf16]         # needs torch
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/products_speed"
VOCABULARY = 144_644
# kernel, rows, in, out, repetitions
CASES = [
    ("linear", 1024, 192, 768, 60),
    ("linear", 1024, 512, 2048, 20),
    ("linear", 4096, 1024, 4096, 3),
    ("loss", 1024, 192, VOCABULARY, 4),
    ("loss", 1024, 512, VOCABULARY, 3),
]
# freed memory is kept: PyTorch at its best, and ours as the trainer has it
ENVIRONMENT = os.environ | {
    "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(256 << 20), "MIMALLOC_PURGE_DELAY": "-1",
}  # fmt: skip


def torch_seconds(kernel: str, kind: str, rows: int, width: int, output: int, repetitions: int) -> None:
    import time

    import torch
    from torch.nn import functional as F

    torch.set_num_threads(int(os.environ.get("RAYON_NUM_THREADS", os.cpu_count())))
    half = kind == "bf16"
    x = torch.randn(rows, width, dtype=torch.bfloat16 if half else torch.float32).requires_grad_()
    weight = (torch.randn(output, width) * 0.05).requires_grad_()
    targets = torch.randint(output, (rows,))
    upstream = torch.randn(rows, output if kernel == "linear" else 1).to(x.dtype)
    for _ in range(repetitions):
        start, before = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = F.linear(x, weight)
        if kernel == "linear":
            torch.autograd.grad(out, [x, weight], upstream)
        else:
            out = out.float()
            loss = F.cross_entropy(out, targets) + 1e-4 * out.logsumexp(-1).square().mean()
            torch.autograd.grad(loss, [x, weight])
        print(time.perf_counter() - start, time.process_time() - before)


def seconds(program: list[str], case: list[str]) -> tuple[float, float]:
    """The least of the clock's and of the processors'."""
    out = subprocess.run([*program, *case], check=True, text=True, capture_output=True, env=ENVIRONMENT).stdout
    clock, processors = zip(*(map(float, line.split()) for line in out.splitlines()), strict=True)
    return min(clock), min(processors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", nargs="+", default=["f32", "bf16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch:
        kernel, kind, *sizes = args.torch
        return torch_seconds(kernel, kind, *map(int, sizes))
    print("| kernel | type | ms (of all processors) | GFLOP/s | PyTorch, ms | ratio |\n|---|---|--:|--:|--:|--:|")
    for kernel, rows, width, output, repetitions in CASES:
        for kind in args.types:
            case = [kernel, kind, *map(str, (rows, width, output, repetitions))]
            rounds = [
                (seconds([str(PROGRAM)], case), seconds([sys.executable, __file__, "--torch"], case))
                for _ in range(args.rounds)
            ]
            ours, theirs = ([min(times) for times in zip(*side, strict=True)] for side in zip(*rounds, strict=True))
            rate = 6 * rows * width * output / ours[0] / 1e9
            print(
                f"| {kernel} {rows} × {width} × {output} | {kind} | {ours[0] * 1e3:.2f} ({ours[1] * 1e3:.2f}) | {rate:.0f} "
                f"| {theirs[0] * 1e3:.2f} ({theirs[1] * 1e3:.2f}) | {theirs[0] / ours[0]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
