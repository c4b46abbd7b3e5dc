//! One request to the admin API and its answer.
//!
//! ```text
//! id -> guard -> path and method -> query -> Accept -> handler -> answer or problem
//! ```
//!
//! A handler gets an [`Exchange`] and returns an answer or a [`Problem`]; everything that goes wrong
//! anywhere is problem details, and every answer carries the request's id.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::RawPathParams;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use tower::ServiceExt;
use tracing::Instrument;

use super::audit::Trail;
use super::table::{Answer, Row};
use super::{Admin, guard};
use crate::listener::body;
use crate::negotiate;
use crate::problem::{Problem, REQUEST_ID};
use crate::telemetry;
use crate::value::Value;
use crate::value::json::from_json;
use crate::value::msgpack::from_msgpack;

/// The prefix under which everything is served too, as on Bondy.
const PREFIX: &str = "/v1.0";

/// What a body may be, and how fast it has to come: a spec is a text that people write.
const BODY: body::Limits = body::Limits {
    max_bytes: 8 << 20,
    within: Duration::from_secs(15),
    read_bytes: 1 << 20,
};

/// What stands in a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What is sent and taken, JSON first.
const TYPES: [&str; 2] = ["application/json", "application/msgpack"];

/// Answers one request, whatever it is.
///
/// # Cancel safety
///
/// Dropping the future gives the handler up where it is; the log has a line for it all the same.
pub(super) async fn answer(admin: &Admin, router: Router, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let trail = Arc::new(Trail::begin(&parts));
    let (path, prefix) = path(&parts.uri);
    let admitted = guard::admit(&parts, &path, &admin.token, admin.allow_remote);
    parts.uri = with_path(&parts.uri, &path);
    parts.extensions.insert(trail.clone());
    parts.extensions.insert(Prefix(prefix));
    let responding = async {
        match admitted {
            Ok(()) => match router.oneshot(Request::from_parts(parts, body)).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(problem) => {
                trail.refused();
                told(&trail, problem)
            }
        }
    };
    let span = telemetry::request_span(&trail.request_id, None);
    let mut response = responding.instrument(span).await;
    trail.answered(response.status());
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&trail.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The prefix that the client used; links that it gets have it too.
#[derive(Debug, Clone, Copy, Default)]
struct Prefix(&'static str);

/// Returns the path without the prefix and without slashes at its end, and the prefix.
fn path(uri: &Uri) -> (String, &'static str) {
    let path = uri.path();
    let (rest, prefix) = match path.strip_prefix(PREFIX) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => (rest, PREFIX),
        _ => (path, ""),
    };
    let rest = rest.trim_end_matches('/');
    let rest = if rest.is_empty() { "/" } else { rest };
    (rest.to_owned(), prefix)
}

/// Writes a text as one segment of a path, whatever is in it.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn with_path(uri: &Uri, path: &str) -> Uri {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    // A part of a path that was one, after a slash.
    text.parse::<PathAndQuery>()
        .map_or_else(|_| Uri::default(), Uri::from)
}

/// Tells a client what went wrong.
pub(super) fn told(trail: &Trail, problem: Problem) -> Response {
    trail.failed(&problem);
    problem.instance(trail.request_id.as_str()).into_response()
}

/// Returns the request's trail: each has one, from [`answer`].
pub(super) fn trail_of(parts: &Parts) -> Arc<Trail> {
    let trail = parts.extensions.get::<Arc<Trail>>().cloned();
    trail.unwrap_or_else(|| Arc::new(Trail::begin(parts)))
}

/// One request that was let in and has a handler.
pub(super) struct Exchange {
    pub(super) admin: Arc<Admin>,
    pub(super) trail: Arc<Trail>,
    parts: Parts,
    /// In a mutex only because a body may not be shared, and handlers are.
    body: Mutex<Option<Body>>,
    /// What the path's variables stand for, decoded.
    params: Vec<(String, String)>,
    /// Those parameters of the query that are there.
    query: Vec<(&'static str, String)>,
    /// What the answer is to be written as; none where the client takes neither.
    wanted: Option<&'static str>,
}

impl Exchange {
    /// Hands a request to the row of the table that is for it.
    pub(super) async fn run(
        admin: Arc<Admin>,
        row: &Row,
        params: Option<RawPathParams>,
        request: Request<Body>,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let trail = trail_of(&parts);
        let result = match Self::begin(admin, row, params, parts, body) {
            Ok(exchange) => (row.handler)(exchange).await,
            Err(problem) => Err(problem),
        };
        result.unwrap_or_else(|problem| told(&trail, problem))
    }

    fn begin(
        admin: Arc<Admin>,
        row: &Row,
        params: Option<RawPathParams>,
        parts: Parts,
        body: Body,
    ) -> Result<Self, Problem> {
        let params = params.ok_or_else(|| bad_request("The path is not UTF-8 once decoded."))?;
        let params = params.iter();
        let params = params.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let params = params.collect();
        let query = query(parts.uri.query().unwrap_or_default(), row.query)?;
        let wanted = negotiate::accept(&parts.headers, &TYPES);
        let wanted = TYPES.into_iter().find(|known| wanted == Some(known));
        if !parts.method.is_safe() && wanted.is_none() {
            // Before anything is changed that could not be told.
            return Err(not_acceptable());
        }
        Ok(Self {
            trail: trail_of(&parts),
            admin,
            parts,
            body: Mutex::new(Some(body)),
            params,
            query,
            wanted,
        })
    }

