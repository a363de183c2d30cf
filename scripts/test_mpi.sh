#!/usr/bin/env bash
# Builds the trainer with MPI, and tests several processes of it under mpirun.
#
# Where Open MPI and libclang, which the bindings need, are missing they are installed if that disturbs nobody: by root, with
# apt. Ends with 77 where they are missing and could not be.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has_mpi() {
    command -v mpicc >/dev/null && command -v mpirun >/dev/null &&
        { ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* >/dev/null 2>&1 || [[ -n ${LIBCLANG_PATH:-} ]]; }
}

install() {
    [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null || return
    echo "installing Open MPI and libclang"
    local get=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=1 -o Acquire::http::Timeout=10)
    local packages=(openmpi-bin libopenmpi-dev libclang-dev)
    # without its lists apt knows no package
    "${get[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1 || {
        "${get[@]}" update >/dev/null 2>&1 &&
            "${get[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1
    } || return
    has_mpi
}

has_mpi || install || {
    echo "no MPI: install openmpi-bin, libopenmpi-dev and libclang-dev (Debian), or their like" >&2
    exit 77
}

cargo check --release --workspace --bins --examples --features cuda,pretrain/nccl
cargo build --release --workspace --bins --features pretrain/mpi
# two at a time: each starts up to four processes, and some wait for most of their time
cargo test --release --workspace --features tests/mpi --test mpi -- --test-threads=2 "$@"
