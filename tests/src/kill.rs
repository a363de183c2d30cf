//! Killing a program at random moments.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How [`kill_at_random`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kills {
    /// Runs that were killed while they were at work.
    pub killed: usize,
    /// Whether the last run was left to finish by itself.
    pub finished: bool,
}

/// Starts the program again and again, each time ending it with SIGKILL after a delay drawn from 0 to `longest`, until
/// a run finishes by itself or `limit` runs were killed. `killed` is called after each kill, on what it left behind.
///
/// Panics if a run that was not killed fails: what a killed run leaves must never stop the next one.
pub fn kill_at_random(
    program: impl Fn() -> Command,
    longest: Duration,
    limit: usize,
    seed: u64,
    mut killed: impl FnMut(),
) -> Kills {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut kills = Kills {
        killed: 0,
        finished: false,
    };
    while kills.killed < limit && !kills.finished {
        let delay = longest.mul_f64(rng.random::<f64>());
        kills.finished = !killed_after(&mut program(), delay);
        if !kills.finished {
            kills.killed += 1;
            killed();
        }
    }
    kills
}

/// Whether the program was still running after `delay`, and so was killed.
fn killed_after(program: &mut Command, delay: Duration) -> bool {
    let start = Instant::now();
    let child = program
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = child
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {program:?}: {e}"));
    thread::sleep(delay.saturating_sub(start.elapsed()));
    child
        .kill()
        .expect("a child can be killed, also one that has ended");
    let output = child.wait_with_output().expect("a child can be waited for");
    let ended_by_signal = output.status.code().is_none();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        ended_by_signal || output.status.success(),
        "{program:?} failed by itself:\n{stderr}"
    );
    ended_by_signal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_program_is_killed_and_a_fast_one_is_not() {
        let slow = || {
            let mut sleep = Command::new("sleep");
            sleep.arg("60");
            sleep
        };
        let mut calls = 0;
        let kills = kill_at_random(slow, Duration::from_millis(20), 3, 0, || calls += 1);
        assert_eq!((kills.killed, kills.finished, calls), (3, false, 3));
        let fast = || Command::new("true");
        let kills = kill_at_random(fast, Duration::from_secs(2), 3, 0, || {});
        assert!(kills.finished, "{kills:?}");
    }
}
