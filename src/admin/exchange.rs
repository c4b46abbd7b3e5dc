//! One request to the admin API and its answer.
//!
//! ```text
//! id -> guard -> path and method -> query -> Accept -> handler -> answer or problem
//! ```
//!
//! A handler gets an [`Exchange`] and returns an answer or a [`Problem`]; everything that goes wrong
//! anywhere is problem details, and every answer carries the request's id.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::RawPathParams;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tower::ServiceExt;
use tracing::Instrument;

use super::audit::Trail;
use super::table::Row;
use super::{Admin, guard};
use crate::negotiate;
use crate::problem::{Problem, REQUEST_ID};
use crate::telemetry;

/// The prefix under which everything is served too, as on Bondy.
const PREFIX: &str = "/v1.0";

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
    let path = path(&parts.uri);
    let admitted = guard::admit(&parts, &path, &admin.token, admin.allow_remote);
    parts.uri = with_path(&parts.uri, &path);
    parts.extensions.insert(trail.clone());
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

/// Returns the path without the prefix and without slashes at its end.
fn path(uri: &Uri) -> String {
    let path = uri.path();
    let rest = match path.strip_prefix(PREFIX) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    };
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() { "/" } else { rest }.to_owned()
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
    /// What the path's variables stand for, decoded.
    params: Vec<(String, String)>,
    query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
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
        let (parts, _) = request.into_parts();
        let trail = trail_of(&parts);
        let result = match Self::begin(admin, row, params, &parts) {
            Ok(exchange) => (row.handler)(exchange).await,
            Err(problem) => Err(problem),
        };
        result.unwrap_or_else(|problem| told(&trail, problem))
    }

    fn begin(
        admin: Arc<Admin>,
        row: &Row,
        params: Option<RawPathParams>,
        parts: &Parts,
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
            admin,
            params,
            query,
            headers: parts.headers.clone(),
            wanted,
        })
    }

    /// Returns what a variable of the path stands for.
    pub(super) fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// Returns whether the query has a switch: `?name`, `?name=true` or `?name=1`.
    pub(super) fn asks(&self, name: &str) -> bool {
        let mut found = self.query.iter().filter(|(known, _)| *known == name);
        found.any(|(_, value)| matches!(&**value, "" | "true" | "1"))
    }

    /// Answers with a body of the type that the client wants.
    ///
    /// # Errors
    ///
    /// 406 where it wants neither JSON nor MessagePack.
    pub(super) fn reply<T: Serialize>(
        &self,
        status: StatusCode,
        body: &T,
    ) -> Result<Response, Problem> {
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

fn bad_request(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST).detail(detail)
}

/// Reads the query. A parameter that the path does not have is an error: a misspelt `dry_run` must
/// not change anything.
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
        found.push((*name, value.into_owned()));
    }
    Ok(found)
}

fn known_list(known: &[&str]) -> crate::value::Value {
    let names = known.iter().map(|name| crate::value::Value::from(*name));
    crate::value::Value::List(names.collect())
}
