//! What a spec compiles to: routes, which are data and no closures.
//!
//! Everything that could be evaluated when the spec was loaded has been; what is left in a
//! [`Template`] depends on the request, the action's outcome or who asks.
//! Read `compile.rs` for how these are made, and `gateway/exchange.rs` for how they are served.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use indexmap::IndexMap;

use crate::mops::Template;
use crate::uri::Uri;
use crate::value::Map;

/// One operation at one pattern of host and path, brackets expanded.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Which hosts it serves.
    pub host: HostPattern,
    /// Which paths it serves.
    pub path: PathPattern,
    /// The method that it serves.
    pub method: Method,
    /// What it does; shared by all expansions of one declaration.
    pub operation: Arc<Operation>,
}

/// Which hosts a route serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `_`: every host that no other pattern takes.
    Any,
    /// Labels from left to right, in lower case; [`Segment::Rest`] only as the first.
    Labels(Vec<Segment>),
}

/// Which paths a route serves: base path and path, split and with brackets expanded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern(Vec<Segment>);

/// One label of a host pattern or one segment of a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Takes exactly this text.
    Literal(String),
    /// `:name`: takes any one label or segment.
    Variable(String),
    /// `[...]`: takes any number of labels or segments, none among them.
    Rest,
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("_"),
            HostPattern::Labels(labels) => {
                for (index, label) in labels.iter().enumerate() {
                    let dot = if index == 0 { "" } else { "." };
                    write!(f, "{dot}{label}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0
            .iter()
            .try_for_each(|segment| write!(f, "/{segment}"))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Literal(text) => f.write_str(text),
            Segment::Variable(name) => write!(f, ":{name}"),
            Segment::Rest => f.write_str("[...]"),
        }
    }
}

impl PathPattern {
    /// Builds a pattern; [`Segment::Rest`] may only be the last of `segments`.
    pub fn new(segments: Vec<Segment>) -> Self {
        Self(segments)
    }

    /// Returns the segments from left to right.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }
}

/// What is the same for all operations of one API version.
#[derive(Debug, PartialEq)]
pub struct Version {
    /// The API's `id`.
    pub api_id: String,
    /// The API's display name.
    pub api_name: String,
    /// What the spec says about the API for its own purposes.
    pub meta: Map,
    /// The realm that every WAMP action goes to.
    pub realm: Uri,
    /// The version's name in the spec.
    pub name: String,
    /// The base path as declared.
    pub base_path: String,
    /// `title` and `description`, as far as they are there.
    pub info: Map,
    /// The languages it serves, the first being the default; never empty.
    pub languages: Vec<String>,
    /// Most actions in flight at once, 503 beyond; `None` for no such limit.
    pub pool_size: Option<usize>,
    /// Statuses by error URI: the built-in table with the API's and the version's over it.
    pub status_codes: Arc<IndexMap<String, u16>>,
}

/// What a route does, evaluated as far as the spec alone allows.
#[derive(Debug, PartialEq)]
pub struct Operation {
    /// The API version that it belongs to.
    pub version: Arc<Version>,
    /// The path as declared, base path included: the label of logs and metrics.
    pub pattern: String,
    /// The method as declared.
    pub method: Method,
    /// Which listeners serve it.
    pub schemes: Schemes,
    /// Media types that a request body may have, without parameters, in lower case.
    pub accepts: Vec<String>,
    /// Media types that an answer may have, in the order of preference; never empty.
    pub provides: Vec<String>,
    /// Whether the action may run twice.
    pub idempotent: bool,
    /// The largest request body; 413 beyond.
    pub body_max_bytes: u64,
    /// The longest time for `body_read_bytes` of a request body to arrive; 408 beyond.
    pub body_read_timeout: Duration,
    /// The part of a request body that `body_read_timeout` holds for.
    pub body_read_bytes: u64,
    /// What is said about the operation for people: `description` and `parameters`.
    pub info: Map,
    /// What to do.
    pub action: Action,
    /// How to answer.
    pub response: Response,
    /// Headers of every answer that does not set its own; a map when literal.
    pub headers: Template,
}

