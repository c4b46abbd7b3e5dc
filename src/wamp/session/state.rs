//! What a session knows, as a pure state machine: messages in, reactions out, no IO and no clock.
//!
//! `T` is what the owner keeps for each request until it is settled. Requests are settled exactly
//! once: by their answer, by being abandoned, or by the end of the session. After an abandonment a
//! tombstone swallows the answer, which may come late or never: routers do not always answer a
//! CANCEL.

use std::collections::HashMap;

use crate::value::{Map, Value};
use crate::wamp::error::{ApplicationError, SessionError, clipped, uris};
use crate::wamp::id::{PublicationId, RegistrationId, RequestId, RequestIds, SubscriptionId};
use crate::wamp::message::{Message, Payload, code};
use crate::wamp::options::CancelMode;
use crate::wamp::serializer::DecodeError;
use crate::wamp::session::tombstones::Tombstones;

/// The kind of a request; it decides which answers are for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    /// One that takes progressive results too.
    ProgressiveCall,
    Publish,
    Subscribe,
    Unsubscribe,
    Register,
    Unregister,
}

impl Kind {
    fn is_call(self) -> bool {
        matches!(self, Kind::Call | Kind::ProgressiveCall)
    }

    /// Returns the message code of the request, as ERROR names it.
    fn code(self) -> u64 {
        match self {
            Kind::Publish => code::PUBLISH,
            Kind::Subscribe => code::SUBSCRIBE,
            Kind::Unsubscribe => code::UNSUBSCRIBE,
            Kind::Call | Kind::ProgressiveCall => code::CALL,
            Kind::Register => code::REGISTER,
            Kind::Unregister => code::UNREGISTER,
        }
    }
}

/// What a request was answered with.
#[derive(Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the common one; a box would cost each call an allocation"
)]
pub(crate) enum Answer {
    Result {
        request: RequestId,
        details: Map,
        payload: Payload,
    },
    Published(PublicationId),
    /// Not an answer: a publish was written that gets none.
    Unacknowledged,
    Subscribed(SubscriptionId),
    Unsubscribed,
    Registered(RegistrationId),
    Unregistered,
    Error(Box<ApplicationError>),
}

impl Answer {
    /// Returns whether a request of `kind` may be answered so.
    fn suits(&self, kind: Kind) -> bool {
        match self {
            Answer::Result { .. } => kind.is_call(),
            Answer::Published(_) => kind == Kind::Publish,
            Answer::Subscribed(_) => kind == Kind::Subscribe,
            Answer::Unsubscribed => kind == Kind::Unsubscribe,
            Answer::Registered(_) => kind == Kind::Register,
            Answer::Unregistered => kind == Kind::Unregister,
            Answer::Error(_) => true,
            Answer::Unacknowledged => false,
        }
    }
}

/// Why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The answer to a request that was given up.
    Late,
    /// Word that something was left, for which nobody waits: that is as it should be.
    Left,
    /// An answer to a request that there is not, or of another kind than the request.
    Unsolicited,
    /// A message that a router does not send to a joined client.
    OutOfPlace,
    /// A progressive result that nobody asked for.
    Progress,
}

/// What the owner of the session has to do about a message.
#[derive(Debug)]
pub(crate) enum Reaction<T> {
    /// A request is settled.
    Settle { ticket: T, answer: Answer },
    /// A part of the result of a call that goes on; [`State::ticket`] says whose.
    Progress {
        request: RequestId,
        details: Map,
        payload: Payload,
    },
    /// A subscription was made that nobody waits for any more.
    LateSubscribed(SubscriptionId),
    /// A registration was made that nobody waits for any more.
    LateRegistered(RegistrationId),
    /// An event for a subscriber.
    Deliver {
        subscription: SubscriptionId,
        publication: PublicationId,
        details: Map,
        payload: Payload,
    },
    /// A callee is to run.
    Invoke {
        request: RequestId,
        registration: RegistrationId,
        details: Map,
        payload: Payload,
    },
    /// A callee is to stop.
    Interrupt { request: RequestId },
    /// The router took a subscription away.
    SubscriptionRevoked(SubscriptionId),
    /// The router took a registration away.
    RegistrationRevoked(RegistrationId),
    /// The session is over; `reply` is said before the connection is closed.
    End {
        reply: Option<Message>,
        error: SessionError,
    },
    /// Nothing; most reasons are counted.
    Drop(Dropped),
}

#[derive(Debug)]
struct Pending<T> {
    kind: Kind,
    ticket: T,
}

#[derive(Debug)]
pub(crate) struct State<T> {
    ids: RequestIds,
    pending: HashMap<RequestId, Pending<T>>,
    tombstones: Tombstones,
    can_cancel: bool,
    said_goodbye: bool,
}

