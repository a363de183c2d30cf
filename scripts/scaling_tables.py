"""Prints the tables of docs/scaling.md: what `pretrain --dry-run` predicts of exp2.1 on many H100s.

    cargo build --release -p pretrain && python scripts/scaling_tables.py
"""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/pretrain"
NETWORKS = ["400Gb", "100Gb/node"]
# the most sequences at a time that fit into 80 GiB on any number of GPUs
MICRO_BATCHES = {"600m": 8, "1.7b": 4, "4b": 1}
WORLDS = [8, 16, 32, 64, 128, 256]
BATCH = 512


def row(size: str, world: int, network: str) -> str:
    micro_batch = min(MICRO_BATCHES[size], BATCH // world)
    command = [
        str(PROGRAM), "exp2.1", "--size", size, "--dry-run", "--json", "--data", "/nowhere", "--device", "h100",
        "--world", str(world), "--net", network, "--micro-batch", str(micro_batch),
    ]  # fmt: skip
    found = json.loads(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout)
    scaling, memory = found["scaling"], sum(found["memory"].values()) / 2**30
    shares = " | ".join(f"{100 * scaling[key]:.1f} %" for key in ["communication_share", "efficiency", "mfu"])
    speed = f"{scaling['step_secs']:.3f} | {scaling['tokens_per_sec'] / 1e6:.3f}"
    return f"| {size} | {world} | {micro_batch} | {speed} | {shares} | {memory:.1f} |"


def main() -> None:
    for network in NETWORKS:
        print(f"`--net {network}`:\n")
        print("| model | H100s | `--micro-batch` | step, s | million tokens/s | communication | efficiency | MFU | memory, GiB |")
        print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
        print("\n".join(row(size, world, network) for size in MICRO_BATCHES for world in WORLDS), end="\n\n")


if __name__ == "__main__":
    main()
