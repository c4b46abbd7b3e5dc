//! The last event of each topic, for those who subscribe later and ask for it.
//!
//! A topic keeps one event for everybody, the last one, and those that came after it for some only:
//! one per audience. So each subscriber gets the most recent one that it would have received. How
//! many there are and how much they weigh is bounded; beyond it, what was kept first is forgotten,
//! which the specification allows ("best effort").
//!
//! Reference: WAMP Advanced Profile, "Event Retention".

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::DevRouterConfig;
use super::broker::Audience;
use crate::uri::{Match, UriPattern};
use crate::value::{Map, Value};
use crate::wamp::id::PublicationId;
use crate::wamp::message::Payload;

/// What an event takes beside what it says.
const EVENT_BYTES: usize = 256;

/// The retained events of a realm.
#[derive(Debug)]
pub(super) struct Retained {
    max_events: usize,
    max_bytes: usize,
    /// Ordered, so that those that begin alike lie together. The events of each by their age; there
    /// is at least one.
    topics: BTreeMap<Arc<str>, BTreeMap<u64, Stored>>,
    /// The topic of each event, the oldest first.
    ages: BTreeMap<u64, Arc<str>>,
    last_age: u64,
    bytes: usize,
}

/// A retained event, with whom it was meant for.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) publication: PublicationId,
    pub(super) details: Map,
    pub(super) payload: Payload,
    pub(super) audience: Audience,
}

#[derive(Debug)]
struct Stored {
    bytes: usize,
    event: Kept,
}

impl Retained {
    pub(super) fn new(config: &DevRouterConfig) -> Self {
        Self {
            max_events: config.max_retained_events,
            max_bytes: config.max_retained_bytes,
            topics: BTreeMap::new(),
            ages: BTreeMap::new(),
            last_age: 0,
            bytes: 0,
        }
    }

    /// Keeps an event instead of those that it supersedes.
    pub(super) fn keep(&mut self, topic: &str, event: Kept) {
        let is_general = event.audience.is_general();
        // Also if this one turns out to be too large: what is out of date is worse than nothing.
        self.supersede(topic, |other| is_general || *other == event.audience);
        let bytes = EVENT_BYTES + topic.len() + event.bytes();
        if bytes > self.max_bytes || self.max_events == 0 {
            tracing::debug!("embedded router cannot retain an event of {bytes} bytes");
            return;
        }
        self.last_age += 1;
        let (age, topic) = (self.last_age, Arc::<str>::from(topic));
        self.bytes += bytes;
        self.ages.insert(age, Arc::clone(&topic));
        let stored = Stored { bytes, event };
        self.topics.entry(topic).or_default().insert(age, stored);
        // Ends with this one at the latest, which fits alone.
        while self.ages.len() > self.max_events || self.bytes > self.max_bytes {
            let Some((age, topic)) = self.ages.pop_first() else {
                return;
            };
            if let Some(events) = self.topics.get_mut(&topic) {
                self.bytes -= events.remove(&age).map_or(0, |gone| gone.bytes);
                if events.is_empty() {
                    self.topics.remove(&topic);
                }
            }
        }
    }

    /// Forgets the events of a topic for these audiences.
    fn supersede(&mut self, topic: &str, is_meant: impl Fn(&Audience) -> bool) {
        let Some(events) = self.topics.get_mut(topic) else {
            return;
        };
        for (age, gone) in events.extract_if(.., |_, it| is_meant(&it.event.audience)) {
            self.ages.remove(&age);
            self.bytes -= gone.bytes;
        }
        if events.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// Returns, for each topic that a pattern covers, the last event for somebody.
    pub(super) fn covered<'a>(
        &'a self,
        pattern: &'a UriPattern,
        admits: impl Fn(&Audience) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a str, &'a Kept)> {
        let text = pattern.as_str();
        // What all topics that it covers begin with.
        let lead = match pattern.policy() {
            Match::Exact | Match::Prefix => text,
            Match::Wildcard if text.starts_with('.') => "",
            Match::Wildcard => text.find("..").map_or(text, |at| &text[..=at]),
        };
        self.topics
            .range::<str, _>((Bound::Included(lead), Bound::Unbounded))
            .take_while(move |(topic, _)| {
                topic.starts_with(lead)
                    && (pattern.policy() != Match::Exact || topic.as_ref() == lead)
            })
            .filter(|(topic, _)| pattern.covers(topic))
            .filter_map(move |(topic, events)| {
                let newest = events.values().rev();
                let event = newest.map(|it| &it.event).find(|it| admits(&it.audience))?;
                Some((&**topic, event))
            })
    }
}

impl Kept {
    /// Returns what the event takes in memory, about.
    fn bytes(&self) -> usize {
        let Self {
            publication: _,
            details,
            payload,
            audience,
        } = self;
        let args = payload.args().iter().map(bytes_of).sum::<usize>();
        bytes_of_map(details) + args + bytes_of_map(payload.kwargs()) + audience.bytes()
    }
}

