"""Compares the memory that `pretrain` predicts with what it takes, on the shards that check_training.py leaves in a folder.

    python scripts/check_training.py /tmp/check && python scripts/bench_training_memory.py /tmp/check
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# model, tokens a sequence, sequences at a time, further flags
CASES = [
    ("30m", 512, 4, []),
    ("30m", 1024, 4, []),
    ("30m", 1024, 4, ["--recompute"]),
    ("30m", 1024, 4, ["--precision", "bf16"]),
    ("30m", 2048, 1, []),
    ("150m", 512, 2, []),
    ("150m", 512, 2, ["--recompute"]),
    ("150m", 512, 2, ["--set", "ema_decay=0.99"]),
]


def pretrain(folder: Path, size: str, time: int, batch: int, flags: list[str]) -> list[str]:
    settings = [
        f"model.size={size}", f"seq_len={time}", f"batch_size={batch}", "steps=2", "validation_sequences=1",
        "checkpoint.every_steps=1", "validate_every=2", "schedule.warmup=0",
    ]  # fmt: skip
    command = [str(BIN / "pretrain"), str(folder / "check-30m.toml"), "--data", str(folder / "data"), *flags]
    return command + [argument for setting in settings for argument in ("--set", setting)]


def main() -> None:
    folder = Path(sys.argv[1])
    print("| model | sequences | flags | predicted, MiB | taken, MiB | ratio |\n|---|---|---|---|---|---|")
    for size, time, batch, flags in CASES:
        command = pretrain(folder, size, time, batch, flags)
        dry = subprocess.run([*command, "--dry-run", "--json"], check=True, text=True, capture_output=True).stdout
        predicted = sum(json.loads(dry)["memory"].values())
        with tempfile.TemporaryDirectory() as out:
            run = [*command, "--out", str(Path(out) / "run"), "--memory", "1TiB"]
            subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            lines = (Path(out) / "run/metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        taken = max(r["time"]["peak_memory"] for r in records if r["kind"] == "train")
        mib = [round(size / 2**20) for size in (predicted, taken)]
        print(f"| {size} | {batch} × {time} | {' '.join(flags)} | {mib[0]:,} | {mib[1]:,} | {mib[0] / mib[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
