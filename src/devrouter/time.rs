//! The time of day as clients are told it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::value::time;

/// Returns the time of day in UTC, to the millisecond.
pub(super) fn now() -> String {
    time::show(since_epoch())
}

/// Returns the time of day.
#[expect(
    clippy::disallowed_methods,
    reason = "it is told to clients, and nothing is decided by it"
)]
pub(super) fn since_epoch() -> Duration {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is as wrong as this.
    since_epoch.unwrap_or_default()
}
