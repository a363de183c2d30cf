//! Results of operations that go on while their caller does.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// A result that may not be there yet.
#[must_use = "the operation's result is to be waited for"]
pub struct Pending<T>(State<T>);

enum State<T> {
    Ready(T),
    Expected(Box<dyn FnOnce() -> T + Send>),
}

impl<T: Send + 'static> Pending<T> {
    /// A result that is there.
    pub fn ready(value: T) -> Self {
        Self(State::Ready(value))
    }

    /// A place for the result, and where it will be waited for.
    pub fn channel() -> (SyncSender<T>, Self) {
        let (sender, receiver) = sync_channel(1);
        (sender, Self::received(receiver))
    }

    fn received(receiver: Receiver<T>) -> Self {
        let wait = move || match receiver.recv() {
            Ok(value) => value,
            // The thread that had to send it is gone, and with it the job: it says why.
            Err(_) => loop {
                std::thread::park();
            },
        };
        Self(State::Expected(Box::new(wait)))
    }

    /// With a function of the result, which runs where it is waited for.
    pub fn map<U: Send + 'static>(self, f: impl FnOnce(T) -> U + Send + 'static) -> Pending<U> {
        match self.0 {
            State::Ready(value) => Pending::ready(f(value)),
            State::Expected(wait) => Pending(State::Expected(Box::new(move || f(wait())))),
        }
    }

    /// The result, when it is there.
    pub fn wait(self) -> T {
        match self.0 {
            State::Ready(value) => value,
            State::Expected(wait) => wait(),
        }
    }
}
