//! What may go wrong on the way: what is tried again, when, and what else to do about it.

use std::io;
use std::time::Duration;

use indicatif::ProgressBar;
use ureq::http::{HeaderMap, StatusCode};

use super::Hub;
use super::download::text;

/// Attempts in a row that may fail; one that brought a byte starts the count anew.
const ATTEMPTS: u32 = 6;

/// Why an attempt failed.
pub enum Failure {
    /// It may go better the next time.
    Passing(String),
    /// There is no connection to the host.
    Unreachable(String),
    /// It will not go better.
    Lasting(String),
    /// There is no such file or repository.
    Absent(String),
}

/// Why there are no more attempts, and what to do about it.
pub enum Stop {
    /// There is no such file or repository.
    Absent(String),
    /// Anything else.
    Lasting(String),
}

impl Stop {
    /// As text.
    pub fn reason(self) -> String {
        match self {
            Self::Absent(reason) | Self::Lasting(reason) => reason,
        }
    }
}

impl From<String> for Stop {
    fn from(reason: String) -> Self {
        Self::Lasting(reason)
    }
}

/// What comes of an attempt.
pub type Attempt<T> = Result<T, Failure>;

/// Waits between attempts.
pub struct Retry<'a> {
    pause: Duration,
    /// Shows what is waited for.
    pub bar: &'a ProgressBar,
    /// In a row.
    pub failures: u32,
    /// Whether the host has answered before.
    pub reached: bool,
}

impl<'a> Retry<'a> {
    /// The first failed attempt is followed by `pause`.
    pub fn new(pause: Duration, bar: &'a ProgressBar) -> Self {
        Self {
            pause,
            bar,
            failures: 0,
            reached: false,
        }
    }

    /// Returns when it is time for the next attempt, or the reason why there should be none.
    pub fn after(&mut self, failure: Failure) -> Result<(), Stop> {
        let reason = match failure {
            Failure::Absent(reason) => return Err(Stop::Absent(reason)),
            Failure::Lasting(reason) => return Err(Stop::Lasting(reason)),
            Failure::Unreachable(reason) if !self.reached => return Err(Stop::Lasting(reason)),
            Failure::Unreachable(reason) | Failure::Passing(reason) => reason,
        };
        self.failures += 1;
        if self.failures == ATTEMPTS {
            return Err(Stop::Lasting(format!("{reason} ({ATTEMPTS} attempts)")));
        }
        self.bar.set_message(format!("(trying again: {reason})"));
        std::thread::sleep(self.pause * 2u32.pow(self.failures - 1));
        self.bar.set_message("");
        Ok(())
    }
}

/// A request without an answer.
pub fn broken(hub: &Hub, error: &ureq::Error) -> Failure {
    use io::ErrorKind as Kind;
    let reason = format!("{}: {error}", hub.endpoint);
    match error {
        ureq::Error::Io(e)
            if [
                Kind::BrokenPipe,
                Kind::ConnectionAborted,
                Kind::ConnectionReset,
                Kind::TimedOut,
                Kind::UnexpectedEof,
            ]
            .contains(&e.kind()) =>
        {
            Failure::Passing(reason)
        }
        ureq::Error::Timeout(ureq::Timeout::PerRead | ureq::Timeout::RecvResponse)
        | ureq::Error::Protocol(_) => Failure::Passing(reason),
        // no address, no connection or no trust
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => Failure::Unreachable(format!(
            "{reason}; is this machine connected to the network, and HF_ENDPOINT right?"
        )),
        _ => Failure::Lasting(reason),
    }
}

/// An answer that is not the file.
pub fn refused(
    hub: &Hub,
    repo: &str,
    url: &str,
    status: StatusCode,
    headers: &HeaderMap,
) -> Failure {
    let code = text(headers, "x-error-code").unwrap_or_default();
    let page = format!("{}/{}", hub.endpoint, repo);
    let advice = match status.as_u16() {
        408 | 429 | 500.. => return Failure::Passing(format!("{url} answers {status}")),
        // the hub does not tell strangers which repositories exist
        401 if hub.token.is_none() => format!(
            "there is no public repository of this name: check it, or, if it is private or gated, accept its \
             conditions at {page} and set HF_TOKEN"
        ),
        401 => "check the token in HF_TOKEN, and the name".to_owned(),
        403 => format!(
            "accept the conditions at {page}, and check that the token in HF_TOKEN may read the repository"
        ),
        404 => {
            let advice = match code {
                "EntryNotFound" => "the repository has no such file, which is needed",
                "RevisionNotFound" => "the repository has no such branch, tag or commit",
                _ => "check the name; there is no folder of this name here either",
            };
            return Failure::Absent(format!("{url} answers {status}; {advice}"));
        }
        _ => "is HF_ENDPOINT a Hugging Face hub?".to_owned(),
    };
    Failure::Lasting(format!("{url} answers {status}; {advice}"))
}
