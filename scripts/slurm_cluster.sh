# A real Slurm of one node with two CPUs, for tests that source this.
#
# Slurm and munge run as the caller, in a temporary folder, on free ports; no systemd and no cgroups are needed, and nothing
# is left behind. Where they are missing they are installed if that disturbs nobody: by root, with apt, without systemd.
#
#   begin_test      makes the folder `dir`, which is removed at the end; exit code 77 where there is no Slurm
#   start_cluster   now sbatch and the like work; the job whose number is in `job` is cancelled at the end
# shellcheck shell=bash

readonly MISSING=77
# a node does not run a requeued task before its old credential expires
readonly REQUEUE_SECS=5
# far more than anything takes
readonly PATIENCE_SECS=300

# as if not inside another job
for name in "${!SLURM_@}" "${!SBATCH_@}"; do
    unset "$name"
done
export PATH=$PATH:/usr/sbin:/sbin
dir=
daemons=()
job=

say() {
    printf '[%3d s] %s\n' "$SECONDS" "$*"
}

fail() {
    say "FAILED: $*" >&2
    for log in "$dir"/log/*.log "$dir"/*.log; do
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

begin_test() {
    if ! is_installed && ! install; then
        echo "Slurm is not installed; Debian: apt-get install slurmctld slurmd slurm-client munge" >&2
        exit "$MISSING"
    fi
    dir=$(mktemp -d /tmp/slurm-test.XXXXXX)
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
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

# what Slurm says of a job, or of a task of an array: field ID NAME
field() {
    scontrol --oneliner show job "$1" | grep -oP "(?<=\b$2=)\S+"
}

is_over() {
    [[ -z $(squeue --noheader) ]]
}
