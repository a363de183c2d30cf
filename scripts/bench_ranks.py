"""Times training steps on two processes of one thread against one process of two threads, and what they exchange.

    cargo build --release -p pretrain --examples --features pretrain/mpi && python scripts/bench_ranks.py --rounds 3

prints the tables of docs/scaling.md: the least time of any step of each, in alternating runs, and the exchanges of two processes
alone, with the latency and the bandwidth that fit them.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples"
MPIRUN = ["mpirun", "-np", "2"]
CASES = [("30m", 4, 512, "f32"), ("30m", 4, 512, "bf16"), ("135m", 4, 512, "f32")]


def run(command: list, threads: int | None = None) -> list[dict]:
    environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    if threads:
        environment["RAYON_NUM_THREADS"] = str(threads)
    out = subprocess.run([str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE, env=environment)
    return [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]


def step(launcher: list, threads: int, size: str, batch: int, time: int, precision: str) -> float:
    shape = ["--model", size, "--batch", batch, "--time", time, "--precision", precision, "--steps", 6]
    return min(run([*launcher, EXAMPLES / "step_speed", *shape], threads)[-1]["secs"][1:])


def steps(rounds: int) -> None:
    print("| model, sequences | | one process, s | two, s | two to one |\n|---|---|--:|--:|--:|")
    for case in CASES:
        best = [float("inf"), float("inf")]
        for _ in range(rounds):
            for which, (launcher, threads) in enumerate([([], 2), (MPIRUN, 1)]):
                best[which] = min(best[which], step(launcher, threads, *case))
        size, batch, time, precision = case
        print(f"| {size}, {batch} × {time} | {precision} | {best[0]:.3f} | {best[1]:.3f} | {best[0] / best[1]:.1%} |", flush=True)


def exchanges() -> None:
    print("\n| bytes | reduce-scatter, ms | all-gather, ms |\n|--:|--:|--:|")
    lines = run([*MPIRUN, EXAMPLES / "exchange_speed"])
    for line in lines:
        print(f"| {line['bytes']:,} | {1e3 * line['reduce_scatter_secs']:.3f} | {1e3 * line['all_gather_secs']:.3f} |")
    for name in ("reduce_scatter", "all_gather"):
        small, large = lines[0], lines[-1]
        sent = large["bytes"] / 2 - small["bytes"] / 2
        rate = sent / (large[f"{name}_secs"] - small[f"{name}_secs"])
        print(f"{name}: {1e6 * small[f'{name}_secs']:.0f} µs and {rate / 1e9:.2f} GB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    steps(rounds)
    exchanges()


if __name__ == "__main__":
    main()