impl<T> State<T> {
    /// Begins after WELCOME; `can_cancel` says whether the dealer announced `call_canceling`.
    pub(crate) fn new(can_cancel: bool) -> Self {
        Self {
            ids: RequestIds::default(),
            pending: HashMap::new(),
            tombstones: Tombstones::default(),
            can_cancel,
            said_goodbye: false,
        }
    }

    /// Returns the id of the next request. It is taken by [`Self::begin`] or [`Self::forget`]: a
    /// request that turns out not to be writable leaves no gap in the sequence.
    pub(crate) fn next_id(&self) -> RequestId {
        self.ids.peek()
    }

    /// Takes the next id for a request that is being written; `ticket` comes back when it is
    /// settled.
    pub(crate) fn begin(&mut self, kind: Kind, ticket: T) -> RequestId {
        let request = self.ids.next_id();
        self.pending.insert(request, Pending { kind, ticket });
        request
    }

    /// Takes the next id for a request whose answer nobody will wait for.
    pub(crate) fn forget(&mut self, kind: Kind) -> RequestId {
        let request = self.ids.next_id();
        self.tombstones.bury(request, kind);
        request
    }

    /// Takes the next id for a request that gets no answer.
    pub(crate) fn skip(&mut self) -> RequestId {
        self.ids.next_id()
    }

    /// Gives up on a request. Returns its ticket and what to tell the router, or nothing if the
    /// request is settled already.
    pub(crate) fn abandon(
        &mut self,
        request: RequestId,
        mode: CancelMode,
    ) -> Option<(T, Option<Message>)> {
        let Pending { kind, ticket } = self.pending.remove(&request)?;
        self.tombstones.bury(request, kind);
        let cancel = (kind.is_call() && self.can_cancel).then(|| Message::Cancel {
            request,
            options: Map::from([("mode".to_owned(), Value::from(mode.name()))]),
        });
        Some((ticket, cancel))
    }

    /// Takes in a message that could not be read. If it is the answer to a request, there will be
    /// no other: returns the ticket, so that nobody waits for its deadline. Of a progressive result
    /// there may be more, so the call is given up, and there is something to tell the router.
    pub(crate) fn unreadable(&mut self, error: &DecodeError) -> Option<(T, Option<Message>)> {
        let DecodeError::Malformed {
            code:
                code::ERROR
                | code::RESULT
                | code::PUBLISHED
                | code::SUBSCRIBED
                | code::UNSUBSCRIBED
                | code::REGISTERED
                | code::UNREGISTERED,
            request: Some(request),
            ..
        } = error
        else {
            return None;
        };
        match self.pending.get(request).map(|pending| pending.kind) {
            Some(Kind::ProgressiveCall) => self.abandon(*request, CancelMode::default()),
            Some(_) => {
                let Pending { ticket, .. } = self.pending.remove(request)?;
                Some((ticket, None))
            }
            None => {
                self.tombstones.raise(*request);
                None
            }
        }
    }

    /// Returns the ticket of a request that waits for its answer.
    pub(crate) fn ticket(&self, request: RequestId) -> Option<&T> {
        self.pending.get(&request).map(|pending| &pending.ticket)
    }