fn bytes_of(value: &Value) -> usize {
    let beyond = match value {
        Value::Null | Value::Bool(_) | Value::I64(_) | Value::U64(_) | Value::F64(_) => 0,
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(bytes_of).sum(),
        Value::Map(map) => bytes_of_map(map),
    };
    size_of::<Value>() + beyond
}

fn bytes_of_map(map: &Map) -> usize {
    // The key, its hash, and its place in the table.
    let overhead = size_of::<String>() + 2 * size_of::<u64>();
    let entries = map.iter();
    entries
        .map(|(key, value)| overhead + key.len() + bytes_of(value))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::UriCheck;
    use crate::wamp::id::SessionId;

    const PUBLISHER: SessionId = SessionId(1);

    fn retained(max_events: usize, max_bytes: usize) -> Retained {
        Retained::new(&DevRouterConfig {
            max_retained_events: max_events,
            max_retained_bytes: max_bytes,
            ..DevRouterConfig::default()
        })
    }

    fn event(number: u64, options: &str, payload: usize) -> Kept {
        let options = crate::value::json::from_json(options.as_bytes()).unwrap();
        let args = vec![Value::Text("x".repeat(payload))];
        Kept {
            publication: PublicationId(number),
            details: Map::new(),
            payload: Payload::new(args, Map::new()),
            audience: Audience::new(PUBLISHER, options.as_map().unwrap()),
        }
    }

    fn heard(retained: &Retained, pattern: &str, policy: Match, session: u64) -> Vec<u64> {
        let pattern = UriPattern::parse(pattern, policy, UriCheck::Loose).unwrap();
        let admits = |audience: &Audience| audience.admits(SessionId(session), "", "");
        let covered = retained.covered(&pattern, admits);
        covered.map(|(_, kept)| kept.publication.0).collect()
    }

    #[test]
    fn each_subscriber_gets_the_last_event_that_was_meant_for_it() {
        let mut retained = retained(100, 1 << 20);
        let last = |retained: &Retained, session| heard(retained, "a.b", Match::Exact, session);
        retained.keep("a.b", event(1, "{}", 1));
        retained.keep("a.b", event(2, r#"{"eligible": [2]}"#, 1));
        retained.keep("a.b", event(3, r#"{"exclude": [3]}"#, 1));
        retained.keep("a.b", event(4, r#"{"eligible": [2]}"#, 1));
        assert_eq!(last(&retained, 1), [0; 0], "the publisher");
        assert_eq!(last(&retained, 2), [4]);
        assert_eq!(last(&retained, 3), [1]);
        assert_eq!(last(&retained, 4), [3]);
        assert_eq!(retained.ages.len(), 3);
        retained.keep("a.b", event(5, r#"{"exclude_me": false}"#, 1));
        for session in 1..=4 {
            assert_eq!(last(&retained, session), [5]);
        }
        assert_eq!(retained.ages.len(), 1);
    }

    #[test]
    fn a_pattern_gets_one_event_of_each_topic_that_it_covers() {
        let mut retained = retained(100, 1 << 20);
        let topics = ["a", "a.b", "a.b.c", "a.bb", "a.c.c", "b", "b.c"];
        for (number, topic) in (1..).zip(topics) {
            retained.keep(topic, event(number, "{}", 1));
        }
        for policy in Match::ALL {
            for text in [
                "a", "a.b", "a.", "b", "a.b.c", "a..c", ".b", "..c", ".", "x",
            ] {
                let Ok(pattern) = UriPattern::parse(text, policy, UriCheck::Loose) else {
                    continue;
                };
                let naive = (1..).zip(topics).filter(|(_, topic)| pattern.covers(topic));
                let naive = naive.map(|(number, _)| number).collect::<Vec<u64>>();
                assert_eq!(heard(&retained, text, policy, 2), naive, "{pattern:?}");
            }
        }
    }

    #[test]
    fn number_and_weight_are_bounded_and_the_oldest_go_first() {
        let mut few = retained(2, 1 << 20);
        for (number, topic) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
            few.keep(topic, event(number, "{}", 1));
        }
        // A blank for its only component.
        let all = |retained: &Retained| heard(retained, "", Match::Wildcard, 2);
        assert_eq!(all(&few), [3, 4]);

        let mut light = retained(100, 2000);
        light.keep("a", event(1, "{}", 500));
        light.keep("b", event(2, "{}", 500));
        light.keep("c", event(3, "{}", 500));
        assert_eq!(all(&light), [2, 3]);
        // Too heavy for itself: the one before it goes all the same, the others stay.
        light.keep("b", event(4, "{}", 5000));
        assert_eq!(all(&light), [3]);
        light.keep("c", event(5, "{}", 1200));
        assert_eq!(all(&light), [5]);
        light.supersede("c", |_| true);
        assert!(light.topics.is_empty() && light.ages.is_empty() && light.bytes == 0);
    }
}
