#!/usr/bin/env bash
# Builds the programs and runs all tests. Arguments select tests: `scripts/test.sh -p tests` runs the end-to-end ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

selection=("$@")
if [[ ${#selection[@]} -eq 0 ]]; then
    selection=(--workspace)
fi

# the end-to-end tests run these, from the same target folder
cargo build --release --workspace --bins

if ! cargo nextest --version >/dev/null 2>&1; then
    exec cargo test --release "${selection[@]}"
fi
cargo nextest run --release --no-fail-fast "${selection[@]}"

# nextest leaves out the examples in documentation: code fences that name no other language
has_doc_tests() {
    find . -name '*.rs' -not -path './target/*' -exec awk '
        FNR == 1 { inside = 0 }
        /^ *\/\/[\/!] *```/ {
            if (!inside && $0 ~ /```(rust|no_run|should_panic)?$/) { found = 1 }
            inside = !inside
        }
        END { exit !found }' {} +
}
if has_doc_tests; then
    cargo test --release --doc "${selection[@]}"
fi
