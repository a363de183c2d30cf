//! Batches of one process, read ahead of the training that takes them.

use crate::error::Result;
use crate::loader::Loader;
use crate::order::Place;
use crate::sequence::Sequence;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Which sequences a process takes of each batch: `rank`, `rank + ranks`, … of it. So the batch is the same, in the same order,
/// for any number of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Sequences of a batch, over all processes.
    pub batch_size: u64,
    /// Number of this process.
    pub rank: u64,
    /// Number of processes.
    pub ranks: u64,
}

impl Share {
    /// The whole batch.
    pub fn whole(batch_size: u64) -> Self {
        Self {
            batch_size,
            rank: 0,
            ranks: 1,
        }
    }

    /// Numbers of the sequences of the batch that begins with number `first`.
    pub fn numbers(self, first: u64) -> impl Iterator<Item = u64> {
        (first + self.rank..first + self.batch_size).step_by(self.ranks as usize)
    }
}

/// The batches of a process, one a step, from some sequence on. At most `ahead` of them are kept ready; beside them a thread decodes
/// the next window of each component while the present one is used.
pub struct Batches {
    received: Receiver<Result<Vec<Sequence>>>,
}

impl Batches {
    /// Starts reading at sequence number `first`, which is all that a resumed run has to know.
    pub fn start(loader: Arc<Loader>, share: Share, first: u64, ahead: usize) -> Self {
        let (send, received) = sync_channel(ahead.max(1));
        thread::spawn(move || read(&loader, share, first, &send));
        Self { received }
    }
}

impl Iterator for Batches {
    type Item = Result<Vec<Sequence>>;

    /// The next step's sequences. After an error there are no more.
    fn next(&mut self) -> Option<Self::Item> {
        self.received.recv().ok()
    }
}

fn read(loader: &Arc<Loader>, share: Share, first: u64, send: &SyncSender<Result<Vec<Sequence>>>) {
    let mut warmer = Warmer::new(loader.clone());
    for first in (first..).step_by(share.batch_size as usize) {
        let numbers: Vec<u64> = share.numbers(first).collect();
        let batch = numbers.par_iter().map(|&number| loader.sequence(number));
        let batch: Result<Vec<Sequence>> = batch.collect();
        let failed = batch.is_err();
        if send.send(batch).is_err() || failed {
            return;
        }
        warmer.passed(&numbers);
    }
}

/// Has the next window of each component decoded, as soon as the present one is entered.
struct Warmer {
    loader: Arc<Loader>,
    /// Epoch and window of each component that was entered last.
    entered: HashMap<usize, (u64, usize)>,
    orders: SyncSender<(usize, Place)>,
}

impl Warmer {
    fn new(loader: Arc<Loader>) -> Self {
        let (orders, taken) = sync_channel::<(usize, Place)>(1 << 10);
        let reader = loader.clone();
        thread::spawn(move || {
            for (component, place) in taken {
                // What fails here fails again, and is told, when the sequences themselves are read.
                let _ = reader.warm(component, place);
            }
        });
        Self {
            loader,
            entered: HashMap::new(),
            orders,
        }
    }

    /// Looks at the first sequence of each component in a batch that was read: once it lies in a new window, nothing of the old
    /// one is needed any more, and its place in memory is free.
    fn passed(&mut self, numbers: &[u64]) {
        let mut firsts = HashMap::new();
        for &number in numbers {
            if let Ok((component, within)) = self.loader.locate(number) {
                let first = firsts.entry(component).or_insert(within);
                *first = within.min(*first);
            }
        }
        for (component, within) in firsts {
            let place = self.loader.place(component, within);
            let window = (place.epoch, place.window);
            if self.entered.insert(component, window) != Some(window) {
                // a full queue means that reading is slower than training anyway
                let _ = self.orders.try_send((component, place));
            }
        }
    }
}
