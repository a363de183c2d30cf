//! Reads units ahead of the workers, on a thread of its own, so that no worker waits for a disk or a network.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::skipped::BadRecord;
use crate::source::{Counter, Emit, RawUtterance, Source};

/// Bytes of utterances read ahead. One larger utterance is let through alone.
const AHEAD_BYTES: usize = 256 << 20;
/// Utterances read ahead; those of text are small.
const AHEAD_UTTERANCES: usize = 4096;

/// What happens in a unit, in the order in which it was read.
#[derive(Debug)]
pub enum Step {
    /// The unit of this index begins.
    Begin(usize),
    /// An utterance.
    Utterance(Box<RawUtterance>),
    /// A record that cannot be used.
    Bad(Box<BadRecord>),
    /// The unit is complete.
    End,
    /// The unit cannot be read; nothing follows.
    Failed(Box<Error>),
}

/// A queue of steps, bounded in bytes.
#[derive(Default)]
pub struct Feed {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    steps: VecDeque<Step>,
    bytes: usize,
    /// The reader is done.
    ended: bool,
    /// Nobody takes steps any more.
    closed: bool,
}

impl Feed {
    /// Reads the units into the queue, up to the first error or until [`close`](Feed::close).
    pub fn fill(&self, source: &dyn Source, units: &[usize], counter: &Counter) {
        let _end = End(self);
        for &unit in units {
            let mut emitter = Emitter {
                feed: self,
                counter: counter.clone(),
            };
            let done = self
                .push(Step::Begin(unit))
                .and_then(|()| source.read(unit, &mut emitter))
                .and_then(|()| self.push(Step::End));
            match done {
                Ok(()) => {}
                Err(Error::Stopped) => return,
                Err(error) => {
                    let _ = self.push(Step::Failed(Box::new(error)));
                    return;
                }
            }
        }
    }

    /// The next step; `None` at the end.
    pub fn next(&self) -> Option<Step> {
        let mut state = self.lock();
        loop {
            if let Some(step) = state.steps.pop_front() {
                state.bytes -= bytes(&step);
                self.changed.notify_all();
                return Some(step);
            }
            if state.ended || state.closed {
                return None;
            }
            state = self.wait(state);
        }
    }

    /// Lets the reader stop where it is.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn push(&self, step: Step) -> Result<()> {
        let size = bytes(&step);
        let mut state = self.lock();
        let is_full = |state: &State| {
            !state.steps.is_empty()
                && (state.bytes + size > AHEAD_BYTES || state.steps.len() >= AHEAD_UTTERANCES)
        };
        while !state.closed && is_full(&state) {
            state = self.wait(state);
        }
        if state.closed {
            return Err(Error::Stopped);
        }
        state.bytes += size;
        state.steps.push_back(step);
        self.changed.notify_all();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Ends the queue however the reader ends.
struct End<'a>(&'a Feed);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

/// Closes the queue when dropped, so that the reader stops with those it reads for.
pub struct Close<'a>(pub &'a Feed);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Emitter<'a> {
    feed: &'a Feed,
    counter: Counter,
}

impl Emit for Emitter<'_> {
    fn utterance(&mut self, utterance: RawUtterance) -> Result<()> {
        self.feed.push(Step::Utterance(Box::new(utterance)))
    }

    fn bad(&mut self, record: BadRecord) -> Result<()> {
        self.feed.push(Step::Bad(Box::new(record)))
    }

    fn counter(&self) -> Counter {
        self.counter.clone()
    }
}

fn bytes(step: &Step) -> usize {
    match step {
        Step::Utterance(utterance) => utterance.bytes(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::source::{Grouping, Transcript, Unit};

    /// Units of utterances of `bytes` each; unit 2 fails after its first one.
    struct Texts {
        bytes: usize,
        emitted: AtomicUsize,
    }

    impl Source for Texts {
        fn kind(&self) -> &'static str {
            "texts"
        }

        fn name(&self) -> &str {
            "texts"
        }

        fn arguments(&self) -> BTreeMap<String, String> {
            BTreeMap::new()
        }

        fn units(&self) -> &[Unit] {
            &[]
        }

        fn grouping(&self) -> Grouping {
            Grouping::Adjacent
        }

        fn read(&self, unit: usize, emit: &mut dyn Emit) -> Result<()> {
            for number in 0..5 {
                if unit == 2 && number == 1 {
                    return Err(Error::Layout {
                        location: "here".into(),
                        problem: "gone".into(),
                    });
                }
                emit.utterance(RawUtterance {
                    id: format!("{unit}-{number}"),
                    transcript: Transcript::Text("x".repeat(self.bytes)),
                    ..RawUtterance::default()
                })?;
                self.emitted.fetch_add(1, SeqCst);
            }
            Ok(())
        }
    }

    fn source(bytes: usize) -> Texts {
        Texts {
            bytes,
            emitted: AtomicUsize::new(0),
        }
    }

    #[test]
    fn steps_come_in_order_and_an_error_ends_them() {
        let (feed, source) = (Feed::default(), source(10));
        feed.fill(&source, &[1, 2, 3], &Counter::default());
        let mut seen = String::new();
        while let Some(step) = feed.next() {
            seen += &match step {
                Step::Begin(unit) => format!("[{unit}"),
                Step::Utterance(utterance) => format!(" {}", utterance.id),
                Step::Bad(_) => unreachable!(),
                Step::End => "]".to_owned(),
                Step::Failed(error) => format!(" {error}"),
            };
        }
        assert!(seen.starts_with("[1 1-0 1-1 1-2 1-3 1-4][2 2-0 "), "{seen}");
        assert!(!seen.contains("2-1") && !seen.contains("[3"), "{seen}");
    }

    #[test]
    fn reading_waits_for_those_who_take() {
        let (feed, source) = (Feed::default(), source(AHEAD_BYTES / 2));
        std::thread::scope(|scope| {
            scope.spawn(|| feed.fill(&source, &[0], &Counter::default()));
            let mut taken = 0;
            while let Some(step) = feed.next() {
                if let Step::Utterance(_) = step {
                    taken += 1;
                    // two wait, one is being pushed
                    let emitted = source.emitted.load(SeqCst);
                    assert!(emitted <= taken + 3, "{emitted} emitted, {taken} taken");
                }
            }
            assert_eq!(taken, 5);
        });
    }

    #[test]
    fn a_closed_feed_stops_its_reader() {
        let (feed, source) = (Feed::default(), source(AHEAD_BYTES));
        std::thread::scope(|scope| {
            scope.spawn(|| feed.fill(&source, &[0], &Counter::default()));
            assert!(matches!(feed.next(), Some(Step::Begin(0))));
            drop(Close(&feed));
        });
        assert!(source.emitted.load(SeqCst) <= 2);
    }
}
