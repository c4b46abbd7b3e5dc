//! MessagePack frames.

use bytes::Bytes;
use rmp_serde::decode::Error;
use serde::de::{Deserialize, DeserializeSeed};

use super::EncodeError;
use super::frame::{Elements, FRAME_DEPTH, Frame, FrameSeed};
use crate::value::ReadNotes;
use crate::wamp::message::Message;

/// A frame of a small call fits; larger ones grow.
const USUAL_FRAME_BYTES: usize = 256;

pub(super) fn encode(message: &Message) -> Result<Bytes, EncodeError> {
    let mut frame = Vec::with_capacity(USUAL_FRAME_BYTES);
    rmp_serde::encode::write(&mut frame, &Frame(message)).map_err(|error| EncodeError {
        detail: error.to_string(),
    })?;
    Ok(frame.into())
}

pub(super) fn decode(frame: &[u8]) -> Elements {
    let notes = ReadNotes::default();
    let mut elements = Elements::new();
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(frame);
    // Our own seeds count; this bounds what they skip. It stops one level before zero.
    deserializer.set_max_depth(FRAME_DEPTH + 2);
    let seed = FrameSeed {
        elements: &mut elements,
        notes: &notes,
    };
    elements.fault = match seed.deserialize(&mut deserializer) {
        Err(error) => Some(error.to_string()),
        // It cannot tell where it stands. A boolean is no more than its marker: that not even one
        // can be read means the end.
        Ok(()) => match bool::deserialize(&mut deserializer) {
            Err(Error::InvalidMarkerRead(_)) => None,
            Ok(_) | Err(_) => Some("bytes after the message".to_owned()),
        },
    };
    elements
}
