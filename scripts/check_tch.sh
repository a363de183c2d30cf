#!/usr/bin/env bash
# Builds kernels and trainer with LibTorch, and tests them on its device: a GPU if it sees one, else the processor.
#
#   LIBTORCH=/path/to/libtorch scripts/check_tch.sh      # LibTorch as it is published
#   scripts/check_tch.sh                                 # that of the PyTorch which `python3` imports
#
# Ends with 77 where there is neither. docs/libtorch.md says which versions work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# the interpreter that the build asks, too
python=python3
if [[ -n ${VIRTUAL_ENV:-} ]]; then
    python=python
fi

if [[ -n ${LIBTORCH:-} ]]; then
    libraries=${LIBTORCH_LIB:-$LIBTORCH}/lib
elif libraries=$("$python" -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib"))' 2>/dev/null); then
    export LIBTORCH_USE_PYTORCH=1
else
    echo "no LibTorch: set LIBTORCH, or put a Python with PyTorch first in PATH" >&2
    exit 77
fi
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

cargo test --release -p kernels --features tch --lib tch::
# the programs that the tests run
cargo build --release -p tokenize --bins
cargo build --release -p pretrain --bins --features tch
cargo test --release -p tests --features tch --test trajectory --test tch
