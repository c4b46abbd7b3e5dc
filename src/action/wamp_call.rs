//! `wamp_call`: calls a procedure over the realm's pool.

use super::outgoing::{Outgoing, prepare};
use super::{ActionError, Failure, Request, traced};
use crate::mops::Context;
use crate::spec::{Operation, WampAction};
use crate::telemetry::traces::Attempt;
use crate::value::{Map, Value};
use crate::wamp::client::Call;
use crate::wamp::pool::Pools;

/// Calls, and yields `request_id`, `details`, `args` and `kwargs`.
///
/// # Cancel safety
///
/// Dropping the future cancels the call at the router.
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
        mut limits,
        retry,
        pool,
    } = prepare(action, "procedure", operation, context, pools)?;
    let call = Call {
        options,
        ..Call::new(uri, payload, limits.timeout)
    };
    limits.timeout = call.deadline();
    let pool = &pool;
    let result = retry
        .run(call, limits, pool, |mut call, limits, repeats| {
            let span = request.trace.attempt(Attempt::Call {
                realm: pool.realm().as_str(),
                pattern: &action.uri,
                repeats,
            });
            traced::tell(&mut call.options, pool.pass_on(), request, &span);
            call.timeout = limits.timeout;
            async move {
                let outcome = pool.call(call, limits.connect_timeout).await;
                traced::end(span, &outcome);
                outcome
            }
        })
        .await
        .map_err(Failure::from_call)?;
    let (args, kwargs) = result.payload.into_parts();
    Ok(Map::from_iter([
        ("request_id".to_owned(), Value::from(result.request.0)),
        ("details".to_owned(), result.details.into()),
        ("args".to_owned(), args.into()),
        ("kwargs".to_owned(), kwargs.into()),
    ]))
}
