//! WAMP URIs, loose and strict: the specs name them, the WAMP client and the router send them.
//!
//! Several routers close a whole session over one bad URI, and a session is shared by many HTTP
//! requests. So nothing that is not a [`Uri`] is ever put into a CALL or PUBLISH.
//!
//! Reference: WAMP Basic Profile, "URIs"; Advanced Profile, "Pattern-based Subscription".

mod pattern;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use pattern::{Match, UriPattern};

/// How strictly a URI is checked before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UriCheck {
    /// Components are any characters but white space, `.` and `#`.
    #[default]
    Loose,
    /// Components are lower-case letters, digits and `_` only.
    Strict,
}

/// A WAMP URI without empty components: a procedure, a topic, an error, a realm.
///
/// Cheap to clone. At least loosely valid, always.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uri(Arc<str>);

/// Why a text is not a WAMP URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Nothing between two dots, or before the first, or after the last, or no text at all.
    #[error("component {index} is empty", index = .0 + 1)]
    EmptyComponent(usize),
    /// A character that the check does not allow.
    #[error("{character:?} is not allowed at character {position}", position = .index + 1)]
    Character {
        /// The first offending character.
        character: char,
        /// Its place, counted in characters from zero.
        index: usize,
    },
}

impl Uri {
    /// Checks `text` and keeps it as a URI.
    ///
    /// # Errors
    ///
    /// [`UriError`] names the first offence.
    pub fn parse(text: &str, check: UriCheck) -> Result<Self, UriError> {
        check_uri(text, check, false)?;
        Ok(Self(text.into()))
    }

    /// Returns the URI as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the URI lies in the part that the protocol keeps for itself (`wamp.`).
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("wamp.")
    }

    /// Returns whether the URI also satisfies `check`.
    pub fn satisfies(&self, check: UriCheck) -> bool {
        check_uri(&self.0, check, false).is_ok()
    }
}

fn check_uri(text: &str, check: UriCheck, allow_empty: bool) -> Result<(), UriError> {
    let mut component = 0;
    let mut length = 0;
    for (index, character) in text.chars().enumerate() {
        if character == '.' {
            if length == 0 && !allow_empty {
                return Err(UriError::EmptyComponent(component));
            }
            component += 1;
            length = 0;
            continue;
        }
        let allowed = match check {
            UriCheck::Loose => !character.is_whitespace() && character != '#',
            UriCheck::Strict => matches!(character, '0'..='9' | 'a'..='z' | '_'),
        };
        if !allowed {
            return Err(UriError::Character { character, index });
        }
        length += 1;
    }
    if length == 0 && !allow_empty {
        return Err(UriError::EmptyComponent(component));
    }
    Ok(())
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Uri {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Uri {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Uri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Uri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Uri::parse(&text, UriCheck::Loose).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_allows_what_the_specification_does() {
        for good in ["a", "com.market.get", "Com.Grüße.x-y", "com.1", "a.b:c/d"] {
            assert!(Uri::parse(good, UriCheck::Loose).is_ok(), "{good}");
        }
        for bad in [
            "", ".", "a.", ".a", "a..b", "a b", "a\tb", "a#b", "a\u{a0}b",
        ] {
            assert!(Uri::parse(bad, UriCheck::Loose).is_err(), "{bad}");
        }
    }

    #[test]
    fn strict_allows_lower_case_digits_and_underscores_only() {
        assert!(Uri::parse("com.my_app.2", UriCheck::Strict).is_ok());
        for bad in ["com.My", "com.x-y", "com.ä", "com..x"] {
            assert!(Uri::parse(bad, UriCheck::Strict).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_name_the_place() {
        let error = Uri::parse("com..x", UriCheck::Loose).unwrap_err();
        assert_eq!(error.to_string(), "component 2 is empty");
        let error = Uri::parse("a b", UriCheck::Loose).unwrap_err();
        assert_eq!(error.to_string(), "' ' is not allowed at character 2");
    }
}
