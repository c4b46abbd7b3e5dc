//! The life of one request. Read this file first.
//!
//! ```text
//! route -> method -> scheme -> content type, Accept -> body -> action -> response
//! ```
//!
//! The order is the contract (`api-spec.md`, "Order of a request"): no body is read for a route
//! that is not there, and no action runs whose answer the client could not read. Whatever ends an
//! exchange early is a [`Refusal`], and `rescue.rs` words it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::time::Instant;
use tracing::Instrument;

use self::record::{AccessLine, Trace};
use crate::action::{self, ActionError, Failure};
use crate::gateway::Gateway;
use crate::gateway::answer::{self, AnswerError};
use crate::gateway::context::{BadQuery, RequestFields, RequestSource};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::rescue::{Refusal, rescue};
use crate::gateway::table::{Match, Target};
use crate::gateway::{codec, target};
use crate::listener::{Peer, body};
use crate::mops::{Context, Template};
use crate::negotiate;
use crate::problem::{self, REQUEST_ID};
use crate::spec::Response as Shape;
use crate::telemetry;
use crate::telemetry::traces::RequestTrace;
use crate::value::{Map, Value};

mod record;

/// Mops is pure; its `random` draws from here. Not for secrets.
fn random_below(bound: usize) -> usize {
    fastrand::usize(..bound)
}

/// Answers one request, whatever it is, and writes its line in the access log.
///
/// A panic becomes a 500: one request never ends another.
///
/// # Cancel safety
///
/// Dropping the future gives the action up; a call is canceled at the router. The log has a line
/// for it all the same.
pub(super) async fn answer(gateway: &Gateway, request: Request<Body>) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let id = telemetry::request_id(parts.headers.get(REQUEST_ID).map(HeaderValue::as_bytes));
    let peer = parts.extensions.get::<Peer>().copied();
    let remote = peer.map_or(UNKNOWN, |peer| peer.remote);
    let client = gateway.trusted_proxies.client(remote, &parts.headers);
    let scheme = client.scheme.unwrap_or("http");
    let (host, port) = asked_for(&parts, client.host);
    let is_trusted = gateway.trusted_proxies.trusts(remote.ip());
    let traced = gateway.tracer.begin(&parts.headers, is_trusted);
    let exchange = Exchange {
        gateway,
        client_ip: client.address.ip(),
        peername: client.address.to_string(),
        scheme,
        port: port.unwrap_or(if scheme == "https" { 443 } else { 80 }),
        host,
        id,
        traced,
        parts,
    };
    let mut line = AccessLine {
        started,
        exchange: &exchange,
        trace: Trace {
            bytes_in: body.size_hint().exact(),
            ..Trace::default()
        },
        answered: None,
    };
    let trace_id = exchange.traced.trace_id();
    let span = telemetry::request_span(&exchange.id, trace_id);
    // Nothing that outlives the request is changed halfway: locks are poisoned, and the trace only
    // loses what was not set yet.
    let responding = AssertUnwindSafe(exchange.respond(body, &mut line.trace).instrument(span));
    let mut response = match responding.catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let refusal = Refusal::Panicked(telemetry::panic_message(&*panic).to_owned());
            let _in = telemetry::request_span(&exchange.id, trace_id).entered();
            exchange.refuse(refusal, None, &mut line.trace)
        }
    };
    if let Ok(id) = HeaderValue::from_str(&exchange.id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let bytes_out = match exchange.parts.method {
        // It only describes the body that a GET would have.
        Method::HEAD => Some(0),
        _ => response.body().size_hint().exact(),
    };
    line.answered = Some((response.status(), bytes_out));
    response
}

/// Stands for a client that no listener has named: an exchange in a test.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Returns the host and port that the client asked for: what a trusted proxy says, else the
/// request's own target, else its `Host`.
fn asked_for(parts: &Parts, forwarded: Option<&str>) -> (String, Option<u16>) {
    let header = || {
        parts
            .headers
            .get(HOST)
            .and_then(|value| value.to_str().ok())
    };
    let authority = forwarded
        .filter(|forwarded| !forwarded.is_empty())
        .or_else(|| parts.uri.authority().map(|authority| authority.as_str()))
        .or_else(header)
        .unwrap_or_default();
    // `user@` is not part of the host, and only a target can have it.
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let port = authority
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    (target::normalise_host(authority), port)
}

/// One request and its reply.
#[derive(Debug)]
struct Exchange<'g> {
    gateway: &'g Gateway,
    parts: Parts,
    /// The request id, also in the answer's `x-request-id`.
    id: String,
    /// Where in a trace it stands.
    traced: RequestTrace,
    /// `ip:port` of the client.
    peername: String,
    /// The same without the port.
    client_ip: IpAddr,
    /// `http` or `https`, as the client used it.
    scheme: &'static str,
    /// The host that was asked for, normalised.
    host: String,
    /// The port that was asked for.
    port: u16,
}

