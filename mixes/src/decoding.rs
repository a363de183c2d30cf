//! Threads that decode, apart from those that ask for sequences.
//!
//! A group is decoded while its place in the cache is locked. Were that done on the callers' own rayon threads, one that waits for
//! its part would meanwhile take up another caller's job, and that job might ask for the very same group: it would wait for the
//! lock that its own thread holds. So decoding has a pool of its own, in which nobody asks for sequences, and the caller waits
//! for it without taking up anything else.

use rayon::ThreadPool;
use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::thread;

static POOL: LazyLock<ThreadPool> = LazyLock::new(|| {
    let builder = rayon::ThreadPoolBuilder::new().thread_name(|number| format!("decode-{number}"));
    builder.build().expect("the system gives threads")
});

/// Runs `work`, which may use rayon, on the decoding threads.
pub(crate) fn decoding<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    // `install` alone would have a caller that is a rayon thread take up other jobs while it waits
    let done = thread::scope(|scope| scope.spawn(|| POOL.install(work)).join());
    done.unwrap_or_else(|panic| resume_unwind(panic))
}
