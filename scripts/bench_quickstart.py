#!/usr/bin/env python3
"""Times what a newcomer meets: the build, the tokenizer and the quickstart, with peak memory.

    scripts/bench_quickstart.py [--build] [--copies N]

Prints a Markdown table for docs/benchmarks.md. `--build` also times a build into an empty target folder. The tokenizer
is timed as a whole process, start and end included, on N copies of the bundled corpus (default 50). Needs the release
binaries (`cargo build --release --bins`) in $CARGO_TARGET_DIR or target/, and nothing beyond Python's own library.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
LANGUAGES = ["de", "en", "es", "fr"]


def target() -> pathlib.Path:
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def run(*command: object, env: dict[str, str] | None = None) -> tuple[float, float, str]:
    """Wall seconds, peak resident MiB of the largest process below, and standard output."""
    # a process of its own, because the peak of waited-for children never falls again
    script = (
        "import json,resource,subprocess,sys,time;"
        "start=time.monotonic();"
        "done=subprocess.run(sys.argv[1:],stdout=subprocess.PIPE,stderr=subprocess.DEVNULL,text=True);"
        "peak=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024;"
        "print(json.dumps([done.returncode,time.monotonic()-start,peak,done.stdout]))"
    )
    arguments = ["python3", "-c", script, *map(str, command)]
    environment = {**os.environ, **(env or {})}
    out = subprocess.run(arguments, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    code, seconds, peak, stdout = json.loads(out.stdout)
    if code != 0:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {code}")
    return seconds, peak, stdout


def bench_build(scratch: pathlib.Path) -> None:
    seconds, peak, _ = run("cargo", "build", "--release", "--bins", env={"CARGO_TARGET_DIR": str(scratch / "target")})
    print(f"| clean build of the default workspace | {seconds:.0f} s | {peak:.0f} MiB |")


def bench_tokenize(scratch: pathlib.Path, copies: int) -> None:
    tokenize = target() / "release/tokenize"
    base = ROOT / "tokenize/assets/tokenizer.json"
    run(tokenize, "vocab", "--base", base, "--out", scratch / "tokenizer")
    for copy in range(copies):
        for language in LANGUAGES:
            shutil.copytree(ROOT / "tests/corpus" / language, scratch / f"speech/{copy}/{language}")
    for threads in (1, 2):
        out = scratch / f"shards-{threads}"
        options = ["--codec", "mel-rvq", "--tokenizer", scratch / "tokenizer", "--out", out, "--threads", threads]
        seconds, peak, stdout = run(tokenize, "folder", scratch / "speech", *options, "--json")
        hours = find_number(json.loads(stdout), "hours")
        rate = hours * 3600 / seconds
        what = f"`tokenize folder`, mel-RVQ, {hours:.2f} h of mixed formats, {threads} thread(s)"
        print(f"| {what} | {seconds:.1f} s, {rate:.0f}× real time | {peak:.0f} MiB |")


def find_number(summary: dict, word: str) -> float:
    """The number whose key holds a word."""
    return next(value for key, value in summary.items() if word in key)


def bench_quickstart(scratch: pathlib.Path) -> None:
    seconds, peak, _ = run("scripts/quickstart.sh", scratch / "quickstart")
    print(f"| `scripts/quickstart.sh` after the build | {seconds:.0f} s | {peak:.0f} MiB |")
    metrics = (scratch / "quickstart/run/metrics.jsonl").read_text().splitlines()
    steps = [record for record in map(json.loads, metrics) if record["kind"] == "train"]
    rate = sorted(step["time"]["tokens_per_sec"] for step in steps)[len(steps) // 2]
    print(f"| its training, median step | {rate:.0f} tokens/s | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="store_true", help="also time a build from nothing")
    parser.add_argument("--copies", type=int, default=50, help="copies of the bundled corpus to tokenize")
    arguments = parser.parse_args()
    print("| what | time | peak memory |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        if arguments.build:
            bench_build(scratch)
        bench_tokenize(scratch, arguments.copies)
        bench_quickstart(scratch)


if __name__ == "__main__":
    main()
