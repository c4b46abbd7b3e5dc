//! Problem: the body of every error that we word ourselves, as RFC 9457 has it.
//!
//! Beside the standard's members there are those that Bondy's clients read: `code` (a URI),
//! `message` and `description`. What is said here is for the caller: causes, hosts and paths go to
//! the log, never into a [`Problem`]. Which error becomes which problem is decided elsewhere, in
//! one place per listener; errors that an `on_error` template shapes never come by.
//!
//! Reference: RFC 9457; "Status of an error" of the API specs' reference.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::value::{Map, Value};

/// The media type of a problem.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Carries the request id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a client is asked to wait when nobody knows better.
///
/// Short, because what answers 503 (a router that reconnects, a full queue) usually recovers within
/// a second, and clients are expected to back off by themselves when it does not.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// One error answer: a status, what to say about it, and the headers that the status calls for.
///
/// Boxed, so that a `Result<_, Problem>` stays as small as a pointer.
#[derive(Clone)]
pub struct Problem(Box<Inner>);

#[derive(Clone)]
struct Inner {
    status: StatusCode,
    kind: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Cow<'static, str>,
    code: Cow<'static, str>,
    instance: Option<String>,
    errors: Vec<Value>,
    members: Map,
    headers: HeaderMap,
    is_final: bool,
}

impl Problem {
    /// Makes a problem with the title, detail and code that `status` has by default.
    pub fn new(status: StatusCode) -> Self {
        let (code, detail) = defaults(status);
        Self(Box::new(Inner {
            status,
            kind: Cow::Borrowed("about:blank"),
            title: Cow::Borrowed(status.canonical_reason().unwrap_or("Error")),
            detail: Cow::Borrowed(detail),
            code: Cow::Borrowed(code),
            instance: None,
            errors: Vec::new(),
            members: Map::new(),
            headers: HeaderMap::new(),
            is_final: false,
        }))
    }

    /// Says what is wrong with this very request, in a sentence for the caller.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Sets the machine-readable name of the error, a URI such as `wamp.error.invalid_argument`.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = code.into();
        self
    }

    /// Replaces `type` and `title`, for a kind of problem that has a document of its own.
    ///
    /// Without it `type` is `about:blank`, whose title is the status's phrase by definition.
    #[must_use]
    pub fn kind(
        mut self,
        uri: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.0.kind = uri.into();
        self.0.title = title.into();
        self
    }

    /// Names the occurrence: the request id, also in `x-request-id`.
    #[must_use]
    pub fn instance(mut self, request_id: impl Into<String>) -> Self {
        let request_id = request_id.into();
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            self.0.headers.insert(REQUEST_ID, value);
        }
        self.0.instance = Some(request_id);
        self
    }

    /// Adds one of several findings, `pointer` being the JSON Pointer of its place.
    #[must_use]
    pub fn error(self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut finding = Map::new();
        finding.insert("pointer".to_owned(), Value::Text(pointer.into()));
        finding.insert("detail".to_owned(), Value::Text(detail.into()));
        self.errors([Value::Map(finding)])
    }

    /// Adds findings that are objects already, such as rendered diagnostics.
    #[must_use]
    pub fn errors(mut self, findings: impl IntoIterator<Item = Value>) -> Self {
        self.0.errors.extend(findings);
        self
    }

    /// Adds a member of our own, such as `line`. One that this type already writes is ignored.
    #[must_use]
    pub fn member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.into(), value.into());
        self
    }

    /// Adds a header to the answer, in the place of one of the same name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Adds headers that it does not have itself, such as a route's default headers.
    ///
    /// Those that describe the body are left out: the body is ours.
    #[must_use]
    pub fn default_headers(mut self, headers: &HeaderMap) -> Self {
        for name in headers.keys() {
            if self.0.headers.contains_key(name) || describes_the_body(name) {
                continue;
            }
            for value in headers.get_all(name) {
                self.0.headers.append(name.clone(), value.clone());
            }
        }
        self
    }

    /// Names the methods that the path has, for 405 and for the answer to OPTIONS.
    #[must_use]
    pub fn allow<'a>(self, methods: impl IntoIterator<Item = &'a Method>) -> Self {
        self.header(header::ALLOW, method_list(methods))
    }

    /// Asks the client to wait, in whole seconds and never zero (rounded up).
    ///
    /// Reference: RFC 9110, "Retry-After".
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        self.header(header::RETRY_AFTER, retry_after(wait))
    }

    /// Leaves `Retry-After` out where the status calls for one: whoever repeats the request without
    /// looking first may do harm.
    #[must_use]
    pub fn without_retry_after(mut self) -> Self {
        self.0.is_final = true;
        self
    }

    /// Names the media types that the path takes, for 415: `Accept-Post` or `Accept-Patch` where
    /// the method has such a header, else `Accept`.
    ///
    /// Reference: RFC 9110, "415 Unsupported Media Type"; W3C LDP, "Accept-Post"; RFC 5789.
    #[must_use]
    pub fn accepts<S: AsRef<str>>(self, method: &Method, types: &[S]) -> Self {
        let name = match *method {
            Method::POST => HeaderName::from_static("accept-post"),
            Method::PATCH => HeaderName::from_static("accept-patch"),
            _ => header::ACCEPT,
        };
        let list: Vec<&str> = types.iter().map(AsRef::as_ref).collect();
        match HeaderValue::try_from(list.join(", ")) {
            Ok(value) => self.header(name, value),
            Err(_) => self,
        }
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns the URI that names the error, as logs show it.
    pub fn error_uri(&self) -> &str {
        &self.0.code
    }

    /// Returns the sentence for the caller.
    pub fn message(&self) -> &str {
        &self.0.detail
    }

    /// Returns the headers that were added so far.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// Returns the body as a value, members in the order of the standard.
    pub fn to_value(&self) -> Value {
        let Inner {
            status,
            kind,
            title,
            detail,
            code,
            instance,
            errors,
            members,
            headers: _,
            is_final: _,
        } = &*self.0;
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| {
            body.insert(name.to_owned(), value);
        };
        put("type", Value::from(kind.as_ref()));
        put("title", Value::from(title.as_ref()));
        put("status", Value::I64(i64::from(status.as_u16())));
        put("detail", Value::from(detail.as_ref()));
        if let Some(instance) = instance {
            put("instance", Value::from(instance.as_str()));
        }
        // What Bondy's clients read says the same in other words.
        put("code", Value::from(code.as_ref()));
        put("message", Value::from(title.as_ref()));
        put("description", Value::from(detail.as_ref()));
        if !errors.is_empty() {
            put("errors", Value::List(errors.clone()));
        }
        for (name, value) in members {
            if !body.contains_key(name) {
                body.insert(name.clone(), value.clone());
            }
        }
        Value::Map(body)
    }
}

