//! The way from a realm into one session's connection: a queue of frames, bounded in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{SetOnce, mpsc};

use super::connection::Refusal;
use crate::wamp::message::Message;
use crate::wamp::serializer::Serializer;

/// What a queued frame takes beside its bytes, so that many small ones count as well.
const FRAME_OVERHEAD_BYTES: usize = 128;

/// The way into a session's queue of frames. Bounded in bytes, not in frames: a burst of small
/// events is no reason to drop a session, a pile of large ones is.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    pub(super) serializer: Serializer,
    max_message_bytes: usize,
    max_queued_bytes: usize,
    sender: mpsc::UnboundedSender<Queued>,
    queued_bytes: Arc<AtomicUsize>,
    dismissal: Arc<SetOnce<Dismissal>>,
}

/// Why the realm parts with a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dismissal {
    /// It has more to read than it may.
    Overflow,
    /// Somebody wants it gone, and says why: GOODBYE's reason and message.
    Killed {
        reason: String,
        message: Option<String>,
    },
}

/// A frame in a queue; counts towards the bound until it is taken out.
#[derive(Debug)]
pub(super) struct Queued {
    frame: Bytes,
    queued_bytes: Arc<AtomicUsize>,
}

impl Queued {
    /// Takes the frame out.
    pub(super) fn into_frame(self) -> Bytes {
        self.queued_bytes
            .fetch_sub(self.frame.len() + FRAME_OVERHEAD_BYTES, Ordering::Relaxed);
        self.frame
    }
}

impl Outbox {
    /// `max_message_bytes` is what the session's connection takes.
    pub(super) fn new(
        serializer: Serializer,
        max_message_bytes: usize,
        max_queued_bytes: usize,
    ) -> (Self, mpsc::UnboundedReceiver<Queued>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let outbox = Self {
            serializer,
            max_message_bytes,
            max_queued_bytes,
            sender,
            queued_bytes: Arc::new(AtomicUsize::new(0)),
            dismissal: Arc::new(SetOnce::new()),
        };
        (outbox, receiver)
    }

    /// Waits until the realm parts with the session.
    ///
    /// # Cancel safety
    ///
    /// It can be waited for again.
    pub(super) async fn dismissed(&self) -> Dismissal {
        self.dismissal.wait().await.clone()
    }

    /// Returns whether the realm has parted with the session.
    pub(super) fn is_dismissed(&self) -> bool {
        self.dismissal.initialized()
    }

    /// Parts with the session; the first reason counts.
    pub(super) fn dismiss(&self, dismissal: Dismissal) {
        drop(self.dismissal.set(dismissal));
    }

    /// Writes a message for this session.
    ///
    /// # Errors
    ///
    /// Why the session cannot be sent this message, for whoever caused it.
    pub(super) fn encode(&self, message: &Message) -> Result<Bytes, Refusal> {
        let frame = self.serializer.encode(message).map_err(|error| {
            let text = format!("{}: {error}", self.serializer.subprotocol());
            ("wamp.error.invalid_payload", text)
        })?;
        let (size, max) = (frame.len(), self.max_message_bytes);
        if size > max {
            let text = format!("a message of {size} bytes, but at most {max} are allowed");
            return Err(("wamp.error.payload_size_exceeded", text));
        }
        Ok(frame)
    }

    /// Queues a frame, or finds that the session has too much to read already. After one that was
    /// too much there is no other, or else a smaller one would hide the gap.
    pub(super) fn push(&self, frame: Bytes) {
        if self.is_dismissed() {
            return;
        }
        let size = frame.len() + FRAME_OVERHEAD_BYTES;
        // Only grown under the realm's lock, so no two pushes can pass the check together.
        if self.queued_bytes.load(Ordering::Relaxed) + size > self.max_queued_bytes {
            return self.dismiss(Dismissal::Overflow);
        }
        self.queued_bytes.fetch_add(size, Ordering::Relaxed);
        let queued = Queued {
            frame,
            queued_bytes: Arc::clone(&self.queued_bytes),
        };
        // A session that is leaving no longer reads its queue, and its connection forgets it.
        drop(self.sender.send(queued));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_too_much_to_read_gets_no_more_of_it() {
        let room = 2 * (10 + FRAME_OVERHEAD_BYTES);
        let (outbox, mut queue) = Outbox::new(Serializer::Json, 100, room);
        let frame = |length| Bytes::from(vec![b' '; length]);
        outbox.push(frame(10));
        outbox.push(frame(11));
        assert!(outbox.is_dismissed());
        outbox.push(frame(10));
        assert_eq!(queue.try_recv().unwrap().into_frame().len(), 10);
        // Neither now that there is room again.
        outbox.push(frame(10));
        assert!(queue.try_recv().is_err());
    }

    #[test]
    fn what_was_read_makes_room() {
        let room = 10 + FRAME_OVERHEAD_BYTES;
        let (outbox, mut queue) = Outbox::new(Serializer::Json, 100, room);
        for _ in 0..3 {
            outbox.push(Bytes::from_static(b"0123456789"));
            assert_eq!(queue.try_recv().unwrap().into_frame().len(), 10);
        }
        assert!(!outbox.is_dismissed());
    }
}
