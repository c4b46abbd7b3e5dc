//! Who subscribes to which topics, and whom an event reaches.

use std::collections::HashSet;

use super::directory::{Directory, Kind};
use super::retained::Retained;
use crate::value::{Map, Value};
use crate::wamp::id::{SessionId, SubscriptionId};

/// The subscriptions and the retained events of a realm.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) subscriptions: Directory<Subscription>,
    pub(super) retained: Retained,
}

/// What a subscription is: its pattern and its subscribers, and nothing more.
#[derive(Debug)]
pub(super) struct Subscription;

impl Kind for Subscription {
    type Id = SubscriptionId;
    type Rule = ();
    type Member = ();
}

/// Whom PUBLISH's options leave out.
///
/// Reference: WAMP Advanced Profile, "Publisher Exclusion" and "Subscriber Black- and Whitelisting".
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Audience {
    /// The publisher, unless it wants to hear itself.
    excluded_publisher: Option<SessionId>,
    sessions: Listed<u64>,
    authids: Listed<String>,
    authroles: Listed<String>,
}

/// Who is named, by one of a session's names.
#[derive(Debug, PartialEq, Eq)]
struct Listed<T: Eq + std::hash::Hash> {
    exclude: HashSet<T>,
    /// None: everybody.
    eligible: Option<HashSet<T>>,
}

impl Audience {
    pub(super) fn new(publisher: SessionId, options: &Map) -> Self {
        let excludes_publisher = options.get("exclude_me").and_then(Value::as_bool) != Some(false);
        let text = |value: &Value| value.as_text().map(str::to_owned);
        Self {
            excluded_publisher: excludes_publisher.then_some(publisher),
            sessions: Listed::new(options, "exclude", "eligible", Value::as_u64),
            authids: Listed::new(options, "exclude_authid", "eligible_authid", text),
            authroles: Listed::new(options, "exclude_authrole", "eligible_authrole", text),
        }
    }

    /// Returns whether it is everybody, but for the publisher.
    pub(super) fn is_general(&self) -> bool {
        let Self {
            excluded_publisher: _,
            sessions,
            authids,
            authroles,
        } = self;
        sessions.is_everybody() && authids.is_everybody() && authroles.is_everybody()
    }

    /// Returns what the names take in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let ids = self.sessions.names().count() * 2 * size_of::<u64>();
        let texts = self.authids.names().chain(self.authroles.names());
        ids + texts
            .map(|name| 2 * size_of::<String>() + name.len())
            .sum::<usize>()
    }

    /// Returns whether a subscriber gets the event.
    pub(super) fn admits(&self, session: SessionId, authid: &str, authrole: &str) -> bool {
        self.excluded_publisher != Some(session)
            && self.sessions.admits(&session.0)
            && self.authids.admits(authid)
            && self.authroles.admits(authrole)
    }
}

impl<T: Eq + std::hash::Hash> Listed<T> {
    /// Sets, as there may be as many names as subscribers.
    fn new(
        options: &Map,
        exclude: &str,
        eligible: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Self {
        let set = |name| {
            let list = options.get(name).and_then(Value::as_list)?;
            Some(list.iter().filter_map(&read).collect())
        };
        Self {
            exclude: set(exclude).unwrap_or_default(),
            eligible: set(eligible),
        }
    }

    fn names(&self) -> impl Iterator<Item = &T> {
        self.exclude.iter().chain(self.eligible.iter().flatten())
    }

    fn is_everybody(&self) -> bool {
        self.exclude.is_empty() && self.eligible.is_none()
    }

    fn admits<Q: Eq + std::hash::Hash + ?Sized>(&self, name: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        !self.exclude.contains(name) && self.eligible.as_ref().is_none_or(|set| set.contains(name))
    }
}

impl<T: Eq + std::hash::Hash> Default for Listed<T> {
    fn default() -> Self {
        Self {
            exclude: HashSet::new(),
            eligible: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    #[test]
    fn lists_exclude_and_admit() {
        let admits = |options: &str| {
            let options = crate::value::json::from_json(options.as_bytes()).unwrap();
            let Value::Map(options) = options else {
                panic!("no map");
            };
            let audience = Audience::new(A, &options);
            [
                audience.admits(A, "ann", "user"),
                audience.admits(B, "bob", "guest"),
            ]
        };
        assert_eq!(admits("{}"), [false, true]);
        assert_eq!(admits(r#"{"exclude_me": true}"#), [false, true]);
        for (options, admitted) in [
            (r#""a": 1"#, [true, true]),
            (r#""exclude": [2]"#, [true, false]),
            (r#""exclude": []"#, [true, true]),
            (r#""exclude_authid": ["ann"]"#, [false, true]),
            (r#""exclude_authrole": ["guest"]"#, [true, false]),
            (r#""eligible": [2]"#, [false, true]),
            (r#""eligible": []"#, [false, false]),
            (
                r#""eligible": [1, 2], "exclude_authid": ["bob"]"#,
                [true, false],
            ),
            (r#""eligible_authid": ["bob"]"#, [false, true]),
            (r#""eligible_authrole": ["user"]"#, [true, false]),
        ] {
            let options = format!(r#"{{"exclude_me": false, {options}}}"#);
            assert_eq!(admits(&options), admitted, "{options}");
        }
    }
}