impl Exchange<'_> {
    /// Answers the request, whatever it is.
    async fn respond(&self, body: Body, trace: &mut Trace) -> Response {
        let path = self.parts.uri.path();
        if path == "*" && self.parts.method == Method::OPTIONS {
            // About the server, not about a path: it is there.
            return StatusCode::NO_CONTENT.into_response();
        }
        let segments = match target::segments(path) {
            Ok(segments) => segments,
            Err(error) => return self.refuse(Refusal::BadPath(error), None, trace),
        };
        let table = self.gateway.table.snapshot();
        let target = Target {
            host: &self.host,
            segments: &segments,
        };
        let Some(found) = table.find(&target) else {
            return self.refuse(Refusal::NoRoute, None, trace);
        };
        trace.path = found.redacted(&segments);
        if self.parts.method == Method::OPTIONS {
            return self.options(&found, trace);
        }
        let Some(endpoint) = found.endpoint(&self.parts.method) else {
            let refusal = Refusal::NoMethod {
                allow: found.methods(),
            };
            let any = found.endpoints().next();
            return self.refuse(refusal, any.map(|any| (any, &found)), trace);
        };
        self.enter(endpoint, trace);
        match self.serve(endpoint, &found, body, trace).await {
            Ok(response) => response,
            Err(refusal) => self.refuse(refusal, Some((endpoint, &found)), trace),
        }
    }

    async fn serve(
        &self,
        endpoint: &Arc<Endpoint>,
        found: &Match<'_, '_>,
        body: Body,
        trace: &mut Trace,
    ) -> Result<Response, Refusal> {
        let operation = &*endpoint.operation;
        if !operation.schemes.serves(self.scheme) {
            return Err(Refusal::NoRoute);
        }
        let body_type = self.body_type(&body, &operation.accepts)?;
        let media_type = self.media_type(&operation.provides)?;

        let mut request = self.gather(endpoint.fields, endpoint, found)?;
        let limits = body::Limits {
            max_bytes: operation.body_max_bytes,
            within: operation.body_read_timeout,
            read_bytes: operation.body_read_bytes,
        };
        let bytes = body::read(body, limits).await?;
        trace.bytes_in = Some(bytes.len() as u64);
        if body_type.is_none() && !bytes.is_empty() {
            return Err(self.unsupported(&operation.accepts));
        }
        if endpoint.fields.has(RequestFields::BODY_LENGTH) {
            request.insert("body_length".to_owned(), Value::from(bytes.len() as u64));
        }
        // Also where no template asks for it: a malformed body is refused by every route alike.
        let body = codec::decode(body_type, bytes)?;
        if endpoint.fields.has(RequestFields::BODY) {
            request.insert("body".to_owned(), body);
        }

        let request = Value::from(request);
        let security = Value::Map(Map::new());
        let context = Context::new()
            .random(&random_below)
            .data("request", &request)
            .data("security", &security);
        let acting = self.act(endpoint, &context);
        match self.measured(endpoint, acting, trace).await {
            Ok(result) => {
                let action = Value::from(Map::from_iter([("result".to_owned(), result.into())]));
                let context = context.clone().data("action", &action);
                let method = &self.parts.method;
                match answer::success(operation, method, media_type, &action, &context) {
                    Ok(response) => Ok(response),
                    // The client cannot read the outcome, so for it the action has failed.
                    Err(AnswerError::Encode(error)) => {
                        let failure = Failure::bad_gateway(error.to_string());
                        self.fail(endpoint, media_type, failure, &context, trace)
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Err(ActionError::Failed(failure)) => {
                self.fail(endpoint, media_type, *failure, &context, trace)
            }
            Err(ActionError::Template(error)) => Err(Refusal::Template(error)),
        }
    }

    /// Runs the action within the limit of its API version.
    async fn act(&self, endpoint: &Endpoint, context: &Context<'_>) -> Result<Map, ActionError> {
        let _permit = match &endpoint.in_flight {
            Some(limit) => Some(limit.try_acquire().map_err(|_| {
                Failure::bad_gateway("This API has as many actions in flight as it may.")
            })?),
            None => None,
        };
        let request = action::Request {
            id: &self.id,
            trace: &self.traced,
        };
        action::run(&endpoint.operation, context, &self.gateway.pools, &request).await
    }

    fn fail(
        &self,
        endpoint: &Endpoint,
        media_type: &str,
        mut failure: Failure,
        context: &Context<'_>,
        trace: &mut Trace,
    ) -> Result<Response, Refusal> {
        trace.error_uri = Some(failure.error_uri.clone());
        let operation = &*endpoint.operation;
        let action = failure.take_action(&operation.version.status_codes);
        let context = context.clone().data("action", &action);
        Ok(answer::failure(
            operation, media_type, &failure, &context, &self.id,
        )?)
    }

    /// Returns the type of the request's body, checked against what the route takes.
    ///
    /// None is asked of a request without a body.
    fn body_type(&self, body: &Body, accepts: &[String]) -> Result<Option<&str>, Refusal> {
        if body.is_end_stream() {
            return Ok(None);
        }
        let found = self
            .parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        match found {
            Some(found) if negotiate::takes(accepts, found) => Ok(Some(found)),
            // In chunks: whether there is a body at all is known when it was read.
            None if body.size_hint().exact().is_none() => Ok(None),
            _ => Err(self.unsupported(accepts)),
        }
    }

    fn unsupported(&self, accepts: &[String]) -> Refusal {
        Refusal::UnsupportedMediaType {
            method: self.parts.method.clone(),
            accepts: accepts.to_vec(),
        }
    }

    /// Returns the type of the answer: what the client prefers of what the route provides.
    fn media_type<'o>(&self, provides: &'o [String]) -> Result<&'o str, Refusal> {
        negotiate::accept(&self.parts.headers, provides).ok_or_else(|| Refusal::NotAcceptable {
            provides: provides.to_vec(),
        })
    }

    /// Gathers what is known of the request before its body is read.
    fn gather(
        &self,
        fields: RequestFields,
        endpoint: &Arc<Endpoint>,
        found: &Match<'_, '_>,
    ) -> Result<Map, BadQuery> {
        let source = RequestSource {
            parts: &self.parts,
            id: &self.id,
            scheme: self.scheme,
            host: &self.host,
            port: self.port,
            peername: &self.peername,
            languages: &endpoint.operation.version.languages,
        };
        let mut request = source.gather(fields)?;
        if fields.has(RequestFields::BINDINGS) {
            request.insert("bindings".to_owned(), found.bindings(endpoint).into());
        }
        if fields.has(RequestFields::PATH_INFO) {
            request.insert("path_info".to_owned(), found.path_info().into());
        }
        Ok(request)
    }

    /// OPTIONS is the gateway's own answer; a spec's `options` operation gives it its headers.
    fn options(&self, found: &Match<'_, '_>, trace: &mut Trace) -> Response {
        let is_served = |endpoint: &&Arc<Endpoint>| endpoint.operation.schemes.serves(self.scheme);
        let own = found.endpoint(&Method::OPTIONS);
        let own = own.filter(is_served);
        let Some(endpoint) = own.or_else(|| found.endpoints().find(is_served)) else {
            let any = found.endpoints().next();
            return self.refuse(Refusal::NoRoute, any.map(|any| (any, found)), trace);
        };
        self.enter(endpoint, trace);
        let template = match &endpoint.operation.response {
            Shape::Shaped {
                on_result,
                on_error,
            } if own.is_some() => on_error.headers.as_ref().or(on_result.headers.as_ref()),
            Shape::Shaped { .. } | Shape::Plain => None,
        };
        let template = template.unwrap_or(&endpoint.operation.headers);
        let mut headers = self.headers_known(template, endpoint, found);
        headers.insert(ALLOW, problem::method_list(&found.methods()));
        answer::without_body(StatusCode::NO_CONTENT, headers)
    }

    /// Words a refusal; past the match of a path, with the headers that the route gives every
    /// answer.
    fn refuse(
        &self,
        refusal: Refusal,
        place: Option<(&Arc<Endpoint>, &Match<'_, '_>)>,
        trace: &mut Trace,
    ) -> Response {
        let mut problem = rescue(refusal).instance(&*self.id);
        if let Some((endpoint, found)) = place {
            let headers = self.headers_known(&endpoint.operation.headers, endpoint, found);
            problem = problem.default_headers(&headers);
        }
        trace.error_uri = Some(problem.error_uri().to_owned());
        problem.into_response()
    }

    /// Evaluates headers as far as they need neither the body nor the action.
    fn headers_known(
        &self,
        template: &Template,
        endpoint: &Arc<Endpoint>,
        found: &Match<'_, '_>,
    ) -> HeaderMap {
        let fields = RequestFields::of(template);
        let request = self
            .gather(fields, endpoint, found)
            // A query that is not text spoils only the headers that need it.
            .or_else(|_: BadQuery| self.gather(fields.without_query_params(), endpoint, found))
            .unwrap_or_default();
        let request = Value::from(request);
        let security = Value::Map(Map::new());
        let context = Context::new()
            .random(&random_below)
            .data("request", &request)
            .data("security", &security);
        answer::headers_as_far_as_known(template, &context)
    }
}
