//! `wamp_publish`: publishes to a topic over the realm's pool.

use super::outgoing::{Outgoing, prepare};
use super::{ActionError, Failure};
use crate::mops::Context;
use crate::spec::WampAction;
use crate::uri::Uri;
use crate::value::{Map, Value};
use crate::wamp::client::Publish;
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
    let Outgoing {
        uri,
        options,
        payload,
        timeout,
        connect_timeout,
        pool,
    } = prepare(action, "topic", realm, context, pools)?;
    let publish = Publish {
        options,
        ..Publish::new(uri, payload, timeout)
    };
    let published = pool
        .publish(publish, connect_timeout)
        .await
        .map_err(Failure::from_call)?;
    let publication = published.map_or(Value::Null, |id| Value::from(id.0));
    Ok(Map::from_iter([("publication_id".to_owned(), publication)]))
}