    /// Returns what a variable of the path stands for.
    pub(super) fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// Returns a parameter of the query.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns whether a parameter of the query is switched on: `true`, `1` or nothing after it.
    ///
    /// # Errors
    ///
    /// 400 for what is neither on nor off.
    pub(super) fn is_on(&self, name: &str) -> Result<bool, Problem> {
        match self.query(name) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(_) => Err(bad_request(format!("`{name}` is `true` or `false`."))),
        }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Returns the path of this request with another query, as a client may use it.
    pub(super) fn link(&self, query: &str) -> String {
        format!("{}?{query}", self.path(self.parts.uri.path()))
    }

    /// Returns a path of the table as this client may use it.
    pub(super) fn path(&self, path: &str) -> String {
        let prefix = self.parts.extensions.get::<Prefix>();
        format!("{}{path}", prefix.copied().unwrap_or_default().0)
    }

    /// Reads the body as JSON text: what came as MessagePack is written as JSON.
    ///
    /// # Errors
    ///
    /// 415, 413, 408 and 400.
    pub(super) async fn text(&self) -> Result<String, Problem> {
        let given = self.headers().get(CONTENT_TYPE);
        let given = given.and_then(|value| value.to_str().ok());
        let given = given.map(negotiate::essence).unwrap_or_default();
        let is = |media_type: &str| given.eq_ignore_ascii_case(media_type);
        let is_packed = is(TYPES[1]) || is("application/x-msgpack");
        if !is_packed && !is(TYPES[0]) {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                .detail(format!("The body may be {}.", TYPES.join(" or ")))
                .accepts(&self.parts.method, &TYPES));
        }
        let coding = self.headers().get(CONTENT_ENCODING);
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            // RFC 9110, "Content-Encoding"; the answer says which there are, as "Accept-Encoding" has it.
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                .detail("The body is taken as it is, not compressed.")
                .header(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        }
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        let body = { body }.take().unwrap_or_default();
        let read = body::read(body, BODY).await;
        let bytes = read.map_err(body::BodyError::into_problem)?;
        if is_packed {
            let value = from_msgpack(&bytes)
                .map_err(|error| bad_request(format!("The body is not MessagePack: {error}.")))?;
            return serde_json::to_string(&value).map_err(|error| {
                bad_request(format!("The body cannot be kept as JSON: {error}."))
            });
        }
        let text = String::from_utf8(bytes.to_vec())
            .map_err(|_| bad_request("The body is not UTF-8 text."))?;
        // Editors of some systems begin a text so.
        match text.strip_prefix('\u{feff}') {
            Some(rest) => Ok(rest.to_owned()),
            None => Ok(text),
        }
    }

    /// Reads the body as a value.
    ///
    /// # Errors
    ///
    /// As [`Exchange::text`].
    pub(super) async fn value(&self) -> Result<Value, Problem> {
        let text = self.text().await?;
        from_json(text.as_bytes()).map_err(|error| {
            bad_request(format!("The body is not JSON: {error}."))
                .member("line", Value::from(error.line as u64))
                .member("column", Value::from(error.column as u64))
        })
    }

    /// Answers with a body of the type that the client wants.
    ///
    /// # Errors
    ///
    /// 406 where it wants neither JSON nor MessagePack.
    pub(super) fn reply<T: Serialize>(&self, status: StatusCode, body: &T) -> Answer {
        let wanted = self.wanted.ok_or_else(not_acceptable)?;
        let written = if wanted == TYPES[0] {
            serde_json::to_vec(body).map_err(|error| error.to_string())
        } else {
            rmp_serde::to_vec_named(body).map_err(|error| error.to_string())
        };
        let written = written.map_err(|error| {
            tracing::error!("an answer of the admin API cannot be written: {error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
        })?;
        let content_type = [(CONTENT_TYPE, HeaderValue::from_static(wanted))];
        Ok((status, content_type, written).into_response())
    }
}

fn not_acceptable() -> Problem {
    Problem::new(StatusCode::NOT_ACCEPTABLE)
        .detail(format!("The answer can be {}.", TYPES.join(" or ")))
}

/// A request that makes no sense.
pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST).detail(detail)
}

/// Reads the query. A parameter that the path does not have is an error: a misspelt `dry_run` must
/// not change anything. Nor must one that is on and off at once.
fn query(
    query: &str,
    known: &'static [&'static str],
) -> Result<Vec<(&'static str, String)>, Problem> {
    let mut found = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = known.iter().find(|known| **known == name) else {
            let problem = bad_request("The query has a parameter that this address does not know.");
            return Err(problem.member("parameters", known_list(known)));
        };
        let value = value.replace('+', " ");
        let Ok(value) = percent_decode_str(&value).decode_utf8() else {
            return Err(bad_request("The query is not UTF-8 once decoded."));
        };
        if found.iter().any(|(before, _)| before == name) {
            let detail = format!("`{name}` is there twice: which one counts?");
            return Err(bad_request(detail));
        }
        found.push((*name, value.into_owned()));
    }
    Ok(found)
}

fn known_list(known: &[&str]) -> Value {
    Value::List(known.iter().map(|name| Value::from(*name)).collect())
}

/// Adds a header that is made of what a client wrote, which may be anything.
pub(super) fn add_header(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
