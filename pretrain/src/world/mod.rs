//! Processes that train one model together.
//!
//! A [`World`] is a process's place among them, found from the launcher (`mpirun`, `srun`). What hosts tell each other goes
//! through its methods, tensors through a [`Collective`]. Every rank calls the same operations in the same order, and what a
//! call returns is the same, to the bit, on all of them.

mod collective;
mod identity;
mod launcher;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
pub(crate) mod nccl;
mod pending;
#[cfg(test)]
pub(crate) mod threads;

pub use collective::{Collective, ThroughHosts};
pub use identity::Identity;
pub use pending::Pending;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use launcher::Launched;

/// A process's place among those that train together.
#[derive(Clone)]
pub struct World {
    rank: usize,
    size: usize,
    local_size: usize,
    hosts: Arc<dyn Hosts>,
    /// Nanoseconds.
    waited: Arc<AtomicU64>,
    /// Bytes of tensors.
    sent: Arc<AtomicU64>,
}

/// What moves bytes and numbers between the hosts' memories.
///
/// Operations are carried out one after the other in the order of the calls, while the caller goes on.
pub trait Hosts: Send + Sync {
    /// The bytes of every rank, in the order of ranks.
    fn gather(&self, bytes: Vec<u8>) -> Pending<Vec<Vec<u8>>>;

    /// Sum over ranks.
    fn all_reduce(&self, values: Floats) -> Pending<Floats>;

    /// This rank's part, of as many equal ones as there are ranks, of the sum over ranks.
    fn reduce_scatter(&self, values: Floats) -> Pending<Floats>;

    /// The parts of all ranks, one after the other.
    fn all_gather(&self, part: Floats) -> Pending<Floats>;

    /// The values of the first rank.
    fn broadcast(&self, values: Floats) -> Pending<Floats>;

    /// Calls `work` when all ranks are there, and then again until it says that it is done; on the thread of the other
    /// operations, in their order.
    #[cfg(feature = "nccl")]
    fn when_all_are_here(&self, what: &'static str, work: Box<dyn FnMut() -> bool + Send>);

    /// Whether all ranks say so. May be called from any thread, beside the other operations, if each rank does it equally often.
    fn agree(&self, so: bool) -> bool;

    /// Says where the run stands, for the message if a rank is lost: `step` is finished. Ranks are expected to be at most
    /// `patience` apart from now on.
    fn stands_at(&self, step: u64, patience: Duration);

    /// Ends the job on all ranks.
    fn abort(&self, status: u8);
}

/// Numbers in host memory, `[elements]` of f32.
pub type Floats = burn::tensor::TensorData;

/// How far apart ranks may be while one of them prepares, writes or reads alone.
pub const LONG_PATIENCE: Duration = Duration::from_secs(1800);
/// The same between two training steps.
pub const STEP_PATIENCE: Duration = Duration::from_secs(40);

impl World {
    /// This process's place among those of its launcher; a world of its own if there is none.
    ///
    /// # Errors
    /// [`crate::Error::World`]: a launcher that started several processes of a program that was built to run alone, or whose processes
    /// MPI does not bring together.
    pub fn join() -> Result<Self> {
        match Launched::find(|name| std::env::var(name).ok())? {
            None => Ok(Self::single()),
            #[cfg(feature = "mpi")]
            Some(launched) => {
                launched.choose_gpu()?;
                mpi::join(&launched)
            }
            #[cfg(not(feature = "mpi"))]
            Some(launched) => Err(launched.without_mpi()),
        }
    }

    /// For a program that is one process.
    ///
    /// # Errors
    /// [`crate::Error::World`] if a launcher started several of it.
    pub fn refuse(program: &str) -> Result<()> {
        match Launched::find(|name| std::env::var(name).ok())? {
            Some(launched) => Err(launched.too_many(program)),
            None => Ok(()),
        }
    }

    /// A process alone.
    pub fn single() -> Self {
        Self {
            rank: 0,
            size: 1,
            local_size: 1,
            hosts: Arc::new(Alone),
            waited: Arc::default(),
            sent: Arc::default(),
        }
    }

