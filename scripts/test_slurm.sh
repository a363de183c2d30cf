#!/usr/bin/env bash
# Runs scripts/slurm/tokenize.sbatch on a real Slurm of one node, kills and requeues tasks, and compares the dataset with
# that of a single undisturbed process, byte for byte. Then the array of `isoflop sweep --slurm` trains a study on it, in
# which a task is told that its time is up, and the losses are compared with those of `isoflop sweep --run`.
#
#   scripts/test_slurm.sh           TOKENIZE=PROGRAM  [default: the release build in CARGO_TARGET_DIR or target]
#                                   ISOFLOP=PROGRAM   [the same; `pretrain` lies beside it]
#
# Slurm and munge run as the caller, in a temporary folder, on free ports; no systemd and no cgroups are needed, and nothing
# is left behind. Where they are missing they are installed if that disturbs nobody: by root, with apt, without systemd.
# Exit code 77: they are missing and could not be installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TASKS=4 COPIES=40 MISSING=77
# a node does not run a requeued task before its old credential expires
readonly REQUEUE_SECS=5
# far more than anything takes
readonly PATIENCE_SECS=300

# as if not inside another job
for name in "${!SLURM_@}" "${!SBATCH_@}"; do
    unset "$name"
done
export PATH=$PATH:/usr/sbin:/sbin
tokenize=$(realpath -m -- "${TOKENIZE:-${CARGO_TARGET_DIR:-target}/release/tokenize}")
isoflop=$(realpath -m -- "${ISOFLOP:-${CARGO_TARGET_DIR:-target}/release/isoflop}")
template=$PWD/scripts/slurm/tokenize.sbatch

say() {
    printf '[%3d s] %s\n' "$SECONDS" "$*"
}

fail() {
    say "FAILED: $*" >&2
    for log in "$dir"/log/*.log "$dir"/tokenize-*.log "$dir"/isoflop-*.log; do
        [[ -s $log ]] && { echo "--- ${log##*/}"; tail -n 20 "$log"; } >&2
    done
    exit 1
}

is_installed() {
    local program
    for program in slurmctld slurmd sbatch scontrol munged; do
        command -v "$program" >/dev/null || return
    done
}

install() {
    [[ $EUID -eq 0 && ! -d /run/systemd/system ]] && command -v apt-get >/dev/null || return
    say "installing slurmctld, slurmd, slurm-client and munge"
    local get=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=1 -o Acquire::http::Timeout=10)
    local packages=(slurmctld slurmd slurm-client munge)
    # without its lists apt knows no package
    "${get[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1 || {
        "${get[@]}" update >/dev/null 2>&1 &&
            "${get[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1
    } || return
    is_installed
}

# waits until a command succeeds: wait_for WHAT COMMAND…
wait_for() {
    local what=$1 end=$((SECONDS + PATIENCE_SECS)) pid
    shift
    until "$@"; do
        [[ $SECONDS -lt $end ]] || fail "waited $PATIENCE_SECS s for $what"
        for pid in "${daemons[@]}"; do
            kill -0 "$pid" 2>/dev/null || fail "a daemon ended while waiting for $what"
        done
        sleep 0.05
    done
}

# a port on which nobody listens
free_port() {
    local port
    while
        port=$((20000 + RANDOM % 10000))
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null
    do
        continue
    done
    echo "$port"
}

write_config() {
    local host memory_mib version
    host=$(uname -n)
    host=${host%%.*}
    memory_mib=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
    cat >"$dir/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=$REQUEUE_SECS
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
ReturnToService=2
KillWait=5
MinJobAge=3600
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=$memory_mib State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
    # since 24.05 slurmd can be told not to look for cgroups, which need not be there
    version=$(slurmd -V | grep -o '[0-9.]*$')
    if [[ $(printf '%s\n' 24.05 "$version" | sort -V | head -n 1) == 24.05 ]]; then
        echo "CgroupPlugin=disabled" >"$dir/cgroup.conf"
    fi
}

start_daemon() {
    local name=$1
    shift
    "$@" >"$dir/log/$name.log" 2>&1 &
    daemons+=($!)
}

