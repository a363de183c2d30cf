#!/usr/bin/env bash
# The whole way on a CPU: the bundled corpus to token shards, a small model trained on them, and a sound from it.
#
#   scripts/quickstart.sh [FOLDER]        (default: runs/quickstart)
#
# Running it again continues where it stopped.
set -euo pipefail

usage="usage: scripts/quickstart.sh [FOLDER]"
if [[ $# -gt 1 || ${1:-} == -* ]]; then
    echo "$usage" >&2
    exit 2
fi
# a relative folder is the caller's, the default one the repository's
run=${1:+$(realpath -m -- "$1")}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
run=${run:-$PWD/runs/quickstart}
bin=$(realpath -m -- "${CARGO_TARGET_DIR:-target}")/release

# prints a command, to be copied, and runs it
step() {
    printf '\n$' >&2
    printf ' %q' "$@" >&2
    printf '\n' >&2
    "$@"
}

step cargo build --release --bins
mkdir -p "$run"
step "$bin/tokenize" vocab --base tokenize/assets/tokenizer.json --out "$run/tokenizer"
step "$bin/tokenize" folder tests/corpus --codec mel-rvq --tokenizer "$run/tokenizer" --out "$run/data/quickstart"
step "$bin/tokenize" stats "$run/data/quickstart"

# written beside and renamed, so that a failed run leaves the summary of the last good one
step "$bin/pretrain" quickstart --data "$run/data" --out "$run/run" --resume >"$run/summary.txt.partial"
mv "$run/summary.txt.partial" "$run/summary.txt"

checkpoint=$(find "$run/run/checkpoints" -maxdepth 1 -name 'step-*' | sort -V | tail -n 1)
step "$bin/generate" --checkpoint "$checkpoint" --prompt tests/corpus/en/en-0-1.flac --min-seconds 2 --out "$run/sample.wav"

printf '\n'
cat "$run/summary.txt"
printf '\nreport: %s\nsample: %s\n' "$run/run/report.html" "$run/sample.wav"
