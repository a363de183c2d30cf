#!/usr/bin/env bash
# Runs scripts/slurm/tokenize.sbatch on a real Slurm of one node, kills and requeues tasks, and compares the dataset with
# that of a single undisturbed process, byte for byte. Then the array of `isoflop sweep --slurm` trains a study on it, in
# which a task is told that its time is up, and the losses are compared with those of `isoflop sweep --run`.
#
#   scripts/test_slurm.sh           TOKENIZE=PROGRAM  [default: the release build in CARGO_TARGET_DIR or target]
#                                   ISOFLOP=PROGRAM   [the same; `pretrain` lies beside it]
#
# Exit code 77: Slurm is missing and could not be installed (slurm_cluster.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source scripts/slurm_cluster.sh

readonly TASKS=4 COPIES=40

tokenize=$(realpath -m -- "${TOKENIZE:-${CARGO_TARGET_DIR:-target}/release/tokenize}")
isoflop=$(realpath -m -- "${ISOFLOP:-${CARGO_TARGET_DIR:-target}/release/isoflop}")
template=$PWD/scripts/slurm/tokenize.sbatch

unit_records() {
    find "$dir/array/units" -name 'part-*.json' 2>/dev/null
}

# whether task $1 is at work and has finished a shard
has_begun() {
    [[ -s $dir/array/workers/$1-of-$TASKS.json ]] && grep -qFf "$dir/units-$1" <(unit_records)
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
        [[ $(field "${job}_$task" JobState) == COMPLETED ]] || fail "task $task is $(field "${job}_$task" JobState)"
        [[ $(field "${job}_$task" Restarts) == "$restarts" ]] || fail "task $task restarted $(field "${job}_$task" Restarts) times"
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
        [[ $(field "${job}_$task" JobState) == COMPLETED ]] || fail "task $task is $(field "${job}_$task" JobState)"
        [[ $(field "${job}_$task" Restarts) == "$restarts" ]] || fail "task $task restarted $(field "${job}_$task" Restarts) times"
        grep -h ' task ' "$dir/isoflop-${job}_$task.log" | cut -c 1-110
    done
    # shellcheck disable=SC2046
    "$isoflop" $(study_command "$dir/alone") --run 2>"$dir/log/alone.log" >"$dir/alone.txt" || fail "the study by itself"
    diff <(losses "$dir/alone") <(losses "$dir/study") || fail "the losses differ"
    say "the same losses as those of one process:"
    cat "$dir/alone.txt"
}

[[ -x $tokenize && -x $isoflop ]] || { echo "error: no program $tokenize or $isoflop; run cargo build --release, or set TOKENIZE and ISOFLOP" >&2; exit 1; }
begin_test

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
