//! What an exchange leaves behind: a line in the access log, numbers, and the end of its span.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::USER_AGENT;
use http::request::Parts;
use tokio::time::Instant;

use super::Exchange;
use crate::action::{ActionError, Reach};
use crate::gateway::endpoint::Endpoint;
use crate::spec::Action;
use crate::telemetry;
use crate::telemetry::metrics::{Finished, MethodSeries, Outcome};
use crate::telemetry::traces::Asked;
use crate::value::Map;

/// The line of one request in the access log, its place in the metrics and the end of its span, made
/// when this is dropped: a client that goes away drops the whole exchange, and is to be seen too.
pub(super) struct AccessLine<'e> {
    pub(super) exchange: &'e Exchange<'e>,
    pub(super) started: Instant,
    pub(super) trace: Trace,
    /// The status and the bytes of the answer, once there is one.
    pub(super) answered: Option<(StatusCode, Option<u64>)>,
}

impl Drop for AccessLine<'_> {
    fn drop(&mut self) {
        let exchange = self.exchange;
        let Parts {
            method,
            uri,
            headers,
            ..
        } = &exchange.parts;
        let trace = &self.trace;
        let status = self
            .answered
            .map_or(telemetry::CLIENT_GONE, |(status, _)| status.as_u16());
        let duration = self.started.elapsed();
        let bytes_out = self.answered.and_then(|(_, bytes)| bytes);

        let series = match &trace.endpoint {
            Some(endpoint) => exchange.series(endpoint),
            None => {
                let series = exchange.gateway.metrics.requests.unmatched();
                let series = series.method(method);
                series.begin();
                series
            }
        };
        series.finish(Finished {
            status,
            duration,
            bytes_in: trace.bytes_in,
            bytes_out,
        });

        let endpoint = trace.endpoint.as_deref();
        let operation = endpoint.map(|endpoint| &*endpoint.operation);
        let version = operation.map(|operation| &*operation.version);
        let user_agent = headers.get(USER_AGENT);
        let access = telemetry::Access {
            request_id: &exchange.id,
            trace_id: exchange.traced.trace_id(),
            realm: version.map(|version| version.realm.as_str()),
            api: version.map(|version| version.api_id.as_str()),
            version: version.map(|version| version.name.as_str()),
            route: operation.map(|operation| operation.pattern.as_str()),
            method: method.as_str(),
            path: trace.path.as_deref().unwrap_or_else(|| uri.path()),
            status,
            error_uri: trace.error_uri.as_deref(),
            bytes_in: trace.bytes_in,
            bytes_out,
            duration,
            // A client that went away ended the action, too.
            backend: trace.acting.map(|acting| match acting {
                Acting::Since(began) => began.elapsed(),
                Acting::Took(took) => took,
            }),
            client_ip: exchange.client_ip,
            user_agent: user_agent.and_then(|value| str::from_utf8(value.as_bytes()).ok()),
        };
        telemetry::access(&access);
        exchange.traced.end(
            &access,
            &Asked {
                scheme: exchange.scheme,
                host: &exchange.host,
                port: exchange.port,
                version: exchange.parts.version,
            },
        );
    }
}

/// What the log says of an exchange beside its reply.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The path to log in place of the one received, which holds a secret.
    pub(super) path: Option<String>,
    /// The operation that served it.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    /// The error URI, where it failed.
    pub(super) error_uri: Option<String>,
    /// Bytes of the request's body, where known.
    pub(super) bytes_in: Option<u64>,
    /// The call or publish.
    pub(super) acting: Option<Acting>,
}

/// How long a call or publish takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Acting {
    Since(Instant),
    Took(Duration),
}

impl Exchange<'_> {
    /// Notes which operation serves the request. Its [`AccessLine`] ends what begins here.
    pub(super) fn enter(&self, endpoint: &Arc<Endpoint>, trace: &mut Trace) {
        self.series(endpoint).begin();
        trace.endpoint = Some(endpoint.clone());
    }

    pub(super) fn series<'e>(&self, endpoint: &'e Endpoint) -> &'e MethodSeries {
        let requests = &self.gateway.metrics.requests;
        endpoint.series(requests).method(&self.parts.method)
    }

    /// Runs the operation's action, which is `acting`. A call or publish is measured.
    pub(super) async fn measured(
        &self,
        endpoint: &Endpoint,
        acting: impl Future<Output = Result<Map, ActionError>>,
        trace: &mut Trace,
    ) -> Result<Map, ActionError> {
        let operation = &*endpoint.operation;
        let series = self.series(endpoint);
        let measured = match operation.action {
            Action::WampCall(_) => Some(series.call()),
            Action::WampPublish(_) => Some(series.publish()),
            Action::None | Action::Static { .. } => None,
        };
        let Some(measured) = measured else {
            return acting.await;
        };
        let began = Instant::now();
        trace.acting = Some(Acting::Since(began));
        let outcome = acting.await;
        trace.acting = Some(Acting::Took(began.elapsed()));
        match &outcome {
            Ok(_) => measured.answered(),
            Err(ActionError::Template(_)) => measured.failed(Outcome::Unsent, "", true),
            Err(ActionError::Failed(failure)) => {
                let status_codes = &operation.version.status_codes;
                let is_declared = failure.own || status_codes.contains_key(&failure.error_uri);
                let outcome = match failure.reach() {
                    Reach::Answered => Outcome::Error,
                    Reach::Timeout => Outcome::Timeout,
                    Reach::Lost => Outcome::Lost,
                    Reach::Unsent => Outcome::Unsent,
                };
                measured.failed(outcome, &failure.error_uri, is_declared);
            }
        }
        outcome
    }
}
