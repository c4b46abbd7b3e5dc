//! A session as its realm knows it: who it is, what it can do, and what it is told of the router.

use super::admission::PROVIDER;
use super::options::is_set;
use super::outbox::Outbox;
use crate::value::{Map, Value};
use crate::wamp::id::RequestIds;

/// A session that has joined.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) outbox: Outbox,
    pub(super) authid: String,
    pub(super) authrole: String,
    pub(super) authmethod: &'static str,
    /// Whether it is of this process, and so believed when it says for whom it asks.
    pub(super) is_trusted: bool,
    pub(super) features: Features,
    pub(super) invocations: RequestIds,
}

/// What a session can do as a callee.
#[derive(Debug, Clone, Copy)]
pub(super) struct Features {
    /// It understands INTERRUPT.
    pub(super) can_be_interrupted: bool,
    /// It can keep timeouts itself.
    pub(super) keeps_timeouts: bool,
}

/// What this router does beyond the Basic Profile, by role. Clients act on it.
const FEATURES: [(&str, &[&str]); 2] = [
    (
        "broker",
        &[
            "event_retention",
            "pattern_based_subscription",
            "publisher_exclusion",
            "publisher_identification",
            "session_meta_api",
            "subscriber_blackwhite_listing",
            "subscription_meta_api",
        ],
    ),
    (
        "dealer",
        &[
            "call_canceling",
            "call_timeout",
            "caller_identification",
            "pattern_based_registration",
            "progressive_call_results",
            "registration_meta_api",
            "session_meta_api",
            "shared_registration",
        ],
    ),
];

impl Session {
    /// Returns what WELCOME tells it.
    pub(super) fn welcome(&self, realm: &str) -> Map {
        let roles = FEATURES.map(|(role, names)| {
            let features = names
                .iter()
                .map(|name| ((*name).to_owned(), Value::Bool(true)));
            let features = ("features".to_owned(), Value::Map(features.collect()));
            (role.to_owned(), Value::Map(Map::from_iter([features])))
        });
        let agent = concat!("wampgate-devrouter/", env!("CARGO_PKG_VERSION"));
        let mut details = Map::from_iter([("realm".to_owned(), Value::from(realm))]);
        self.describe(&mut details);
        details.insert("agent".to_owned(), Value::from(agent));
        details.insert("roles".to_owned(), Value::Map(Map::from_iter(roles)));
        details
    }

    /// Tells who it is and how that is known.
    pub(super) fn describe(&self, details: &mut Map) {
        for (key, value) in [
            ("authid", self.authid.as_str()),
            ("authrole", &self.authrole),
            ("authmethod", self.authmethod),
            ("authprovider", PROVIDER),
        ] {
            details.insert(key.to_owned(), Value::from(value));
        }
    }
}

impl Features {
    /// Reads what HELLO announces.
    pub(super) fn announced(hello: &Map) -> Self {
        let features = ["roles", "callee", "features"]
            .iter()
            .try_fold(hello, |map, key| map.get(*key).and_then(Value::as_map));
        let has = |name| features.is_some_and(|features| is_set(features, name));
        Self {
            can_be_interrupted: has("call_canceling"),
            keeps_timeouts: has("call_timeout"),
        }
    }
}
