//! Several messages in one WebSocket message, as the subprotocols `wamp.2.*.batched` have it.
//!
//! Why they are not offered unless asked for: the writer puts many frames into one write anyway, so
//! a batch saves a few bytes per message; but routers measure a whole batch against their longest
//! message, and a batch that one of them reads wrongly costs the session. Batches are therefore kept
//! short as well: only a message that is long by itself makes a long one.
//!
//! Reference: WAMP Advanced Profile, "Message Batching".

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::TransportError;
use crate::wamp::serializer::Serializer;

/// Beyond this a batch takes no further message.
const BATCH_BYTES: usize = 64 * 1024;

/// Ends each message of a JSON batch.
const RECORD_SEPARATOR: u8 = 0x1e;

/// What stands before each message of a binary batch: its length, big-endian.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Returns what a batch adds to each message, in bytes.
pub(super) fn overhead_bytes(serializer: Serializer) -> usize {
    if serializer.is_text() {
        1
    } else {
        LENGTH_BYTES
    }
}

/// Gathers messages into batches.
#[derive(Debug)]
pub(super) struct Packer {
    serializer: Serializer,
    /// No batch of several messages is longer.
    limit: usize,
    batch: BytesMut,
}

impl Packer {
    /// Packs batches of up to `max_frame_bytes`, for messages of which each fits by itself.
    pub(super) fn new(serializer: Serializer, max_frame_bytes: usize) -> Self {
        Self {
            serializer,
            limit: BATCH_BYTES.min(max_frame_bytes),
            batch: BytesMut::new(),
        }
    }

    /// Adds a message. Returns the batch before it where it does not fit in any more.
    pub(super) fn push(&mut self, message: &[u8]) -> Option<Bytes> {
        let size = message.len() + overhead_bytes(self.serializer);
        let full = if self.batch.len() + size > self.limit {
            self.take()
        } else {
            None
        };
        self.batch.reserve(size);
        if self.serializer.is_text() {
            self.batch.put_slice(message);
            self.batch.put_u8(RECORD_SEPARATOR);
        } else {
            let length = u32::try_from(message.len()).expect("a message is checked for its length");
            self.batch.put_u32(length);
            self.batch.put_slice(message);
        }
        full
    }

    /// Takes what was gathered, unless it is nothing: an empty batch is against the rules.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        (!self.batch.is_empty()).then(|| self.batch.split().freeze())
    }
}

/// Takes a batch apart, message by message.
#[derive(Debug)]
pub struct Splitter {
    serializer: Serializer,
    max_message_bytes: usize,
    rest: Bytes,
}

impl Splitter {
    /// Begins with a whole batch, in which no message may be longer than `max_message_bytes`.
    ///
    /// # Errors
    ///
    /// [`TransportError::Protocol`] for a batch without a message.
    pub fn new(
        serializer: Serializer,
        max_message_bytes: usize,
        batch: Bytes,
    ) -> Result<Self, TransportError> {
        if batch.is_empty() {
            return Err(malformed("it holds no message"));
        }
        Ok(Self {
            serializer,
            max_message_bytes,
            rest: batch,
        })
    }

    /// Returns the next message, or `None` at the batch's end.
    ///
    /// # Errors
    ///
    /// [`TransportError::Protocol`] where the batch is broken off, and [`TransportError::TooLong`];
    /// nothing comes after either.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, TransportError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut rest = std::mem::take(&mut self.rest);
        let message = if self.serializer.is_text() {
            let end = rest
                .iter()
                .position(|byte| *byte == RECORD_SEPARATOR)
                .ok_or_else(|| malformed("a message has no record separator"))?;
            let message = rest.split_to(end);
            rest.advance(1);
            message
        } else {
            let size = rest
                .try_get_u32()
                .map_err(|_| malformed("a message's length is broken off"))?;
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > rest.len() {
                return Err(malformed("a message is broken off"));
            }
            rest.split_to(size)
        };
        if message.len() > self.max_message_bytes {
            return Err(TransportError::TooLong {
                size: message.len(),
                max: self.max_message_bytes,
            });
        }
        self.rest = rest;
        Ok(Some(message))
    }
}

