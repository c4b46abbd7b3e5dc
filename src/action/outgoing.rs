//! What a call and a publish have in common before they are sent: templates evaluated, types and
//! URI checked, the realm's pool found.

use std::borrow::Cow;
use std::time::Duration;

use super::retry::{Limits, Retry};
use super::{ActionError, Failure};
use crate::mops::{self, Context, Template};
use crate::spec::{MAX_RETRIES, Operation, WampAction};
use crate::uri::{Uri, UriCheck};
use crate::value::{Map, Value};
use crate::wamp::message::Payload;
use crate::wamp::options::OptionError;
use crate::wamp::pool::{Pool, Pools};

/// A call or publish that may be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The procedure or topic.
    pub(super) uri: Uri,
    /// Its options; the session checks their names and types.
    pub(super) options: Map,
    /// Its arguments.
    pub(super) payload: Payload,
    /// How long all attempts together may take.
    pub(super) limits: Limits,
    /// What is tried again.
    pub(super) retry: Retry,
    /// Where it goes.
    pub(super) pool: Pool,
}

/// Evaluates `action`, whose URI errors call `name` (`procedure` or `topic`).
pub(super) fn prepare(
    action: &WampAction,
    name: &str,
    operation: &Operation,
    context: &Context<'_>,
    pools: &Pools,
) -> Result<Outgoing, ActionError> {
    let uri = text(&action.uri, context, name)?;
    let options = map(&action.options, context, "options")?;
    let args = list(&action.args, context, "args")?;
    let kwargs = map(&action.kwargs, context, "kwargs")?;
    let timeout = millis(&action.timeout, context, "timeout", 1)?;
    let connect_timeout = millis(&action.connect_timeout, context, "connect_timeout", 0)?;
    let retry = Retry {
        retries: retries(&action.retries, context)?,
        retry_timeout: millis(&action.retry_timeout, context, "retry_timeout", 0)?,
        may_run_twice: operation.idempotent,
    };

    let uri = Uri::parse(&uri, UriCheck::Loose)
        .map_err(|error| Failure::invalid_uri(format!("{name}: {error}")))?;
    refuse_extensions(&options)?;
    let realm = &operation.version.realm;
    let pool = pools.get(realm.as_str()).ok_or_else(|| {
        tracing::error!(realm.uri = %realm, "a route names a realm that has no sessions");
        Failure::bad_gateway("The realm of this API has no sessions.")
    })?;
    let payload = Payload::new(args, kwargs);
    Ok(Outgoing {
        uri,
        options,
        payload,
        limits: Limits {
            timeout,
            connect_timeout,
        },
        retry,
        pool,
    })
}

/// Evaluates a template that must give a list; null and the empty text count as the empty list.
fn list(template: &Template, context: &Context<'_>, name: &str) -> Result<Vec<Value>, ActionError> {
    match mops::eval(template, context)?.into_owned() {
        Value::List(items) => Ok(items),
        Value::Null => Ok(Vec::new()),
        value if value.is_empty_text() => Ok(Vec::new()),
        other => Err(wrong_type(name, "a list", &other)),
    }
}

/// Evaluates a template that must give a map; null and the empty text count as the empty map.
fn map(template: &Template, context: &Context<'_>, name: &str) -> Result<Map, ActionError> {
    match mops::eval(template, context)?.into_owned() {
        Value::Map(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        value if value.is_empty_text() => Ok(Map::new()),
        other => Err(wrong_type(name, "a map", &other)),
    }
}

/// Evaluates a template that must give milliseconds, `least` or more: what holds for a spec's
/// numbers when it is loaded holds for a request's too.
fn millis(
    template: &Template,
    context: &Context<'_>,
    name: &str,
    least: u64,
) -> Result<Duration, ActionError> {
    let value = mops::eval(template, context)?;
    match value.as_u64() {
        Some(millis) if millis >= least => Ok(Duration::from_millis(millis)),
        Some(_) => {
            Err(Failure::invalid_argument(format!("`{name}` must be {least} ms at least")).into())
        }
        None => Err(wrong_type(
            name,
            "milliseconds, an integer that is not negative",
            &value,
        )),
    }
}

/// Evaluates a template that must give a number of retries, within the bounds of a spec's.
fn retries(template: &Template, context: &Context<'_>) -> Result<u32, ActionError> {
    let value = mops::eval(template, context)?;
    match value.as_u64().map(u32::try_from) {
        Some(Ok(retries)) if retries <= MAX_RETRIES => Ok(retries),
        Some(_) => Err(Failure::invalid_argument(format!(
            "`retries` must be {MAX_RETRIES} at most"
        ))
        .into()),
        None => Err(wrong_type(
            "retries",
            "an integer that is not negative",
            &value,
        )),
    }
}

/// Evaluates a template that must give text.
fn text<'v>(
    template: &'v Template,
    context: &Context<'v>,
    name: &str,
) -> Result<Cow<'v, str>, ActionError> {
    match mops::eval(template, context)? {
        Cow::Borrowed(Value::Text(text)) => Ok(Cow::Borrowed(text)),
        Cow::Owned(Value::Text(text)) => Ok(Cow::Owned(text)),
        other => Err(Failure::invalid_uri(format!(
            "`{name}` must be text, the template gave a {}",
            other.type_name()
        ))
        .into()),
    }
}

fn wrong_type(name: &str, expected: &str, found: &Value) -> ActionError {
    Failure::invalid_argument(format!(
        "`{name}` must be {expected}, the template gave a {}",
        found.type_name()
    ))
    .into()
}

/// Refuses options that are the protocol's extension points: they pass the session's own check, but
/// templates may hold what a client sent. All others are checked before anything is written.
fn refuse_extensions(options: &Map) -> Result<(), ActionError> {
    match options.keys().find(|name| name.starts_with('_')) {
        Some(name) => {
            let error = OptionError::Unknown(name.clone());
            Err(Failure::invalid_argument(error.to_string()).into())
        }
        None => Ok(()),
    }
}
