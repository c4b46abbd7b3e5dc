//! Whether the process lives and whether it should get requests: what load balancers and
//! supervisors ask, without a token.

use axum::response::IntoResponse;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::exchange::Exchange;
use super::table::Answer;
use crate::problem::Problem;
use crate::telemetry::health::{Finding, Report};
use crate::value::Value;

/// The health with all that was looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// The worst of all checks: `ok`, `degraded` (requests are served all the same) or `failing`.
    state: &'static str,
    checks: Vec<Check>,
}

/// One thing that readiness goes by.
#[derive(Debug, Serialize, ToSchema)]
struct Check {
    /// What was looked at: `lifecycle`, `realm com.example`, ...
    check: String,
    /// `ok`, `degraded` or `failing`.
    state: &'static str,
    /// What is wrong; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Answers whoever asks whether the process is alive.
#[utoipa::path(get, path = "/livez", tag = "health",
    responses((status = 204, description = "it is")))]
pub(super) async fn livez(_: Exchange) -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// As `/livez`.
#[utoipa::path(get, path = "/ping", tag = "health",
    responses((status = 204, description = "it is")))]
pub(super) async fn ping(exchange: Exchange) -> Answer {
    livez(exchange).await
}

/// As `/readyz`.
#[utoipa::path(
    get, path = "/ready", tag = "health",
    params(("verbose" = Option<bool>, Query, description = "with every check")),
    responses(
        (status = 200, description = "it should, with `verbose`", body = Health),
        (status = 204, description = "it should"),
    ),
)]
pub(super) async fn ready(exchange: Exchange) -> Answer {
    readyz(exchange).await
}

/// Tells whether the gateway should get requests; 503 with the `reasons` where it should not.
///
/// With `verbose` 200 or 503, with every check.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    params(("verbose" = Option<bool>, Query, description = "with every check")),
    responses(
        (status = 200, description = "it should, with `verbose`", body = Health),
        (status = 204, description = "it should"),
    ),
)]
pub(super) async fn readyz(exchange: Exchange) -> Answer {
    let report = exchange.admin.health.report();
    if exchange.is_on("verbose")? {
        let status = if report.is_ready() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        return exchange.reply(status, &told(report));
    }
    if report.is_ready() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let reason = |it: &Finding| format!("{}: {}", it.check, it.reason.as_deref().unwrap_or("?"));
    let reasons: Vec<String> = report.reasons().map(reason).collect();
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE)
        .code("wampgate.error.not_ready")
        .detail(reasons.join(" "));
    let reasons = reasons.into_iter().map(Value::from).collect();
    Err(problem.member("reasons", Value::List(reasons)))
}

fn told(report: Report) -> Health {
    let state = report.state().name();
    let checks = report.findings.into_iter().map(|finding| Check {
        check: finding.check,
        state: finding.state.name(),
        reason: finding.reason,
    });
    Health {
        state,
        checks: checks.collect(),
    }
}
