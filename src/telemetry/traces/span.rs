//! What spans say: the server's span of a request, and one for each attempt to call or publish.
//!
//! Never a query, a header, an argument or a body. What a client chooses is cut to a length.
//!
//! Reference: OpenTelemetry semantic conventions, "HTTP spans" (stable), "RPC spans" (release
//! candidate), "Messaging spans" (development).

use std::fmt;
use std::time::UNIX_EPOCH;

use http::Version;
use tokio::time::Instant;

use super::{Place, Recorder, RequestTrace};
use crate::telemetry::trace_context::{SpanId, TraceParent};
use crate::telemetry::{Access, CLIENT_GONE};

/// One piece of work that has ended.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) here: TraceParent,
    pub(super) state: Option<Box<str>>,
    pub(super) parent: Option<SpanId>,
    /// Whether the parent is in another process.
    pub(super) is_parent_remote: bool,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    pub(super) is_error: bool,
}

/// Whose side of the work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Server,
    Client,
    Producer,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attribute {
    Text(Box<str>),
    Number(i64),
}

/// Longest text of an attribute; what is beyond is cut off.
const MAX_TEXT_BYTES: usize = 1024;

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text[..text.floor_char_boundary(MAX_TEXT_BYTES)].into())
    }
}

/// When something began, by the clock on the wall and by one that never goes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    nanos: u64,
    at: Instant,
}

impl Moment {
    #[expect(
        clippy::disallowed_methods,
        reason = "a trace is put together from what several machines took for the time of day"
    )]
    pub(super) fn now() -> Self {
        let since_1970 = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            nanos: nanos(since_1970.unwrap_or_default()),
            at: Instant::now(),
        }
    }

    /// Returns the beginning and now, in nanoseconds since 1970.
    fn until_now(&self) -> (u64, u64) {
        let end = self.nanos.saturating_add(nanos(self.at.elapsed()));
        (self.nanos, end)
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a request asked for, beside what its line in the access log says.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `http` or `https`, as the client used it.
    pub scheme: &'a str,
    /// The host.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The version of HTTP.
    pub version: Version,
}

impl RequestTrace {
    /// Ends the server's span. To be called once, with what the access log says.
    pub fn end(&self, access: &Access<'_>, asked: &Asked<'_>) {
        let Some(place) = &self.0 else { return };
        let Some(recording) = &place.recording else {
            return;
        };
        let method = known_method(access.method);
        let mut attributes = Attributes::default();
        attributes.text("http.request.method", method.unwrap_or("_OTHER"));
        if method.is_none() {
            attributes.text("http.request.method_original", access.method);
        }
        attributes.some("http.route", access.route);
        attributes.text("url.path", access.path);
        attributes.text("url.scheme", asked.scheme);
        attributes.number("http.response.status_code", access.status.into());
        attributes.text("server.address", asked.host);
        attributes.number("server.port", asked.port.into());
        attributes.text("client.address", &access.client_ip.to_string());
        attributes.some("network.protocol.version", version_name(asked.version));
        attributes.text("wampgate.request.id", access.request_id);
        attributes.some("wampgate.api.id", access.api);
        attributes.some("wampgate.api.version", access.version);
        attributes.some("wampgate.realm.uri", access.realm);
        attributes.some("wampgate.error.uri", access.error_uri);
        // Of what a client did wrong the server's span is no error.
        let is_error = access.status >= 500;
        if is_error {
            attributes.text("error.type", &access.status.to_string());
        } else if access.status == CLIENT_GONE {
            attributes.text("error.type", CLIENT_GONE_TYPE);
        }
        // The path would be a name for each thing there is.
        let method = method.unwrap_or("HTTP");
        let name = match access.route {
            Some(route) => format!("{method} {route}"),
            None => method.to_owned(),
        };
        let (start, end) = recording.started.until_now();
        recording.recorder.queue.push(Span {
            here: place.here,
            state: place.state.clone(),
            parent: recording.caller,
            is_parent_remote: true,
            name,
            kind: Kind::Server,
            start,
            end,
            attributes: attributes.0,
            is_error,
        });
    }

    /// Begins the span of one attempt to call or publish.
    pub fn attempt(&self, attempt: Attempt<'_>) -> AttemptSpan {
        let Some(place) = self.0.as_deref() else {
            return AttemptSpan::default();
        };
        let Place {
            here,
            state,
            recording,
        } = place;
        let Some(recording) = recording else {
            return AttemptSpan {
                told: Some(*here),
                state: state.clone(),
                open: None,
            };
        };
        let own = here.child(true);
        let open = Open {
            recorder: recording.recorder.clone(),
            started: Moment::now(),
            parent: here.span_id,
            name: attempt.name(),
            kind: match attempt {
                Attempt::Call { .. } => Kind::Client,
                Attempt::Publish { .. } => Kind::Producer,
            },
            attributes: attempt.attributes(),
        };
        AttemptSpan {
            told: Some(own),
            state: state.clone(),
            open: Some(Box::new(open)),
        }
    }
}

