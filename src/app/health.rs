//! What readiness goes by: the stage, and a session for each realm in use.

use crate::telemetry::health::{Finding, Health};
use crate::telemetry::lifecycle::{Lifecycle, Stage};
use crate::wamp::pool::{PoolState, PoolStatus, Pools};

pub(super) fn check_lifecycle(health: &Health, lifecycle: Lifecycle) {
    const CHECK: &str = "lifecycle";
    health.check(move || {
        vec![match lifecycle.stage() {
            Stage::Starting => Finding::failing(CHECK, "It is still starting."),
            Stage::Serving => Finding::ok(CHECK),
            Stage::Draining => Finding::failing(CHECK, "It is about to stop."),
        }]
    });
}

/// Pools are there for the realms that routes use, and for no others.
pub(super) fn check_pools(health: &Health, pools: Pools) {
    health.check(move || pools.status().iter().map(of_realm).collect());
}

/// Why sessions are down is not told here: anybody may ask for the health. It is in the log, and in
/// the admin API's status of the realm's router.
fn of_realm(pool: &PoolStatus) -> Finding {
    let check = format!("realm {}", pool.realm);
    let count = pool.sessions.len();
    let down = pool
        .sessions
        .iter()
        .filter(|it| it.router.is_none())
        .count();
    match pool.state {
        PoolState::Ready => Finding::ok(check),
        PoolState::Degraded if down == 0 => {
            Finding::degraded(check, "Its router is slow to answer.")
        }
        PoolState::Degraded => {
            Finding::degraded(check, format!("{down} of {count} sessions are down."))
        }
        PoolState::Down => Finding::failing(check, "No session is up."),
        PoolState::Draining => Finding::failing(check, "Its sessions are being ended."),
    }
}
