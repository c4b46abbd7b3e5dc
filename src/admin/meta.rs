//! `/realms/{uri}/registrations` and `/subscriptions`: what clients of the router have made, as its
//! meta API tells.
//!
//! Reference: WAMP Advanced Profile, "Registration Meta API", "Subscription Meta API".

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::calls;
use super::exchange::Exchange;
use super::page::Page;
use super::table::Answer;
use crate::problem::Problem;
use crate::uri::{Uri, UriCheck};
use crate::value::{Map, Value};
use crate::wamp::client::Call;
use crate::wamp::error::CallError;
use crate::wamp::message::Payload;
use crate::wamp::pool::Pool;

/// A registration or a subscription.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Made {
    /// Its id at the router.
    id: u64,
    /// The procedure or topic, or the pattern.
    uri: String,
    /// `exact`, `prefix` or `wildcard`.
    r#match: String,
    /// How calls are shared out: `single`, `roundrobin`, ... Registrations only.
    #[serde(skip_serializing_if = "Option::is_none")]
    invoke: Option<String>,
    /// When it was made, as the router writes it.
    created: Option<String>,
}

/// Longest wait for one answer of the router.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Questions that are asked at once.
const AT_ONCE: usize = 16;

/// Lists what is registered at the realm's router.
///
/// In pages; `Link` names the next one. 501 where the router has no meta API.
#[utoipa::path(
    get, path = "/realms/{uri}/registrations", tag = "wamp",
    params(
        ("uri" = String, Path, description = "the realm's URI"),
        ("limit" = Option<u32>, Query, description = "items of a page, 1 to 1000; 100 without it"),
        ("cursor" = Option<String>, Query, description = "where to go on, from `Link`"),
    ),
    responses((status = 200, description = "the registrations by id", body = Vec<Made>)),
)]
pub(super) async fn registrations(exchange: Exchange) -> Answer {
    list(&exchange, "wamp.registration").await
}

/// Lists what is subscribed at the realm's router.
///
/// In pages; `Link` names the next one. 501 where the router has no meta API.
#[utoipa::path(
    get, path = "/realms/{uri}/subscriptions", tag = "wamp",
    params(
        ("uri" = String, Path, description = "the realm's URI"),
        ("limit" = Option<u32>, Query, description = "items of a page, 1 to 1000; 100 without it"),
        ("cursor" = Option<String>, Query, description = "where to go on, from `Link`"),
    ),
    responses((status = 200, description = "the subscriptions by id", body = Vec<Made>)),
)]
pub(super) async fn subscriptions(exchange: Exchange) -> Answer {
    list(&exchange, "wamp.subscription").await
}

async fn list(exchange: &Exchange, root: &str) -> Answer {
    let page = Page::of(exchange)?;
    let pool = exchange.admin.pools.get(exchange.param("uri"));
    let pool = pool.ok_or_else(calls::no_sessions)?;
    let listed = ask(&pool, &format!("{root}.list"), Vec::new()).await;
    let listed = listed.map_err(|error| unavailable(&error))?;
    // By number, as text: all of the same length.
    let ids = ids(&listed).map(|id| (format!("{id:020}"), id));
    let (ids, last) = page.cut(ids.collect::<BTreeMap<_, _>>(), |_| 0);
    let get = format!("{root}.get");
    let asked = stream::iter(ids).map(|id| {
        let (pool, get) = (&pool, &get);
        async move {
            match ask(pool, get, vec![Value::from(id)]).await {
                Ok(details) => Ok(Some(made(id, &details))),
                // It has gone meanwhile.
                Err(CallError::Application(error)) if error.uri.starts_with(GONE) => Ok(None),
                Err(error) => Err(unavailable(&error)),
            }
        }
    });
    let found: Vec<Option<Made>> = asked.buffered(AT_ONCE).try_collect().await?;
    let found: Vec<Made> = found.into_iter().flatten().collect();
    page.reply(exchange, &found, last.as_deref())
}

/// `wamp.error.no_such_registration`, `wamp.error.no_such_subscription`.
const GONE: &str = "wamp.error.no_such_";

/// The error of a router that has no such procedure.
const NO_SUCH_PROCEDURE: &str = "wamp.error.no_such_procedure";

fn unavailable(error: &CallError) -> Problem {
    match error {
        CallError::Application(answered) if answered.uri == NO_SUCH_PROCEDURE => {
            Problem::new(StatusCode::NOT_IMPLEMENTED)
                .detail("The realm's router has no meta API that would tell.")
        }
        other => calls::problem(other),
    }
}

/// Asks the router, and returns the first argument of its answer.
async fn ask(pool: &Pool, procedure: &str, args: Vec<Value>) -> Result<Value, CallError> {
    let procedure =
        Uri::parse(procedure, UriCheck::Loose).expect("the names of the meta API are URIs");
    let call = Call::new(procedure, Payload::new(args, Map::new()), TIMEOUT);
    let result = pool.call(call, TIMEOUT).await?;
    let (args, _) = result.payload.into_parts();
    Ok(args.into_iter().next().unwrap_or_default())
}

/// The ids in `{"exact": [...], "prefix": [...], "wildcard": [...]}`.
fn ids(listed: &Value) -> impl Iterator<Item = u64> {
    let lists = listed.as_map().into_iter().flat_map(Map::values);
    lists
        .filter_map(Value::as_list)
        .flatten()
        .filter_map(Value::as_u64)
}

fn made(id: u64, details: &Value) -> Made {
    let text = |key: &str| {
        let value = details.as_map()?.get(key)?;
        Some(
            value
                .as_text()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    };
    Made {
        id,
        uri: text("uri").unwrap_or_default(),
        r#match: text("match").unwrap_or_else(|| "exact".to_owned()),
        invoke: text("invoke"),
        created: text("created"),
    }
}
