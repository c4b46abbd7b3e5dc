//! The options that a caller or a publisher may set, and their types; the values that an option
//! chooses from.
//!
//! Checked before anything is written: several routers close the whole session over an option of
//! the wrong type or over `null`, and a session is shared by many HTTP requests. Unknown names are
//! refused too, because routers drop them in silence; names that begin with `_` are the extension
//! points of the protocol and pass as they are, but for `null`.
//!
//! Reference: WAMP Advanced Profile, "Call Timeouts", "Caller Identification", "Event Retention",
//! "Subscriber Black- and Whitelisting", "Payload Passthru Mode"; Basic Profile, "Extensibility".

use crate::value::{Map, Value};
use crate::wamp::id::MAX_ID;

/// The type of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionType {
    /// `true` or `false`.
    Flag,
    /// An integer from 0 to 2^53.
    Count,
    /// Text.
    Text,
    /// A list of session ids.
    Ids,
    /// A list of texts.
    Texts,
}

impl OptionType {
    /// Returns the type's name as messages say it.
    pub fn name(self) -> &'static str {
        match self {
            OptionType::Flag => "a boolean",
            OptionType::Count => "an integer from 0 to 2^53",
            OptionType::Text => "text",
            OptionType::Ids => "a list of ids",
            OptionType::Texts => "a list of texts",
        }
    }

    /// Returns whether `value` is of this type.
    pub fn matches(self, value: &Value) -> bool {
        match self {
            OptionType::Flag => value.as_bool().is_some(),
            OptionType::Count => value.as_u64().is_some_and(|number| number <= MAX_ID),
            OptionType::Text => value.as_text().is_some(),
            OptionType::Ids => value.as_list().is_some_and(|items| {
                items
                    .iter()
                    .all(|id| id.as_u64().is_some_and(|id| (1..=MAX_ID).contains(&id)))
            }),
            OptionType::Texts => value
                .as_list()
                .is_some_and(|items| items.iter().all(|text| text.as_text().is_some())),
        }
    }
}

/// Which callee of a shared registration gets the next call: the option `invoke` of a REGISTER.
///
/// Reference: WAMP Advanced Profile, "Shared Registration".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Invoke {
    /// The only one there may be.
    #[default]
    Single,
    /// The one that registered first.
    First,
    /// The one that registered last.
    Last,
    /// Each in turn.
    RoundRobin,
    /// Any.
    Random,
}

impl Invoke {
    /// All policies, in the order in which they are specified.
    pub const ALL: [Invoke; 5] = [
        Invoke::Single,
        Invoke::RoundRobin,
        Invoke::Random,
        Invoke::First,
        Invoke::Last,
    ];

    /// Returns the policy's name, as the option `invoke` has it.
    pub fn name(self) -> &'static str {
        match self {
            Invoke::Single => "single",
            Invoke::First => "first",
            Invoke::Last => "last",
            Invoke::RoundRobin => "roundrobin",
            Invoke::Random => "random",
        }
    }

    /// Returns the policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// What a dealer does about a call that is canceled: the option `mode` of a CANCEL.
///
/// Whatever the mode, our caller is told at once: routers differ in what they answer, and some
/// answer nothing. The mode decides what becomes of the callee.
///
/// Reference: WAMP Advanced Profile, "Call Canceling".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CancelMode {
    /// The callee is left alone; its result is dropped.
    Skip,
    /// The callee is interrupted, and the dealer waits for its answer before it gives ours.
    Kill,
    /// The callee is interrupted, and the dealer waits for nothing.
    #[default]
    KillNoWait,
}

impl CancelMode {
    /// All modes, in the order in which they are specified.
    pub const ALL: [CancelMode; 3] = [CancelMode::Skip, CancelMode::Kill, CancelMode::KillNoWait];

    /// Returns the mode's name, as the option `mode` has it.
    pub fn name(self) -> &'static str {
        match self {
            CancelMode::Skip => "skip",
            CancelMode::Kill => "kill",
            CancelMode::KillNoWait => "killnowait",
        }
    }

    /// Returns the mode of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// The options of a CALL.
