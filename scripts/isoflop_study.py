#!/usr/bin/env python3
"""The small scaling study of docs/isoflop.md, anew: a synthesised corpus, its tokens, the runs, the fit and the plots.

    scripts/isoflop_study.py [runs/isoflop-study] [--publish docs/isoflop-study]

Every step is skipped if its result is there, and interrupted runs go on. `--publish` copies what the page shows: index, runs
and plots. Needs espeak-ng, and the release binaries (`cargo build --release --bins`) in $CARGO_TARGET_DIR or target/. The
same versions of the tools give the same losses.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import random
import shlex
import shutil
import subprocess

import speech_text

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = 10_000  # of two sentences, about 8 s each
CODEBOOKS = 2  # of the codec's eight: 25 tokens a second, and a vocabulary of 5,124 rows
SPEAKERS = [("m3", 38, 140), ("f2", 62, 150), ("m7", 30, 128), ("f5", 70, 160), ("m1", 50, 145), ("f4", 55, 135)]
MIX = """# The study's corpus: each document once in each order.
name = "isoflop-study"
validation_fraction = 0.03
components = [{ source = "synthetic", view = "both", codebooks = 2, weight = 1 }]
"""
BUDGETS = ["1.5e11", "3e11", "6e11", "1.2e12"]  # forward FLOPs
GRID = ["--hidden", "18..60", "--step", "6", "--seq-len", "256", "--aimed-steps", "1024", "--min-batch", "1",
        "--lr-constant", "0.2", "--max-lr", "0.03", "--set", "precision=f32", "--set", "log_every=20"]


def program(name: str) -> pathlib.Path:
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / name


def run(*command: object) -> None:
    words = [str(word) for word in command]
    print("$", shlex.join(words), flush=True)
    subprocess.run(words, check=True)


def speak(task: tuple[pathlib.Path, int]) -> str:
    """Writes recording `index`, which depends on nothing else; returns its row of the manifest."""
    folder, index = task
    rng = random.Random(f"isoflop-{index}")
    lang = list(speech_text.SLOTS)[index % len(speech_text.SLOTS)]
    text = " ".join(speech_text.generated_sentence(lang, rng) for _ in range(2))
    variant, pitch, speed = rng.choice(SPEAKERS)
    subprocess.run(["espeak-ng", "-v", f"{lang}+{variant}", "-p", str(pitch), "-s", str(speed), "-w",
                    str(folder / f"{index:05}.wav"), text], check=True)
    return json.dumps({"path": f"{index:05}.wav", "text": text, "lang": lang, "speaker": variant}, ensure_ascii=False)


def make_corpus(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with multiprocessing.Pool() as pool:
        tasks = ((folder, index) for index in range(DOCUMENTS))
        rows = pool.map(speak, tasks, chunksize=50)
    # last, as it says that the recordings are there
    (folder / "manifest.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def make_shards(out: pathlib.Path) -> None:
    corpus, tokenizer, shards = out / "corpus", out / "tokenizer", out / "data" / "synthetic"
    if shards.joinpath("manifest.json").exists():
        return
    if not corpus.joinpath("manifest.jsonl").exists():
        make_corpus(corpus)
    run(program("tokenize"), "vocab", "--base", ROOT / "tokenize/assets/tokenizer.json", "--out", tokenizer,
        "--codebooks", CODEBOOKS)
    run(program("tokenize"), "folder", corpus, "--manifest", corpus / "manifest.jsonl", "--codec", "mel-rvq",
        "--codebooks", CODEBOOKS, "--tokenizer", tokenizer, "--source", "synthetic", "--out", shards)
    shutil.rmtree(corpus)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=ROOT / "runs" / "isoflop-study")
    parser.add_argument("--publish", type=pathlib.Path)
    args = parser.parse_args()
    out = args.out.resolve()
    make_shards(out)
    run(program("tokenize"), "stats", out / "data" / "synthetic")
    (out / "mix.toml").write_text(MIX, encoding="utf-8")
    budgets = [word for budget in BUDGETS for word in ("--budget", budget)]
    run(program("isoflop"), "sweep", *budgets, *GRID, "--data", out / "data", "--mix", out / "mix.toml",
        "--out", out / "study", "--run")
    run(program("isoflop"), "fit", out / "study", "--csv", out / "runs.csv")
    run(program("isoflop"), "plot", out / "study", "--out", out / "figures")
    if args.publish:
        args.publish.mkdir(parents=True, exist_ok=True)
        for file in [out / "study" / "index.json", out / "runs.csv", *(out / "figures").glob("*.svg")]:
            shutil.copy(file, args.publish)


if __name__ == "__main__":
    main()
