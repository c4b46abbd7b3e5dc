//! Two ends in one process, joined by bounded channels of frames.
//!
//! The frames are bytes here too: what works in process works over a socket.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::{Incoming, ReaderKind, Transport, TransportError, WriterKind};
use crate::wamp::serializer::Serializer;

/// Builds two joined ends. Each direction holds up to `capacity` frames (at least 1) before a flush
/// waits, and carries no message longer than `max_message_bytes`.
pub fn pair(
    serializer: Serializer,
    capacity: usize,
    max_message_bytes: usize,
) -> (Transport, Transport) {
    let (left_sender, left_receiver) = mpsc::channel(capacity.max(1));
    let (right_sender, right_receiver) = mpsc::channel(capacity.max(1));
    let end = |sender, receiver| {
        let answered = Arc::new(Notify::new());
        let reader = Reader {
            receiver,
            answered: Arc::clone(&answered),
        };
        let writer = Writer {
            sender: Some(sender),
            queue: VecDeque::new(),
            answered,
        };
        Transport::new(
            serializer,
            ReaderKind::Memory(reader),
            WriterKind::Memory(writer),
            max_message_bytes,
        )
    };
    (
        end(left_sender, right_receiver),
        end(right_sender, left_receiver),
    )
}

#[derive(Debug)]
enum Frame {
    Message(Bytes),
    /// Carries what the other end's reader answers through, as a socket's reader would by a pong.
    Ping(Arc<Notify>),
}

#[derive(Debug)]
pub(super) struct Reader {
    receiver: mpsc::Receiver<Frame>,
    answered: Arc<Notify>,
}

impl Reader {
    pub(super) async fn next(&mut self) -> Option<Incoming> {
        tokio::select! {
            // Messages first: a pong only says that the peer is there, which they say as well.
            biased;
            frame = self.receiver.recv() => frame.map(|frame| match frame {
                Frame::Message(message) => Incoming::Message(message),
                Frame::Ping(answer) => {
                    answer.notify_one();
                    Incoming::Ping
                }
            }),
            () = self.answered.notified() => Some(Incoming::Pong),
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    /// `None` once closed.
    sender: Option<mpsc::Sender<Frame>>,
    queue: VecDeque<Frame>,
    answered: Arc<Notify>,
}

impl Writer {
    pub(super) fn feed(&mut self, message: Bytes) {
        self.queue.push_back(Frame::Message(message));
    }

    pub(super) fn ping(&mut self) {
        self.queue
            .push_back(Frame::Ping(Arc::clone(&self.answered)));
    }

    pub(super) async fn flush(&mut self) -> Result<(), TransportError> {
        while !self.queue.is_empty() {
            let sender = self.sender.as_ref().ok_or_else(lost)?;
            let permit = sender.reserve().await.map_err(|_| lost())?;
            if let Some(frame) = self.queue.pop_front() {
                permit.send(frame);
            }
        }
        Ok(())
    }

    pub(super) async fn close(&mut self) -> Result<(), TransportError> {
        self.flush().await?;
        self.sender = None;
        Ok(())
    }
}

fn lost() -> TransportError {
    TransportError::Lost(io::ErrorKind::BrokenPipe.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn carries_frames_in_order_and_ends_when_the_peer_closes() {
        let (left, right) = pair(Serializer::Json, 4, 1024);
        let (_left_reader, mut writer) = left.split();
        let (mut reader, _right_writer) = right.split();
        writer.feed(Bytes::from_static(b"[1]")).unwrap();
        writer.feed(Bytes::from_static(b"[2]")).unwrap();
        assert_eq!(writer.unflushed_bytes(), 6);
        writer.flush().await.unwrap();
        assert_eq!(writer.unflushed_bytes(), 0);
        writer.close().await.unwrap();
        for expected in ["[1]", "[2]"] {
            let frame = reader.next().await.unwrap().unwrap();
            assert_eq!(frame, Incoming::Message(Bytes::from(expected)));
        }
        assert!(reader.next().await.is_none());
        writer.feed(Bytes::new()).unwrap();
        assert!(matches!(writer.flush().await, Err(TransportError::Lost(_))));
    }

    #[tokio::test]
    async fn a_ping_is_answered_by_the_peers_reader() {
        let (left, right) = pair(Serializer::Json, 4, 1024);
        let (mut left_reader, mut left_writer) = left.split();
        let (mut right_reader, _right_writer) = right.split();
        left_writer.ping().unwrap();
        left_writer.flush().await.unwrap();
        assert_eq!(right_reader.next().await.unwrap().unwrap(), Incoming::Ping);
        assert_eq!(left_reader.next().await.unwrap().unwrap(), Incoming::Pong);
    }

    #[tokio::test]
    async fn a_flush_waits_while_the_peer_does_not_read_and_may_be_dropped() {
        let (left, right) = pair(Serializer::Json, 1, 1024);
        let (_left_reader, mut writer) = left.split();
        let (mut reader, _right_writer) = right.split();
        for byte in 0..3_u8 {
            writer.feed(Bytes::copy_from_slice(&[byte])).unwrap();
        }
        tokio::select! {
            biased;
            result = writer.flush() => panic!("flushed into a full channel: {result:?}"),
            () = tokio::task::yield_now() => {}
        }
        let (flushed, read) = tokio::join!(writer.flush(), async {
            let mut read = Vec::new();
            for _ in 0..3 {
                let Some(Ok(Incoming::Message(message))) = reader.next().await else {
                    panic!("no message");
                };
                read.extend_from_slice(&message);
            }
            read
        });
        flushed.unwrap();
        assert_eq!(read, [0, 1, 2]);
    }

    #[test]
    fn a_message_beyond_the_limit_is_not_queued() {
        let (left, _right) = pair(Serializer::Json, 1, 3);
        let (_reader, mut writer) = left.split();
        assert!(matches!(
            writer.feed(Bytes::from_static(b"[12]")),
            Err(TransportError::TooLong { size: 4, max: 3 })
        ));
        assert_eq!(writer.unflushed_bytes(), 0);
    }
}
