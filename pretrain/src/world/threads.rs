//! Processes that are threads of a test.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use burn::tensor::TensorData;

use super::{Floats, Hosts, Pending, World};

/// What every rank has put down for the present operation.
struct Table<T>(Mutex<Vec<Option<T>>>);

impl<T: Clone> Table<T> {
    fn new(ranks: usize) -> Self {
        Self(Mutex::new(vec![None; ranks]))
    }
}

struct Shared {
    barrier: Barrier,
    bytes: Table<Vec<u8>>,
    floats: Table<Vec<f32>>,
    votes: Table<bool>,
}

impl Shared {
    /// Puts a value down, and returns those of all.
    fn all<T: Clone>(&self, table: &Table<T>, rank: usize, value: T) -> Vec<T> {
        table.0.lock().unwrap()[rank] = Some(value);
        self.barrier.wait();
        let all = table
            .0
            .lock()
            .unwrap()
            .iter()
            .cloned()
            .map(Option::unwrap)
            .collect();
        self.barrier.wait();
        all
    }
}

struct Thread {
    rank: usize,
    shared: Arc<Shared>,
}

impl Thread {
    fn floats(&self, values: Floats) -> Vec<Vec<f32>> {
        let values = values.to_vec().unwrap();
        self.shared.all(&self.shared.floats, self.rank, values)
    }

    fn sum(&self, values: Floats) -> Vec<f32> {
        let all = self.floats(values);
        (0..all[0].len())
            .map(|i| all.iter().map(|values| values[i]).sum())
            .collect()
    }
}

fn flat(values: Vec<f32>) -> Pending<Floats> {
    let count = values.len();
    Pending::ready(TensorData::new(values, [count]))
}

impl Hosts for Thread {
    fn gather(&self, bytes: Vec<u8>) -> Pending<Vec<Vec<u8>>> {
        Pending::ready(self.shared.all(&self.shared.bytes, self.rank, bytes))
    }

    fn all_reduce(&self, values: Floats) -> Pending<Floats> {
        flat(self.sum(values))
    }

    fn reduce_scatter(&self, values: Floats) -> Pending<Floats> {
        let ranks = self.shared.floats.0.lock().unwrap().len();
        let sum = self.sum(values);
        let part = sum.len() / ranks;
        flat(sum[self.rank * part..][..part].to_vec())
    }

    fn all_gather(&self, part: Floats) -> Pending<Floats> {
        flat(self.floats(part).concat())
    }

    fn broadcast(&self, values: Floats) -> Pending<Floats> {
        flat(self.floats(values).swap_remove(0))
    }

    #[cfg(feature = "nccl")]
    fn when_all_are_here(&self, _: &'static str, mut work: Box<dyn FnMut() -> bool + Send>) {
        self.shared.barrier.wait();
        while !work() {}
    }

    fn agree(&self, so: bool) -> bool {
        let votes = self.shared.all(&self.shared.votes, self.rank, so);
        votes.into_iter().all(|so| so)
    }

    fn stands_at(&self, _: u64, _: Duration) {}

    fn abort(&self, status: u8) {
        panic!("aborted with {status}");
    }
}

/// Does the same on every rank of a world of so many; what comes of it, by rank.
pub(crate) fn ranks<T: Send>(size: usize, work: impl Fn(World) -> T + Sync) -> Vec<T> {
    let shared = Arc::new(Shared {
        barrier: Barrier::new(size),
        bytes: Table::new(size),
        floats: Table::new(size),
        votes: Table::new(size),
    });
    let world = |rank| World {
        rank,
        size,
        local_size: size,
        hosts: Arc::new(Thread {
            rank,
            shared: shared.clone(),
        }),
        waited: Arc::default(),
        sent: Arc::default(),
    };
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..size)
            .map(|rank| {
                let world = world(rank);
                scope.spawn(move || work(world))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}
