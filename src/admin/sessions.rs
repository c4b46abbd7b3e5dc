//! `/realms/{uri}/router`: the WAMP sessions of a realm.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::calls;
use super::exchange::Exchange;
use super::table::Answer;
use crate::wamp::pool::{PoolStatus, RouterSession, SessionStatus};

/// The sessions of a realm with its router.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RouterStatus {
    /// The realm.
    realm_uri: String,
    /// `ready`, `degraded` (some sessions are), `down` (none is) or `draining`.
    state: &'static str,
    sessions: Vec<Session>,
    calls: Outcomes,
    publishes: Outcomes,
    retries: Retries,
}

/// One session.
#[derive(Debug, Serialize, ToSchema)]
struct Session {
    /// `connecting`, `ready`, `suspect` (the router is late), `waiting` (for the next attempt),
    /// `refused`, `draining` or `closed`.
    state: &'static str,
    /// How long it has been in this state.
    in_state_for_ms: u64,
    /// Requests that wait, in the queue or for their answer.
    in_flight: u64,
    /// How often it was opened again after it was lost.
    reconnects: u64,
    /// Why it was lost or could not be opened, the last time.
    last_error: Option<String>,
    /// The other end, while there is one.
    router: Option<Router>,
}

/// A router, as it told of itself.
#[derive(Debug, Serialize, ToSchema)]
struct Router {
    /// Where it was reached, without secrets.
    endpoint: String,
    /// `websocket`, `rawsocket` or `memory`.
    transport: &'static str,
    /// `json`, `msgpack`, `cbor`, ...
    serializer: String,
    /// The session's id at the router.
    session_id: u64,
    /// Its name and version.
    agent: Option<String>,
    /// Who we are to it.
    authid: Option<String>,
    /// Whose rights we have.
    authrole: Option<String>,
    /// What it announced, by role.
    features: Features,
}

/// The features that a router announced.
#[derive(Debug, Serialize, ToSchema)]
struct Features {
    broker: Vec<String>,
    dealer: Vec<String>,
}

/// What became of requests since the realm's sessions were started.
#[derive(Debug, Serialize, ToSchema)]
struct Outcomes {
    answered: u64,
    errors: u64,
    timeouts: u64,
    /// Written, and then the session ended.
    lost: u64,
    /// Never written: no session, no room, too large.
    unsent: u64,
    /// Given up by whoever asked.
    abandoned: u64,
    /// Moved to another session before they were written.
    moved: u64,
}

/// What was repeated.
#[derive(Debug, Serialize, ToSchema)]
struct Retries {
    made: u64,
    /// Not made, because the realm's budget was used up.
    refused: u64,
}

/// Tells how the sessions of a realm are.
#[utoipa::path(
    get, path = "/realms/{uri}/router", tag = "wamp",
    params(("uri" = String, Path, description = "the realm's URI")),
    responses((status = 200, description = "its sessions", body = RouterStatus)),
)]
pub(super) async fn status(exchange: Exchange) -> Answer {
    let uri = exchange.param("uri");
    let pool = exchange
        .admin
        .pools
        .get(uri)
        .ok_or_else(calls::no_sessions)?;
    exchange.reply(StatusCode::OK, &RouterStatus::from(pool.status()))
}

impl From<PoolStatus> for RouterStatus {
    fn from(status: PoolStatus) -> Self {
        Self {
            realm_uri: status.realm.to_string(),
            state: status.state.name(),
            sessions: status.sessions.into_iter().map(Session::from).collect(),
            calls: status.calls.into(),
            publishes: status.publishes.into(),
            retries: Retries {
                made: status.retries.made,
                refused: status.retries.refused,
            },
        }
    }
}

impl From<SessionStatus> for Session {
    fn from(status: SessionStatus) -> Self {
        Self {
            state: status.state.name(),
            in_state_for_ms: milliseconds(status.in_state_for),
            in_flight: status.in_flight as u64,
            reconnects: status.reconnects,
            last_error: status.last_error.as_ref().map(with_causes),
            router: status.router.map(Router::from),
        }
    }
}

impl From<RouterSession> for Router {
    fn from(session: RouterSession) -> Self {
        let welcome = session.welcome;
        let text = |text: Option<&str>| text.map(str::to_owned);
        let features = |role| welcome.features(role).map(str::to_owned).collect();
        Self {
            endpoint: session.endpoint,
            transport: session.transport,
            serializer: session.serializer.name().to_owned(),
            session_id: welcome.session.into(),
            agent: text(welcome.agent()),
            authid: text(welcome.authid()),
            authrole: text(welcome.authrole()),
            features: Features {
                broker: features("broker"),
                dealer: features("dealer"),
            },
        }
    }
}

impl From<crate::wamp::pool::Outcomes> for Outcomes {
    fn from(outcomes: crate::wamp::pool::Outcomes) -> Self {
        Self {
            answered: outcomes.answered,
            errors: outcomes.errors,
            timeouts: outcomes.timeouts,
            lost: outcomes.lost,
            unsent: outcomes.unsent,
            abandoned: outcomes.abandoned,
            moved: outcomes.moved,
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The error and what it came from, in one line.
fn with_causes(error: &crate::wamp::error::SessionError) -> String {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    let mut told = String::new();
    for text in causes.map(ToString::to_string) {
        // Some errors say in their own words what they came from.
        if !told.ends_with(&text) {
            told.push_str(if told.is_empty() { "" } else { ": " });
            told.push_str(&text);
        }
    }
    told
}
