#!/usr/bin/env bash
# Checks scripts/k8s without a cluster: against the schemas of the oldest and the newest Kubernetes it is meant for, and that
# JOB_COMPLETIONS, by which a worker knows how many there are, is the number of completions. Of the MPIJob, whose own schema
# comes with its operator, the pod templates are checked so, and that mpirun starts a process for each GPU.
#
#   scripts/check_k8s.sh            KUBERNETES_VALIDATE=PROGRAM  [default: kubernetes-validate, from PATH or the cache]
#
# The schemas come with kubernetes-validate, of PyPI. Where it is missing it is installed once into ~/.cache/timbre; after
# that nothing needs the network. Exit code 77: it is missing and could not be installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/k8s"

readonly VALIDATOR_VERSION=1.37.0 MISSING=77
readonly VERSIONS=(1.29 1.37)

fail() {
    echo "error: $*" >&2
    exit 1
}

# sets `validator`
find_validator() {
    local cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/timbre/kubernetes-validate-$VALIDATOR_VERSION
    validator=${KUBERNETES_VALIDATE:-$(command -v kubernetes-validate || echo "$cache/bin/kubernetes-validate")}
    [[ ! -x $validator && -z ${KUBERNETES_VALIDATE:-} ]] || return 0
    # its programs name its folder, so it cannot be made elsewhere and renamed
    if ! { python3 -m venv "$cache" && "$cache/bin/pip" install -q --disable-pip-version-check --retries 1 --timeout 10 \
        "kubernetes-validate==$VALIDATOR_VERSION"; }; then
        rm -rf "$cache"
        return 1
    fi
}

# the number after the word `completions`, and that which workers are told
numbers() {
    awk '$1 == "completions:" { print $2 }' "$1"
    awk '/name: JOB_COMPLETIONS/ { getline; gsub("\"", "", $2); print $2 }' "$1"
}

check() {
    local version completions told
    for version in "${VERSIONS[@]}"; do
        "$validator" --strict --kubernetes-version "$version" "$1"
    done
    { read -r completions && read -r told; } < <(numbers "$1") || fail "$1: no completions, or no JOB_COMPLETIONS"
    [[ $completions == "$told" ]] || fail "$1: completions is $completions and JOB_COMPLETIONS is $told"
}

# the number after a key, in all places where it stands
values() {
    awk -v key="$2:" '$1 == key { gsub("\"", "", $2); print $2 }' "$1"
}

# the pod templates of an MPIJob, as objects of their own
pod_templates() {
    awk '
        inside && match($0, /[^ ]/) < 7 { inside = 0 }
        /^      template:$/ { printf "---\napiVersion: v1\nkind: PodTemplate\nmetadata:\n  name: pod-%d\n", ++count; inside = 1 }
        inside { print substr($0, 7) }
    ' "$1"
}

check_mpijob() {
    local version slots launchers workers processes gpu
    pod_templates "$1" >"$scratch/pods.yaml"
    [[ $(grep -c '^kind: PodTemplate' "$scratch/pods.yaml") == 2 ]] || fail "$1: not two pod templates"
    for version in "${VERSIONS[@]}"; do
        "$validator" --strict --kubernetes-version "$version" "$scratch/pods.yaml"
    done
    slots=$(values "$1" slotsPerWorker)
    { read -r launchers && read -r workers; } < <(values "$1" replicas) || fail "$1: no replicas"
    [[ $launchers == 1 ]] || fail "$1: $launchers launchers"
    processes=$(awk '$2 == "-np" { getline; gsub("\"", "", $2); print $2 }' "$1")
    [[ $processes == $((slots * workers)) ]] || fail "$1: -np $processes is not $workers workers of $slots slots"
    for gpu in $(values "$1" nvidia.com/gpu); do
        [[ $gpu == "$slots" ]] || fail "$1: $gpu GPUs for $slots slots"
    done
}

if ! find_validator; then
    echo "kubernetes-validate is missing; pip install kubernetes-validate==$VALIDATOR_VERSION" >&2
    exit "$MISSING"
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
check tokenize-job.yaml
check_mpijob pretrain-mpijob.yaml

# kustomization.yaml must carry another number over
if command -v kubectl >/dev/null; then
    cp ./*.yaml "$scratch"
    sed -i 's/^  completions: .*/  completions: 7/' "$scratch/tokenize-job.yaml"
    kubectl kustomize "$scratch" >"$scratch/built.yaml"
    [[ $(numbers "$scratch/built.yaml" | tr '\n' ' ') == "7 7 " ]] || fail "kustomization.yaml does not set JOB_COMPLETIONS"
    check "$scratch/built.yaml"
else
    echo "kustomization.yaml was not tried: there is no kubectl"
fi
