//! `wamp_call`: calls a procedure over the realm's pool.

use super::{ActionError, Failure, list, map, millis, refuse_extensions, text};
use crate::mops::Context;
use crate::spec::WampAction;
use crate::uri::{Uri, UriCheck};
use crate::value::{Map, Value};
use crate::wamp::client::Call;
use crate::wamp::message::Payload;
use crate::wamp::pool::Pools;

/// Calls, and yields `request_id`, `details`, `args` and `kwargs`.
///
/// # Cancel safety
///
/// Dropping the future cancels the call at the router.
pub(super) async fn run(
    action: &WampAction,
    realm: &Uri,
    context: &Context<'_>,
    pools: &Pools,
) -> Result<Map, ActionError> {
    let procedure = text(&action.uri, context, "procedure")?;
    let options = map(&action.options, context, "options")?;
    let args = list(&action.args, context, "args")?;
    let kwargs = map(&action.kwargs, context, "kwargs")?;
    let timeout = millis(&action.timeout, context, "timeout", 1)?;
    let connect_timeout = millis(&action.connect_timeout, context, "connect_timeout", 0)?;

    let procedure = Uri::parse(&procedure, UriCheck::Loose)
        .map_err(|error| Failure::invalid_uri(format!("procedure: {error}")))?;
    refuse_extensions(&options)?;

    let call = Call {
        procedure,
        options,
        payload: Payload::new(args, kwargs),
        timeout,
    };
    let pool = pools.get(realm.as_str()).ok_or_else(|| no_pool(realm))?;
    let result = pool
        .call(call, connect_timeout)
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

pub(super) fn no_pool(realm: &Uri) -> Failure {
    tracing::error!(realm.uri = %realm, "a route names a realm that has no sessions");
    Failure::bad_gateway("The realm of this API has no sessions.")
}
