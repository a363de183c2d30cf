"""The records of a run's metrics.jsonl, and the tag of each of their numbers: as pretrain/src/trackers/scalars.rs has them.

docs/tracking.md says what each number is.
"""

import json
import math

TRAIN = {
    "train/loss": "loss",
    "train/objective": "objective",
    "train/z_loss": "z_loss",
    "train/lr": "lr",
    "train/tokens": "tokens",
    "train/skipped_steps": "skipped_steps",
    "norm/grad": "grad_norm",
    "norm/update": "update_norm",
    "norm/params": "param_norm",
    "norm/logits": "logit_rms",
}
TIME = {
    "time/secs": "secs",
    "time/data_secs": "data_secs",
    "time/forward_secs": "forward_secs",
    "time/backward_secs": "backward_secs",
    "time/optimizer_secs": "optimizer_secs",
    "time/checkpoint_secs": "checkpoint_secs",
    "speed/tokens_per_sec": "tokens_per_sec",
    "speed/mfu": "mfu",
    "memory/peak_bytes": "peak_memory",
}
# left out of a record: not known, or none so far
OPTIONAL = {"mfu", "peak_memory"}


def whole_lines(file):
    """The records that a binary file holds from where it stands; a line still being written is left for later."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield json.loads(line)


def scalars(record: dict) -> dict[str, float]:
    """Numbers by tag, in the order in which the trainer writes them; `null` is what JSON has for NaN."""
    if record["kind"] == "train":
        values = {tag: record.get(key, 0) for tag, key in TRAIN.items()}
        values |= parts("loss_by_kind", record["by_kind"])
        values |= parts("loss_by_component", record["by_component"])
        time = record["time"]
        values |= {tag: time[key] for tag, key in TIME.items() if key not in OPTIONAL or key in time}
    elif record["kind"] == "validation":
        values = {"validation/loss": record["loss"]}
        values |= parts("validation_by_kind", record["by_kind"])
        values |= parts("validation_by_component", record["by_component"])
        values["time/validation_secs"] = record["secs"]
    else:
        return {}
    return {tag: math.nan if value is None else float(value) for tag, value in values.items()}


def parts(group: str, values: dict) -> dict:
    """`null` in a breakdown: no such token occurred."""
    return {f"{group}/{name}": value for name, value in values.items() if value is not None}
