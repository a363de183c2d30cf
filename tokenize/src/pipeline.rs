//! An order-preserving parallel map with bounded work in flight.
//!
//! Workers pull the next items, one or several at a time, so a slow item delays nobody; results are handed to one consumer
//! in the items' order, so what it writes does not depend on the number of threads. Nobody may run further ahead of the
//! consumer than `window` items, so memory is bounded however large the input is.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};

/// How much runs at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Worker threads, at least one.
    pub threads: usize,
    /// Items between the one the consumer waits for and the furthest one being worked on.
    pub window: usize,
}

struct State<R> {
    /// Results the consumer has not reached yet, by index.
    ready: BTreeMap<usize, R>,
    /// Results handed to the consumer.
    consumed: usize,
    /// Number of items, once the last was pulled.
    total: Option<usize>,
    /// The consumer failed or a worker panicked.
    stop: bool,
}

struct Shared<I, R> {
    /// The items and the index of the next one.
    items: Mutex<(usize, I)>,
    state: Mutex<State<R>>,
    changed: Condvar,
    limits: Limits,
}

/// Calls `map` on items on several threads, and `consume` on every result, in order, on this one.
/// The first error of `consume` ends the work and is returned.
///
/// `map` is given an item and may take more to work on together: its second argument gives the next one that no other
/// thread took, and none when there are no more or the window is full. It returns the result of each, in the order taken.
pub fn ordered_map<T, R, E>(
    limits: Limits,
    items: impl Iterator<Item = T> + Send,
    map: impl Fn(T, &mut dyn FnMut() -> Option<T>) -> Vec<R> + Sync,
    mut consume: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E>
where
    R: Send,
{
    let shared = Shared {
        items: Mutex::new((0, items)),
        state: Mutex::new(State {
            ready: BTreeMap::new(),
            consumed: 0,
            total: None,
            stop: false,
        }),
        changed: Condvar::new(),
        limits,
    };
    std::thread::scope(|scope| {
        for _ in 0..limits.threads.max(1) {
            scope.spawn(|| {
                let _guard = StopOnPanic(&shared);
                while let Some((index, item)) = shared.pull() {
                    let mut indices = vec![index];
                    let results = map(item, &mut || {
                        let (index, item) = shared.try_pull().taken()?;
                        indices.push(index);
                        Some(item)
                    });
                    assert_eq!(results.len(), indices.len(), "a result for each item");
                    shared.lock().ready.extend(indices.into_iter().zip(results));
                    shared.changed.notify_all();
                }
            });
        }
        // also when `consume` panics: else the workers would wait for ever
        let _guard = StopOnPanic(&shared);
        while let Some(result) = shared.next() {
            if let Err(error) = consume(result) {
                shared.stop();
                return Err(error);
            }
        }
        Ok(())
    })
}

/// What a worker asking for an item gets.
enum Pull<T> {
    /// An item and its index.
    Item(usize, T),
    /// The item of this index is beyond the window.
    Full(usize),
    /// There are no more.
    End,
}

impl<T> Pull<T> {
    fn taken(self) -> Option<(usize, T)> {
        match self {
            Pull::Item(index, item) => Some((index, item)),
            Pull::Full(_) | Pull::End => None,
        }
    }
}

impl<T, R, I: Iterator<Item = T>> Shared<I, R> {
    /// The next item and its index, once it is within the window. Only for workers that hold no items: the window may be
    /// waiting for theirs.
    fn pull(&self) -> Option<(usize, T)> {
        loop {
            let index = match self.try_pull() {
                Pull::Full(index) => index,
                pull => return pull.taken(),
            };
            let mut state = self.lock();
            while state.is_full(index, self.limits) && !state.is_over() {
                state = self.wait(state);
            }
        }
    }

    /// The next item, if it is within the window.
    fn try_pull(&self) -> Pull<T> {
        let mut items = self
            .items
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let index = items.0;
        let state = self.lock();
        if state.is_over() {
            return Pull::End;
        }
        if state.is_full(index, self.limits) {
            return Pull::Full(index);
        }
        drop(state);
        match items.1.next() {
            Some(item) => {
                items.0 += 1;
                Pull::Item(index, item)
            }
            None => {
                self.lock().total = Some(index);
                self.changed.notify_all();
                Pull::End
            }
        }
    }
}

impl<R> State<R> {
    /// Whether item `index` is beyond the window.
    fn is_full(&self, index: usize, limits: Limits) -> bool {
        index >= self.consumed + limits.window.max(1)
    }

    /// Whether nothing more is to be pulled.
    fn is_over(&self) -> bool {
        self.stop || self.total.is_some()
    }
}

impl<I, R> Shared<I, R> {
    /// The next result in order; `None` at the end and when a worker panicked.
    fn next(&self) -> Option<R> {
        let mut state = self.lock();
        loop {
            let index = state.consumed;
            if let Some(result) = state.ready.remove(&index) {
                state.consumed += 1;
                self.changed.notify_all();
                return Some(result);
            }
            if state.stop || state.total == Some(index) {
                return None;
            }
            state = self.wait(state);
        }
    }

    fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<R>>) -> MutexGuard<'a, State<R>> {
        self.changed
            .wait(state)
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Lets everybody else stop when one panics; the scope then passes the panic on.
struct StopOnPanic<'a, I, R>(&'a Shared<I, R>);

