//! From an action's outcome to an HTTP answer: status, headers and body by the route's templates.
//!
//! Reference: `api-spec.md`, "Response object", "Status of a success", "Status of an error".

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};

use crate::action::Failure;
use crate::gateway::codec::{self, EncodeError};
use crate::mops::{self, Context, Template};
use crate::problem::{self, Problem};
use crate::spec::{Action, OnError, OnResult, Operation, Response as Shape};
use crate::value::{Map, Value};

/// Why a template's answer cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// A template of the response failed.
    #[error("a template of the response failed")]
    Template(mops::Error),
    /// A header's name or value is not legal, or `headers` is no map.
    #[error("{0}")]
    Header(String),
    /// A status that is no integer of 200 to 599.
    #[error("{0}")]
    Status(String),
    /// The body cannot be written in the negotiated type.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl From<mops::Error> for AnswerError {
    fn from(error: mops::Error) -> Self {
        Self::Template(error)
    }
}

/// Shapes a success; `action` is the context's `action`, with `result` inside.
///
/// # Errors
///
/// [`AnswerError`]; of these only [`AnswerError::Encode`] is a failure of the action.
pub fn success(
    operation: &Operation,
    method: &Method,
    media_type: &str,
    action: &Value,
    context: &Context<'_>,
) -> Result<Response, AnswerError> {
    let result = action
        .as_map()
        .and_then(|action| action.get("result"))
        .and_then(Value::as_map);
    let absent = OnResult::default();
    let (on_result, plain) = match &operation.response {
        Shape::Shaped { on_result, .. } => (on_result, false),
        Shape::Plain => (&absent, true),
    };
    let is_static = matches!(operation.action, Action::Static { .. });

    let mut headers = headers(
        on_result.headers.as_ref().unwrap_or(&operation.headers),
        context,
    )?;
    if is_static && let Some(own) = result.and_then(|result| result.get("headers")) {
        add_headers(&mut headers, own)?;
    }
    let body = match &on_result.body {
        Some(template) => mops::eval(template, context)?,
        None if is_static => Cow::Borrowed(result.and_then(|r| r.get("body")).unwrap_or(&EMPTY)),
        None if plain => plain_body(result),
        None => Cow::Borrowed(&EMPTY),
    };
    let body = encode(media_type, &body, &mut headers)?;

    let mut status = None;
    if let Some(template) = &on_result.status_code {
        status = Some(status_code(template, context)?);
    }
    if let Some(template) = &on_result.uri {
        let location = mops::eval(template, context)?;
        if let Some(location) = location.as_text().filter(|text| !text.is_empty()) {
            let value = header_value("location", location)?;
            headers.insert(LOCATION, value);
            if method == Method::POST {
                status = status.or(Some(StatusCode::CREATED));
            }
        }
    }
    let status = status.unwrap_or(match *method {
        Method::GET | Method::HEAD => StatusCode::OK,
        _ if body.is_empty() => StatusCode::NO_CONTENT,
        _ => StatusCode::OK,
    });
    Ok(build(status, headers, body))
}

/// Shapes a failure by `on_error`, or into problem details where the spec has no body for it.
///
/// # Errors
///
/// [`AnswerError`].
pub fn failure(
    operation: &Operation,
    media_type: &str,
    failure: &Failure,
    context: &Context<'_>,
    id: &str,
) -> Result<Response, AnswerError> {
    let absent = OnError::default();
    let on_error = match &operation.response {
        Shape::Shaped { on_error, .. } => on_error,
        Shape::Plain => &absent,
    };
    let by_table = failure.status(&operation.version.status_codes);
    let status = match &on_error.status_code {
        Some(template) => status_code(template, context)?,
        None => StatusCode::from_u16(by_table).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let mut headers = headers(
        on_error.headers.as_ref().unwrap_or(&operation.headers),
        context,
    )?;
    let Some(template) = &on_error.body else {
        if has_no_body(status) {
            return Ok(without_body(status, headers));
        }
        let problem = problem(failure, status)
            .instance(id)
            .default_headers(&headers);
        return Ok(problem.into_response());
    };
    let body = mops::eval(template, context)?;
    let body = encode(media_type, &body, &mut headers)?;
    Ok(build(status, headers, body))
}

/// A callee's arguments are shown only where the spec says so: here they are not.
fn problem(failure: &Failure, status: StatusCode) -> Problem {
    let problem = Problem::new(status).code(failure.error_uri.clone());
    match failure.kwargs.get("description").and_then(Value::as_text) {
        Some(description) if failure.own => problem.detail(description.to_owned()),
        _ => problem.detail("The service answered with an error."),
    }
}

static EMPTY: Value = Value::Text(String::new());

/// What an operation without `response` answers.
fn plain_body(result: Option<&Map>) -> Cow<'_, Value> {
    let Some(result) = result else {
        return Cow::Borrowed(&EMPTY);
    };
    let is_empty_map = |value: &Value| value.as_map().is_some_and(Map::is_empty);
    match (result.get("args"), result.get("kwargs")) {
        (Some(Value::List(args)), Some(kwargs)) => match args.as_slice() {
            [only] if is_empty_map(kwargs) => Cow::Borrowed(only),
            _ => Cow::Owned(Value::Map(Map::from_iter([
                ("args".to_owned(), args.clone().into()),
                ("kwargs".to_owned(), kwargs.clone()),
            ]))),
        },
        // A publish: its result is the body.
        _ if result.is_empty() => Cow::Borrowed(&EMPTY),
        _ => Cow::Owned(Value::Map(result.clone())),
    }
}

