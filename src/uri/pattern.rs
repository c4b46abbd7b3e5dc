//! Patterns of URIs: what a subscription or a registration covers.
//!
//! Reference: WAMP Advanced Profile, "Pattern-based Subscription", "Pattern-based Registration".

use std::fmt;
use std::sync::Arc;

use super::{Uri, UriCheck, UriError, check_uri};

/// How a pattern is compared with a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Match {
    /// The URI is the pattern.
    #[default]
    Exact,
    /// The URI begins with the pattern, byte for byte: `com.shop.or` covers `com.shop.orders`.
    Prefix,
    /// As many components, each the same or empty in the pattern: `com..created` covers
    /// `com.orders.created`.
    Wildcard,
}

impl Match {
    /// All policies, in the order in which they are specified.
    pub const ALL: [Match; 3] = [Match::Exact, Match::Prefix, Match::Wildcard];

    /// Returns the policy's name, as the option `match` has it.
    pub fn name(self) -> &'static str {
        match self {
            Match::Exact => "exact",
            Match::Prefix => "prefix",
            Match::Wildcard => "wildcard",
        }
    }

    /// Returns the policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// A text with the way in which it is compared. Cheap to clone; loosely valid, always.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UriPattern {
    text: Arc<str>,
    policy: Match,
}

impl UriPattern {
    /// Checks `text` as a pattern for `policy`. Empty components are for wildcards; a prefix may
    /// end in a dot.
    ///
    /// # Errors
    ///
    /// [`UriError`] names the first offence.
    pub fn parse(text: &str, policy: Match, check: UriCheck) -> Result<Self, UriError> {
        let (checked, may_be_empty) = match policy {
            Match::Exact => (text, false),
            Match::Prefix => (text.strip_suffix('.').unwrap_or(text), false),
            Match::Wildcard => (text, true),
        };
        check_uri(checked, check, may_be_empty)?;
        Ok(Self {
            text: text.into(),
            policy,
        })
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns how the text is compared.
    pub fn policy(&self) -> Match {
        self.policy
    }

    /// Returns whether the pattern covers `uri`. Never allocates.
    pub fn covers(&self, uri: &str) -> bool {
        match self.policy {
            Match::Exact => *self.text == *uri,
            Match::Prefix => uri.starts_with(&*self.text),
            Match::Wildcard => {
                let mut components = uri.split('.');
                let same = self.text.split('.').all(|wanted| {
                    components
                        .next()
                        .is_some_and(|found| wanted.is_empty() || wanted == found)
                });
                same && components.next().is_none()
            }
        }
    }

    /// Returns the URI that was matched: the one `named`, or without any the pattern's own text,
    /// which costs no copy.
    pub fn matched(&self, named: Option<&str>) -> Arc<str> {
        match named {
            Some(uri) if *uri != *self.text => uri.into(),
            _ => self.text.clone(),
        }
    }

    /// Returns whether the pattern also satisfies `check`.
    pub fn satisfies(&self, check: UriCheck) -> bool {
        Self::parse(&self.text, self.policy, check).is_ok()
    }
}

impl From<Uri> for UriPattern {
    fn from(uri: Uri) -> Self {
        Self {
            text: uri.0,
            policy: Match::Exact,
        }
    }
}

impl From<&Uri> for UriPattern {
    fn from(uri: &Uri) -> Self {
        uri.clone().into()
    }
}

impl fmt::Display for UriPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str, policy: Match) -> UriPattern {
        UriPattern::parse(text, policy, UriCheck::Loose).unwrap()
    }

    #[test]
    fn each_policy_covers_what_the_specification_says() {
        for (text, policy, uri, covered) in [
            ("com.shop", Match::Exact, "com.shop", true),
            ("com.shop", Match::Exact, "com.shop.x", false),
            ("com.shop", Match::Prefix, "com.shop", true),
            ("com.shop", Match::Prefix, "com.shopping.list", true),
            ("com.shop.", Match::Prefix, "com.shop.list", true),
            ("com.shop.", Match::Prefix, "com.shop", false),
            ("com..created", Match::Wildcard, "com.order.created", true),
            ("com..created", Match::Wildcard, "com.a.b.created", false),
            ("com..created", Match::Wildcard, "com.created", false),
            ("com.order.", Match::Wildcard, "com.order.created", true),
            ("com.order.", Match::Wildcard, "com.order", false),
            (".order.", Match::Wildcard, "com.order.created", true),
            ("com.order", Match::Wildcard, "com.order.created", false),
        ] {
            assert_eq!(
                pattern(text, policy).covers(uri),
                covered,
                "{text} ({}) and {uri}",
                policy.name()
            );
        }
    }

    #[test]
    fn only_wildcards_have_empty_components() {
        for (text, policy, is_valid) in [
            ("com..x", Match::Exact, false),
            ("com..x", Match::Prefix, false),
            ("com..x", Match::Wildcard, true),
            ("com.x.", Match::Exact, false),
            ("com.x.", Match::Prefix, true),
            ("", Match::Prefix, false),
            ("com. .x", Match::Wildcard, false),
        ] {
            let parsed = UriPattern::parse(text, policy, UriCheck::Loose);
            assert_eq!(parsed.is_ok(), is_valid, "{text} ({})", policy.name());
        }
    }

    #[test]
    fn names_go_both_ways() {
        for policy in Match::ALL {
            assert_eq!(Match::from_name(policy.name()), Some(policy));
        }
        assert_eq!(Match::from_name("regex"), None);
    }
}