impl<I, R> Drop for StopOnPanic<'_, I, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread::sleep;
    use std::time::Duration;

    fn limits(threads: usize, window: usize) -> Limits {
        Limits { threads, window }
    }

    /// Maps one item at a time.
    fn single<T, R>(map: impl Fn(T) -> R) -> impl Fn(T, &mut dyn FnMut() -> Option<T>) -> Vec<R> {
        move |item, _| vec![map(item)]
    }

    /// Delays that differ from item to item, up to 2 ms.
    fn dawdle(item: usize) {
        sleep(Duration::from_micros((item * 7919 % 20) as u64 * 100));
    }

    #[test]
    fn results_come_in_order_whatever_the_threads_and_delays() {
        for threads in [1, 2, 7] {
            let mut seen = Vec::new();
            let map = |item| {
                dawdle(item);
                item * 10
            };
            ordered_map(limits(threads, 5), 0..200, single(map), |result| {
                seen.push(result);
                Ok::<(), ()>(())
            })
            .unwrap();
            assert_eq!(seen, (0..200).map(|i| i * 10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn items_taken_together_come_out_in_order_and_within_the_window() {
        for (threads, window, wanted) in [(1, 1, 4), (2, 5, 4), (3, 4, 100), (7, 50, 6)] {
            let largest = AtomicUsize::new(0);
            let map = |first: usize, more: &mut dyn FnMut() -> Option<usize>| {
                let mut taken = vec![first];
                while taken.len() < wanted
                    && let Some(item) = more()
                {
                    dawdle(item);
                    taken.push(item);
                }
                largest.fetch_max(taken.len(), SeqCst);
                taken.iter().map(|item| item * 10).collect()
            };
            let mut seen = Vec::new();
            ordered_map(limits(threads, window), 0..200, map, |result| {
                seen.push(result);
                Ok::<(), ()>(())
            })
            .unwrap();
            assert_eq!(seen, (0..200).map(|i| i * 10).collect::<Vec<_>>());
            let largest = largest.load(SeqCst);
            assert!(
                largest <= window.min(wanted) && (window == 1 || largest > 1),
                "{largest} of {window}"
            );
        }
    }

    #[test]
    fn nobody_runs_further_ahead_than_the_window() {
        let (consumed, furthest) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let map = |item: usize| {
            furthest.fetch_max(item - consumed.load(SeqCst).min(item), SeqCst);
            dawdle(item);
        };
        ordered_map(limits(4, 6), 0..150, single(map), |()| {
            sleep(Duration::from_micros(300));
            consumed.fetch_add(1, SeqCst);
            Ok::<(), ()>(())
        })
        .unwrap();
        // the consumer is counted after it took the result, so one more may be in flight
        let furthest = furthest.load(SeqCst);
        assert!((4..=7).contains(&furthest), "{furthest} items ahead");
    }

    #[test]
    fn an_error_of_the_consumer_ends_the_work() {
        let mapped = AtomicUsize::new(0);
        let map = |item| {
            mapped.fetch_add(1, SeqCst);
            item
        };
        let consume = |item| if item == 10 { Err(item) } else { Ok(()) };
        let result = ordered_map(limits(3, 4), 0..1_000_000, single(map), consume);
        assert_eq!(result, Err(10));
        assert!(mapped.load(SeqCst) < 20);
    }

    #[test]
    fn no_items_are_no_work() {
        ordered_map(limits(2, 2), 0..0, single(|item: usize| item), |_| Err(())).unwrap();
    }

    #[test]
    fn a_panic_in_a_worker_is_passed_on() {
        let outcome = std::panic::catch_unwind(|| {
            let map = |item| assert!(item != 5, "five");
            ordered_map(limits(2, 3), 0..100, single(map), |()| Ok::<(), ()>(()))
        });
        assert!(outcome.is_err());
    }
}
