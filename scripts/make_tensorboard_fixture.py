#!/usr/bin/env python3
"""Makes pretrain/tests/fixtures/tensorboard: records of a run, and the event file that TensorBoard's writer makes of them.

    python scripts/make_tensorboard_fixture.py        # needs tensorboard

The records have a step of more than seven bits, a loss that is not finite, a value of zero, and a tag with letters beyond
ASCII: what a hand-written encoding gets wrong.
"""

import io
import json
from pathlib import Path

from metrics import scalars
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

OUT = Path(__file__).resolve().parent.parent / "pretrain/tests/fixtures/tensorboard"
FIRST_WALL_TIME, FIRST_STEP = 1.75e9, 300

RUN = {
    "kind": "run", "name": "fixture", "parameters": 1000, "steps": 301, "batch": 2, "seq_len": 64, "components": [],
    "unigram": {"loss": 6.5, "by_kind": {"text": 6.0, "semantic": 7.0}},
}  # fmt: skip
TIME = {
    "secs": 0.5, "data_secs": 0.0, "forward_secs": 0.125, "backward_secs": 0.25, "optimizer_secs": 0.1,
    "checkpoint_secs": 0.0, "tokens_per_sec": 256.0,
}  # fmt: skip
TRAIN = {
    "kind": "train", "step": 300, "tokens": 38400, "lr": 0.0003, "loss": 5.5, "objective": 5.75, "z_loss": 0.25,
    "grad_norm": 1.1, "update_norm": 0.01, "param_norm": 90.5, "logit_rms": 2.25,
    "by_kind": {"text": 4.9, "semantic": 6.1}, "by_component": {"yodas2/en": 5.4, "müls": 5.6}, "time": TIME,
}  # fmt: skip
VALIDATION = {
    "kind": "validation", "step": 300, "tokens": 38400, "loss": 5.6, "by_kind": {"text": 5.0, "semantic": 6.2},
    "by_component": {"yodas2/en": 5.5, "müls": 5.7}, "secs": 1.5,
}  # fmt: skip
DIVERGED = TRAIN | {
    "step": 301, "tokens": 38528, "loss": None, "grad_norm": None, "skipped_steps": 1,
    "time": TIME | {"mfu": 0.375, "peak_memory": 3 << 30},
}  # fmt: skip


def main() -> None:
    records = [RUN, TRAIN, VALIDATION, DIVERGED]
    events = [Event(file_version="brain.Event:2"), Event(step=FIRST_STEP, session_log=SessionLog(status=SessionLog.START))]
    for record in records[1:]:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(record).items()]
        events.append(Event(step=record["step"], summary=Summary(value=values)))
    file = io.BytesIO()
    writer = RecordWriter(file)
    for index, event in enumerate(events):
        event.wall_time = FIRST_WALL_TIME + 0.25 * index
        writer.write(event.SerializeToString(deterministic=True))
    OUT.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    (OUT / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    (OUT / "events.bin").write_bytes(file.getvalue())
    print(f"{OUT}: {len(events)} events, {len(file.getvalue())} bytes")


if __name__ == "__main__":
    main()
