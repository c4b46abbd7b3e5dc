//! The audit log: one event for each request that would change something, and for each that was not
//! let in.
//!
//! It says who (the `From` header, which the token's holder may set to tell people apart, else
//! `admin`; nobody where the token was not given), from where, what, and with which outcome: never a body, a query or a credential. Its
//! target is [`AUDIT`], so that it can be kept apart from other logs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::request::Parts;
use http::{Method, StatusCode, header};
use tokio::time::Instant;

use crate::listener::Peer;
use crate::problem::{Problem, REQUEST_ID};
use crate::telemetry;

/// The target of audit events.
pub const AUDIT: &str = "wampgate::audit";

/// The target of the lines that say how each request was answered.
const ACCESS: &str = "wampgate::admin";

/// The code of a write of which nobody knows whether it was done.
pub(super) const OUTCOME_UNKNOWN: &str = "wampgate.error.outcome_unknown";

/// Who writes when nobody says so.
const NOBODY: &str = "admin";

/// Longest `From` that is kept, in bytes: as long as an address may be.
const MAX_FROM: usize = 254;

/// What is known of one request; written to the log when it is dropped, so that a client that goes
/// away in the middle leaves its line too.
#[derive(Debug)]
pub(super) struct Trail {
    /// The request's id.
    pub(super) request_id: String,
    /// Who says to ask.
    pub(super) author: String,
    method: Method,
    path: String,
    client: SocketAddr,
    started: Instant,
    /// Short sections only.
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    is_refused: bool,
    is_dry_run: bool,
    /// The `id` or `uri` of what it is about.
    id: Option<String>,
    revision: Option<u64>,
    error_uri: Option<String>,
    /// None until there is an answer.
    status: Option<StatusCode>,
}

impl Trail {
    pub(super) fn begin(parts: &Parts) -> Self {
        let header = |name| parts.headers.get(name);
        let given = header(REQUEST_ID).map(http::HeaderValue::as_bytes);
        let author = header(header::FROM).and_then(|value| value.to_str().ok());
        let author = author.map(str::trim).filter(|author| is_sane(author));
        let peer = parts.extensions.get::<Peer>();
        Self {
            request_id: telemetry::request_id(given),
            author: author.unwrap_or(NOBODY).to_owned(),
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            client: peer.map_or(UNKNOWN, |peer| peer.remote),
            started: Instant::now(),
            facts: Mutex::default(),
        }
    }

    /// Notes that the request was not let in.
    pub(super) fn refused(&self) {
        self.facts().is_refused = true;
    }

    /// Notes which document it is about.
    pub(super) fn about(&self, id: &str) {
        self.facts().id = Some(id.to_owned());
    }

    /// Notes that nothing is to be changed by it.
    pub(super) fn dry_run(&self) {
        self.facts().is_dry_run = true;
    }

    /// Notes which revision it has made.
    pub(super) fn wrote(&self, revision: u64) {
        self.facts().revision = Some(revision);
    }

    /// Notes which error the answer tells.
    pub(super) fn failed(&self, problem: &Problem) {
        self.facts().error_uri = Some(problem.error_uri().to_owned());
    }

    /// Notes how it was answered.
    pub(super) fn answered(&self, status: StatusCode) {
        self.facts().status = Some(status);
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for a client that no listener has named: a request in a test.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What may stand in a log and as the author of a revision.
fn is_sane(author: &str) -> bool {
    let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    !author.is_empty() && author.len() <= MAX_FROM && author.bytes().all(is_visible)
}

impl Drop for Trail {
    fn drop(&mut self) {
        let facts = self.facts.get_mut().unwrap_or_else(PoisonError::into_inner);
        let status = facts.status.map(|status| status.as_u16());
        let status = status.unwrap_or(telemetry::CLIENT_GONE);
        let (method, path) = (&self.method, &self.path);
        let duration_ms = (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        tracing::debug!(
            target: ACCESS,
            {
                request.id = self.request_id,
                method = method.as_str(),
                path,
                status,
                error.uri = facts.error_uri,
                duration_ms,
                client = %self.client
            },
            "{method} {path} {status} in {duration_ms} ms",
        );
        if method.is_safe() && !facts.is_refused {
            return;
        }
        let outcome = match facts.status {
            _ if facts.is_refused => "refused",
            // The handler was dropped wherever it was.
            None => "unknown",
            Some(_) if facts.error_uri.as_deref() == Some(OUTCOME_UNKNOWN) => "unknown",
            Some(status) if status.as_u16() >= 400 => "failed",
            Some(_) if facts.is_dry_run => "dry run",
            Some(_) => "done",
        };
        // Whoever was not let in is nobody that we know, whatever `From` says.
        let author = (!facts.is_refused).then_some(self.author.as_str());
        tracing::info!(
            target: AUDIT,
            {
                request.id = self.request_id,
                author,
                client = %self.client,
                method = method.as_str(),
                path,
                id = facts.id,
                revision = facts.revision,
                outcome,
                status,
                error.uri = facts.error_uri
            },
            "{} at {}: {method} {path}: {outcome}",
            author.unwrap_or("somebody"),
            self.client,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn author(from: &[u8]) -> String {
        let request = Request::builder().header(header::FROM, from).body(());
        Trail::begin(&request.unwrap().into_parts().0)
            .author
            .clone()
    }

    #[test]
    fn who_asks_is_what_from_says_where_that_is_sane() {
        assert_eq!(author(b"ann@example.org"), "ann@example.org");
        assert_eq!(author(b" Ann <ann@example.org> "), "Ann <ann@example.org>");
        for odd in [&b""[..], b"  ", "änn@example.org".as_bytes(), &[b'x'; 255]] {
            assert_eq!(author(odd), "admin");
        }
    }
}