pub const CALL: &[(&str, OptionType)] = &[
    ("timeout", OptionType::Count),
    ("disclose_me", OptionType::Flag),
    ("rkey", OptionType::Text),
    ("runmode", OptionType::Text),
    ("ppt_scheme", OptionType::Text),
    ("ppt_serializer", OptionType::Text),
    ("ppt_cipher", OptionType::Text),
    ("ppt_keyid", OptionType::Text),
];

/// The options of a PUBLISH.
pub const PUBLISH: &[(&str, OptionType)] = &[
    ("acknowledge", OptionType::Flag),
    ("exclude_me", OptionType::Flag),
    ("retain", OptionType::Flag),
    ("disclose_me", OptionType::Flag),
    ("exclude", OptionType::Ids),
    ("eligible", OptionType::Ids),
    ("exclude_authid", OptionType::Texts),
    ("exclude_authrole", OptionType::Texts),
    ("eligible_authid", OptionType::Texts),
    ("eligible_authrole", OptionType::Texts),
    ("rkey", OptionType::Text),
    ("ppt_scheme", OptionType::Text),
    ("ppt_serializer", OptionType::Text),
    ("ppt_cipher", OptionType::Text),
    ("ppt_keyid", OptionType::Text),
];

/// Why an option may not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No option of this request has this name.
    #[error("option `{0}` is not known")]
    Unknown(String),
    /// The option has another type.
    #[error("option `{name}` must be {expected}, found {found}")]
    Type {
        /// The option.
        name: String,
        /// The type it has.
        expected: &'static str,
        /// The type of the value met; the value itself may be private.
        found: &'static str,
    },
}

/// Checks `options` against a table: [`CALL`] or [`PUBLISH`].
///
/// # Errors
///
/// [`OptionError`] names the first offence.
pub fn check(options: &Map, known: &[(&str, OptionType)]) -> Result<(), OptionError> {
    for (name, value) in options {
        let expected = match known.iter().find(|(known, _)| known == name) {
            Some((_, option)) if option.matches(value) => continue,
            Some((_, option)) => option.name(),
            None if !name.starts_with('_') => return Err(OptionError::Unknown(name.clone())),
            None if *value != Value::Null => continue,
            None => "any value but null",
        };
        return Err(OptionError::Type {
            name: name.clone(),
            expected,
            found: value.type_name(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> Map {
        let value: Value = serde_json::from_str(json).unwrap();
        value.as_map().unwrap().clone()
    }

    fn call(json: &str) -> Result<(), String> {
        let options = map(json);
        check(&options, CALL).map_err(|error| error.to_string())
    }

    #[test]
    fn names_go_both_ways() {
        for policy in Invoke::ALL {
            assert_eq!(Invoke::from_name(policy.name()), Some(policy));
        }
        for mode in CancelMode::ALL {
            assert_eq!(CancelMode::from_name(mode.name()), Some(mode));
        }
        assert_eq!(Invoke::from_name("all"), None);
        assert_eq!(CancelMode::from_name("abort"), None);
    }

    #[test]
    fn known_options_of_the_right_type_pass() {
        assert_eq!(
            call(r#"{"timeout": 500, "disclose_me": true, "rkey": "k", "_trace": [1]}"#),
            Ok(())
        );
        let publish = map(r#"{"eligible": [1, 9007199254740992], "exclude_authid": ["a"]}"#);
        assert_eq!(check(&publish, PUBLISH), Ok(()));
    }

    #[test]
    fn everything_else_is_refused_and_named() {
        for (options, message) in [
            (r#"{"timeuot": 5}"#, "option `timeuot` is not known"),
            (
                r#"{"timeout": "5"}"#,
                "option `timeout` must be an integer from 0 to 2^53, found text",
            ),
            (
                r#"{"timeout": null}"#,
                "option `timeout` must be an integer from 0 to 2^53, found null",
            ),
            (
                r#"{"_x": null}"#,
                "option `_x` must be any value but null, found null",
            ),
        ] {
            assert_eq!(call(options), Err(message.to_owned()));
        }
        let publish = map(r#"{"eligible": [9007199254740993]}"#);
        assert!(check(&publish, PUBLISH).is_err());
    }
}
