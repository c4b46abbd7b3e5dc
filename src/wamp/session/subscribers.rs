//! Who gets which event. A router gives one subscription to all who ask for the same topic in one
//! session, so it is left only when the last of them is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::uri::UriPattern;
use crate::value::{Map, Value};
use crate::wamp::id::{PublicationId, SessionId, SubscriptionId};
use crate::wamp::message::Payload;
use crate::wamp::session::request::Alive;

/// One event of a subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The publication's id.
    pub publication: PublicationId,
    /// What it was published to. For a pattern it is what the broker names in the details; the
    /// pattern's own text, if it names nothing.
    pub topic: Arc<str>,
    /// All that the broker adds.
    pub details: Map,
    /// The event's arguments.
    pub payload: Payload,
}

impl Event {
    /// Returns the publisher's session, where the broker discloses it.
    pub fn publisher(&self) -> Option<SessionId> {
        self.details
            .get("publisher")
            .and_then(Value::as_u64)
            .map(SessionId)
    }

    /// Returns who the publisher is, where the broker discloses it.
    pub fn publisher_authid(&self) -> Option<&str> {
        self.details
            .get("publisher_authid")
            .and_then(Value::as_text)
    }

    /// Returns the publisher's role, where the broker discloses it.
    pub fn publisher_authrole(&self) -> Option<&str> {
        self.details
            .get("publisher_authrole")
            .and_then(Value::as_text)
    }

    /// Returns whether the event was published before the subscription was made, and kept.
    pub fn is_retained(&self) -> bool {
        self.details
            .get("retained")
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }
}

/// The sending end of one subscriber's queue.
#[derive(Debug)]
pub(crate) struct EventSink {
    pub(crate) key: u64,
    pub(crate) queue: mpsc::Sender<Event>,
    pub(crate) dropped: Arc<AtomicU64>,
    /// Dropped with the subscription, whoever ends it: who waits for that holds the other end.
    pub(crate) _alive: Alive,
}

#[derive(Debug)]
struct Entry {
    pattern: UriPattern,
    sinks: Vec<EventSink>,
}

/// The subscriptions of one session.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    // INVARIANT: each has a sink.
    entries: HashMap<SubscriptionId, Entry>,
}

impl Subscribers {
    pub(super) fn add(&mut self, id: SubscriptionId, pattern: UriPattern, sink: EventSink) {
        let sinks = Vec::new();
        let entry = self.entries.entry(id).or_insert(Entry { pattern, sinks });
        entry.sinks.push(sink);
    }

    /// Takes one subscriber out. If it was the last, returns what the subscription was for, which
    /// now is to be left.
    pub(super) fn remove(&mut self, id: SubscriptionId, key: u64) -> Option<UriPattern> {
        let entry = self.entries.get_mut(&id)?;
        entry.sinks.retain(|sink| sink.key != key);
        if !entry.sinks.is_empty() {
            return None;
        }
        self.entries.remove(&id).map(|entry| entry.pattern)
    }

    /// Forgets a subscription that the router took away: its streams end.
    pub(super) fn revoke(&mut self, id: SubscriptionId) {
        self.entries.remove(&id);
    }

    pub(super) fn has(&self, id: SubscriptionId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Ends all streams.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Gives an event to all who subscribed. Returns how many did not get it: a full queue loses
    /// the newest event, since waiting would hold up every other request of the session.
    pub(super) fn deliver(
        &self,
        id: SubscriptionId,
        publication: PublicationId,
        details: Map,
        payload: Payload,
    ) -> usize {
        let Some(entry) = self.entries.get(&id) else {
            return 1;
        };
        let named = details.get("topic").and_then(Value::as_text);
        let topic = entry.pattern.matched(named);
        let event = Event {
            publication,
            topic,
            details,
            payload,
        };
        let Some((last, others)) = entry.sinks.split_last() else {
            return 1;
        };
        let mut lost = 0;
        for sink in others {
            lost += sink.give(event.clone());
        }
        lost + last.give(event)
    }
}

impl EventSink {
    fn give(&self, event: Event) -> usize {
        match self.queue.try_send(event) {
            Ok(()) => 0,
            Err(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::{Match, UriCheck};
    use crate::wamp::session::request::lifetime;

    const ID: SubscriptionId = SubscriptionId(7);

    fn topic() -> UriPattern {
        UriPattern::parse("com.example.topic", Match::Exact, UriCheck::Loose).unwrap()
    }

    fn sink(key: u64, capacity: usize) -> (EventSink, mpsc::Receiver<Event>) {
        let (queue, receiver) = mpsc::channel(capacity);
        let sink = EventSink {
            key,
            queue,
            dropped: Arc::default(),
            _alive: lifetime().0,
        };
        (sink, receiver)
    }

    fn deliver(subscribers: &Subscribers) -> usize {
        subscribers.deliver(ID, PublicationId(1), Map::new(), Payload::default())
    }

    #[test]
    fn each_subscriber_of_a_topic_gets_the_event_and_a_full_queue_loses_it() {
        let mut subscribers = Subscribers::default();
        let (wide, mut wide_events) = sink(1, 2);
        let (narrow, mut narrow_events) = sink(2, 1);
        let dropped = narrow.dropped.clone();
        subscribers.add(ID, topic(), wide);
        subscribers.add(ID, topic(), narrow);
        assert_eq!(deliver(&subscribers), 0);
        assert_eq!(deliver(&subscribers), 1);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        assert_eq!(wide_events.len(), 2);
        assert_eq!(narrow_events.len(), 1);
        let event = wide_events.try_recv().unwrap();
        assert_eq!(&*event.topic, "com.example.topic");
        assert!(narrow_events.try_recv().is_ok());
    }

    #[test]
    fn a_subscription_is_left_when_its_last_subscriber_goes() {
        let mut subscribers = Subscribers::default();
        subscribers.add(ID, topic(), sink(1, 1).0);
        subscribers.add(ID, topic(), sink(2, 1).0);
        assert_eq!(subscribers.remove(ID, 1), None);
        assert_eq!(subscribers.remove(ID, 2), Some(topic()));
        assert_eq!(subscribers.remove(ID, 2), None);
        assert_eq!(deliver(&subscribers), 1, "counted as lost");
    }
}
