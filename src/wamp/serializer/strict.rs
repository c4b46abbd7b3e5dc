//! The options and details that the specification types, for whoever refuses other types.
//!
//! What is not in the table is free: the specification lets implementations add attributes.
//!
//! Reference: WAMP Advanced Profile, the chapters that define each option.

use crate::value::{Map, Value};
use crate::wamp::id::MAX_ID;
use crate::wamp::message::code;

/// What an option may hold.
#[derive(Clone, Copy)]
enum Kind {
    Flag,
    Text,
    Dict,
    Id,
    /// A number that is not negative: milliseconds, a count.
    Count,
    Ids,
    Texts,
    OneOf(&'static [&'static str]),
    /// Sessions that a message passed through.
    Hops,
    Roles,
}

const MATCH: Kind = Kind::OneOf(&["exact", "prefix", "wildcard"]);
const CANCEL_MODE: Kind = Kind::OneOf(&["skip", "kill", "killnowait"]);
const INVOKE: Kind = Kind::OneOf(&["single", "first", "last", "roundrobin", "random"]);
const ENC_ALGO: Kind = Kind::OneOf(&["cryptobox", "mqtt", "xbr"]);
const ENC_SERIALIZER: Kind =
    Kind::OneOf(&["json", "msgpack", "cbor", "ubjson", "flatbuffers", "opaque"]);

/// The roles that a client may have.
const CLIENT_ROLES: [&str; 4] = ["caller", "callee", "publisher", "subscriber"];

/// Options that every message with a payload may have.
const PAYLOAD: &[(&str, Kind)] = &[
    ("enc_algo", ENC_ALGO),
    ("enc_serializer", ENC_SERIALIZER),
    ("enc_key", Kind::Text),
    ("ppt_scheme", Kind::Text),
    ("ppt_serializer", Kind::Text),
    ("ppt_cipher", Kind::Text),
    ("ppt_keyid", Kind::Text),
    ("forward_for", Kind::Hops),
];

fn table(code: u64) -> (&'static [(&'static str, Kind)], bool) {
    match code {
        code::HELLO => (
            &[
                ("roles", Kind::Roles),
                ("agent", Kind::Text),
                ("authid", Kind::Text),
                ("authrole", Kind::Text),
                ("authmethods", Kind::Texts),
                ("authextra", Kind::Dict),
            ],
            false,
        ),
        code::PUBLISH => (
            &[
                ("acknowledge", Kind::Flag),
                ("exclude_me", Kind::Flag),
                ("disclose_me", Kind::Flag),
                ("exclude", Kind::Ids),
                ("exclude_authid", Kind::Texts),
                ("exclude_authrole", Kind::Texts),
                ("eligible", Kind::Ids),
                ("eligible_authid", Kind::Texts),
                ("eligible_authrole", Kind::Texts),
                ("retain", Kind::Flag),
                ("transaction_hash", Kind::Text),
            ],
            true,
        ),
        code::SUBSCRIBE => (
            &[
                ("match", MATCH),
                ("get_retained", Kind::Flag),
                ("forward_for", Kind::Hops),
            ],
            false,
        ),
        code::EVENT => (
            &[
                ("publisher", Kind::Id),
                ("publisher_authid", Kind::Text),
                ("publisher_authrole", Kind::Text),
                ("topic", Kind::Text),
                ("retained", Kind::Flag),
                ("transaction_hash", Kind::Text),
                ("x_acknowledged_delivery", Kind::Flag),
            ],
            true,
        ),
        code::CALL => (
            &[
                ("timeout", Kind::Count),
                ("receive_progress", Kind::Flag),
                ("progress", Kind::Flag),
                ("disclose_me", Kind::Flag),
                ("runmode", Kind::OneOf(&["partition"])),
            ],
            true,
        ),
        code::CANCEL => (&[("mode", CANCEL_MODE), ("forward_for", Kind::Hops)], false),
        code::RESULT | code::YIELD => (&[("progress", Kind::Flag)], true),
        code::REGISTER => (
            &[
                ("match", MATCH),
                ("invoke", INVOKE),
                ("concurrency", Kind::Count),
                ("disclose_caller", Kind::Flag),
                ("force_reregister", Kind::Flag),
                ("forward_timeout", Kind::Flag),
                ("forward_for", Kind::Hops),
            ],
            false,
        ),
        code::INTERRUPT => (&[("mode", CANCEL_MODE)], false),
        _ => (&[], false),
    }
}

/// Checks the types of the options that a message has.
///
/// # Errors
///
/// What is wrong with the first option that is not as the specification says, by its name.
pub(super) fn check_options(code: u64, options: &Map) -> Result<(), String> {
    let (own, carries_payload) = table(code);
    let shared = if carries_payload { PAYLOAD } else { &[] };
    for (name, kind) in own.iter().chain(shared) {
        match options.get(*name) {
            Some(value) => kind
                .check(value)
                .map_err(|expected| format!("{name}: expected {expected}"))?,
            None if *name == "roles" => return Err("roles: missing".to_owned()),
            None => {}
        }
    }
    Ok(())
}

impl Kind {
    /// Returns what was expected, if `value` is not that.
    fn check(self, value: &Value) -> Result<(), String> {
        let (is_right, expected) = match self {
            Kind::Flag => (value.as_bool().is_some(), "true or false"),
            Kind::Text => (value.as_text().is_some(), "text"),
            Kind::Dict => (value.as_map().is_some(), "a dict"),
            Kind::Id => (is_id(value), "an id in 1 to 2^53"),
            Kind::Count => (value.as_u64().is_some(), "an integer that is not negative"),
            Kind::Ids => (all(value, is_id), "a list of ids in 1 to 2^53"),
            Kind::Texts => (
                all(value, |item| item.as_text().is_some()),
                "a list of texts",
            ),
            Kind::OneOf(choices) => {
                return if value.as_text().is_some_and(|text| choices.contains(&text)) {
                    Ok(())
                } else {
                    Err(format!("one of {}", choices.join(", ")))
                };
            }
            Kind::Hops => (
                all(value, is_hop),
                "a list of dicts with session, authid and authrole",
            ),
            Kind::Roles => (
                value.as_map().is_some_and(|roles| {
                    roles.values().all(|role| role.as_map().is_some())
                        && roles
                            .keys()
                            .any(|role| CLIENT_ROLES.contains(&role.as_str()))
                }),
                "a dict with at least one of caller, callee, publisher, subscriber, each a dict",
            ),
        };
        if is_right {
            Ok(())
        } else {
            Err(expected.to_owned())
        }
    }
}

fn all(value: &Value, is_right: impl Fn(&Value) -> bool) -> bool {
    value
        .as_list()
        .is_some_and(|items| items.iter().all(is_right))
}

fn is_id(value: &Value) -> bool {
    value.as_u64().is_some_and(|id| (1..=MAX_ID).contains(&id))
}

fn is_hop(value: &Value) -> bool {
    value.as_map().is_some_and(|hop| {
        hop.get("session").is_some_and(is_id)
            && hop
                .get("authid")
                .is_none_or(|it| matches!(it, Value::Text(_) | Value::Null))
            && hop.get("authrole").is_some_and(|it| it.as_text().is_some())
    })
}
