"""Compares norms, rotation, SwiGLU and embedding with PyTorch's, in alternation, and with the speed of a copy.

    cargo build --release --workspace --examples
    python scripts/bench_elementwise.py [--rounds 3] [--types f32 bf16]         # needs torch
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/elementwise_speed"
VOCABULARY = 144_644
# tokens, width, head_dim
SHAPES = [(1024, 192, 96), (1024, 512, 64), (8192, 512, 64)]
SECONDS = 0.3
# freed memory is kept: PyTorch at its best, and ours as the trainer has it
ENVIRONMENT = os.environ | {
    "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(256 << 20), "MIMALLOC_PURGE_DELAY": "-1",
}  # fmt: skip


def torch_passes(tokens: int, width: int, head_dim: int, kind: str) -> None:
    import time

    import torch
    from torch.nn import functional as F

    torch.set_num_threads(int(os.environ.get("RAYON_NUM_THREADS", os.cpu_count())))
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[kind]

    def random(*shape: int, dtype=dtype):
        return torch.randn(shape).to(dtype).requires_grad_()

    def report(name: str, inputs: list, forward) -> None:
        upstream = None
        least = [float("inf")] * 2
        start = time.perf_counter()
        while time.perf_counter() - start < 2 * SECONDS:
            begin = time.perf_counter()
            outputs = forward(*inputs)
            least[0] = min(least[0], time.perf_counter() - begin)
            upstream = upstream or [torch.randn_like(out) for out in outputs]
            begin = time.perf_counter()
            torch.autograd.grad(outputs, inputs, upstream)
            least[1] = min(least[1], time.perf_counter() - begin)
        print(name, least[0])
        print(f"{name}_backward", least[1])

    def rotated(x, weight):
        x = F.rms_norm(x, (head_dim,), weight.to(dtype), 1e-6)
        a, b = x.chunk(2, -1)
        return [x * cos + torch.cat((-b, a), -1) * sin]

    def add_rms_norm(x, delta, weight):
        total = x + delta
        return [total, F.rms_norm(total, (width,), weight.to(dtype), 1e-6)]

    x, weight = random(tokens, width), random(width, dtype=torch.float32)
    report("rms_norm", [x, weight], lambda x, w: [F.rms_norm(x, (width,), w.to(dtype), 1e-6)])
    report("add_rms_norm", [x, random(tokens, width), weight], add_rms_norm)
    cos, sin = (torch.randn(tokens // 2, 1, head_dim).to(dtype) for _ in range(2))
    heads = random(2, tokens // 2, width // head_dim, head_dim)
    report("norm_rope", [heads, random(head_dim, dtype=torch.float32)], rotated)
    report("swiglu", [x, random(tokens, width)], lambda gate, up: [F.silu(gate) * up])
    ids = torch.randint(VOCABULARY, (tokens,))
    report("embedding", [random(VOCABULARY, width, dtype=torch.float32)], lambda w: [F.embedding(ids, w).to(dtype)])


def run(command: list) -> dict[str, list[float]]:
    out = subprocess.run(list(map(str, command)), check=True, text=True, capture_output=True, env=ENVIRONMENT).stdout
    lines = (line.split() for line in out.splitlines())
    return {name: list(map(float, numbers)) for name, *numbers in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--types", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--torch", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch:
        return torch_passes(*map(int, args.torch[:3]), args.torch[3])
    print("| tokens, width, head | type | pass | ms | GB/s | of a copy's | PyTorch, ms | ratio |\n|---|---|---|--:|--:|--:|--:|--:|")
    for shape in SHAPES:
        for kind in args.types:
            rounds = [
                (run([PROGRAM, *shape, kind, SECONDS]), run([sys.executable, __file__, "--torch", *shape, kind]))
                for _ in range(args.rounds)
            ]
            copy = max(ours["copy"][1] / ours["copy"][0] for ours, _ in rounds)
            for name, (_, traffic) in rounds[0][0].items():
                ours = min(ours[name][0] for ours, _ in rounds)
                theirs = min((theirs[name][0] for _, theirs in rounds if name in theirs), default=None)
                peer = f"{theirs * 1e3:.3f} | {theirs / ours:.1f}" if theirs else "|"
                rate = traffic / ours
                head = f"| {shape} | {kind} | {name} | {ours * 1e3:.3f} |"
                print(f"{head} {rate / 1e9:.1f} | {rate / copy:.2f} | {peer} |", flush=True)


if __name__ == "__main__":
    main()