start_cluster() {
    mkdir -p "$dir"/{munge,state,spool,log}
    chmod 700 "$dir/munge"
    head -c 128 /dev/urandom >"$dir/munge/key"
    chmod 600 "$dir/munge/key"
    start_daemon munged munged --foreground --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
        --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
    wait_for "munged" test -S "$dir/munge/socket"
    write_config
    export SLURM_CONF=$dir/slurm.conf
    start_daemon slurmctld slurmctld -D -i
    start_daemon slurmd slurmd -D
    wait_for "the node" is_node_idle
    say "$(slurmd -V) runs in $dir"
}

is_node_idle() {
    [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]]
}

# the jobs first, for their processes are not children of this one; munged last, for the others wait for it
stop_cluster() {
    local i
    if [[ -n ${job:-} ]]; then
        scancel "$job" 2>/dev/null || true
        for _ in {1..100}; do
            [[ -z $(squeue --noheader 2>/dev/null) ]] && break
            sleep 0.1
        done
    fi
    for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do
        kill "${daemons[i]}" 2>/dev/null || true
        wait "${daemons[i]}" 2>/dev/null || true
    done
}

cleanup() {
    trap '' INT TERM
    stop_cluster
    rm -rf "$dir"
    say "stopped Slurm and removed $dir"
}

# what Slurm says of a task: field TASK NAME
field() {
    scontrol --oneliner show job "${job}_$1" | grep -oP "(?<=\b$2=)\S+"
}

unit_records() {
    find "$dir/array/units" -name 'part-*.json' 2>/dev/null
}

# whether task $1 is at work and has finished a shard
has_begun() {
    [[ -s $dir/array/workers/$1-of-$TASKS.json ]] && grep -qFf "$dir/units-$1" <(unit_records)
}

is_over() {
    [[ -z $(squeue --noheader) ]]
}

# in words: there are no blanks in the folder's name
tokenize_command() {
    echo folder "$dir/corpus" --codec mel-rvq --shard-mib 1 --tokenizer "$dir/tokenizer" --out "$1"
}

# waits until task $1 is in the midst of its work
catch_task() {
    # shellcheck disable=SC2046
    "$tokenize" $(tokenize_command "$dir/array") --worker "$1/$TASKS" --dry-run | grep -o 'part-[0-9]*' >"$dir/units-$1"
    wait_for "a shard of task $1" has_begun "$1"
}

# shards that are finished, with what would change if they were made again
note_finished() {
    unit_records | sort | xargs -r stat --format='%n %i %y'
}

disturb() {
    catch_task 1
    scontrol requeue "${job}_1"
    say "requeued task 1, as preemption does, with $(unit_records | wc -l) shards finished"
    # the last one, whose job id is the array's
    local last=$((TASKS - 1)) beat pid
    catch_task "$last"
    beat=$dir/array/workers/$last-of-$TASKS.json
    pid=$(grep -oP '"process": \K\d+' "$beat")
    [[ $(readlink "/proc/$pid/exe") == "$tokenize" ]] || fail "process $pid of task $last is not $tokenize"
    kill -9 "$pid"
    note_finished >"$dir/finished-before"
    [[ -e $beat && ! -e $dir/array/manifest.json ]] || fail "task $last was done before it could be killed"
    say "killed task $last (process $pid) with $(wc -l <"$dir/finished-before") shards finished"
}

check_tasks() {
    local task restarts left
    for ((task = 0; task < TASKS; task++)); do
        restarts=0
        if [[ $task -eq 1 || $task -eq $((TASKS - 1)) ]]; then
            restarts=1
        fi
        [[ $(field "$task" JobState) == COMPLETED ]] || fail "task $task is $(field "$task" JobState)"
        [[ $(field "$task" Restarts) == "$restarts" ]] || fail "task $task restarted $(field "$task" Restarts) times"
        grep -h ' task ' "$dir/tokenize-${job}_$task.log" | cut -c 1-110
    done
    # hidden files are what a killed worker was writing
    left=$(find "$dir/array/workers" -type f -name '[!.]*' -printf '%f ')
    [[ -z $left ]] || fail "workers did not sign off: $left"
}