/// Returns whether an answer of `status` must say when to come back.
pub fn wants_retry_after(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    )
}

/// Returns the `Retry-After` for `wait`: whole seconds, rounded up, at least one.
pub fn retry_after(wait: Duration) -> HeaderValue {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(whole.max(1))
}

/// Returns methods as the value of `Allow`.
pub fn method_list<'a>(methods: impl IntoIterator<Item = &'a Method>) -> HeaderValue {
    let list: Vec<&str> = methods.into_iter().map(Method::as_str).collect();
    HeaderValue::try_from(list.join(", "))
        .expect("a method is a token, so a list of them is a field value")
}

/// Code and detail of a status for which nothing better is known.
///
/// Codes are those of the table "Status of an error" where it has one for the status; the others
/// are ours, under `wampgate.error`.
fn defaults(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        400 => (
            "wamp.error.invalid_argument",
            "The request cannot be understood.",
        ),
        401 => (
            "wamp.error.authentication_required",
            "The request lacks valid credentials.",
        ),
        403 => (
            "wamp.error.not_authorized",
            "The request is not allowed with these credentials.",
        ),
        404 => (
            "bondy.error.not_found",
            "Nothing is served at this address.",
        ),
        405 => (
            "wampgate.error.method_not_allowed",
            "The address exists, but not with this method.",
        ),
        406 => (
            "wampgate.error.not_acceptable",
            "No type that the request accepts can be provided.",
        ),
        408 => (
            "wampgate.error.request_timeout",
            "The request did not arrive in time.",
        ),
        409 => ("bondy.error.already_exists", "The resource exists already."),
        412 => (
            "wampgate.error.precondition_failed",
            "The resource is not in the state that the request expects.",
        ),
        413 => (
            "wampgate.error.content_too_large",
            "The body is larger than this address takes.",
        ),
        415 => (
            "wampgate.error.unsupported_media_type",
            "The body's type is none that this address takes.",
        ),
        422 => (
            "wampgate.error.unprocessable",
            "The document was understood, but it has errors.",
        ),
        429 => (
            "wampgate.error.too_many_requests",
            "Too many requests; wait before the next.",
        ),
        501 => (
            "wamp.error.no_such_procedure",
            "Nobody has registered the procedure that would answer.",
        ),
        502 => (
            "wamp.error.network_failure",
            "The link to the service broke before its answer.",
        ),
        503 => (
            "bondy.error.bad_gateway",
            "The service cannot be reached at the moment.",
        ),
        504 => ("bondy.error.timeout", "The service did not answer in time."),
        code if code < 500 => (
            "wampgate.error.bad_request",
            "The request cannot be served.",
        ),
        _ => (
            "wampgate.error.internal",
            "Something went wrong on our side; the request id finds it in the log.",
        ),
    }
}

