//! Options that are valid WAMP but ask for what this router does not do.
//!
//! Ignoring them would look as if it had: they are refused instead. Attributes that the
//! specification does not name are free and pass unnoticed; those that begin with `_` are passed on.

use crate::value::{Map, Value};
use crate::wamp::message::code;

/// A payload that only its endpoints understand, and a part of a sharded whole.
const NEVER: [&str; 8] = [
    "enc_algo",
    "enc_serializer",
    "enc_key",
    "ppt_scheme",
    "ppt_serializer",
    "ppt_cipher",
    "ppt_keyid",
    "rkey",
];

/// Whom a request is made for, the first of its list. The specification does not have it; Crossbar.io
/// believes it of anybody, and so anybody can pass for anybody there. Here only sessions of this
/// process are believed, which are trusted as they are: the gateway's, of callers that it has
/// authenticated. To others it is an option that this router does not serve.
const FORWARD_FOR: &str = "forward_for";

/// Returns the first option of a request that asks for what this router does not do.
pub(super) fn unsupported(code: u64, options: &Map, is_trusted: bool) -> Option<&str> {
    if options.is_empty() {
        return None;
    }
    // With these values they ask for nothing.
    let own: &[(&str, Value)] = match code {
        code::CALL => &[("progress", Value::Bool(false)), ("runmode", Value::Null)],
        code::REGISTER => &[
            ("concurrency", Value::I64(0)),
            ("force_reregister", Value::Bool(false)),
        ],
        _ => &[],
    };
    options
        .iter()
        .find(|(name, value)| {
            let name = name.as_str();
            NEVER.contains(&name)
                || (name == FORWARD_FOR
                    && !(is_trusted && matches!(code, code::CALL | code::PUBLISH)))
                || own.iter().any(|(it, plain)| *it == name && plain != *value)
        })
        .map(|(name, _)| name.as_str())
}

/// Returns whom a request is made for, if not for whoever makes it; see [`unsupported`].
pub(super) fn originator(options: &Map) -> Option<&Map> {
    let hops = options.get(FORWARD_FOR)?.as_list()?;
    hops.first()?.as_map()
}

/// Returns what a request says in attributes that the specification leaves free: they are passed on
/// to whoever it reaches.
///
/// Reference: WAMP Basic Profile, "Extensibility".
pub(super) fn custom(options: &Map) -> impl Iterator<Item = (String, Value)> {
    let is_free = |(name, _): &(&String, &Value)| name.starts_with('_');
    let free = options.iter().filter(is_free);
    free.map(|(name, value)| (name.clone(), value.clone()))
}

/// Returns whether an option is there and true.
pub(super) fn is_set(options: &Map, name: &str) -> bool {
    options.get(name).and_then(Value::as_bool) == Some(true)
}