check_dataset() {
    note_finished | grep -Fxf "$dir/finished-before" | diff -q "$dir/finished-before" - >/dev/null ||
        fail "shards that were finished before the kill were made again"
    say "no finished shard was made again"
    diff -r --exclude=workers --exclude='.*' "$dir/single" "$dir/array" || fail "the datasets differ"
    say "the same bytes as those of one process: $(find "$dir/array" -name 'part-*.parquet' | wc -l) shards, \
$(du -sk "$dir/array" | cut -f 1) KiB"
    "$tokenize" stats "$dir/array"
}

# in words: there are no blanks in the folder's name
study_command() {
    echo sweep --budget 4e10 --budget 8e10 --hidden 16..32 --step 16 --head-dim 16 --seq-len 64 --aimed-steps 512 \
        --min-batch 1 --lr-constant 0.1 --max-lr 0.03 --mix quickstart --set precision=f32 --data "$dir/data" --out "$1"
}

# final and other validation losses, without how long they took
losses() {
    (cd "$1/runs" && grep -H '"kind":"validation"' ./*/metrics.jsonl | sed 's/,"secs":[^}]*//')
}

is_training() {
    grep -qs '"kind":"train"' "$dir"/study/runs/4e10-h32/metrics.jsonl
}

train_study() {
    local task restarts
    mkdir "$dir/data"
    ln -s "$dir/array" "$dir/data/quickstart"
    # shellcheck disable=SC2046
    "$isoflop" $(study_command "$dir/study") --slurm
    job=$(cd "$dir" && sbatch --parsable --cpus-per-task=1 --mem=1G study/isoflop.sbatch)
    say "submitted array $job of the study"
    wait_for "a step of task 1" is_training
    # While other tasks of the array wait, slurmctld delivers the signal, answers that it could not, and scancel would send it
    # again some seconds later.
    timeout 2 scancel --batch --signal=USR1 "${job}_1" || [[ $? -eq 124 ]] || fail "task 1 could not be told to stop"
    say "told task 1 that its time is up"
    wait_for "the end of the array" is_over
    for ((task = 0; task < 4; task++)); do
        restarts=$((task == 1))
        [[ $(field "$task" JobState) == COMPLETED ]] || fail "task $task is $(field "$task" JobState)"
        [[ $(field "$task" Restarts) == "$restarts" ]] || fail "task $task restarted $(field "$task" Restarts) times"
        grep -h ' task ' "$dir/isoflop-${job}_$task.log" | cut -c 1-110
    done
    # shellcheck disable=SC2046
    "$isoflop" $(study_command "$dir/alone") --run 2>"$dir/log/alone.log" >"$dir/alone.txt" || fail "the study by itself"
    diff <(losses "$dir/alone") <(losses "$dir/study") || fail "the losses differ"
    say "the same losses as those of one process:"
    cat "$dir/alone.txt"
}

[[ -x $tokenize && -x $isoflop ]] || { echo "error: no program $tokenize or $isoflop; run cargo build --release, or set TOKENIZE and ISOFLOP" >&2; exit 1; }
if ! is_installed && ! install; then
    echo "Slurm is not installed; Debian: apt-get install slurmctld slurmd slurm-client munge" >&2
    exit "$MISSING"
fi

dir=$(mktemp -d /tmp/slurm-test.XXXXXX)
daemons=()
job=
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# enough for a task to be caught at work
mkdir "$dir/corpus"
cp -r tests/corpus "$dir/corpus/0"
for ((copy = 1; copy < COPIES; copy++)); do
    cp -rl "$dir/corpus/0" "$dir/corpus/$copy"
done
"$tokenize" vocab --base tokenize/assets/tokenizer.json --out "$dir/tokenizer"
# shellcheck disable=SC2046
"$tokenize" $(tokenize_command "$dir/single")
say "made by one process: $dir/single"

start_cluster
# shellcheck disable=SC2046
job=$(cd "$dir" && TOKENIZE=$tokenize sbatch --parsable --array=0-$((TASKS - 1)) --cpus-per-task=1 --mem=256M \
    "$template" -- $(tokenize_command "$dir/array"))
say "submitted array $job of $TASKS tasks, two at a time"
disturb
wait_for "the end of the array" is_over
check_tasks
check_dataset
train_study
say "passed"