fn malformed(what: &str) -> TransportError {
    TransportError::Protocol(format!("malformed batch: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(
        serializer: Serializer,
        max: usize,
        batch: &[u8],
    ) -> Result<Vec<Bytes>, TransportError> {
        let mut splitter = Splitter::new(serializer, max, Bytes::copy_from_slice(batch))?;
        let mut messages = Vec::new();
        while let Some(message) = splitter.next_message()? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let mut json = Packer::new(Serializer::Json, 1024);
        assert!(json.take().is_none());
        assert!(json.push(b"[1]").is_none());
        assert!(json.push(b"[2,3]").is_none());
        assert_eq!(json.take().unwrap(), b"[1]\x1e[2,3]\x1e"[..]);
        assert!(json.take().is_none());
        let mut msgpack = Packer::new(Serializer::Msgpack, 1024);
        assert!(msgpack.push(b"\x91\x01").is_none());
        assert!(msgpack.push(b"\x90").is_none());
        assert_eq!(
            msgpack.take().unwrap(),
            b"\0\0\0\x02\x91\x01\0\0\0\x01\x90"[..]
        );
    }

    #[test]
    fn a_malformed_batch_is_named() {
        for (serializer, batch, expected) in [
            (Serializer::Json, &b""[..], "it holds no message"),
            (
                Serializer::Json,
                b"[1]",
                "a message has no record separator",
            ),
            (
                Serializer::Json,
                b"[1]\x1e[2]",
                "a message has no record separator",
            ),
            (Serializer::Cbor, b"", "it holds no message"),
            (
                Serializer::Cbor,
                b"\0\0\0",
                "a message's length is broken off",
            ),
            (Serializer::Cbor, b"\0\0\0\x02x", "a message is broken off"),
            (
                Serializer::Cbor,
                b"\xff\xff\xff\xffx",
                "a message is broken off",
            ),
            (
                Serializer::Msgpack,
                b"\0\0\0\x01x\0",
                "a message's length is broken off",
            ),
        ] {
            let error = split(serializer, 100, batch).unwrap_err().to_string();
            assert_eq!(error, format!("transport: malformed batch: {expected}"));
        }
        for (serializer, batch) in [
            (Serializer::Json, &b"[1]\x1e[22]\x1e"[..]),
            (Serializer::Cbor, b"\0\0\0\x01x\0\0\0\x04xxxx"),
        ] {
            assert!(matches!(
                split(serializer, 3, batch),
                Err(TransportError::TooLong { size: 4, max: 3 })
            ));
            assert_eq!(split(serializer, 4, batch).unwrap().len(), 2);
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_split_and_no_batch_is_longer_than_it_may_be(
            serializer in prop::sample::select(Serializer::ALL.to_vec()),
            sizes in prop::collection::vec(0_usize..200, 1..50),
            limit in 204_usize..1000,
        ) {
            let messages: Vec<Vec<u8>> = sizes.iter().map(|size| vec![b'x'; *size]).collect();
            let mut packer = Packer::new(serializer, limit);
            let mut batches: Vec<Bytes> =
                messages.iter().filter_map(|message| packer.push(message)).collect();
            batches.extend(packer.take());
            let mut again = Vec::new();
            for batch in batches {
                prop_assert!(batch.len() <= limit);
                again.extend(split(serializer, 200, &batch).unwrap());
            }
            prop_assert_eq!(again, messages);
        }

        #[test]
        fn no_batch_makes_the_splitter_panic(
            serializer in prop::sample::select(Serializer::ALL.to_vec()),
            batch in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            drop(split(serializer, 50, &batch));
        }
    }
}
