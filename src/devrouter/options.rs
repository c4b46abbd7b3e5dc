//! Options that are valid WAMP but ask for what this router does not do.
//!
//! Ignoring them would look as if it had: they are refused instead. Attributes that the
//! specification does not name are free and pass unnoticed.

use crate::value::{Map, Value};
use crate::wamp::message::code;

/// A payload that only its endpoints understand; a part of a sharded whole; and `forward_for`, by
/// which a router tells another for whom it asks. The specification does not have it, no router is
/// linked to this one, and from a client it would be a claim that nothing proves: who calls is who
/// has joined.
const NEVER: [&str; 9] = [
    "enc_algo",
    "enc_serializer",
    "enc_key",
    "ppt_scheme",
    "ppt_serializer",
    "ppt_cipher",
    "ppt_keyid",
    "forward_for",
    "rkey",
];

/// Returns the first option of a request that asks for what this router does not do.
pub(super) fn unsupported(code: u64, options: &Map) -> Option<&str> {
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
            NEVER.contains(&name) || own.iter().any(|(it, plain)| *it == name && plain != *value)
        })
        .map(|(name, _)| name.as_str())
}

/// Returns whether an option is there and true.
pub(super) fn is_set(options: &Map, name: &str) -> bool {
    options.get(name).and_then(Value::as_bool) == Some(true)
}