    /// Number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Number of processes of its machine.
    pub fn local_size(&self) -> usize {
        self.local_size
    }

    /// Whether this process writes what is written once, and tells the user.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// The elements of `elements` that this process writes, of what all hold.
    pub fn share(&self, elements: usize) -> Range<usize> {
        let edge = |rank| elements * rank / self.size;
        edge(self.rank)..edge(self.rank + 1)
    }

    /// Counts bytes of tensors that this process sends to others.
    #[cfg(feature = "nccl")]
    pub(crate) fn count_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What moves tensors of host memory.
    pub fn hosts(&self) -> Arc<dyn Hosts> {
        self.hosts.clone()
    }

    /// A result, when it is there.
    pub fn wait<T: Send + 'static>(&self, pending: Pending<T>) -> T {
        let start = Instant::now();
        let result = pending.wait();
        let nanos = start.elapsed().as_nanos() as u64;
        self.waited.fetch_add(nanos, Ordering::Relaxed);
        result
    }

    /// Time spent waiting since this was asked last.
    pub fn take_waited(&self) -> Duration {
        Duration::from_nanos(self.waited.swap(0, Ordering::Relaxed))
    }

    /// Bytes of tensors that this process has sent to others since this was asked last.
    pub fn take_sent(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    /// The bytes of every rank, in the order of ranks.
    pub fn gather(&self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        self.wait(self.hosts.gather(bytes))
    }

    /// What the first rank says; other ranks' words are not asked for.
    pub fn from_first(&self, bytes: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        let mine = if self.is_first() { bytes() } else { Vec::new() };
        self.gather(mine).swap_remove(0)
    }

    /// The values of every rank, in the order of ranks.
    pub fn gather_numbers(&self, values: &[f64]) -> Vec<Vec<f64>> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        let all = self.gather(bytes.collect());
        let numbers = |bytes: Vec<u8>| {
            let words = bytes.chunks_exact(8);
            let number = |word: &[u8]| f64::from_le_bytes(word.try_into().expect("eight bytes"));
            words.map(number).collect()
        };
        all.into_iter().map(numbers).collect()
    }

    /// Sums over ranks, added up in their order: the same whatever the algorithm of the library below.
    pub fn sum(&self, values: &[f64]) -> Vec<f64> {
        if self.size == 1 {
            return values.to_vec();
        }
        let mut sums = vec![0.0; values.len()];
        for values in self.gather_numbers(values) {
            assert_eq!(values.len(), sums.len(), "ranks sum up the same");
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value;
            }
        }
        sums
    }

    /// Returns when all ranks have called it.
    pub fn barrier(&self) {
        self.gather(Vec::new());
    }

    /// See [`Hosts::agree`].
    pub fn agree(&self, so: bool) -> bool {
        self.hosts.agree(so)
    }

    /// See [`Hosts::stands_at`].
    pub fn stands_at(&self, step: u64, patience: Duration) {
        self.hosts.stands_at(step, patience);
    }

    /// See [`Hosts::abort`].
    pub fn abort(&self, status: u8) {
        self.hosts.abort(status);
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.size)
    }
}

/// The only rank there is.
struct Alone;

impl Hosts for Alone {
    fn gather(&self, bytes: Vec<u8>) -> Pending<Vec<Vec<u8>>> {
        Pending::ready(vec![bytes])
    }

    fn all_reduce(&self, values: Floats) -> Pending<Floats> {
        Pending::ready(values)
    }

    fn reduce_scatter(&self, values: Floats) -> Pending<Floats> {
        Pending::ready(values)
    }

    fn all_gather(&self, part: Floats) -> Pending<Floats> {
        Pending::ready(part)
    }

    fn broadcast(&self, values: Floats) -> Pending<Floats> {
        Pending::ready(values)
    }

    #[cfg(feature = "nccl")]
    fn when_all_are_here(&self, _: &'static str, mut work: Box<dyn FnMut() -> bool + Send>) {
        while !work() {}
    }

    fn agree(&self, so: bool) -> bool {
        so
    }

    fn stands_at(&self, _: u64, _: Duration) {}

    fn abort(&self, _: u8) {}
}
