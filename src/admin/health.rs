//! Whether the process lives and whether it should get requests: what load balancers and
//! supervisors ask, without a token.

use axum::response::IntoResponse;
use http::StatusCode;
use serde::Serialize;

use super::exchange::Exchange;
use super::table::Answer;
use crate::problem::Problem;
use crate::telemetry::health::{Finding, Report};
use crate::value::Value;

/// The health with all that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    /// The worst of all checks: `ok`, `degraded` (requests are served all the same) or `failing`.
    state: &'static str,
    checks: Vec<Check>,
}

/// One thing that readiness goes by.
#[derive(Debug, Serialize)]
struct Check {
    /// What was looked at: `lifecycle`, `realm com.example`, ...
    check: String,
    /// `ok`, `degraded` or `failing`.
    state: &'static str,
    /// What is wrong; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `GET /ping`, `GET /livez`: whoever can answer is alive.
pub(super) async fn alive(_: Exchange) -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /ready`, `GET /readyz`: 204, or 503 with the reasons. With `?verbose` 200 or 503, with every
/// check.
pub(super) async fn ready(exchange: Exchange) -> Answer {
    let report = exchange.admin.health.report();
    if exchange.asks("verbose") {
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
