//! Which failures are tried again, how often, and after what time.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// A server that asks for more time than this is not waited for any longer.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How patient requests are.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts in a row that may fail; one that brings a byte starts the count anew.
    pub attempts: u32,
    /// Time before the second attempt. It doubles from one to the next, and a random half of it is left out, so that many
    /// machines that failed together do not return together.
    pub base: Duration,
    /// The longest such time.
    pub cap: Duration,
    /// How long a connection may be silent before the attempt has failed.
    pub stall: Duration,
}

impl Default for Retry {
    /// 8 attempts, 250 ms to 30 s apart, 30 s of silence.
    fn default() -> Self {
        Self {
            attempts: 8,
            base: Duration::from_millis(250),
            cap: Duration::from_secs(30),
            stall: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// The time to wait after so many failures in a row; `asked` is what the server wants, `random` in 0..1.
    fn pause(&self, failures: u32, asked: Option<Duration>, random: f64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        let longest = self.base.saturating_mul(doubled).min(self.cap);
        let pause = longest.mul_f64(1.0 - random / 2.0);
        pause.max(asked.unwrap_or_default().min(LONGEST_WAIT))
    }
}

/// Why one attempt failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// It may go better the next time, after the time that the server asks for.
    Passing {
        cause: String,
        wait: Option<Duration>,
    },
    /// It will not go better.
    Lasting { cause: String, advice: String },
    /// The object is not there.
    Missing { cause: String },
    /// The object is not the one it was.
    Changed { cause: String },
}

impl Failure {
    pub fn passing(cause: impl Into<String>) -> Self {
        Self::Passing {
            cause: cause.into(),
            wait: None,
        }
    }

    pub fn lasting(cause: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Lasting {
            cause: cause.into(),
            advice: advice.into(),
        }
    }
}

// It travels through `object_store` as the source of that crate's errors.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing { cause, .. }
            | Self::Lasting { cause, .. }
            | Self::Missing { cause }
            | Self::Changed { cause } => f.write_str(cause),
        }
    }
}

impl std::error::Error for Failure {}

/// What comes of one attempt.
pub(crate) type Attempt<T> = std::result::Result<T, Failure>;

/// A store's location, for errors, and the patience that requests to it have.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub location: String,
    pub retry: Retry,
}

impl Place {
    /// Tries `attempt` until it succeeds, cannot succeed, or has failed too often. `path` is for the error.
    pub fn run<T>(&self, path: &str, mut attempt: impl FnMut() -> Attempt<T>) -> Result<T> {
        let mut tries = Tries::default();
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => tries.after(self, failure, path, None)?,
            }
        }
    }

    /// As [`run`](Self::run), with `None` for what is not there.
    pub fn find<T>(
        &self,
        path: &str,
        mut attempt: impl FnMut() -> Attempt<T>,
    ) -> Result<Option<T>> {
        self.run(path, || match attempt() {
            Err(Failure::Missing { .. }) => Ok(None),
            other => other.map(Some),
        })
    }
}

/// Counts the failures of one request.
#[derive(Default)]
pub(crate) struct Tries {
    failures: u32,
}

impl Tries {
    /// Bytes have come.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Returns when it is time for the next attempt, or the reason why there is none. `read` is the byte to be read next and
    /// the object's size, if an object is being read.
    pub fn after(
        &mut self,
        place: &Place,
        failure: Failure,
        path: &str,
        read: Option<(u64, u64)>,
    ) -> Result<()> {
        self.failures += 1;
        let (cause, advice) = match failure {
            Failure::Passing { wait, .. } if self.failures < place.retry.attempts => {
                thread::sleep(place.retry.pause(self.failures, wait, random()));
                return Ok(());
            }
            Failure::Passing { cause, .. } => (
                cause,
                "check the network and the server, then start again".to_owned(),
            ),
            Failure::Lasting { cause, advice } => (cause, advice),
            Failure::Missing { cause } => (cause, "check the location and the path".to_owned()),
            Failure::Changed { cause } => {
                let (offset, size) = read.unwrap_or_default();
                return Err(Error::Changed {
                    location: place.location.clone(),
                    path: path.to_owned(),
                    offset,
                    size,
                    cause,
                });
            }
        };
        Err(Error::Request {
            location: place.location.clone(),
            path: path.to_owned(),
            offset: read.map(|(offset, _)| offset),
            cause,
            attempts: self.failures,
            advice,
        })
    }
}

/// In 0..1. Hash maps' random keys are random enough to keep machines from marching in step.
fn random() -> f64 {
    random_bits() as f64 / (u64::MAX as f64 + 1.0)
}

/// Different at each call, and in each process.
pub(crate) fn random_bits() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_lose_a_random_half() {
        let retry = Retry::default();
        let ms = |failures, random| retry.pause(failures, None, random).as_millis();
        assert_eq!((ms(1, 0.0), ms(2, 0.0), ms(3, 0.0)), (250, 500, 1000));
        assert_eq!((ms(8, 0.0), ms(60, 0.0)), (30_000, 30_000));
        assert_eq!((ms(1, 0.999_999), ms(8, 0.5)), (125, 22_500));
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&random()));
        }
        assert_ne!(random_bits(), random_bits());
    }

    #[test]
    fn the_server_may_ask_for_more_time_but_not_for_days() {
        let retry = Retry::default();
        let secs = |asked| {
            let asked = Some(Duration::from_secs(asked));
            retry.pause(1, asked, 0.0).as_secs_f64()
        };
        assert_eq!((secs(0), secs(7), secs(86_400)), (0.25, 7.0, 600.0));
    }

    #[test]
    fn the_last_attempt_is_not_waited_after() {
        let place = Place {
            location: "s3://bucket".to_owned(),
            retry: Retry {
                attempts: 3,
                base: Duration::ZERO,
                ..Retry::default()
            },
        };
        let mut tried = 0;
        let failed = place.run("a/b", || -> Attempt<()> {
            tried += 1;
            Err(Failure::passing("it answers 503"))
        });
        assert_eq!(tried, 3);
        assert_eq!(
            failed.unwrap_err().to_string(),
            "s3://bucket: a/b: it answers 503 (3 attempts); check the network and the server, then start again"
        );
        let mut tried = 0;
        let failed = place.run("a/b", || -> Attempt<()> {
            tried += 1;
            Err(Failure::lasting("it answers 403", "set the key"))
        });
        assert_eq!(tried, 1);
        assert_eq!(
            failed.unwrap_err().to_string(),
            "s3://bucket: a/b: it answers 403 (1 attempt); set the key"
        );
    }
}
