//! Whether the process lives and whether it should get requests: what load balancers and
//! supervisors ask, without a token.

use axum::response::IntoResponse;
use http::StatusCode;

use super::exchange::Exchange;
use super::table::Answer;
use crate::problem::Problem;
use crate::value::Value;

/// `GET /ping`, `GET /livez`: whoever can answer is alive.
pub(super) async fn alive(_: Exchange) -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /ready`, `GET /readyz`: 204, or 503 with the reasons.
pub(super) async fn ready(exchange: Exchange) -> Answer {
    let reasons = (exchange.admin.readiness)();
    if reasons.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE)
        .code("wampgate.error.not_ready")
        .detail(format!("Not ready: {}.", reasons.join("; ")));
    let reasons = reasons.into_iter().map(Value::from).collect();
    Err(problem.member("reasons", Value::List(reasons)))
}