/// Evaluates a map of headers.
///
/// # Errors
///
/// [`AnswerError::Header`] for what is not a legal header, [`AnswerError::Template`].
pub fn headers(template: &Template, context: &Context<'_>) -> Result<HeaderMap, AnswerError> {
    let value = mops::eval(template, context)?;
    let mut headers = HeaderMap::new();
    add_headers(&mut headers, &value)?;
    Ok(headers)
}

/// Evaluates as many headers as need no more than `context` has; the others are left out.
pub fn headers_as_far_as_known(template: &Template, context: &Context<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let entries: Vec<(&str, &Template)> = match template {
        Template::Map(entries) => entries
            .iter()
            .map(|(name, template)| (name.as_str(), template))
            .collect(),
        _ => return self::headers(template, context).unwrap_or_default(),
    };
    for (name, template) in entries {
        if let Ok(value) = mops::eval(template, context) {
            // A header that is not legal is left out: the answer is an error already.
            drop(add_header(&mut headers, name, &value));
        }
    }
    headers
}

fn add_headers(headers: &mut HeaderMap, value: &Value) -> Result<(), AnswerError> {
    match value {
        Value::Map(map) => map
            .iter()
            .try_for_each(|(name, value)| add_header(headers, name, value)),
        Value::Null => Ok(()),
        value if value.is_empty_text() => Ok(()),
        other => Err(AnswerError::Header(format!(
            "`headers` must be a map, the template gave a {}",
            other.type_name()
        ))),
    }
}

/// Adds a header; a list adds one line for each item, null none.
///
/// Headers that describe the connection or the message's framing are the server's own and left
/// out, whatever a template (or an upstream's answer that it copies) says.
fn add_header(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), AnswerError> {
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| AnswerError::Header(format!("`{name}` is not a legal header name")))?;
    if is_of_the_connection(&header) {
        return Ok(());
    }
    match value {
        Value::Null => {}
        Value::List(items) => {
            for item in items {
                let value = field_value(name, item)?;
                headers.try_append(&header, value).map_err(|_| too_many())?;
            }
        }
        other => {
            let value = field_value(name, other)?;
            headers.try_insert(header, value).map_err(|_| too_many())?;
        }
    }
    Ok(())
}

/// A map that a request brought can have more names than a `HeaderMap`, which panics beyond.
fn too_many() -> AnswerError {
    AnswerError::Header("there are too many headers".to_owned())
}

/// Reference: RFC 9110, "Connection-Specific Header Fields" and "Content-Length".
fn is_of_the_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The longest value of a header that a template may make.
const MAX_FIELD_BYTES: usize = 16 * 1024;

fn field_value(name: &str, value: &Value) -> Result<HeaderValue, AnswerError> {
    let mut text = String::new();
    mops::render(&mut text, value, MAX_FIELD_BYTES)
        .map_err(|_| AnswerError::Header(format!("the value of header `{name}` is too long")))?;
    header_value(name, &text)
}

fn header_value(name: &str, text: &str) -> Result<HeaderValue, AnswerError> {
    // Not `from_str`, which refuses what lies beyond ASCII: the standard lets it pass as it is.
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
        AnswerError::Header(format!(
            "the value of header `{name}` is not a legal field value"
        ))
    })
}

fn status_code(template: &Template, context: &Context<'_>) -> Result<StatusCode, AnswerError> {
    let value = mops::eval(template, context)?;
    let number = match value.as_ref() {
        Value::Text(text) => text.parse().ok(),
        other => other.as_u64().and_then(|number| u16::try_from(number).ok()),
    };
    number
        .filter(|number| (200..=599).contains(number))
        .and_then(|number| StatusCode::from_u16(number).ok())
        .ok_or_else(|| {
            AnswerError::Status(format!(
                "`status_code` must be an integer of 200 to 599, the template gave a {}",
                value.type_name()
            ))
        })
}

/// Encodes a body; an empty text is no body. The content type is the template's own where it can
/// be true.
fn encode(media_type: &str, body: &Value, headers: &mut HeaderMap) -> Result<Bytes, AnswerError> {
    if body.is_empty_text() {
        return Ok(Bytes::new());
    }
    let bytes = codec::encode(media_type, body)?;
    let own = headers.get(CONTENT_TYPE).map(HeaderValue::to_str);
    let is_true = matches!(own, Some(Ok(own)) if codec::may_call(own, media_type));
    if !is_true && let Ok(value) = HeaderValue::from_str(media_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    Ok(bytes)
}

/// Completes an answer with what its status calls for, or rules out.
fn build(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Response {
    if has_no_body(status) {
        return without_body(status, headers);
    }
    if problem::wants_retry_after(status) && !headers.contains_key(RETRY_AFTER) {
        let wait = problem::retry_after(problem::DEFAULT_RETRY_AFTER);
        headers.insert(RETRY_AFTER, wait);
    }
    (status, headers, Body::from(body)).into_response()
}

/// Builds an answer that says nothing of a body.
pub fn without_body(status: StatusCode, mut headers: HeaderMap) -> Response {
    headers.remove(CONTENT_TYPE);
    (status, headers).into_response()
}

/// These statuses have no body by definition; a client would take one for the next answer.
fn has_no_body(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    )
}
