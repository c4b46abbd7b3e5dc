//! Who subscribes to which topic, and whom an event reaches.

use std::collections::{HashMap, HashSet};

use indexmap::IndexSet;

use crate::value::{Map, Value};
use crate::wamp::id::{SessionId, SubscriptionId};

/// The subscriptions of a realm: one per topic, shared by its subscribers.
#[derive(Debug, Default)]
pub(super) struct Broker {
    topics: HashMap<String, Subscription>,
    names: HashMap<SubscriptionId, String>,
    of_session: HashMap<SessionId, HashSet<SubscriptionId>>,
    last_id: u64,
}

#[derive(Debug)]
struct Subscription {
    id: SubscriptionId,
    /// In the order in which they came, which is the order of delivery.
    subscribers: IndexSet<SessionId>,
}

impl Broker {
    /// Subscribes a session, or finds that it is subscribed.
    pub(super) fn subscribe(&mut self, session: SessionId, topic: String) -> SubscriptionId {
        let subscription = self.topics.entry(topic.clone()).or_insert_with(|| {
            // Router scope: any numbering will do. Small ones survive clients that keep numbers
            // beyond 32 bits as doubles.
            self.last_id += 1;
            let id = SubscriptionId(self.last_id);
            self.names.insert(id, topic);
            Subscription {
                id,
                subscribers: IndexSet::new(),
            }
        });
        subscription.subscribers.insert(session);
        self.of_session
            .entry(session)
            .or_default()
            .insert(subscription.id);
        subscription.id
    }

    /// Returns how many subscriptions a session has.
    pub(super) fn count(&self, session: SessionId) -> usize {
        self.of_session.get(&session).map_or(0, HashSet::len)
    }

    /// Ends a session's subscription; `false` if it has none of that id.
    pub(super) fn unsubscribe(&mut self, session: SessionId, id: SubscriptionId) -> bool {
        let has_it = self
            .of_session
            .get_mut(&session)
            .is_some_and(|own| own.remove(&id));
        if has_it {
            self.forget(session, id);
        }
        has_it
    }

    /// Ends all subscriptions of a session.
    pub(super) fn leave(&mut self, session: SessionId) {
        for id in self.of_session.remove(&session).unwrap_or_default() {
            self.forget(session, id);
        }
    }

    fn forget(&mut self, session: SessionId, id: SubscriptionId) {
        let Some(topic) = self.names.get(&id) else {
            return;
        };
        let Some(subscription) = self.topics.get_mut(topic) else {
            return;
        };
        subscription.subscribers.shift_remove(&session);
        if subscription.subscribers.is_empty() {
            self.topics.remove(topic);
            self.names.remove(&id);
        }
    }

    /// Returns a topic's subscription and its subscribers.
    pub(super) fn subscribers(
        &self,
        topic: &str,
    ) -> Option<(SubscriptionId, impl Iterator<Item = SessionId>)> {
        self.topics
            .get(topic)
            .map(|it| (it.id, it.subscribers.iter().copied()))
    }
}

/// Whom PUBLISH's options leave out.
///
/// Reference: WAMP Advanced Profile, "Publisher Exclusion" and "Subscriber Black- and Whitelisting".
#[derive(Debug)]
pub(super) struct Audience<'a> {
    publisher: SessionId,
    excludes_publisher: bool,
    options: &'a Map,
}

impl<'a> Audience<'a> {
    pub(super) fn new(publisher: SessionId, options: &'a Map) -> Self {
        Self {
            publisher,
            excludes_publisher: options.get("exclude_me").and_then(Value::as_bool) != Some(false),
            options,
        }
    }

    /// Returns whether a subscriber gets the event.
    pub(super) fn admits(&self, session: SessionId, authid: &str, authrole: &str) -> bool {
        if session == self.publisher && self.excludes_publisher {
            return false;
        }
        let id = Value::from(session.0);
        let [authid, authrole] = [authid, authrole].map(Value::from);
        let lists = |name, value: &Value| {
            self.options
                .get(name)
                .and_then(Value::as_list)
                .map(|list| list.contains(value))
        };
        [
            ("exclude", "eligible", &id),
            ("exclude_authid", "eligible_authid", &authid),
            ("exclude_authrole", "eligible_authrole", &authrole),
        ]
        .into_iter()
        .all(|(exclude, eligible, value)| {
            lists(exclude, value) != Some(true) && lists(eligible, value) != Some(false)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    #[test]
    fn one_subscription_per_topic_ends_with_its_last_subscriber() {
        let mut broker = Broker::default();
        let id = broker.subscribe(A, "t".to_owned());
        assert_eq!(broker.subscribe(A, "t".to_owned()), id);
        assert_eq!(broker.subscribe(B, "t".to_owned()), id);
        assert_eq!(broker.count(A), 1);
        assert!(broker.unsubscribe(A, id));
        assert!(!broker.unsubscribe(A, id));
        let (_, subscribers) = broker.subscribers("t").unwrap();
        assert_eq!(subscribers.collect::<Vec<_>>(), [B]);
        broker.leave(B);
        assert!(broker.subscribers("t").is_none());
        assert!(broker.names.is_empty() && broker.topics.is_empty());
    }

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
