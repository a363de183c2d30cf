#!/usr/bin/env bash
# Runs scripts/slurm/pretrain.sbatch on a real Slurm of one node: two tasks train a tiny model, of which one is killed; then
# such a job is told that its time is up. Both go back into the queue and end with the checkpoint of an undisturbed run, byte
# for byte. Jobs that are cancelled, fail, or get nowhere do not go on.
#
#   scripts/test_slurm_ranks.sh     PRETRAIN=PROGRAM, built with MPI [default: the release build in CARGO_TARGET_DIR or target]
#                                   TOKENIZE=PROGRAM  [default: the one beside it]
#                                   LAUNCHER=srun or mpirun [default: srun where its PMIx fits the program's MPI, else mpirun]
#
# Exit code 77: there is no Slurm and none could be installed (slurm_cluster.sh), no mpirun, or the program is without MPI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source scripts/slurm_cluster.sh

# enough for a run to be caught at work
readonly STEPS=400 CHECKPOINT_STEPS=20

pretrain=$(realpath -m -- "${PRETRAIN:-${CARGO_TARGET_DIR:-target}/release/pretrain}")
tokenize=$(realpath -m -- "${TOKENIZE:-${pretrain%/*}/tokenize}")
template=$PWD/scripts/slurm/pretrain.sbatch
# a test may be run by root
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

leave_out() {
    echo "$*" >&2
    exit "$MISSING"
}

# two processes, also where there is one core
mpirun_two() {
    mpirun -np 2 --oversubscribe --bind-to none "$@"
}

check_mpi() {
    local said
    command -v mpirun >/dev/null || leave_out "there is no mpirun; Debian: apt-get install openmpi-bin"
    said=$(mpirun_two "$pretrain" --list 2>&1) || {
        [[ $said == *"built to run alone"* ]] && leave_out "$pretrain is built without MPI: cargo build --release --features mpi"
        echo "error: two processes of $pretrain do not start: $said" >&2
        exit 1
    }
}

# in words: there are no blanks in the folder's name
run_command() {
    echo quickstart --data "$dir/data" --out "$1" --set model.hidden_size=32 --set model.intermediate_size=64 \
        --set model.num_hidden_layers=2 --set model.num_attention_heads=2 --set model.num_key_value_heads=1 \
        --set model.head_dim=16 --set seq_len=64 --set batch_size=4 --set steps=$STEPS --set validate_every=$STEPS \
        --set checkpoint.every_steps=$CHECKPOINT_STEPS
}

choose_launcher() {
    if [[ -n ${LAUNCHER:-} ]]; then
        say "launcher: $LAUNCHER, as asked"
        return
    fi
    # a step that cannot start waits for ever
    if timeout 30 srun --mpi=pmix --ntasks=2 "$pretrain" --list >"$dir/log/srun.log" 2>&1; then
        export LAUNCHER=srun
        say "launcher: srun --mpi=pmix"
    else
        export LAUNCHER=mpirun
        say "launcher: mpirun, for srun --mpi=pmix does not start the program: $(tail -n 1 "$dir/log/srun.log")"
    fi
}

# submit ARGUMENTS OF PRETRAIN; sets `job`
submit() {
    job=$(cd "$dir" && sbatch --parsable --ntasks-per-node=2 --cpus-per-task=1 --mem=1G "$template" "$@")
}

has_checkpoint() {
    compgen -G "$dir/$1/checkpoints/step-*" >/dev/null
}

# submits the run NAME, and waits until it is in the midst of its work
begin() {
    # shellcheck disable=SC2046
    submit $(run_command "$dir/$1")
    say "job $job: $1"
    wait_for "a checkpoint" has_checkpoint "$1"
}

# waits for the job's end: expect STATE RESTARTS
expect() {
    wait_for "the end of job $job" is_over
    grep -h " job $job" "$dir/pretrain-$job.log" | cut -c 1-120
    [[ $(field "$job" JobState) == "$1" ]] || fail "job $job is $(field "$job" JobState), not $1"
    [[ $(field "$job" Restarts) == "$2" ]] || fail "job $job restarted $(field "$job" Restarts) times, not $2"
    [[ ! -e $dir/pretrain-$job.failures ]] || fail "job $job leaves its count of failures"
}

# the log of the job has the words
expect_said() {
    grep -q "$1" "$dir/pretrain-$job.log" || fail "job $job does not say: $1"
}

compare() {
    diff -r "$dir/undisturbed/checkpoints/step-$STEPS" "$dir/$1/checkpoints/step-$STEPS" || fail "the checkpoints differ"
    say "the same checkpoint as that of the undisturbed run"
}

killed() {
    local pid
    begin killed
    pid=$(pgrep -f "^$pretrain .*$dir/killed" | tail -n 1)
    [[ $(readlink "/proc/$pid/exe") == "$pretrain" ]] || fail "process $pid is not $pretrain"
    kill -9 "$pid"
    say "killed process $pid, one of two, after $(newest_of killed)"
    [[ $(newest_of killed) != "step-$STEPS" ]] || fail "the run was over before it could be killed"
    expect COMPLETED 1
    expect_said "lost or killed (status 137)"
    compare killed
}

newest_of() {
    find "$dir/$1/checkpoints" -name 'step-*' -printf '%f\n' | sort -V | tail -n 1
}

told() {
    begin told
    scancel --batch --signal=USR1 "$job"
    say "told it that its time is up"
    expect COMPLETED 1
    expect_said "stopped by SIGUSR1 after step [0-9]*, which is saved"
    compare told
}

cancelled() {
    begin cancelled
    scancel "$job"
    expect CANCELLED 0
    expect_said "told to stop"
}

failed() {
    # shellcheck disable=SC2046
    submit $(run_command "$dir/failed") --set precision=f33
    say "job $job: an error of its input"
    expect FAILED 0
    expect_said "failed with status 1"
}

gets_nowhere() {
    printf '#!/bin/sh\nexit 75\n' >"$dir/stops"
    chmod +x "$dir/stops"
    PRETRAIN=$dir/stops RETRIES=1 submit quickstart --out "$dir/nowhere"
    say "job $job: a program that always stops"
    expect FAILED 1
    expect_said "2 times in a row without a new checkpoint"
}

[[ -x $pretrain && -x $tokenize ]] || { echo "error: no program $pretrain or $tokenize; run cargo build --release --features mpi, or set PRETRAIN and TOKENIZE" >&2; exit 1; }
check_mpi
export PRETRAIN=$pretrain
begin_test
"$tokenize" vocab --base tokenize/assets/tokenizer.json --out "$dir/tokenizer" >/dev/null
"$tokenize" folder tests/corpus --codec mel-rvq --tokenizer "$dir/tokenizer" --out "$dir/data/quickstart" >/dev/null 2>&1 ||
    fail "the corpus is not tokenized"
# shellcheck disable=SC2046
mpirun_two "$pretrain" $(run_command "$dir/undisturbed") >"$dir/undisturbed.log" 2>&1 || fail "the undisturbed run"
say "trained undisturbed, by mpirun: $STEPS steps"

start_cluster
choose_launcher
killed
told
cancelled
failed
gets_nowhere
say "passed"
