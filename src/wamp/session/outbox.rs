//! The writing half of a session's connection, with what decides whether a message may be written.

use tokio::time::Instant;

use crate::wamp::error::{CallError, SessionError};
use crate::wamp::message::Message;
use crate::wamp::serializer::{EncodeError, Serializer};
use crate::wamp::session::lost;
use crate::wamp::transport::{FrameWriter, TransportError};

/// Holds what is written until it is flushed, and knows since when.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) writer: FrameWriter,
    pub(super) serializer: Serializer,
    pub(super) max_message_bytes: usize,
    pub(super) unflushed_since: Option<Instant>,
}

pub(super) enum SendError {
    /// The message may not be sent; the session is as it was.
    Refused(CallError),
    /// The connection is gone.
    Lost(SessionError),
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        SendError::Refused(CallError::Encode(error))
    }
}

/// So many of the largest messages, and at least so many bytes, may wait for a flush.
const MAX_UNFLUSHED_MESSAGES: usize = 4;
const MIN_UNFLUSHED_BYTES: usize = 4 << 20;

impl Outbox {
    /// Queues a message for the next flush.
    ///
    /// Requests and handlers' answers wait until there is room; what a message of the router's makes
    /// us say at once does not. So a router that sends such messages and reads nothing would fill
    /// our memory: beyond a bound it has lost the session.
    pub(super) fn send(&mut self, message: &Message) -> Result<(), SendError> {
        let frame = self.serializer.encode(message)?;
        let limit = self.max_message_bytes.min(self.writer.max_message_bytes());
        if frame.len() > limit {
            return Err(SendError::Refused(CallError::TooLarge {
                bytes: frame.len(),
                limit,
            }));
        }
        let since = self.touch();
        let room = MIN_UNFLUSHED_BYTES.max(limit.saturating_mul(MAX_UNFLUSHED_MESSAGES));
        if self.writer.unflushed_bytes() > room {
            return Err(SendError::Lost(SessionError::Stalled(since.elapsed())));
        }
        self.writer
            .feed(frame)
            .map_err(|error| SendError::Lost(lost(error)))
    }

    pub(super) fn ping(&mut self) -> Result<(), TransportError> {
        self.touch();
        self.writer.ping()
    }

    /// There is something to flush. Returns since when.
    pub(super) fn touch(&mut self) -> Instant {
        *self.unflushed_since.get_or_insert_with(Instant::now)
    }
}
