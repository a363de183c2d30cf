#!/usr/bin/env python3
"""Reads a run's event files with TensorBoard and compares every scalar with metrics.jsonl.

    python scripts/check_tensorboard.py RUN…        # needs tensorboard

Exits 1 if a scalar is missing, differs (beyond the 32 bits that TensorBoard keeps), or is there too much, as after an
interruption whose later steps were not dropped.
"""

import argparse
import math
import struct
import sys
from pathlib import Path

from metrics import scalars, whole_lines
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def from_metrics(run: Path) -> dict[str, dict[int, float]]:
    """Tag → step → value."""
    tags: dict[str, dict[int, float]] = {}
    with open(run / "metrics.jsonl", "rb") as file:
        for record in whole_lines(file):
            for tag, value in scalars(record).items():
                (value,) = struct.unpack("f", struct.pack("f", value))
                tags.setdefault(tag, {})[record["step"]] = value
    return tags


def from_tensorboard(run: Path) -> dict[str, dict[int, float]]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def differences(want: dict[str, dict[int, float]], found: dict[str, dict[int, float]]):
    for tag in sorted(want.keys() | found.keys()):
        there, here = want.get(tag, {}), found.get(tag, {})
        for step in sorted(there.keys() | here.keys()):
            a, b = there.get(step), here.get(step)
            both_nan = a is not None and b is not None and math.isnan(a) and math.isnan(b)
            if a != b and not both_nan:
                yield f"{tag} at step {step}: {a} in metrics.jsonl, {b} in TensorBoard"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", type=Path, help="folder of a run")
    bad = 0
    for run in parser.parse_args().run:
        want, found = from_metrics(run), from_tensorboard(run)
        wrong = list(differences(want, found))
        files = len(list((run / "tensorboard").iterdir()))
        print(f"{run}: {len(want)} tags, {sum(map(len, want.values()))} scalars, {files} event files, {len(wrong)} differ")
        for line in wrong[:10]:
            print(f"  {line}")
        bad += len(wrong)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