/// Why a request has no answer: its client did not wait for one.
const CLIENT_GONE_TYPE: &str = "client_gone";

/// What is attempted. Patterns are as the spec has them: names of things would be without number.
#[derive(Clone, Copy)]
pub enum Attempt<'a> {
    /// A call.
    Call {
        /// The realm.
        realm: &'a str,
        /// The procedure's pattern.
        pattern: &'a dyn fmt::Display,
        /// How many attempts there were before.
        repeats: u32,
    },
    /// A publish.
    Publish {
        /// The realm.
        realm: &'a str,
        /// The topic's pattern.
        pattern: &'a dyn fmt::Display,
        /// The topic.
        topic: &'a str,
        /// How many attempts there were before.
        repeats: u32,
    },
}

impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Attempt<'_> {
    fn name(&self) -> String {
        match self {
            Attempt::Call { pattern, .. } => pattern.to_string(),
            Attempt::Publish { pattern, .. } => format!("publish {pattern}"),
        }
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::default();
        let (realm, repeats) = match *self {
            Attempt::Call {
                realm,
                pattern,
                repeats,
            } => {
                attributes.text("rpc.system.name", "wamp");
                attributes.text("rpc.method", &pattern.to_string());
                (realm, repeats)
            }
            Attempt::Publish {
                realm,
                pattern,
                topic,
                repeats,
            } => {
                attributes.text("messaging.system", "wamp");
                attributes.text("messaging.operation.name", "publish");
                attributes.text("messaging.operation.type", "send");
                attributes.text("messaging.destination.name", topic);
                let pattern = pattern.to_string();
                if pattern != topic {
                    attributes.text("messaging.destination.template", &pattern);
                }
                (realm, repeats)
            }
        };
        attributes.text("wampgate.realm.uri", realm);
        if repeats > 0 {
            attributes.number("wampgate.resend_count", repeats.into());
        }
        attributes
    }
}

/// The span of one attempt. One that is dropped before its end was given up.
#[derive(Debug, Default)]
#[must_use = "it ends when it is dropped"]
pub struct AttemptSpan {
    told: Option<TraceParent>,
    state: Option<Box<str>>,
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    recorder: std::sync::Arc<Recorder>,
    started: Moment,
    parent: SpanId,
    name: String,
    kind: Kind,
    attributes: Attributes,
}

impl AttemptSpan {
    /// Returns what the other side is told: the trace, and the span that its own is below.
    pub fn context(&self) -> Option<(TraceParent, Option<&str>)> {
        self.told.map(|told| (told, self.state.as_deref()))
    }

    /// Ends it with success.
    pub fn succeeded(mut self) {
        self.finish(None, None);
    }

    /// Ends it with the error that the other side answered.
    pub fn answered(mut self, error_uri: &str) {
        self.finish(Some(error_uri), Some(error_uri));
    }

    /// Ends it with a failure on our side of the router, named by one word.
    pub fn failed(mut self, kind: &str) {
        self.finish(None, Some(kind));
    }

    fn finish(&mut self, status: Option<&str>, error: Option<&str>) {
        let (Some(open), Some(here)) = (self.open.take(), self.told) else {
            return;
        };
        let mut attributes = open.attributes;
        if open.kind == Kind::Client {
            attributes.some("rpc.response.status_code", status);
        }
        attributes.some("error.type", error);
        let (start, end) = open.started.until_now();
        open.recorder.queue.push(Span {
            here,
            state: self.state.take(),
            parent: Some(open.parent),
            is_parent_remote: false,
            name: open.name,
            kind: open.kind,
            start,
            end,
            attributes: attributes.0,
            is_error: error.is_some(),
        });
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        self.finish(None, Some("canceled"));
    }
}

/// Attributes of a span that is being made.
#[derive(Debug, Default)]
struct Attributes(Vec<(&'static str, Attribute)>);

impl Attributes {
    fn text(&mut self, name: &'static str, text: &str) {
        self.0.push((name, text.into()));
    }

    fn some(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn number(&mut self, name: &'static str, number: i64) {
        self.0.push((name, Attribute::Number(number)));
    }
}

/// The methods that the conventions know; any other would be a name that a client makes up.
fn known_method(method: &str) -> Option<&str> {
    const KNOWN: [&str; 10] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
    ];
    KNOWN.contains(&method).then_some(method)
}

fn version_name(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}
