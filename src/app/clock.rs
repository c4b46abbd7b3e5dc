//! The time of day, for what is told to people and other gateways.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time in milliseconds since 1970 (UTC).
#[expect(
    clippy::disallowed_methods,
    reason = "it is told, and nothing is decided by it"
)]
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is as wrong as this.
    u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
