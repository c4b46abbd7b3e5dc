//! `/services/call`: one WAMP call, with the gateway's own session. Off unless the configuration
//! allows it, since it goes past every rule of the APIs.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::exchange::{Exchange, bad_request};
use super::table::Answer;
use crate::problem::Problem;
use crate::spec::status;
use crate::uri::{Uri, UriCheck};
use crate::value::{Map, Value};
use crate::wamp::client::{Call, CallResult};
use crate::wamp::error::CallError;
use crate::wamp::message::Payload;
use crate::wamp::pool::Pool;

/// Longest wait for the answer; the option `timeout` shortens it.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Longest wait for a session.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A call.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a body, which is read by hand")]
pub(super) struct CallBody {
    /// What is called.
    procedure: String,
    /// In which realm; may be left out where the gateway has sessions with one only.
    realm_uri: Option<String>,
    #[schema(value_type = Option<Vec<Object>>)]
    args: Option<Vec<Value>>,
    #[schema(value_type = Option<Object>)]
    kwargs: Option<Map>,
    #[schema(value_type = Option<Object>)]
    options: Option<Map>,
}

/// What a call brought.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallAnswer {
    #[schema(value_type = Vec<Object>)]
    args: Vec<Value>,
    #[schema(value_type = Object)]
    kwargs: Map,
    #[schema(value_type = Object)]
    details: Map,
}

/// Calls a procedure.
///
/// 403 unless `admin.allow_calls` is set. What the callee answers as an error is a problem with
/// `error_uri`, `args`, `kwargs` and `details`.
#[utoipa::path(
    post, path = "/services/call", tag = "wamp",
    request_body(content = CallBody),
    responses((status = 200, description = "the result", body = CallAnswer)),
)]
pub(super) async fn call(exchange: Exchange) -> Answer {
    if !exchange.admin.allow_calls {
        return Err(Problem::new(StatusCode::FORBIDDEN).detail(
            "Calls are off: they go past every rule of the APIs. `admin.allow_calls = true` in the \
             configuration allows them.",
        ));
    }
    let body = exchange.value().await?;
    let Value::Map(body) = body else {
        return Err(invalid("", "a map is expected"));
    };
    let known = ["procedure", "realm_uri", "args", "kwargs", "options"];
    if let Some(key) = body.keys().find(|key| !known.contains(&key.as_str())) {
        let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        return Err(invalid(&pointer, "this member is not known"));
    }
    let text = |key: &str| body.get(key).and_then(Value::as_text);
    let procedure = text("procedure").unwrap_or_default();
    let procedure = Uri::parse(procedure, UriCheck::Loose)
        .map_err(|error| invalid("/procedure", &format!("no URI: {error}")))?;
    let args = match body.get("args") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::List(args)) => args.clone(),
        Some(_) => return Err(invalid("/args", "a list is expected")),
    };
    let map = |key: &str| match body.get(key) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Map(map)) => Ok(map.clone()),
        Some(_) => Err(invalid(&format!("/{key}"), "a map is expected")),
    };
    let payload = Payload::new(args, map("kwargs")?);
    let realm = match body.get("realm_uri") {
        None | Some(Value::Null) => None,
        Some(Value::Text(realm)) => Some(realm.as_str()),
        Some(_) => return Err(invalid("/realm_uri", "a text is expected")),
    };
    let pool = pool(&exchange, realm)?;
    exchange.trail.about(procedure.as_str());
    let call = Call {
        options: map("options")?,
        ..Call::new(procedure, payload, TIMEOUT)
    };
    let result: Result<CallResult, CallError> = pool.call(call, CONNECT_TIMEOUT).await;
    let result = result.map_err(|error| problem(&error))?;
    let (args, kwargs) = result.payload.into_parts();
    let answer = CallAnswer {
        args,
        kwargs,
        details: result.details,
    };
    exchange.reply(StatusCode::OK, &answer)
}

fn invalid(pointer: &str, detail: &str) -> Problem {
    bad_request(format!("The call makes no sense: {detail}.")).error(pointer, detail)
}

fn pool(exchange: &Exchange, realm: Option<&str>) -> Result<Pool, Problem> {
    let pools = &exchange.admin.pools;
    let found = match realm {
        Some(realm) => pools.get(realm),
        None => match pools.status().as_slice() {
            [only] => pools.get(only.realm.as_str()),
            _ => {
                return Err(invalid(
                    "/realm_uri",
                    "there is more than one realm, or none",
                ));
            }
        },
    };
    found.ok_or_else(no_sessions)
}

/// The realm has no pool.
pub(super) fn no_sessions() -> Problem {
    Problem::new(StatusCode::NOT_FOUND)
        .detail("This realm has no sessions: no route uses it, or there is no such realm.")
}

/// Words why a call brought no result.
///
/// A callee's own words are told: who asks is the admin.
pub(super) fn problem(error: &CallError) -> Problem {
    let (status, code) = match error {
        CallError::Application(answered) => {
            let (args, kwargs) = answered.payload.clone().into_parts();
            return Problem::new(status_of(&answered.uri))
                .code(answered.uri.clone())
                .detail("The procedure, or the router, answered with an error.")
                .member("error_uri", answered.uri.as_str())
                .member("args", args)
                .member("kwargs", kwargs)
                .member("details", answered.details.clone());
        }
        CallError::Timeout(_) => (504, "bondy.error.timeout"),
        CallError::Disconnected(_) | CallError::Unreadable(_) => {
            (502, "wamp.error.network_failure")
        }
        CallError::NotSent(_)
        | CallError::NoSession { .. }
        | CallError::Busy(_)
        | CallError::Overrun(_) => (503, "bondy.error.bad_gateway"),
        CallError::TooLarge { .. } => (413, "wamp.error.payload_size_exceeded"),
        CallError::InvalidUri { .. } => (400, "wamp.error.invalid_uri"),
        CallError::InvalidOption(_) | CallError::Encode(_) => (400, "wamp.error.invalid_argument"),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Problem::new(status)
        .code(code)
        .detail(format!("The call failed: {error}."))
}

fn status_of(uri: &str) -> StatusCode {
    let row = status::TABLE.iter().find(|(known, _)| *known == uri);
    let status = row.map_or(status::OTHER, |(_, status)| *status);
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
