//! What tests over servers share.

use std::time::Duration;

use stores::Retry;

/// Retries without pauses.
pub const QUICK: Retry = Retry {
    attempts: 4,
    base: Duration::ZERO,
    cap: Duration::ZERO,
    stall: Duration::from_secs(20),
};
