//! The options that a caller or a publisher may set, and their types.
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
