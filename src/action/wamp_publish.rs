//! `wamp_publish`: publishes to a topic over the realm's pool.

use super::outgoing::{Outgoing, prepare};
use super::{ActionError, Failure, Request, traced};
use crate::mops::Context;
use crate::spec::{Operation, WampAction};
use crate::telemetry::traces::Attempt;
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
    operation: &Operation,
    context: &Context<'_>,
    pools: &Pools,
    request: &Request<'_>,
) -> Result<Map, ActionError> {
    let Outgoing {
        uri,
        options,
        payload,
        limits,
        mut retry,
        pool,
    } = prepare(action, "topic", operation, context, pools)?;
    // Whatever the operation says: two events of one cause cannot be told from two.
    retry.may_run_twice = false;
    let publish = Publish {
        options,
        ..Publish::new(uri, payload, limits.timeout)
    };
    let pool = &pool;
    let published = retry
        .run(publish, limits, pool, |mut publish, limits, repeats| {
            let span = request.trace.attempt(Attempt::Publish {
                realm: pool.realm().as_str(),
                pattern: &action.uri,
                topic: publish.topic.as_str(),
                repeats,
            });
            traced::tell(&mut publish.options, pool.pass_on(), request, &span);
            publish.timeout = limits.timeout;
            async move {
                let outcome = pool.publish(publish, limits.connect_timeout).await;
                traced::end(span, &outcome);
                outcome
            }
        })
        .await
        .map_err(Failure::from_call)?;
    let publication = published.map_or(Value::Null, |id| Value::from(id.0));
    Ok(Map::from_iter([("publication_id".to_owned(), publication)]))
}
