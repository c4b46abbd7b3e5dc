//! What a realm does about topics: SUBSCRIBE, PUBLISH and the events that follow.

use bytes::Bytes;

use super::broker::{Audience, Subscription};
use super::connection::Refusal;
use super::options::{custom, is_set};
use super::realm::{RESERVED, State, option_text, pattern};
use super::retained::Kept;
use super::session::Session;
use crate::uri::Match;
use crate::value::{Map, Value};
use crate::wamp::id::{MAX_ID, PublicationId, RequestId, SessionId, SubscriptionId};
use crate::wamp::message::{Message, Payload, code};
use crate::wamp::serializer::Serializer;

const SERIALIZERS: usize = Serializer::ALL.len();

impl State {
    pub(super) fn subscribe(
        &mut self,
        session: SessionId,
        request: RequestId,
        options: &Map,
        topic: &str,
    ) {
        if let Some(option) = self.unsupported(session, code::SUBSCRIBE, options) {
            return self.refuse_option(session, code::SUBSCRIBE, request, option);
        }
        let pattern = match pattern(options, topic) {
            Ok(pattern) => pattern,
            Err(text) => {
                let error = "wamp.error.invalid_uri";
                return self.refuse(session, code::SUBSCRIBE, request, error, text);
            }
        };
        let subscriptions = &mut self.broker.subscriptions;
        let found = subscriptions.id(pattern.policy(), pattern.as_str());
        let is_member = found.is_some_and(|id| subscriptions.has(session, id));
        if !is_member && subscriptions.count(session) >= self.limits.entries {
            let text = format!("you have {} subscriptions already", self.limits.entries);
            let error = "wamp.error.unavailable";
            return self.refuse(session, code::SUBSCRIBE, request, error, text);
        }
        let subscription = match found {
            Some(id) => {
                subscriptions.join(id, session, ());
                id
            }
            None => subscriptions.create(pattern, (), session, ()),
        };
        self.send(
            session,
            &Message::Subscribed {
                request,
                subscription,
            },
        );
        if is_set(options, "get_retained") {
            self.replay(session, subscription);
        }
        if !is_member {
            self.announce_joining::<Subscription>(session, subscription, found.is_none());
        }
    }

    pub(super) fn publish(
        &mut self,
        session: SessionId,
        request: RequestId,
        options: &Map,
        topic: &str,
        payload: Payload,
    ) {
        let is_acknowledged = is_set(options, "acknowledge");
        let refused = if let Some(option) = self.unsupported(session, code::PUBLISH, options) {
            Some(("wamp.error.option_not_allowed", option_text(option)))
        } else if topic.starts_with(RESERVED) {
            let text = "`wamp.` is the protocol's own".to_owned();
            Some(("wamp.error.invalid_uri", text))
        } else {
            None
        };
        if let Some((error, text)) = refused {
            // Who did not ask to be told is not told.
            if is_acknowledged {
                self.refuse(session, code::PUBLISH, request, error, text);
            }
            return;
        }
        let publication = new_publication();
        let mut details: Map = custom(options).collect();
        let is_wanted = is_set(options, "disclose_me");
        self.disclose(session, options, is_wanted, "publisher", &mut details);
        let audience = Audience::new(session, options);
        let retained = is_set(options, "retain").then(|| (details.clone(), payload.clone()));
        self.deliver(publication, topic, details, payload, |id, session| {
            audience.admits(id, &session.authid, &session.authrole)
        });
        if let Some((details, payload)) = retained {
            let event = Kept {
                publication,
                details,
                payload,
                audience,
            };
            self.broker.retained.keep(topic, event);
        }
        if is_acknowledged {
            self.send(
                session,
                &Message::Published {
                    request,
                    publication,
                },
            );
        }
    }

