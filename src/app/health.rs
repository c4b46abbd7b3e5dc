//! What readiness goes by: the stage, what is served, the store, and a session for each realm in use.
//!
//! # When a gateway without APIs is ready
//!
//! It must not get requests when it should have APIs and has none: because it has not read anything
//! yet, because the store has not been reached and there is no snapshot of it, because a folder
//! cannot be read, or because everything is rejected. But a gateway that has read everything, and
//! there is nothing, is as it should be: the first API comes through its admin API, and an
//! orchestrator that waits for readiness would wait for ever. That is told as degraded.

use std::sync::Arc;

use tokio::sync::watch;

use crate::catalog::installed::Installed;
use crate::store::{self, Store};
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

pub(super) fn check_catalog(health: &Health, installed: watch::Receiver<Arc<Installed>>) {
    health.check(move || vec![of_catalog(&installed.borrow())]);
}

/// Which documents are meant is not told here: anybody may ask for the health.
fn of_catalog(installed: &Installed) -> Finding {
    const CHECK: &str = "catalog";
    if installed.time_ms == 0 {
        return Finding::failing(CHECK, "Nothing has been read yet.");
    }
    let (specs, realms) = installed.rejected();
    let wrong = [
        (specs, "Rejected specs", "/api_specs tells why"),
        (realms, "Rejected realms", "/realms tells why"),
        (
            installed.unread(),
            "What cannot be read",
            "the log tells why",
        ),
    ];
    let wrong = wrong.iter().filter(|(count, ..)| *count > 0);
    let wrong: Vec<_> = wrong
        .map(|(count, what, told)| format!("{what}: {count} ({told})."))
        .collect();
    let wrong = wrong.join(" ");
    let serves = installed
        .catalog
        .specs
        .iter()
        .any(|spec| !spec.routes.is_empty());
    match (serves, wrong.is_empty()) {
        (true, true) => Finding::ok(CHECK),
        (true, false) => Finding::degraded(CHECK, wrong),
        (false, true) => Finding::degraded(CHECK, "There is no API."),
        (false, false) => Finding::failing(CHECK, format!("No API is served. {wrong}")),
    }
}

pub(super) fn check_store(health: &Health, store: &dyn Store) {
    let (state, contents) = (store.state(), store.contents());
    health.check(move || vec![of_store(&state.borrow(), contents.borrow().revision > 0)]);
}

/// A reason of the store's own may name hosts: it is in the log.
fn of_store(state: &store::State, has_snapshot: bool) -> Finding {
    const CHECK: &str = "store";
    match state {
        store::State::Ready => Finding::ok(CHECK),
        store::State::Connecting if !has_snapshot => Finding::failing(
            CHECK,
            "It has not been reached yet, and there is no snapshot of it.",
        ),
        store::State::Connecting => Finding::degraded(
            CHECK,
            "It has not been reached yet: its last snapshot is served.",
        ),
        store::State::Degraded { .. } => {
            Finding::degraded(CHECK, "It cannot be reached: what it held last is served.")
        }
        store::State::Held { .. } => Finding::degraded(
            CHECK,
            "It came back with other contents than it can have: what it held before is served, \
             until an admin confirms.",
        ),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::SourceText;
    use crate::catalog::installed::Sources;
    use crate::diagnostic::{Code, Diagnostic, Location};
    use crate::telemetry::health::State;

    const REALM: &str = r#"{"uri": "com.a"}"#;
    const GOOD: &str = r#"{"id": "a", "host": "_", "realm_uri": "com.a", "versions": {"1": {"base_path": "/a",
        "paths": {"/": {"get": {"action": {"type": "static", "body": 1}}}}}}}"#;

    fn found(specs: &[(&str, &str)], realms: &[(&str, &str)]) -> (State, Option<String>) {
        found_with(specs, realms, Vec::new())
    }

    fn found_with(
        specs: &[(&str, &str)],
        realms: &[(&str, &str)],
        unread: Vec<Diagnostic>,
    ) -> (State, Option<String>) {
        let texts = |texts: &[(&str, &str)]| {
            let text = |(name, text): &(&str, &str)| SourceText {
                name: (*name).to_owned(),
                text: (*text).to_owned(),
            };
            texts.iter().map(text).collect()
        };
        let sources = Sources {
            spec_files: texts(specs),
            realm_files: texts(realms),
            unread,
            time_ms: 1,
            ..Sources::default()
        };
        let finding = of_catalog(&Installed::compile(sources, None, &|_| None));
        (finding.state, finding.reason)
    }

    #[test]
    fn a_gateway_that_should_have_apis_and_has_none_is_not_ready() {
        let realm = ("realm.json", REALM);
        let unread = of_catalog(&Installed::default());
        assert_eq!(unread.state, State::Failing);
        assert_eq!(found(&[("a.json", GOOD)], &[realm]), (State::Ok, None));
        let empty = found(&[], &[]);
        assert_eq!(
            empty,
            (State::Degraded, Some("There is no API.".to_owned()))
        );
        let folder = || Location::of_file("specs");
        let missing = Diagnostic::warning(Code::Unreadable, folder(), "there never was one");
        assert_eq!(found_with(&[], &[], vec![missing]), empty);
        let unread = Diagnostic::error(Code::Unreadable, folder(), "it is gone");
        let unread = found_with(&[], &[], vec![unread]);
        let why = "No API is served. What cannot be read: 1 (the log tells why).";
        assert_eq!(unread, (State::Failing, Some(why.to_owned())));
        let some = found(&[("a.json", GOOD), ("b.json", "{")], &[realm]);
        let why = "Rejected specs: 1 (/api_specs tells why).";
        assert_eq!(some, (State::Degraded, Some(why.to_owned())));
        let none = found(&[("b.json", "{")], &[realm]);
        let why = format!("No API is served. {why}");
        assert_eq!(none, (State::Failing, Some(why)));
    }

    #[test]
    fn a_store_that_cannot_be_reached_is_no_reason_as_long_as_there_is_something_to_serve() {
        let state = |state, has_snapshot| of_store(&state, has_snapshot).state;
        let reason = || "nats://host".to_owned();
        assert_eq!(state(store::State::Ready, false), State::Ok);
        assert_eq!(state(store::State::Connecting, false), State::Failing);
        assert_eq!(state(store::State::Connecting, true), State::Degraded);
        let degraded = store::State::Degraded { reason: reason() };
        assert!(!of_store(&degraded, true).reason.unwrap().contains("host"));
        assert_eq!(state(degraded, true), State::Degraded);
        let held = store::State::Held { reason: reason() };
        assert_eq!(state(held, true), State::Degraded);
    }
}
