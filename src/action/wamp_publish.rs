//! `wamp_publish`: publishes to a topic over the realm's pool.

use super::wamp_call::no_pool;
use super::{ActionError, Failure, list, map, millis, refuse_extensions, text};
use crate::mops::Context;
use crate::spec::WampAction;
use crate::uri::{Uri, UriCheck};
use crate::value::{Map, Value};
use crate::wamp::client::Publish;
use crate::wamp::message::Payload;
use crate::wamp::pool::Pools;

/// Publishes, and yields `publication_id`; null when the spec asked for no acknowledgement.
///
/// # Cancel safety
///
/// An event that was written stays published when the future is dropped.
pub(super) async fn run(
    action: &WampAction,
    realm: &Uri,
    context: &Context<'_>,
    pools: &Pools,
) -> Result<Map, ActionError> {
    let topic = text(&action.uri, context, "topic")?;
    let options = map(&action.options, context, "options")?;
    let args = list(&action.args, context, "args")?;
    let kwargs = map(&action.kwargs, context, "kwargs")?;
    let timeout = millis(&action.timeout, context, "timeout", 1)?;
    let connect_timeout = millis(&action.connect_timeout, context, "connect_timeout", 0)?;

    let topic = Uri::parse(&topic, UriCheck::Loose)
        .map_err(|error| Failure::invalid_uri(format!("topic: {error}")))?;
    refuse_extensions(&options)?;

    let publish = Publish {
        topic,
        options,
        payload: Payload::new(args, kwargs),
        timeout,
    };
    let pool = pools.get(realm.as_str()).ok_or_else(|| no_pool(realm))?;
    let publication = pool
        .publish(publish, connect_timeout)
        .await
        .map_err(Failure::from_call)?;
    let publication = publication.map_or(Value::Null, |id| Value::from(id.0));
    Ok(Map::from_iter([("publication_id".to_owned(), publication)]))
}
