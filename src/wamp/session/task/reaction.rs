//! What a session's task does about a message of the router's, and about what its handles tell it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::unwanted::Unwanted;
use super::{Phase, Task, Ticket};
use crate::wamp::error::{ApplicationError, CallError, SessionError, uris};
use crate::wamp::id::RequestId;
use crate::wamp::message::Message;
use crate::wamp::serializer::{DecodeError, Reading};
use crate::wamp::session::DropCounters;
use crate::wamp::session::callee::{Said, answer};
use crate::wamp::session::outbox::SendError;
use crate::wamp::session::request::{Control, Given, Part, Purpose, Unsent};
use crate::wamp::session::state::{Answer, Dropped, Reaction};

impl Task {
    pub(super) fn take_in(
        &mut self,
        frame: &[u8],
    ) -> Result<Option<(Option<Message>, SessionError)>, SessionError> {
        let message = match self.shared.serializer.decode(frame, Reading::Tolerant) {
            Ok(message) => message,
            Err(error @ DecodeError::NotAMessage { .. }) => {
                return Err(SessionError::NotWamp(Arc::new(error)));
            }
            Err(error) => {
                DropCounters::add(&self.shared.dropped.malformed);
                tracing::debug!(%error, "dropped a message");
                if let Some((ticket, cancel)) = self.state.unreadable(&error) {
                    let failed = CallError::Unreadable(error);
                    ticket.reply.settle(Err(Unsent::Failed(failed)));
                    self.forget(&ticket.purpose)?;
                    if let Some(cancel) = cancel {
                        self.send_own(&cancel)?;
                    }
                }
                return Ok(None);
            }
        };
        self.react(message, frame.len())
    }

    fn react(
        &mut self,
        message: Message,
        bytes: usize,
    ) -> Result<Option<(Option<Message>, SessionError)>, SessionError> {
        let dropped = &self.shared.dropped;
        match self.state.receive(message) {
            Reaction::Settle { ticket, answer } => self.settle(ticket, answer)?,
            Reaction::Progress {
                request,
                details,
                payload,
            } => self.progress(Part {
                at: Instant::now(),
                bytes,
                request,
                details,
                payload,
            })?,
            Reaction::LateSubscribed(id) => {
                DropCounters::add(&dropped.late);
                self.give_back(Unwanted::subscription(id, None))?;
            }
            Reaction::LateRegistered(id) => {
                DropCounters::add(&dropped.late);
                self.give_back(Unwanted::registration(id, None))?;
            }
            Reaction::Deliver {
                subscription,
                publication,
                details,
                payload,
            } => {
                let lost = self
                    .subscribers
                    .deliver(subscription, publication, details, payload);
                dropped.events.fetch_add(lost as u64, Ordering::Relaxed);
            }
            Reaction::Invoke {
                request,
                registration,
                details,
                payload,
            } => {
                let answered = if self.phase == Phase::Open {
                    self.callee.invoke(request, registration, details, payload)
                } else {
                    let error = ApplicationError::with_message(uris::UNAVAILABLE, "shutting down");
                    Some(answer(request, Err(error)))
                };
                if let Some(message) = answered {
                    self.send_answer(request, &message)?;
                }
            }
            Reaction::Interrupt { request } => {
                if let Some(message) = self.callee.interrupt(request) {
                    self.send_answer(request, &message)?;
                }
            }
            Reaction::SubscriptionRevoked(id) => self.subscribers.revoke(id),
            Reaction::RegistrationRevoked(id) => {
                self.callee.remove(id);
            }
            Reaction::End { reply, error } => return Ok(Some((reply, error))),
            Reaction::Drop(why) => match why {
                Dropped::Left => {}
                Dropped::Late => DropCounters::add(&dropped.late),
                Dropped::Unsolicited | Dropped::OutOfPlace | Dropped::Progress => {
                    DropCounters::add(&dropped.unsolicited);
                }
            },
        }
        Ok(None)
    }

    /// Hands a progressive result to whoever waits for it, and waits for nobody.
    ///
    /// Why a full queue ends the call: to wait would hold up every other request of the session, to
    /// keep more would have no bound, and to leave one out would make a whole of pieces, with a hole
    /// that nobody sees. So the call is canceled, and its reader told after what it has got.
    fn progress(&mut self, part: Part) -> Result<(), SessionError> {
        let request = part.request;
        let Some(Purpose::Call {
            cancel,
            progress: Some(sink),
        }) = self.state.ticket(request).map(|ticket| &ticket.purpose)
        else {
            DropCounters::add(&self.shared.dropped.unsolicited);
            return Ok(());
        };
        let waiting = match sink.give(part) {
            Given::Taken => return Ok(()),
            // The reader has gone in this very moment: word of it is under way.
            Given::Gone => {
                DropCounters::add(&self.shared.dropped.late);
                return Ok(());
            }
            Given::Full(waiting) => waiting,
        };
        DropCounters::add(&self.shared.dropped.late);
        let mode = *cancel;
        let Some((ticket, cancel)) = self.state.abandon(request, mode) else {
            return Ok(());
        };
        let overrun = Unsent::Failed(CallError::Overrun(waiting));
        ticket.reply.settle(Err(overrun));
        cancel.map_or(Ok(()), |cancel| self.send_own(&cancel))
    }