/// Which listeners serve a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schemes {
    /// The listener without TLS.
    pub http: bool,
    /// The listener with TLS.
    pub https: bool,
}

impl Schemes {
    /// Returns whether a request on `scheme` is served.
    pub fn serves(self, scheme: &str) -> bool {
        match scheme {
            "http" => self.http,
            "https" => self.https,
            _ => false,
        }
    }
}

/// What an operation does.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// `{}`: nothing; `options` is answered by the gateway.
    None,
    /// Calls a procedure.
    WampCall(WampAction),
    /// Publishes to a topic.
    WampPublish(WampAction),
    /// Answers by itself.
    Static {
        /// The body, unless the response has one.
        body: Template,
        /// Headers, added to the response's.
        headers: Template,
    },
}

/// The most repeats of a call that a spec may ask for.
pub const MAX_RETRIES: u32 = 100;

/// A WAMP call or publish.
#[derive(Debug, PartialEq)]
pub struct WampAction {
    /// The procedure or topic; a valid URI when literal.
    pub uri: Template,
    /// WAMP options; a map of known names and types when literal.
    pub options: Template,
    /// Positional arguments; a list when literal.
    pub args: Template,
    /// Named arguments; a map when literal.
    pub kwargs: Template,
    /// Longest wait for the answer, in milliseconds.
    pub timeout: Template,
    /// Longest wait for a session that is ready, in milliseconds.
    pub connect_timeout: Template,
    /// Most repeats of what failed, up to [`MAX_RETRIES`].
    pub retries: Template,
    /// Longest wait between attempts, in all, in milliseconds.
    pub retry_timeout: Template,
}

/// How an outcome becomes an answer.
#[derive(Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each operation, and nearly always the large one"
)]
pub enum Response {
    /// No `response` at all: the outcome as it is.
    Plain,
    /// As the templates say. An absent `on_result` has neither headers, body nor status.
    Shaped {
        /// The answer to a success.
        on_result: OnResult,
        /// The answer to a failure.
        on_error: OnError,
    },
}

/// The answer to a success.
#[derive(Debug, Default, PartialEq)]
pub struct OnResult {
    /// Headers; absent: the operation's.
    pub headers: Option<Template>,
    /// The body; absent: none (for `static`: the action's).
    pub body: Option<Template>,
    /// The status; absent: by method and body.
    pub status_code: Option<Template>,
    /// The `Location` of what a POST made.
    pub uri: Option<Template>,
}

/// The answer to a failure.
#[derive(Debug, Default, PartialEq)]
pub struct OnError {
    /// Headers; absent: the operation's.
    pub headers: Option<Template>,
    /// The body; absent: problem details.
    pub body: Option<Template>,
    /// The status; absent: by the table.
    pub status_code: Option<Template>,
}

impl Operation {
    /// Calls `visit` with every template that is evaluated when a request is served.
    pub fn visit_templates(&self, visit: &mut dyn FnMut(&Template)) {
        visit(&self.headers);
        match &self.action {
            Action::None => {}
            Action::WampCall(action) | Action::WampPublish(action) => {
                for template in [
                    &action.uri,
                    &action.options,
                    &action.args,
                    &action.kwargs,
                    &action.timeout,
                    &action.connect_timeout,
                    &action.retries,
                    &action.retry_timeout,
                ] {
                    visit(template);
                }
            }
            Action::Static { body, headers } => {
                visit(body);
                visit(headers);
            }
        }
        if let Response::Shaped {
            on_result,
            on_error,
        } = &self.response
        {
            let OnResult {
                headers,
                body,
                status_code,
                uri,
            } = on_result;
            [headers, body, status_code, uri]
                .into_iter()
                .flatten()
                .for_each(&mut *visit);
            let OnError {
                headers,
                body,
                status_code,
            } = on_error;
            [headers, body, status_code]
                .into_iter()
                .flatten()
                .for_each(&mut *visit);
        }
    }
}
