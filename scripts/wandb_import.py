#!/usr/bin/env python3
"""Brings runs to Weights & Biases: the scalars of metrics.jsonl with their steps, and config.toml as the configuration.

    python scripts/wandb_import.py RUN… [--project P] [--entity E] [--mode online|offline] [--follow]

Needs Python 3.11 and the package `wandb`. Each number has the tag that TensorBoard shows it under (docs/tracking.md). A run
may still be going on, and may be imported again later: RUN/wandb_import.json holds its id at W&B and the last record
that was imported, and only what follows is sent. --follow stays until the runs have finished. --mode offline writes to
RUN/wandb what `wandb sync RUN/wandb/offline-run-*` sends later.
"""

import argparse
import hashlib
import json
import os
import sys
import time
import tomllib
from pathlib import Path

import wandb
from metrics import scalars, whole_lines

# Of two records of one step the validation is the later.
RANK = {"train": 0, "validation": 1}
POLL_SECS = 5
# Records between two notes of how far the import has come.
NOTE_EVERY = 1000


class Import:
    """One run on its way to W&B."""

    def __init__(self, folder: Path, project: str, entity: str | None, mode: str):
        self.folder = folder
        self.state_path = folder / "wandb_import.json"
        self.options = {"project": project, "entity": entity, "mode": mode}
        config = (folder / "config.toml").read_bytes()
        self.config = tomllib.loads(config.decode())
        if self.state_path.exists():
            self.state = json.loads(self.state_path.read_text())
        else:
            identity = config + str(folder.resolve()).encode()
            self.state = {"id": hashlib.sha256(identity).hexdigest()[:12], "last": [-1, 0]}
        self.file = None
        self.run = None
        self.steps = None
        self.finished = False

    def pull(self) -> int:
        """Sends the records after the last one sent. A run resumed from a checkpoint makes records again: those are skipped."""
        if not self.reopen():
            return 0
        sent = 0
        for record in whole_lines(self.file):
            if record["kind"] == "run":
                self.start(record)
                continue
            place = [record["step"], RANK[record["kind"]]]
            # a run ends with a validation
            self.finished = place == [self.steps, RANK["validation"]]
            if place <= self.state["last"]:
                continue
            self.run.log({"step": record["step"], **scalars(record)})
            self.state["last"] = place
            sent += 1
            if sent % NOTE_EVERY == 0:
                self.note()
        self.note()
        return sent

    def reopen(self) -> bool:
        """Opens the metrics, and again where a resumed run has put another file in their place; false if there are none."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return False
        if self.file is None or not os.path.samestat(os.fstat(self.file.fileno()), path.stat()):
            self.file = open(path, "rb")
        return True

    def start(self, record: dict) -> None:
        if self.run:
            return
        self.steps = record["steps"]
        config = self.config | {"run": {key: value for key, value in record.items() if key != "kind"}}
        self.run = wandb.init(
            **self.options, id=self.state["id"], name=record["name"], config=config, dir=self.folder, resume="allow",
            reinit="create_new",
        )  # fmt: skip
        # an axis of our own, since W&B's step can never go back to that of a validation left for the next import
        self.run.define_metric("step", hidden=True)
        self.run.define_metric("*", step_metric="step")

    def note(self) -> None:
        partial = self.state_path.with_suffix(".partial")
        partial.write_text(json.dumps(self.state) + "\n")
        os.replace(partial, self.state_path)

    def close(self) -> None:
        if self.run:
            self.run.finish()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--project", default="timbre", help="project at W&B (%(default)s)")
    parser.add_argument("--entity", help="user or team at W&B; W&B's default if absent")
    parser.add_argument("--mode", choices=["online", "offline"], default="online")
    parser.add_argument("--follow", action="store_true", help="stay until the runs have finished")
    args = parser.parse_args()
    others = [str(run) for run in args.runs if not (run / "config.toml").is_file()]
    if others:
        print(f"wandb_import: no config.toml in {', '.join(others)}: name folders of runs", file=sys.stderr)
        return 1
    imports = [Import(run, args.project, args.entity, args.mode) for run in args.runs]
    try:
        while True:
            for each in imports:
                sent = each.pull()
                if sent:
                    print(f"{each.folder}: {sent} records up to step {each.state['last'][0]}")
            if not args.follow or all(each.finished for each in imports):
                return 0
            time.sleep(POLL_SECS)
    except KeyboardInterrupt:
        return 130
    finally:
        for each in imports:
            each.close()


if __name__ == "__main__":
    sys.exit(main())
