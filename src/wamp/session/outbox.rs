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

impl Outbox {
    pub(super) fn send(&mut self, message: &Message) -> Result<(), SendError> {
        let frame = self.serializer.encode(message)?;
        let limit = self.max_message_bytes.min(self.writer.max_message_bytes());
        if frame.len() > limit {
            return Err(SendError::Refused(CallError::TooLarge {
                bytes: frame.len(),
                limit,
            }));
        }
        self.touch();
        self.writer
            .feed(frame)
            .map_err(|error| SendError::Lost(lost(error)))
    }

    pub(super) fn ping(&mut self) -> Result<(), TransportError> {
        self.touch();
        self.writer.ping()
    }

    /// There is something to flush.
    pub(super) fn touch(&mut self) {
        self.unflushed_since.get_or_insert_with(Instant::now);
    }
}
