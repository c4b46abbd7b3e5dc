//! CBOR frames.
//!
//! The library reads whole values only, so the list around a message's elements is read here: then
//! a fault in one element leaves the ones before it, which may name the request.
//!
//! Reference: RFC 8949, "Specification of the CBOR Encoding".

use bytes::Bytes;
use ciborium::de::Error;
use serde::de::{Deserialize, DeserializeSeed, Deserializer};

use super::EncodeError;
use super::frame::{ELEMENT_DEPTH, Elements, Frame};
use crate::value::{ReadNotes, Value, ValueSeed};
use crate::wamp::message::Message;

/// A frame of a small call fits; larger ones grow.
const USUAL_FRAME_BYTES: usize = 256;

/// Ends a list that did not declare its length.
const BREAK: u8 = 0xff;

pub(super) fn encode(message: &Message) -> Result<Bytes, EncodeError> {
    let mut frame = Vec::with_capacity(USUAL_FRAME_BYTES);
    ciborium::into_writer(&Frame(message), &mut frame).map_err(|error| EncodeError {
        detail: match error {
            ciborium::ser::Error::Io(cause) => cause.to_string(),
            ciborium::ser::Error::Value(detail) => detail,
        },
    })?;
    Ok(frame.into())
}

pub(super) fn decode(frame: &[u8]) -> Elements {
    let mut elements = Elements::new();
    elements.fault = read_list(frame, &mut elements).err();
    elements
}

/// One element; [`Value`] alone would count its levels without the list around it.
struct Element(Value);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ValueSeed::new(ELEMENT_DEPTH, &ReadNotes::default())
            .deserialize(deserializer)
            .map(Element)
    }
}

fn read_list(frame: &[u8], elements: &mut Elements) -> Result<(), String> {
    let (declared, mut rest) = list_head(frame)?;
    let mut count = 0;
    loop {
        match declared {
            Some(length) if count == length => break,
            None if rest.first() == Some(&BREAK) => {
                rest = &rest[1..];
                break;
            }
            _ => {}
        }
        let Element(value) =
            ciborium::de::from_reader_with_recursion_limit(&mut rest, ELEMENT_DEPTH + 1)
                .map_err(describe)?;
        count += 1;
        if elements.wants_more() {
            elements.values.push(value);
        } else {
            elements.surplus += 1;
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err("bytes after the message".to_owned())
    }
}

/// Returns the number of items that a list declares, if it does, and what follows its head.
fn list_head(frame: &[u8]) -> Result<(Option<u64>, &[u8]), String> {
    const LIST: u8 = 0b100_00000;
    let (&head, rest) = frame.split_first().ok_or("an empty frame")?;
    if head & 0b111_00000 != LIST {
        return Err("not a list".to_owned());
    }
    let width = match head & 0b000_11111 {
        short @ 0..=23 => return Ok((Some(u64::from(short)), rest)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        31 => return Ok((None, rest)),
        _ => return Err("a reserved length".to_owned()),
    };
    let (length, rest) = rest.split_at_checked(width).ok_or("ends too early")?;
    let length = length
        .iter()
        .fold(0, |length, &byte| length << 8 | u64::from(byte));
    Ok((Some(length), rest))
}

fn describe<T>(error: Error<T>) -> String {
    match error {
        Error::Io(_) => "ends too early".to_owned(),
        Error::Syntax(_) => "no CBOR".to_owned(),
        Error::Semantic(_, detail) => detail,
        Error::RecursionLimitExceeded => "nested too deeply".to_owned(),
    }
}
