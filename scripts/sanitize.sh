#!/usr/bin/env bash
# Runs the unit tests of the crates with unsafe code under AddressSanitizer: every instruction set that this processor has reads
# and writes only what was allocated. Linux on x86-64 or aarch64.
#
#   scripts/sanitize.sh [CRATE ...]        [default: kernels encodec-rs audio stores]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

crates=("$@")
[[ $# -gt 0 ]] || crates=(kernels encodec-rs audio stores)
# a stable compiler has the sanitizers, but takes their flag only if told that it may
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Copt-level=1 -Cdebuginfo=1"
# rayon's threads live as long as the process
export ASAN_OPTIONS=detect_leaks=0
target=$(rustc -vV | sed -n 's/^host: //p')
# its own artifacts; naming the target keeps the flags from build scripts and macros
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/sanitize
for crate in "${crates[@]}"; do
    cargo test --target "$target" -p "$crate" --lib
done
