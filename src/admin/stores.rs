//! `/store` and `/cluster`: how the store is, and who shares it.

use axum::response::IntoResponse;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::change;
use super::exchange::Exchange;
use super::table::Answer;
use crate::problem::Problem;
use crate::store::{Confirm, Kind};
use crate::value::Value;

/// How the store is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StoreStatus {
    /// `ready`, `connecting`, `degraded` (what was last seen is served, and nothing can be written)
    /// or `held` (it came back with other contents: somebody has to confirm).
    state: &'static str,
    /// Why it is not ready.
    reason: Option<String>,
    /// The newest write that this gateway has seen.
    revision: u64,
    /// The newest write that it serves.
    served_revision: u64,
    /// How many documents there are.
    documents: Documents,
}

/// Documents in the store.
#[derive(Debug, Serialize, ToSchema)]
struct Documents {
    specs: usize,
    realms: usize,
}

/// A gateway that uses the store.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Member {
    /// Its id, chosen anew at each start.
    id: String,
    /// The version of the program.
    version: String,
    /// The revision of the store that it serves.
    revision: u64,
    /// How it says it is.
    state: String,
    /// When it said so, in milliseconds since 1970 (UTC).
    ts: u64,
}

/// Which contents count.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a body, which is read by hand")]
pub(super) struct Choice {
    /// `store`: those of the store, and what the gateways served besides is gone. `gateway`: those
    /// that this gateway serves, which are written to the store.
    r#use: String,
}

/// Tells how the store is.
#[utoipa::path(
    get, path = "/store", tag = "store",
    responses((status = 200, description = "how it is", body = StoreStatus)),
)]
pub(super) async fn status(exchange: Exchange) -> Answer {
    let admin = &exchange.admin;
    let contents = admin.store.contents().borrow().clone();
    let state = admin.store.state().borrow().clone();
    let count = |kind| {
        contents
            .records
            .keys()
            .filter(|key| key.kind == kind)
            .count()
    };
    let status = StoreStatus {
        state: state.name(),
        reason: state.reason().map(str::to_owned),
        revision: contents.revision,
        served_revision: admin.installed().store_revision,
        documents: Documents {
            specs: count(Kind::Spec),
            realms: count(Kind::Realm),
        },
    };
    exchange.reply(StatusCode::OK, &status)
}

/// Says which contents count, where the store is held.
///
/// Where it is not, nothing happens.
#[utoipa::path(
    post, path = "/store/confirm", tag = "store",
    request_body(content = Choice),
    responses((status = 204, description = "it is done")),
)]
pub(super) async fn confirm(exchange: Exchange) -> Answer {
    let body = exchange.value().await?;
    let members = body.as_map();
    let choice = members
        .and_then(|map| map.get("use"))
        .and_then(Value::as_text);
    let choice = match choice {
        Some("store") => Confirm::Store,
        Some("gateway") => Confirm::Gateway,
        _ => {
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY)
                .detail("`use` is `store` or `gateway`: whose contents count.")
                .error("/use", "expected `store` or `gateway`"));
        }
    };
    let author = exchange.trail.author.clone();
    let confirmed = exchange.admin.store.confirm(choice, author).await;
    confirmed.map_err(|error| change::unwritten(&exchange, error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Lists the gateways that share the store, this one included.
#[utoipa::path(
    get, path = "/cluster", tag = "store",
    responses((status = 200, description = "the gateways by id", body = Vec<Member>)),
)]
pub(super) async fn cluster(exchange: Exchange) -> Answer {
    let gateways = exchange.admin.store.gateways().await;
    let gateways = gateways.map_err(|error| change::unread(&error))?;
    let members = gateways.into_iter().map(|gateway| Member {
        id: gateway.id,
        version: gateway.version,
        revision: gateway.revision,
        state: gateway.state,
        ts: gateway.time_ms,
    });
    let members: Vec<Member> = members.collect();
    exchange.reply(StatusCode::OK, &members)
}
