//! Messages to bytes and back: JSON, MessagePack and CBOR.
//!
//! Writing goes straight from references into the frame. Reading knows two manners: a client reads
//! what any router sends and asks only for what it needs; a router refuses what the specification
//! does. `frame.rs` lays a message out and reads a frame's elements, `read.rs` makes a message of
//! them, `strict.rs` holds the rules for options; `json.rs`, `msgpack.rs` and `cbor.rs` are the
//! formats.
//!
//! Reference: WAMP Basic Profile, "Serializers" and "Messages".

mod cbor;
mod frame;
mod json;
mod msgpack;
mod read;
mod strict;

use bytes::Bytes;

use crate::wamp::id::RequestId;
use crate::wamp::message::{Message, code};

/// A format of frames, agreed when a transport opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serializer {
    /// JSON, in text frames; binary travels as text that begins with U+0000.
    Json,
    /// MessagePack.
    Msgpack,
    /// CBOR.
    Cbor,
}

/// How a frame is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As a client must: routers differ, and what can be understood is.
    Tolerant,
    /// As a router should: exact lengths and types, ids in range, valid URIs and options.
    Strict,
}

/// Why a message cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct EncodeError {
    detail: String,
}

/// Why a frame is not a message that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No list that begins with a message code: whoever sends this does not speak WAMP.
    #[error("not a WAMP message: {detail}")]
    NotAMessage {
        /// What is wrong.
        detail: String,
    },
    /// A message code that we do not know.
    #[error("unknown message code {code}")]
    Unknown {
        /// The code.
        code: u64,
    },
    /// A message that we know, in a form that we do not accept.
    #[error("malformed {name}: {detail}", name = code::name(*code).unwrap_or("message"))]
    Malformed {
        /// The message code; see [`code`].
        code: u64,
        /// The request that the message belongs to, where it has one and that could be read. For an
        /// ERROR, the request that failed.
        request: Option<RequestId>,
        /// What is wrong.
        detail: String,
    },
    /// A message whose only fault is its URI, so that a request can be answered.
    #[error("invalid URI in {name}: {detail}", name = code::name(*code).unwrap_or("message"))]
    InvalidUri {
        /// The message code; see [`code`].
        code: u64,
        /// The request, where the message has one; none for a PUBLISH that wants no answer.
        request: Option<RequestId>,
        /// What is wrong.
        detail: String,
    },
}

impl Serializer {
    /// All of them, the one that we like best first.
    pub const ALL: [Serializer; 3] = [Serializer::Msgpack, Serializer::Json, Serializer::Cbor];

    /// Returns the name of the WebSocket subprotocol.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Serializer::Json => "wamp.2.json",
            Serializer::Msgpack => "wamp.2.msgpack",
            Serializer::Cbor => "wamp.2.cbor",
        }
    }

    /// Returns the serializer that a WebSocket subprotocol names.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|serializer| serializer.subprotocol() == name)
    }

    /// Returns the name that settings use: `json`, `msgpack` or `cbor`.
    pub fn name(self) -> &'static str {
        match self {
            Serializer::Json => "json",
            Serializer::Msgpack => "msgpack",
            Serializer::Cbor => "cbor",
        }
    }

    /// Returns the serializer of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|serializer| serializer.name() == name)
    }

    /// Returns whether frames are text.
    pub fn is_text(self) -> bool {
        match self {
            Serializer::Json => true,
            Serializer::Msgpack | Serializer::Cbor => false,
        }
    }

    /// Writes one frame.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when the payload or the options nest deeper than any reader accepts, or, in
    /// JSON, hold a number that is not finite or text that begins with U+0000, which a reader would
    /// take for binary.
    pub fn encode(self, message: &Message) -> Result<Bytes, EncodeError> {
        match self {
            Serializer::Json => json::encode(message),
            Serializer::Msgpack => msgpack::encode(message),
            Serializer::Cbor => cbor::encode(message),
        }
    }

    /// Reads one frame.
    ///
    /// Nothing is allocated on the word of a declared length, and values nest up to
    /// [`MAX_DEPTH`](crate::value::MAX_DEPTH) below the arguments.
    ///
    /// # Errors
    ///
    /// A client drops all but [`DecodeError::NotAMessage`], which ends the session; a router
    /// answers [`DecodeError::InvalidUri`] and ends the session for the others.
    pub fn decode(self, frame: &[u8], reading: Reading) -> Result<Message, DecodeError> {
        let elements = match self {
            Serializer::Json => json::decode(frame, reading),
            Serializer::Msgpack => msgpack::decode(frame),
            Serializer::Cbor => cbor::decode(frame),
        };
        read::message(elements, reading)
    }
}

#[cfg(test)]
mod tests;
