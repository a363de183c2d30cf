#!/usr/bin/env bash
# Checks and times this build on an NVIDIA GPU, beside PyTorch: kernels against the processor's, which tests hold to float64;
# fifty steps of training against those of the processor; then scripts/bench_gpu.py. One command on a machine that has a GPU,
# Python with PyTorch, and this repository with a release build for CUDA, made there or elsewhere:
#
#   cargo build --release --workspace --bins --examples --features cuda
#   cargo test --release -p kernels --lib --features cuda --no-run        # names the program of the tests
#   scripts/bench_gpu.sh [PROGRAM-OF-THE-TESTS] [-- what bench_gpu.py takes]
#
# BIN=FOLDER of the programs [default: release in CARGO_TARGET_DIR or target], PYTHON=PROGRAM [default: python3],
# BACKEND=cuda|tch [default: cuda]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=$(realpath "${BIN:-${CARGO_TARGET_DIR:-target}/release}")
python=${PYTHON:-python3}
backend=${BACKEND:-cuda}
kernel_tests=
if [[ $# -gt 0 && $1 != -- ]]; then
    kernel_tests=$1
    shift
fi
[[ ${1:-} == -- ]] && shift

fail() {
    echo "bench_gpu: $*" >&2
    exit 1
}

for program in tokenize pretrain examples/step_speed examples/codec; do
    [[ -x $bin/$program ]] || fail "there is no $bin/$program; build it, or name its folder with BIN"
done
command -v nvidia-smi >/dev/null || fail "there is no nvidia-smi, so no GPU"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if [[ -n $kernel_tests ]]; then
    echo "== kernels against the processor's"
    (cd kernels && "$kernel_tests" --test-threads 1)
fi

echo "== fifty steps on the GPU and on the processor"
"$bin/tokenize" vocab --base tokenize/assets/tokenizer.json --out "$scratch/tokenizer" >/dev/null
"$bin/tokenize" folder tests/corpus --codec mel-rvq --tokenizer "$scratch/tokenizer" --out "$scratch/data/quickstart" >/dev/null
for precision in f32 bf16; do
    for kind in cpu "$backend"; do
        "$bin/pretrain" quickstart --data "$scratch/data" --out "$scratch/$kind-$precision" --backend "$kind" \
            --set steps=50 --set precision="$precision" >/dev/null
    done
done
"$python" - "$scratch" "$backend" <<'END'
import json
import sys
from pathlib import Path

# f32: sums in another order, grown over the steps; bf16: also rounded elsewhere
for precision, tolerance in (("f32", 2e-3), ("bf16", 2e-2)):
    losses = []
    for backend in ("cpu", sys.argv[2]):
        lines = (Path(sys.argv[1]) / f"{backend}-{precision}/metrics.jsonl").read_text().splitlines()
        losses.append([r["loss"] for r in map(json.loads, lines) if r["kind"] == "train"])
    worst = max(abs(a - b) / a for a, b in zip(*losses, strict=True))
    print(f"{precision}: {len(losses[0])} losses, {losses[0][0]:.4f} to {losses[0][-1]:.4f}; largest difference {worst:.1e}")
    assert worst < tolerance, losses
END

echo "== speed"
"$python" scripts/bench_gpu.py --bin "$bin" --backend "$backend" "$@"
