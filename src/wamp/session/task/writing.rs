//! What a session's task adds to a request before it writes it.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{Task, Ticket};
use crate::value::{Map, Value};
use crate::wamp::error::{CallError, SessionError};
use crate::wamp::id::{MAX_ID, RequestId};
use crate::wamp::message::Message;
use crate::wamp::session::outbox::SendError;
use crate::wamp::session::request::{Command, FORWARD_FOR, Purpose, Unsent};
use crate::wamp::session::state::{Answer, Kind};

impl Task {
    pub(super) fn write(&mut self, command: Command) -> Result<(), SessionError> {
        let Command {
            mut message,
            purpose,
            deadline,
            request,
            reply,
        } = command;
        // Given up while it was queued: nobody need ever know.
        if reply.sender.is_closed() {
            return Ok(());
        }
        if let Some(answer) = self.stays_for_others(&purpose) {
            reply.settle(Ok(answer));
            return Ok(());
        }
        let id = self.state.next_id();
        let is_progressive = purpose.kind() == Kind::ProgressiveCall;
        let deadline = (self.tells_timeouts && !is_progressive).then_some(deadline);
        self.complete(&mut message, id, deadline);
        match self.outbox.send(&message) {
            Ok(()) => {}
            Err(SendError::Refused(error)) => {
                reply.settle(Err(Unsent::Failed(error)));
                return Ok(());
            }
            Err(SendError::Lost(error)) => {
                reply.settle(Err(Unsent::Failed(CallError::Disconnected(error.clone()))));
                return Err(error);
            }
        }
        request.store(id.0, Ordering::Release);
        if let Purpose::Publish { acknowledge: false } = purpose {
            self.state.skip();
            reply.settle(Ok(Answer::Unacknowledged));
            return Ok(());
        }
        let kind = purpose.kind();
        self.state.begin(kind, Ticket { purpose, reply });
        Ok(())
    }

    /// Fills in what only this session knows. `deadline` is told to a dealer that understands it,
    /// but not for a progressive call: there it would be the longest gap between two results, and a
    /// dealer that takes it for the whole would cut off what goes well.
    fn complete(&self, message: &mut Message, id: RequestId, deadline: Option<Instant>) {
        match message {
            Message::Call {
                request, options, ..
            } => {
                *request = id;
                self.sign(options);
                if let Some(deadline) = deadline {
                    let left = deadline.saturating_duration_since(Instant::now());
                    // Rounded up, so that our own timer is the first to fire: its outcome is the
                    // same on every router, theirs is not.
                    let left_ms = left.as_micros().div_ceil(1000);
                    let left_ms = u64::try_from(left_ms).unwrap_or(u64::MAX).clamp(1, MAX_ID);
                    options.insert("timeout".to_owned(), left_ms.into());
                }
            }
            Message::Publish {
                request, options, ..
            } => {
                *request = id;
                self.sign(options);
            }
            Message::Subscribe { request, .. }
            | Message::Unsubscribe { request, .. }
            | Message::Register { request, .. }
            | Message::Unregister { request, .. } => *request = id,
            Message::Hello { .. }
            | Message::Welcome { .. }
            | Message::Abort { .. }
            | Message::Challenge { .. }
            | Message::Authenticate { .. }
            | Message::Goodbye { .. }
            | Message::Error { .. }
            | Message::Published { .. }
            | Message::Subscribed { .. }
            | Message::Unsubscribed { .. }
            | Message::Event { .. }
            | Message::EventReceived { .. }
            | Message::Cancel { .. }
            | Message::Result { .. }
            | Message::Registered { .. }
            | Message::Unregistered { .. }
            | Message::Invocation { .. }
            | Message::Interrupt { .. }
            | Message::Yield { .. } => {}
        }
    }

    /// Puts our own session where a request speaks for somebody else: it is the one that a callee
    /// can ask the router about.
    fn sign(&self, options: &mut Map) {
        let session = self.shared.welcome.session.0;
        if let Some(Value::List(originators)) = options.get_mut(FORWARD_FOR)
            && let Some(Value::Map(originator)) = originators.first_mut()
        {
            originator.insert("session".to_owned(), session.into());
        }
    }
}
