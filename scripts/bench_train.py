"""Compares whole training steps (forward, backward, clip, AdamW) with PyTorch's on the same model, in alternation.

    cargo build --release --workspace --examples
    python scripts/bench_train.py [speed|memory|tokens|layers ...] [--rounds 3]   # the first two need torch and transformers

PyTorch runs transformers' Qwen3ForCausalLM with SDPA, cross-entropy over all ids, `clip_grad_norm_` and fused AdamW, under
autocast in bf16; it leaves out the z-loss, which ours has. It is timed eager and compiled with glibc told to keep freed memory
(tuned), and eager with glibc's defaults. Times are the fastest step's, and least processor times,
which other work on the machine touches less.
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/step_speed"
VOCABULARY = 144_644
THREADS = 2
# glibc keeps freed memory
TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(256 << 20)}
PEERS = {"eager": TUNED, "compiled": TUNED, "default": {}}


def shape(size: str) -> dict:
    return tomllib.loads((ROOT / "experiments/models.toml").read_text())[size]


def flops_per_token(size: str, time: int) -> float:
    """Of matrix products, forward and backward; half of the attention's scores are never needed."""
    model = shape(size)
    hidden, inner, head = model["hidden_size"], model["intermediate_size"], model["head_dim"]
    queries, keys = (head * model[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    layer = hidden * (2 * queries + 2 * keys + 3 * inner) + time * queries
    return 6 * (model["num_hidden_layers"] * layer + VOCABULARY * hidden)


def torch_steps(peer: str, size: str, batch: int, time: int, precision: str, steps: int) -> None:
    import resource
    from time import perf_counter, process_time

    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 500_000.0}
    config = Qwen3Config(
        vocab_size=VOCABULARY, max_position_embeddings=4096, rms_norm_eps=1e-5, rope_parameters=rope, use_cache=False, **shape(size)
    )
    model = Qwen3ForCausalLM._from_config(config, attn_implementation="sdpa")
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)

    def forward(tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = model(tokens).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    if peer == "compiled":
        forward = torch.compile(forward)
    secs, processor_secs = [], []
    for _ in range(steps):
        tokens = torch.randint(VOCABULARY, (batch, time + 1))
        start, before = perf_counter(), process_time()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = forward(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        secs.append(perf_counter() - start)
        processor_secs.append(process_time() - before)
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"secs": secs, "processor_secs": min(processor_secs), "loss": loss.item(), "peak_memory": memory}))


def run(command: list, environment: dict | None = None) -> dict:
    environment = os.environ | {"RAYON_NUM_THREADS": str(THREADS)} | (environment or {})
    out = subprocess.run([str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE, env=environment)
    said = json.loads(out.stdout.splitlines()[-1])
    return said | {"fastest_secs": min(said["secs"])}


def ours(size: str, batch: int, time: int, precision: str, steps: int, *flags: object) -> dict:
    shape = ["--model", size, "--batch", batch, "--time", time, "--precision", precision, "--steps", steps]
    return run([PROGRAM, *shape, *flags])


def theirs(peer: str, *case: object) -> dict:
    return run([sys.executable, __file__, "--torch", peer, *case], PEERS[peer])


def alternate(rounds: int, programs: dict) -> dict:
    """What each program said last, with the least time of any step."""
    best = {}
    for _ in range(rounds):
        for name, program in programs.items():
            said = program()
            before = best.get(name, said)
            for kind in ("fastest_secs", "processor_secs"):
                said[kind] = min(said[kind], before[kind])
            best[name] = said
    return best


def speed(rounds: int) -> None:
    print(
        "| model, sequences | | ours, tokens/s | PyTorch tuned: eager, compiled | its default | ratio to the better, by processor time | GFLOP/s "
        "| share of the fastest product |\n|---|---|--:|--:|--:|--:|--:|--:|"
    )
    batch, time = 2, 512
    for size in ("30m", "135m"):
        for precision in ("f32", "bf16"):
            case = (size, batch, time, precision, 8)
            peers = {peer: lambda peer=peer: theirs(peer, *case) for peer in PEERS}
            best = alternate(rounds, {"ours": lambda: ours(*case)} | peers)
            rate = {name: batch * time / said["fastest_secs"] for name, said in best.items()}
            peer = max("eager", "compiled", key=rate.get)
            ratios = [best[peer][secs] / best["ours"][secs] for secs in ("fastest_secs", "processor_secs")]
            flops = flops_per_token(size, time) * rate["ours"]
            share = flops / best["ours"]["matmul_flops"]
            print(
                f"| {size}, {batch} × {time} | {precision} | {rate['ours']:,.0f} | {rate['eager']:,.0f}, {rate['compiled']:,.0f} "
                f"| {rate['default']:,.0f} | {ratios[0]:.2f}, {ratios[1]:.2f} | {flops / 1e9:.0f} | {share:.0%} |",
                flush=True,
            )


def memory(_: int) -> None:
    print("| 30m, 8 × 1024 | ours, MiB | with --recompute | PyTorch eager | compiled | ratio |\n|---|--:|--:|--:|--:|--:|")
    for precision in ("f32", "bf16"):
        case = ("30m", 8, 1024, precision, 2)
        runs = [ours(*case), ours(*case, "--recompute"), theirs("default", *case), theirs("compiled", *case)]
        mib = [said["peak_memory"] / 2**20 for said in runs]
        numbers = " | ".join(f"{x:,.0f}" for x in mib)
        print(f"| {precision} | {numbers} | {mib[0] / min(mib[2:]):.2f} |", flush=True)


def line(title: str, unit: str, rounds: int, programs: dict[int, object]) -> None:
    """Times against the straight line through the first and the last."""
    best = alternate(rounds, programs)
    secs = {x: said["fastest_secs"] for x, said in best.items()}
    (first, start), (last, end) = min(secs.items()), max(secs.items())
    slope = (end - start) / (last - first)
    print(f"| {title} | ms | ms a {unit} above the first | from the line |\n|--:|--:|--:|--:|")
    for x, time in secs.items():
        expected = start + slope * (x - first)
        each = f"{1e3 * (time - start) / (x - first):.3g}" if x > first else ""
        print(f"| {x:,} | {1e3 * time:,.0f} | {each} | {time / expected - 1:+.1%} |", flush=True)


def tokens(rounds: int) -> None:
    time = 512
    programs = {batch * time: lambda batch=batch: ours("30m", batch, time, "f32", 4) for batch in (2, 4, 8, 16, 32)}
    line("tokens a step", "token", rounds, programs)


def layers(rounds: int) -> None:
    programs = {count: lambda count=count: ours("30m", 2, 512, "f32", 6, "--layers", count) for count in (1, 4, 8, 16, 32)}
    line("layers", "layer", rounds, programs)


SECTIONS = {"speed": speed, "memory": memory, "tokens": tokens, "layers": layers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), metavar="SECTION", help="; ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch:
        peer, size, batch, time, precision, steps = args.torch
        return torch_steps(peer, size, int(batch), int(time), precision, int(steps))
    for section in args.sections:
        SECTIONS[section](args.rounds)
        print()


if __name__ == "__main__":
    main()
