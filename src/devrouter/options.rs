//! Options that are valid WAMP but ask for what this router does not do.
//!
//! Ignoring them would look as if it had: they are refused instead. Attributes that the
//! specification does not name are free and pass unnoticed.

use crate::value::{Map, Value};
use crate::wamp::message::code;

/// How an option must look to mean nothing beyond the default.
#[derive(Clone, Copy)]
enum Harmless {
    Never,
    If(Plain),
}

#[derive(Clone, Copy)]
enum Plain {
    False,
    Zero,
    Text(&'static str),
}

/// A payload that only its endpoints understand, and an identity that a client claims for others.
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
    let own: &[(&str, Harmless)] = match code {
        code::CALL => &[
            ("receive_progress", Harmless::If(Plain::False)),
            ("progress", Harmless::If(Plain::False)),
            ("timeout", Harmless::If(Plain::Zero)),
            ("runmode", Harmless::Never),
        ],
        code::PUBLISH => &[("retain", Harmless::If(Plain::False))],
        code::SUBSCRIBE => &[
            ("match", Harmless::If(Plain::Text("exact"))),
            ("get_retained", Harmless::If(Plain::False)),
        ],
        code::REGISTER => &[
            ("match", Harmless::If(Plain::Text("exact"))),
            ("invoke", Harmless::If(Plain::Text("single"))),
            ("concurrency", Harmless::If(Plain::Zero)),
            ("force_reregister", Harmless::If(Plain::False)),
        ],
        _ => &[],
    };
    options
        .iter()
        .find(|(name, value)| {
            let name = name.as_str();
            NEVER.contains(&name)
                || own
                    .iter()
                    .any(|(it, harmless)| *it == name && !harmless.allows(value))
        })
        .map(|(name, _)| name.as_str())
}

/// Returns whether an option is there and true.
pub(super) fn is_set(options: &Map, name: &str) -> bool {
    options.get(name).and_then(Value::as_bool) == Some(true)
}

impl Harmless {
    fn allows(self, value: &Value) -> bool {
        match self {
            Harmless::Never => false,
            Harmless::If(Plain::False) => value.as_bool() == Some(false),
            Harmless::If(Plain::Zero) => value.as_u64() == Some(0),
            Harmless::If(Plain::Text(text)) => value.as_text() == Some(text),
        }
    }
}