    /// Publishes an event of the router's own. It is made only if somebody is there to hear it.
    pub(super) fn announce(&self, topic: &str, args: impl FnOnce() -> Vec<Value>) {
        if self.broker.subscriptions.covering(topic).next().is_some() {
            let payload = Payload::new(args(), Map::new());
            self.deliver(new_publication(), topic, Map::new(), payload, |_, _| true);
        }
    }

    /// Sends an event to all who subscribe to its topic, once for each matching subscription.
    fn deliver(
        &self,
        publication: PublicationId,
        topic: &str,
        details: Map,
        payload: Payload,
        admits: impl Fn(SessionId, &Session) -> bool,
    ) {
        let mut event = Message::Event {
            subscription: SubscriptionId(0),
            publication,
            details,
            payload,
        };
        for id in self.broker.subscriptions.covering(topic) {
            let Some(entry) = self.broker.subscriptions.entry(id) else {
                continue;
            };
            if let Message::Event {
                subscription,
                details,
                ..
            } = &mut event
            {
                *subscription = id;
                // The exact subscription comes first, and is not told.
                if entry.pattern.policy() != Match::Exact {
                    details.insert("topic".to_owned(), Value::from(topic));
                }
            }
            // The same bytes for all who share a serializer.
            let mut frames: [Option<(Serializer, Result<Bytes, Refusal>)>; SERIALIZERS] =
                [const { None }; SERIALIZERS];
            for id in entry.members.keys() {
                let Some(subscriber) = self.sessions.get(id) else {
                    continue;
                };
                // To one that has too much to read, many subscriptions and a long event would be
                // much work for nothing, while the realm waits.
                if subscriber.outbox.is_dismissed() || !admits(*id, subscriber) {
                    continue;
                }
                let outbox = &subscriber.outbox;
                let slot = frames
                    .iter_mut()
                    .find(|slot| slot.as_ref().is_none_or(|(of, _)| *of == outbox.serializer));
                let Some(slot) = slot else { continue };
                let (_, frame) =
                    slot.get_or_insert_with(|| (outbox.serializer, outbox.encode(&event)));
                match frame {
                    Ok(frame) => outbox.push(frame.clone()),
                    Err((_, text)) => tracing::debug!(
                        session.id = id.0,
                        "embedded router cannot deliver an event: {text}"
                    ),
                }
            }
        }
    }

    /// Sends a new subscriber, for each topic of its subscription, the last event that was to be
    /// retained and that it would have received.
    ///
    /// Reference: WAMP Advanced Profile, "Event Retention".
    fn replay(&self, session: SessionId, subscription: SubscriptionId) {
        let Some(subscriber) = self.sessions.get(&session) else {
            return;
        };
        let Some(entry) = self.broker.subscriptions.entry(subscription) else {
            return;
        };
        let admits = |audience: &Audience| {
            audience.admits(session, &subscriber.authid, &subscriber.authrole)
        };
        for (topic, kept) in self.broker.retained.covered(&entry.pattern, admits) {
            let mut details = kept.details.clone();
            if entry.pattern.policy() != Match::Exact {
                details.insert("topic".to_owned(), Value::from(topic));
            }
            details.insert("retained".to_owned(), Value::Bool(true));
            self.send(
                session,
                &Message::Event {
                    subscription,
                    publication: kept.publication,
                    details,
                    payload: kept.payload.clone(),
                },
            );
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        session: SessionId,
        request: RequestId,
        subscription: SubscriptionId,
    ) {
        if let Some(parting) = self.broker.subscriptions.part(session, subscription) {
            let details = Map::new();
            self.send(session, &Message::Unsubscribed { request, details });
            self.announce_parting::<Subscription>(session, parting);
        } else {
            let error = "wamp.error.no_such_subscription";
            let text = format!("you have no subscription {subscription}");
            self.refuse(session, code::UNSUBSCRIBE, request, error, text);
        }
    }
}

fn new_publication() -> PublicationId {
    PublicationId(fastrand::u64(1..=MAX_ID))
}
