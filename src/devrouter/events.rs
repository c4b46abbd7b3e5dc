//! What a realm does about topics: SUBSCRIBE, PUBLISH and the events that follow.

use bytes::Bytes;

use super::broker::Audience;
use super::options::{is_set, unsupported};
use super::realm::{State, option_text};
use crate::value::Map;
use crate::wamp::id::{MAX_ID, PublicationId, RequestId, SessionId, SubscriptionId};
use crate::wamp::message::{Message, Payload, code};
use crate::wamp::serializer::Serializer;

impl State {
    pub(super) fn subscribe(
        &mut self,
        session: SessionId,
        request: RequestId,
        options: &Map,
        topic: String,
    ) {
        if let Some(option) = unsupported(code::SUBSCRIBE, options) {
            return self.refuse_option(session, code::SUBSCRIBE, request, option);
        }
        if self.broker.count(session) >= self.limits.entries {
            let text = format!("you have {} subscriptions already", self.limits.entries);
            let error = "wamp.error.unavailable";
            return self.refuse(session, code::SUBSCRIBE, request, error, text);
        }
        let subscription = self.broker.subscribe(session, topic);
        self.send(
            session,
            &Message::Subscribed {
                request,
                subscription,
            },
        );
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
        let refused = if let Some(option) = unsupported(code::PUBLISH, options) {
            Some(("wamp.error.option_not_allowed", option_text(option)))
        } else if topic.starts_with("wamp.") {
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
        let publication = PublicationId(fastrand::u64(1..=MAX_ID));
        self.deliver(session, publication, options, topic, payload);
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

    fn deliver(
        &self,
        publisher: SessionId,
        publication: PublicationId,
        options: &Map,
        topic: &str,
        payload: Payload,
    ) {
        let Some((subscription, subscribers)) = self.broker.subscribers(topic) else {
            return;
        };
        let mut details = Map::new();
        if is_set(options, "disclose_me") {
            self.disclose(publisher, "publisher", &mut details);
        }
        let event = Message::Event {
            subscription,
            publication,
            details,
            payload,
        };
        let audience = Audience::new(publisher, options);
        // The same bytes for all who share a serializer.
        let mut frames: [Option<(Serializer, Result<Bytes, String>)>; 3] = [const { None }; 3];
        for id in subscribers {
            let Some(subscriber) = self.sessions.get(&id) else {
                continue;
            };
            if !audience.admits(id, &subscriber.authid, &subscriber.authrole) {
                continue;
            }
            let outbox = &subscriber.outbox;
            let slot = frames
                .iter_mut()
                .find(|slot| slot.as_ref().is_none_or(|(of, _)| *of == outbox.serializer));
            let Some(slot) = slot else { continue };
            let (_, frame) = slot.get_or_insert_with(|| (outbox.serializer, outbox.encode(&event)));
            match frame {
                Ok(frame) => outbox.push(frame.clone()),
                Err(text) => tracing::debug!(
                    session.id = id.0,
                    "embedded router cannot deliver an event: {text}"
                ),
            }
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        session: SessionId,
        request: RequestId,
        subscription: SubscriptionId,
    ) {
        if self.broker.unsubscribe(session, subscription) {
            let details = Map::new();
            self.send(session, &Message::Unsubscribed { request, details });
        } else {
            let error = "wamp.error.no_such_subscription";
            let text = format!("you have no subscription {subscription}");
            self.refuse(session, code::UNSUBSCRIBE, request, error, text);
        }
    }
}
