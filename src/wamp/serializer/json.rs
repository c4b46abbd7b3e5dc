//! JSON frames.

use bytes::Bytes;

use super::frame::{Elements, Frame, FrameSeed};
use super::{EncodeError, Reading};
use crate::value::{NulText, ReadNotes, json};
use crate::wamp::message::Message;

/// A frame of a small call fits; larger ones grow.
const USUAL_FRAME_BYTES: usize = 256;

pub(super) fn encode(message: &Message) -> Result<Bytes, EncodeError> {
    let mut frame = Vec::with_capacity(USUAL_FRAME_BYTES);
    serde_json::to_writer(&mut frame, &Frame(message)).map_err(|error| EncodeError {
        detail: error.to_string(),
    })?;
    Ok(frame.into())
}

pub(super) fn decode(frame: &[u8], reading: Reading) -> Elements {
    let notes = ReadNotes {
        nul_text: match reading {
            Reading::Tolerant => NulText::Binary,
            Reading::Strict => NulText::OnlyBinary,
        },
        // JavaScript writes a double of up to 10^21 without point and exponent. That is no mistake
        // of a client in JavaScript, so strict reading takes it too; an id it can never be.
        takes_whole_doubles: true,
        ..ReadNotes::default()
    };
    let mut elements = Elements::new();
    let seed = FrameSeed {
        elements: &mut elements,
        notes: &notes,
    };
    elements.fault = json::read(frame, seed, &notes)
        .err()
        .map(|error| error.to_string());
    elements
}