    fn settle(&mut self, ticket: Ticket, answer: Answer) -> Result<(), SessionError> {
        let Ticket { purpose, reply } = ticket;
        match (purpose, answer) {
            (Purpose::Subscribe { pattern, sink }, Answer::Subscribed(id)) => {
                let key = sink.key;
                self.subscribers.add(id, pattern, sink);
                // The caller may have gone in this very moment.
                if !reply.settle(Ok(Answer::Subscribed(id))) {
                    self.drop_subscriber(id, key)?;
                }
                self.leave_unwanted()?;
            }
            (Purpose::Register(offered), Answer::Registered(id)) => {
                if !self.callee.add(id, offered) {
                    // To some routers (Crossbar.io) a shared registration of one session is one,
                    // however often it is made. It has one handler.
                    let text = "this session has registered it already";
                    let error =
                        ApplicationError::with_message(uris::PROCEDURE_ALREADY_EXISTS, text);
                    reply.settle(Ok(Answer::Error(Box::new(error))));
                } else if !reply.settle(Ok(Answer::Registered(id))) {
                    self.drop_registration(id)?;
                }
                self.leave_unwanted()?;
            }
            (Purpose::Subscribe { .. } | Purpose::Register(_), answer) => {
                reply.settle(Ok(answer));
                self.leave_unwanted()?;
            }
            (Purpose::Unregister { registration }, answer) => {
                self.callee.remove(registration);
                reply.settle(Ok(answer));
            }
            (_, answer) => {
                reply.settle(Ok(answer));
            }
        }
        Ok(())
    }

    pub(super) fn obey(&mut self, control: Control) -> Result<(), SessionError> {
        match control {
            Control::Abandon(request, mode) => {
                // 0: still queued. It is not written then, because nobody waits for its reply.
                let request = RequestId(request.load(Ordering::Acquire));
                let Some((ticket, cancel)) = self.state.abandon(request, mode) else {
                    return Ok(());
                };
                if let Some(cancel) = cancel {
                    self.send_own(&cancel)?;
                }
                self.forget(&ticket.purpose)?;
            }
            Control::DropSubscriber(id, key) => self.drop_subscriber(id, key)?,
            Control::DropRegistration(id) => self.drop_registration(id)?,
            Control::Close(within) => self.drain(within),
        }
        Ok(())
    }

    /// A request was settled without its answer.
    fn forget(&mut self, purpose: &Purpose) -> Result<(), SessionError> {
        match *purpose {
            Purpose::Subscribe { .. } | Purpose::Register(_) => self.leave_unwanted()?,
            Purpose::Unregister { registration } => {
                self.callee.remove(registration);
            }
            Purpose::Call { .. } | Purpose::Publish { .. } | Purpose::Unsubscribe { .. } => {}
        }
        Ok(())
    }

    /// Sends a message, but after GOODBYE nothing: to the router the session is over, and some end
    /// the connection over what comes then.
    ///
    /// Reference: WAMP Basic Profile, "Session Closing".
    fn send(&mut self, message: &Message) -> Result<(), SendError> {
        if matches!(self.phase, Phase::Leaving(_)) {
            return Ok(());
        }
        self.outbox.send(message)
    }

    /// Sends a small message of our own making.
    pub(super) fn send_own(&mut self, message: &Message) -> Result<(), SessionError> {
        match self.send(message) {
            Ok(()) => Ok(()),
            Err(SendError::Lost(error)) => Err(error),
            Err(SendError::Refused(error)) => {
                tracing::error!(%error, "a message of our own cannot be sent");
                Ok(())
            }
        }
    }

    /// Sends what a handler says.
    pub(super) fn send_said(&mut self, said: &Said) -> Result<(), SessionError> {
        if said.is_last {
            return self.send_answer(said.request, &said.message);
        }
        match self.send(&said.message) {
            Ok(()) => Ok(()),
            Err(SendError::Lost(error)) => Err(error),
            Err(SendError::Refused(error)) => {
                self.callee.give_up(said.request);
                self.send_refused(said.request, &error)
            }
        }
    }

    /// Sends a handler's answer; one that cannot be sent becomes an error, so that the caller does
    /// not wait for nothing.
    fn send_answer(&mut self, request: RequestId, message: &Message) -> Result<(), SessionError> {
        match self.send(message) {
            Ok(()) => Ok(()),
            Err(SendError::Lost(error)) => Err(error),
            Err(SendError::Refused(error)) => self.send_refused(request, &error),
        }
    }

    fn send_refused(&mut self, request: RequestId, error: &CallError) -> Result<(), SessionError> {
        let uri = match error {
            CallError::TooLarge { .. } => uris::PAYLOAD_SIZE_EXCEEDED,
            _ => uris::RUNTIME_ERROR,
        };
        let error = ApplicationError::with_message(uri, &error.to_string());
        self.send_own(&answer(request, Err(error)))
    }
}
