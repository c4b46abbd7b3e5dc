//! What the program says of itself while it runs.
//!
//! `logs.rs` turns events into lines, for people or for machines; `traces.rs` sends spans to a
//! collector; `lifecycle.rs` knows whether the program starts, serves or ends. Here is what one
//! request leaves behind: its id and its line in the access log. Tokens, passwords, bodies, queries
//! and headers are never logged; what could carry them is not even handed in.

use std::net::IpAddr;
use std::time::Duration;

use tracing::Span;
use uuid::Uuid;

use crate::telemetry::trace_context::TraceId;

pub mod health;
pub mod lifecycle;
pub mod logs;
pub mod metrics;
mod sink;
mod trace_context;
pub mod traces;

/// The target of access-log events, to select or silence them by the level's filter.
pub const ACCESS: &str = "wampgate::access";

/// Stands in the log for the status of a request whose client went away before its answer.
///
/// No standard status: nginx began with it, and tools that read logs know it.
pub const CLIENT_GONE: u16 = 499;

/// One request, as the access log tells it.
#[derive(Debug, Clone)]
pub struct Access<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The trace that it is part of.
    pub trace_id: Option<TraceId>,
    /// The realm of the API that served it.
    pub realm: Option<&'a str>,
    /// That API.
    pub api: Option<&'a str>,
    /// The API's version.
    pub version: Option<&'a str>,
    /// The pattern of the route; what to group by.
    pub route: Option<&'a str>,
    /// The method as received.
    pub method: &'a str,
    /// The path as received, without the query; without secrets where they are known to be ones.
    pub path: &'a str,
    /// The status of the answer, or [`CLIENT_GONE`].
    pub status: u16,
    /// The error's URI, where it failed.
    pub error_uri: Option<&'a str>,
    /// Bytes of the request's body, where known.
    pub bytes_in: Option<u64>,
    /// Bytes of the answer's body, where known.
    pub bytes_out: Option<u64>,
    /// From the head's arrival to the answer's first byte.
    pub duration: Duration,
    /// The part of it that a call or publish took.
    pub backend: Option<Duration>,
    /// The client's address, after trusted proxies.
    pub client_ip: IpAddr,
    /// What the client says that it is.
    pub user_agent: Option<&'a str>,
}

/// Longest text of a client's or a callee's own that a line holds, in bytes; the path aside, which
/// has the limit of a request's head.
const MAX_TEXT_BYTES: usize = 256;

/// Writes the line of one request.
///
/// The names are those that the conventions fix for the access log, not the dotted ones of events.
pub fn access(entry: &Access<'_>) {
    // Microseconds are as fine as anybody reads.
    let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    let duration_ms = millis(entry.duration);
    tracing::info!(
        target: ACCESS,
        {
            request_id = entry.request_id,
            trace_id = entry.trace_id.map(tracing::field::display),
            realm = entry.realm,
            api = entry.api,
            version = entry.version,
            route = entry.route,
            method = entry.method,
            path = entry.path,
            status = entry.status,
            error_uri = entry.error_uri.map(short),
            bytes_in = entry.bytes_in,
            bytes_out = entry.bytes_out,
            duration_ms,
            duration_backend_ms = entry.backend.map(millis),
            client_ip = %entry.client_ip,
            ua = entry.user_agent.map(short)
        },
        "{} {} {} in {duration_ms} ms",
        entry.method,
        entry.path,
        entry.status,
    );
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

/// Returns the span of a request: events within it carry the request's id, and the trace's if there
/// is one.
pub fn request_span(request_id: &str, trace_id: Option<TraceId>) -> Span {
    let trace_id = trace_id.map(tracing::field::display);
    tracing::info_span!("request", request.id = request_id, trace_id)
}

/// Returns what a panic said, as far as it is text.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of unknown kind")
}

/// Longest request id of a client's own that is kept.
const MAX_REQUEST_ID_LENGTH: usize = 128;

/// Returns the id of a request: the client's own where it is a sane token, else a new UUID of
/// version 7, which sorts by time.
///
/// Sane is `[A-Za-z0-9._-]{1,128}`: it goes into logs, headers and problems as it is.
pub fn request_id(given: Option<&[u8]>) -> String {
    let is_sane = |id: &&[u8]| {
        let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        (1..=MAX_REQUEST_ID_LENGTH).contains(&id.len()) && id.iter().all(sane)
    };
    let kept = given.filter(is_sane).map(String::from_utf8_lossy);
    kept.map_or_else(|| Uuid::now_v7().to_string(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept() {
        for id in ["a", "Ab9._-", &"x".repeat(128)] {
            assert_eq!(request_id(Some(id.as_bytes())), id);
        }
    }

    #[test]
    fn any_other_is_replaced_by_a_new_one() {
        let long = "x".repeat(129);
        for id in ["", "a b", "a\n", "ä", "a\"", &long] {
            let made = request_id(Some(id.as_bytes()));
            assert_eq!(Uuid::parse_str(&made).unwrap().get_version_num(), 7);
        }
        assert_ne!(request_id(None), request_id(None));
    }
}