    /// Returns the tickets of all requests that wait for their answer.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = &T> {
        self.pending.values().map(|pending| &pending.ticket)
    }

    /// Returns how many requests wait for their answer.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns how many requests were given up and not answered since.
    pub(crate) fn tombstones(&self) -> usize {
        self.tombstones.len()
    }

    /// Returns the GOODBYE to send; the router's own is then the end of the session.
    pub(crate) fn goodbye(&mut self) -> Message {
        self.said_goodbye = true;
        Message::Goodbye {
            details: Map::new(),
            reason: uris::CLOSE_NORMAL.to_owned(),
        }
    }

    /// Gives back the tickets of all requests that were not settled; the session is over.
    pub(crate) fn end(&mut self) -> impl Iterator<Item = T> {
        self.pending.drain().map(|(_, pending)| pending.ticket)
    }

    /// Takes in one message of the router.
    pub(crate) fn receive(&mut self, message: Message) -> Reaction<T> {
        match message {
            Message::Result {
                request,
                details,
                payload,
            } => {
                if details.get("progress").and_then(Value::as_bool) == Some(true) {
                    return self.progress(request, details, payload);
                }
                self.settle(
                    request,
                    Answer::Result {
                        request,
                        details,
                        payload,
                    },
                )
            }
            Message::Error {
                request_type,
                request,
                details,
                error,
                payload,
            } => {
                // An ERROR may also be about a YIELD (fox-wamp), whose ids are another sequence:
                // it must not settle a call of ours that happens to have the same number.
                let kind = self
                    .pending
                    .get(&request)
                    .map(|pending| pending.kind)
                    .or_else(|| self.tombstones.kind(request));
                if kind.map(Kind::code) != Some(request_type) {
                    return Reaction::Drop(Dropped::Unsolicited);
                }
                let error = ApplicationError {
                    uri: error,
                    details,
                    payload,
                };
                self.settle(request, Answer::Error(Box::new(error)))
            }
            Message::Published {
                request,
                publication,
            } => self.settle(request, Answer::Published(publication)),
            Message::Subscribed {
                request,
                subscription,
            } => self.settle(request, Answer::Subscribed(subscription)),
            Message::Registered {
                request,
                registration,
            } => self.settle(request, Answer::Registered(registration)),
            Message::Unsubscribed { request, details } => {
                match (request, revoked(&details, "subscription")) {
                    (RequestId(0), Some(id)) => Reaction::SubscriptionRevoked(SubscriptionId(id)),
                    _ => self.settle(request, Answer::Unsubscribed),
                }
            }
            Message::Unregistered { request, details } => {
                match (request, revoked(&details, "registration")) {
                    (RequestId(0), Some(id)) => Reaction::RegistrationRevoked(RegistrationId(id)),
                    _ => self.settle(request, Answer::Unregistered),
                }
            }
            Message::Event {
                subscription,
                publication,
                details,
                payload,
            } => Reaction::Deliver {
                subscription,
                publication,
                details,
                payload,
            },
            Message::Invocation {
                request,
                registration,
                details,
                payload,
            } => Reaction::Invoke {
                request,
                registration,
                details,
                payload,
            },
            Message::Interrupt { request, .. } => Reaction::Interrupt { request },
            // After our own GOODBYE any GOODBYE ends it: routers differ in the reason they reply.
            Message::Goodbye { .. } if self.said_goodbye => Reaction::End {
                reply: None,
                error: SessionError::Closed,
            },
            Message::Goodbye { reason, .. } => Reaction::End {
                reply: Some(Message::Goodbye {
                    details: Map::new(),
                    reason: uris::GOODBYE_AND_OUT.to_owned(),
                }),
                error: SessionError::Goodbye {
                    reason: clipped(reason),
                },
            },
            Message::Abort {
                details,
                reason,
                payload,
            } => Reaction::End {
                reply: None,
                error: aborted(&details, reason, &payload),
            },
            Message::Hello { .. }
            | Message::Welcome { .. }
            | Message::Challenge { .. }
            | Message::Authenticate { .. }
            | Message::Publish { .. }
            | Message::Subscribe { .. }
            | Message::Unsubscribe { .. }
            | Message::Call { .. }
            | Message::Cancel { .. }
            | Message::Register { .. }
            | Message::Unregister { .. }
            | Message::Yield { .. }
            | Message::EventReceived { .. } => Reaction::Drop(Dropped::OutOfPlace),
        }
    }

    /// A progressive result settles nothing: neither a call nor, with a CANCEL under way, the wait
    /// for the late answer to one.
    fn progress(&self, request: RequestId, details: Map, payload: Payload) -> Reaction<T> {
        match self.pending.get(&request).map(|pending| pending.kind) {
            Some(Kind::ProgressiveCall) => Reaction::Progress {
                request,
                details,
                payload,
            },
            None if self.tombstones.kind(request) == Some(Kind::ProgressiveCall) => {
                Reaction::Drop(Dropped::Late)
            }
            _ => Reaction::Drop(Dropped::Progress),
        }
    }

    fn settle(&mut self, request: RequestId, answer: Answer) -> Reaction<T> {
        if let Some(kind) = self.tombstones.kind(request) {
            if !answer.suits(kind) {
                return Reaction::Drop(Dropped::Unsolicited);
            }
            self.tombstones.raise(request);
            return match answer {
                Answer::Subscribed(subscription) => Reaction::LateSubscribed(subscription),
                Answer::Registered(registration) => Reaction::LateRegistered(registration),
                Answer::Unsubscribed | Answer::Unregistered => Reaction::Drop(Dropped::Left),
                Answer::Result { .. }
                | Answer::Published(_)
                | Answer::Unacknowledged
                | Answer::Error(_) => Reaction::Drop(Dropped::Late),
            };
        }
        match self.pending.get(&request) {
            Some(pending) if answer.suits(pending.kind) => {}
            _ => return Reaction::Drop(Dropped::Unsolicited),
        }
        match self.pending.remove(&request) {
            Some(Pending { ticket, .. }) => Reaction::Settle { ticket, answer },
            None => Reaction::Drop(Dropped::Unsolicited),
        }
    }
}

/// Returns the error that an ABORT stands for. Its message for people is in the details, or (on
/// routers that send a fifth element) the first argument.
pub(crate) fn aborted(details: &Map, reason: String, payload: &Payload) -> SessionError {
    let message = details
        .get("message")
        .or_else(|| payload.args().first())
        .and_then(Value::as_text)
        .map(|text| clipped(text.to_owned()));
    SessionError::Abort {
        reason: clipped(reason),
        message,
    }
}

/// Returns the id that a revocation (request 0) names in its details.
fn revoked(details: &Map, key: &str) -> Option<u64> {
    details.get(key).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests;