fn describes_the_body(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONTENT_TYPE
            | header::CONTENT_LENGTH
            | header::CONTENT_ENCODING
            | header::CONTENT_LANGUAGE
            | header::CONTENT_LOCATION
            | header::CONTENT_RANGE
            | header::TRANSFER_ENCODING
            | header::ETAG
            | header::LAST_MODIFIED
    )
}

/// The body is there for HEAD as well: the connection sends its length and leaves the bytes out,
/// so that HEAD and GET have the same headers.
impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = self.0.status;
        let mut headers = std::mem::take(&mut self.0.headers);
        let may_retry = wants_retry_after(status) && !self.0.is_final;
        if may_retry && !headers.contains_key(header::RETRY_AFTER) {
            headers.insert(header::RETRY_AFTER, retry_after(DEFAULT_RETRY_AFTER));
        }
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        // A member that is NaN would fail; what is left then says the status at least.
        let body = serde_json::to_vec(&self.to_value()).unwrap_or_else(|_| b"{}".to_vec());
        (status, headers, Bytes::from(body)).into_response()
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("status", &self.0.status.as_u16())
            .field("code", &self.0.code)
            .field("detail", &self.0.detail)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.0.status.as_u16(),
            self.0.code,
            self.0.detail
        )
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn sent(problem: Problem) -> (StatusCode, HeaderMap, String) {
        let (parts, body) = problem.into_response().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (parts.status, parts.headers, text)
    }

    #[tokio::test]
    async fn says_what_the_standard_asks_and_what_bondys_clients_read() {
        let problem = Problem::new(StatusCode::NOT_FOUND).instance("req-1");
        let (status, headers, body) = sent(problem).await;
        assert_eq!(status, 404);
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(
            body,
            concat!(
                r#"{"type":"about:blank","title":"Not Found","status":404,"#,
                r#""detail":"Nothing is served at this address.","instance":"req-1","#,
                r#""code":"bondy.error.not_found","message":"Not Found","#,
                r#""description":"Nothing is served at this address."}"#
            )
        );
    }

    #[tokio::test]
    async fn lists_findings_and_own_members_but_never_loses_a_fixed_one() {
        let problem = Problem::new(StatusCode::BAD_REQUEST)
            .error("/price", "found text, expected a number")
            .member("line", 3_i64)
            .member("status", 200_i64);
        let (_, _, body) = sent(problem).await;
        assert!(body.contains(
            r#""errors":[{"pointer":"/price","detail":"found text, expected a number"}],"line":3"#
        ));
        assert!(body.contains(r#""status":400"#) && !body.contains(":200"));
    }

    #[tokio::test]
    async fn a_status_brings_the_headers_it_calls_for() {
        let (_, headers, _) =
            sent(Problem::new(StatusCode::METHOD_NOT_ALLOWED).allow(&[Method::GET, Method::HEAD]))
                .await;
        assert_eq!(headers["allow"], "GET, HEAD");

        let (_, headers, _) = sent(Problem::new(StatusCode::SERVICE_UNAVAILABLE)).await;
        assert_eq!(headers["retry-after"], "1");
        let waits =
            Problem::new(StatusCode::TOO_MANY_REQUESTS).retry_after(Duration::from_millis(2_100));
        let (_, headers, _) = sent(waits).await;
        assert_eq!(headers["retry-after"], "3");

        let types = ["application/json", "application/msgpack"];
        let refused = || Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let (_, headers, _) = sent(refused().accepts(&Method::POST, &types)).await;
        assert_eq!(
            headers["accept-post"],
            "application/json, application/msgpack"
        );
        let (_, headers, _) = sent(refused().accepts(&Method::PUT, &types)).await;
        assert_eq!(headers["accept"], "application/json, application/msgpack");
    }

    #[tokio::test]
    async fn default_headers_never_replace_its_own_nor_describe_the_body() {
        let mut defaults = HeaderMap::new();
        defaults.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        defaults.insert(header::RETRY_AFTER, HeaderValue::from_static("9"));
        defaults.append(header::VARY, HeaderValue::from_static("origin"));
        defaults.append(header::VARY, HeaderValue::from_static("accept"));
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .retry_after(Duration::from_secs(5))
            .default_headers(&defaults);
        let (_, headers, _) = sent(problem).await;
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["retry-after"], "5");
        assert_eq!(headers.get_all("vary").iter().count(), 2);
    }

    #[test]
    fn every_status_has_a_code_that_is_a_uri_and_a_sentence() {
        for status in 400..600 {
            let problem = Problem::new(StatusCode::from_u16(status).unwrap());
            let check = crate::uri::UriCheck::Strict;
            crate::uri::Uri::parse(problem.error_uri(), check).unwrap();
            assert!(problem.message().ends_with('.'), "{status}");
        }
    }
}
