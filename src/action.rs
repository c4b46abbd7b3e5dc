//! Does what a route says: calls, publishes, or answers by itself.
//!
//! An action knows nothing of HTTP. It evaluates its templates, checks what it may not send, and
//! yields what `action.result` shows to the response's templates, or a [`Failure`], which they see
//! as `action.error`. Read `action/wamp_call.rs` next.

mod fixed;
mod failure;
mod wamp_call;
mod wamp_publish;

use std::borrow::Cow;
use std::time::Duration;

pub use failure::Failure;

use crate::mops::{self, Context, Template};
use crate::spec::{Action, Operation};
use crate::value::{Map, Value};
use crate::wamp::options::OptionError;
use crate::wamp::pool::Pools;

/// Why an action yielded nothing.
#[derive(Debug)]
pub enum ActionError {
    /// One of its templates failed: nothing has been sent, and `on_error` does not see it.
    Template(mops::Error),
    /// The action was tried and failed.
    Failed(Box<Failure>),
}

impl From<mops::Error> for ActionError {
    fn from(error: mops::Error) -> Self {
        Self::Template(error)
    }
}

impl From<Failure> for ActionError {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// Runs the operation's action and returns what `action.result` is.
///
/// # Errors
///
/// [`ActionError`].
///
/// # Cancel safety
///
/// Dropping the future cancels a call at the router. A publish that was written stays published.
pub async fn run(
    operation: &Operation,
    context: &Context<'_>,
    pools: &Pools,
) -> Result<Map, ActionError> {
    match &operation.action {
        Action::None => Ok(Map::new()),
        Action::WampCall(action) => {
            wamp_call::run(action, &operation.version.realm, context, pools).await
        }
        Action::WampPublish(action) => {
            wamp_publish::run(action, &operation.version.realm, context, pools).await
        }
        Action::Static { body, headers } => fixed::run(body, headers, context),
    }
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
