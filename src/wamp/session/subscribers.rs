//! Who gets which event. A router gives one subscription to all who ask for the same topic in one
//! session, so it is left only when the last of them is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::uri::Uri;
use crate::value::{Map, Value};
use crate::wamp::id::{PublicationId, SubscriptionId};
use crate::wamp::message::Payload;

/// One event of a subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The publication's id.
    pub publication: PublicationId,
    /// What it was published to. Differs from what was subscribed to only for patterns.
    pub topic: String,
    /// What the broker adds.
    pub details: Map,
    /// The event's arguments.
    pub payload: Payload,
}

/// The sending end of one subscriber's queue.
#[derive(Debug)]
pub(crate) struct EventSink {
    pub(crate) key: u64,
    pub(crate) queue: mpsc::Sender<Event>,
    pub(crate) dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Entry {
    topic: Uri,
    sinks: Vec<EventSink>,
}

/// The subscriptions of one session.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    entries: HashMap<SubscriptionId, Entry>,
    // SUBSCRIBEs on their way, by topic. While there is one, an entry without sinks is kept: its
    // answer will name the same subscription, and an UNSUBSCRIBE sent in between would end it.
    asked: HashMap<Uri, usize>,
}

impl Subscribers {
    /// A SUBSCRIBE for `topic` is on its way.
    pub(super) fn ask(&mut self, topic: &Uri) {
        *self.asked.entry(topic.clone()).or_default() += 1;
    }

    /// A SUBSCRIBE for `topic` was answered or given up. Returns the subscription that now has to
    /// be left, if there is one.
    pub(super) fn settle(&mut self, topic: &Uri) -> Option<SubscriptionId> {
        if let Some(count) = self.asked.get_mut(topic) {
            *count -= 1;
            if *count > 0 {
                return None;
            }
            self.asked.remove(topic);
        }
        let unused = self
            .entries
            .iter()
            .find(|(_, entry)| entry.topic == *topic && entry.sinks.is_empty())
            .map(|(id, _)| *id)?;
        self.entries.remove(&unused);
        Some(unused)
    }

    pub(super) fn add(&mut self, id: SubscriptionId, topic: &Uri, sink: EventSink) {
        let entry = self.entries.entry(id).or_insert_with(|| Entry {
            topic: topic.clone(),
            sinks: Vec::new(),
        });
        entry.sinks.push(sink);
    }

    /// Takes one subscriber out. Returns whether the subscription has to be left.
    pub(super) fn remove(&mut self, id: SubscriptionId, key: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        entry.sinks.retain(|sink| sink.key != key);
        if !entry.sinks.is_empty() || self.asked.contains_key(&entry.topic) {
            return false;
        }
        self.entries.remove(&id);
        true
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
        let topic = details
            .get("topic")
            .and_then(Value::as_text)
            .unwrap_or(entry.topic.as_str())
            .to_owned();
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
    use crate::uri::UriCheck;

    const ID: SubscriptionId = SubscriptionId(7);

    fn topic() -> Uri {
        Uri::parse("com.example.topic", UriCheck::Loose).unwrap()
    }

    fn sink(key: u64, capacity: usize) -> (EventSink, mpsc::Receiver<Event>) {
        let (queue, receiver) = mpsc::channel(capacity);
        let sink = EventSink {
            key,
            queue,
            dropped: Arc::default(),
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
        subscribers.add(ID, &topic(), wide);
        subscribers.add(ID, &topic(), narrow);
        assert_eq!(deliver(&subscribers), 0);
        assert_eq!(deliver(&subscribers), 1);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        assert_eq!(wide_events.len(), 2);
        assert_eq!(narrow_events.len(), 1);
        assert_eq!(wide_events.try_recv().unwrap().topic, "com.example.topic");
        assert!(narrow_events.try_recv().is_ok());
    }

    #[test]
    fn a_subscription_is_left_when_its_last_subscriber_goes() {
        let mut subscribers = Subscribers::default();
        subscribers.add(ID, &topic(), sink(1, 1).0);
        subscribers.add(ID, &topic(), sink(2, 1).0);
        assert!(!subscribers.remove(ID, 1));
        assert!(subscribers.remove(ID, 2));
        assert!(!subscribers.remove(ID, 2));
        assert_eq!(deliver(&subscribers), 1, "counted as lost");
    }

    #[test]
    fn a_subscription_is_kept_while_another_subscriber_is_on_the_way() {
        let mut subscribers = Subscribers::default();
        subscribers.add(ID, &topic(), sink(1, 1).0);
        subscribers.ask(&topic());
        assert!(!subscribers.remove(ID, 1));
        let (second, _events) = sink(2, 1);
        subscribers.add(ID, &topic(), second);
        assert_eq!(subscribers.settle(&topic()), None);
        assert_eq!(deliver(&subscribers), 0);

        subscribers.ask(&topic());
        assert!(!subscribers.remove(ID, 2));
        assert_eq!(subscribers.settle(&topic()), Some(ID), "it was refused");
        assert!(!subscribers.has(ID));
    }
}
