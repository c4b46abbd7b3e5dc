//! What is read at a scrape and not counted before: listeners, sessions, traces, the store, the table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;

use crate::catalog::installed::{Entry, Installed, State};
use crate::listener::{ConnectionCounts, Connections};
use crate::store::Store;
use crate::telemetry::metrics::{Metrics, Samples, Scrape, Unit};
use crate::telemetry::traces::Tracer;
use crate::wamp::pool::{Outcomes, PoolState, PoolStatus, Pools, SessionState, SessionStatus};

/// Tells of the connections of listeners, each by its name.
pub(super) fn tell_of_listeners(metrics: &Metrics, listeners: Vec<(&'static str, Connections)>) {
    metrics.collect(move |scrape| {
        let all: Vec<_> = listeners
            .iter()
            .map(|(name, connections)| (*name, connections.counts()))
            .collect();
        scrape.gauge(
            "wampgate_connections_open",
            "Connections of HTTP clients.",
            Unit::None,
            |samples| by_listener(samples, &all, |it| it.open as u64),
        );
        scrape.gauge(
            "wampgate_connections_max",
            "Connections that may be open at once; more wait to be accepted.",
            Unit::None,
            |samples| by_listener(samples, &all, |it| it.max as u64),
        );
        scrape.counter(
            "wampgate_connections_accepted",
            "Connections of HTTP clients since the start.",
            Unit::None,
            |samples| by_listener(samples, &all, |it| it.accepted),
        );
        scrape.counter(
            "wampgate_connections_too_slow",
            "Connections that were cut: no head came, or nobody read the answer, for too long.",
            Unit::None,
            |samples| by_listener(samples, &all, |it| it.too_slow),
        );
        scrape.counter(
            "wampgate_connections_not_accepted",
            "Failures to accept a connection, most likely for want of file descriptors.",
            Unit::None,
            |samples| by_listener(samples, &all, |it| it.not_accepted),
        );
    });
}

/// Tells of what is served, and of where it comes from.
pub(super) fn tell_of_configuration(
    metrics: &Metrics,
    installed: watch::Receiver<Arc<Installed>>,
    store: &dyn Store,
) {
    let (state, contents) = (store.state(), store.contents());
    // The newest that is known: a reload that went well between two scrapes, and was followed by one
    // that did not, is not seen.
    let last_success = AtomicU64::new(0);
    metrics.collect(move |scrape| {
        let installed = installed.borrow().clone();
        let (specs, realms) = installed.rejected();
        let is_success = specs + realms + installed.unread() == 0;
        if is_success {
            last_success.fetch_max(installed.time_ms, Relaxed);
        }
        configuration(scrape, &installed, is_success, last_success.load(Relaxed));
        let state = state.borrow().name();
        let revision = contents.borrow().revision;
        kept(scrape, state, revision);
    });
}

fn configuration(
    scrape: &mut Scrape<'_>,
    installed: &Installed,
    is_success: bool,
    last_success_ms: u64,
) {
    scrape.gauge(
        "wampgate_config_last_reload_successful",
        "Whether everything that was read last, or was there, is served: no spec or realm rejected.",
        Unit::None,
        |samples| samples.put(&[], is_success),
    );
    scrape.gauge(
        "wampgate_config_last_reload_success_timestamp",
        "When that was so the last time, since the epoch.",
        Unit::Seconds,
        |samples| {
            if last_success_ms > 0 {
                samples.put(&[], Duration::from_millis(last_success_ms).as_secs_f64());
            }
        },
    );
    scrape.gauge(
        "wampgate_config_revision",
        "The revision of the store that is served.",
        Unit::None,
        |samples| samples.put(&[], installed.store_revision),
    );
    scrape.counter(
        "wampgate_tables_installed",
        "Route tables that were installed, each another than the one before.",
        Unit::None,
        |samples| samples.put(&[], installed.number),
    );
    scrape.gauge(
        "wampgate_routes",
        "Routes that are served, one for each method of each pattern.",
        Unit::None,
        |samples| {
            let specs = installed.catalog.specs.iter();
            samples.put(&[], specs.map(|spec| spec.routes.len()).sum::<usize>());
        },
    );
    let by_state = |samples: &mut Samples<'_, '_>, entries: &[Entry]| {
        for state in [State::Active, State::Rejected] {
            let count = entries.iter().filter(|entry| entry.state == state).count();
            samples.put(&[("state", state.name())], count);
        }
    };
    scrape.gauge(
        "wampgate_specs",
        "API specs, of files and of the store. Of a rejected one an older text may be served.",
        Unit::None,
        |samples| by_state(samples, &installed.specs),
    );
    scrape.gauge(
        "wampgate_realms",
        "Realms, of files and of the store. Of a rejected one an older text may be served.",
        Unit::None,
        |samples| by_state(samples, &installed.realms),
    );
}

const STORE_STATES: [&str; 4] = ["ready", "connecting", "degraded", "held"];

fn kept(scrape: &mut Scrape<'_>, state: &'static str, revision: u64) {
    scrape.gauge(
        "wampgate_store_connected",
        "Whether the store can be read and written.",
        Unit::None,
        |samples| samples.put(&[], state == "ready"),
    );
    scrape.gauge(
        "wampgate_store_state",
        "1 for the state that the store is in.",
        Unit::None,
        |samples| {
            for known in STORE_STATES {
                samples.put(&[("state", known)], known == state);
            }
        },
    );
    scrape.gauge(
        "wampgate_store_revision",
        "The newest write to the store that is known.",
        Unit::None,
        |samples| samples.put(&[], revision),
    );
}

fn by_listener(
    samples: &mut Samples<'_, '_>,
    all: &[(&'static str, ConnectionCounts)],
    count: fn(&ConnectionCounts) -> u64,
) {
    for (name, counts) in all {
        samples.put(&[("listener", name)], count(counts));
    }
}

/// Tells what became of spans; where nothing is recorded, of none.
pub(super) fn tell_of_traces(metrics: &Metrics, tracer: Tracer) {
    metrics.collect(move |scrape| {
        let counts = tracer.counts().unwrap_or_default();
        scrape.counter(
            "wampgate_trace_spans",
            "Spans of recorded traces, by whether the collector has them.",
            Unit::None,
            |samples| {
                samples.put(&[("outcome", "exported")], counts.exported);
                samples.put(&[("outcome", "dropped")], counts.dropped);
            },
        );
    });
}

/// Tells of the sessions of all realms.
pub(super) fn tell_of_pools(metrics: &Metrics, pools: Pools) {
    metrics.collect(move |scrape| {
        let all = pools.status();
        sessions(scrape, &all);
        requests(scrape, &all);
    });
}

const SESSION_STATES: [SessionState; 7] = [
    SessionState::Connecting,
    SessionState::Ready,
    SessionState::Suspect,
    SessionState::Waiting,
    SessionState::Refused,
    SessionState::Draining,
    SessionState::Closed,
];

fn sessions(scrape: &mut Scrape<'_>, all: &[PoolStatus]) {
    scrape.gauge(
        "wampgate_wamp_session_up",
        "Whether a realm has a session that takes requests.",
        Unit::None,
        |samples| {
            for pool in all {
                let is_up = matches!(pool.state, PoolState::Ready | PoolState::Degraded);
                samples.put(&[("realm", pool.realm.as_str())], is_up);
            }
        },
    );
    scrape.gauge(
        "wampgate_wamp_sessions",
        "Sessions of a realm by what they are doing.",
        Unit::None,
        |samples| {
            for pool in all {
                for state in SESSION_STATES {
                    let there = pool.sessions.iter().filter(|it| it.state == state);
                    let labels = [("realm", pool.realm.as_str()), ("state", state.name())];
                    samples.put(&labels, there.count());
                }
            }
        },
    );
    scrape.counter(
        "wampgate_wamp_sessions_opened",
        "Sessions that were opened, those after a loss included.",
        Unit::None,
        |samples| sums(samples, all, |pool| of_sessions(pool, |it| it.opened)),
    );
    scrape.counter(
        "wampgate_wamp_session_reconnects",
        "Sessions that were opened again after they were lost.",
        Unit::None,
        |samples| sums(samples, all, |pool| of_sessions(pool, |it| it.reconnects)),
    );
}

fn of_sessions(pool: &PoolStatus, count: fn(&SessionStatus) -> u64) -> u64 {
    pool.sessions.iter().map(count).sum()
}

fn sums(samples: &mut Samples<'_, '_>, all: &[PoolStatus], sum: fn(&PoolStatus) -> u64) {
    for pool in all {
        samples.put(&[("realm", pool.realm.as_str())], sum(pool));
    }
}

fn requests(scrape: &mut Scrape<'_>, all: &[PoolStatus]) {
    scrape.gauge(
        "wampgate_wamp_requests_in_flight",
        "Calls and publishes that wait, in a session's queue or for their answer.",
        Unit::None,
        |samples| {
            sums(samples, all, |pool| {
                of_sessions(pool, |it| it.in_flight as u64)
            });
        },
    );
    scrape.gauge(
        "wampgate_wamp_requests_pending",
        "Those of them that have been written to the router.",
        Unit::None,
        |samples| {
            sums(samples, all, |pool| {
                of_sessions(pool, |it| it.pending as u64)
            });
        },
    );
    scrape.counter(
        "wampgate_wamp_attempts",
        "Calls and publishes that a realm's sessions were given, each repeat by itself.",
        Unit::None,
        |samples| {
            for pool in all {
                for (kind, outcomes) in [("call", pool.calls), ("publish", pool.publishes)] {
                    for (outcome, count) in by_name(outcomes) {
                        let realm = ("realm", pool.realm.as_str());
                        samples.put(&[realm, ("kind", kind), ("outcome", outcome)], count);
                    }
                }
            }
        },
    );
    scrape.counter(
        "wampgate_wamp_moved",
        "Calls and publishes that moved to another session, because theirs ended first.",
        Unit::None,
        |samples| sums(samples, all, |pool| pool.calls.moved + pool.publishes.moved),
    );
    scrape.counter(
        "wampgate_wamp_retries",
        "Repeats of what failed: made, or refused because the realm's budget was used up.",
        Unit::None,
        |samples| {
            for pool in all {
                let realm = ("realm", pool.realm.as_str());
                samples.put(&[realm, ("decision", "made")], pool.retries.made);
                samples.put(&[realm, ("decision", "refused")], pool.retries.refused);
            }
        },
    );
    scrape.counter(
        "wampgate_wamp_messages_dropped",
        "Messages of routers that were not delivered, by reason.",
        Unit::None,
        |samples| {
            for pool in all {
                for (reason, count) in [
                    ("malformed", of_sessions(pool, |it| it.dropped.malformed)),
                    ("late", of_sessions(pool, |it| it.dropped.late)),
                    (
                        "unsolicited",
                        of_sessions(pool, |it| it.dropped.unsolicited),
                    ),
                    (
                        "event_queue_full",
                        of_sessions(pool, |it| it.dropped.events),
                    ),
                ] {
                    let labels = [("realm", pool.realm.as_str()), ("reason", reason)];
                    samples.put(&labels, count);
                }
            }
        },
    );
}

fn by_name(outcomes: Outcomes) -> [(&'static str, u64); 6] {
    [
        ("answered", outcomes.answered),
        ("error", outcomes.errors),
        ("timeout", outcomes.timeouts),
        ("lost", outcomes.lost),
        ("unsent", outcomes.unsent),
        ("abandoned", outcomes.abandoned),
    ]
}
