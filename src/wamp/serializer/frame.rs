//! The layout of a frame: which element stands where, and each element's bytes.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserializer, Serialize, Serializer};

use crate::value::{MAX_DEPTH, Map, ReadNotes, Value, ValueSeed};
use crate::wamp::message::{Message, Payload};

/// The longest message, ERROR with a payload, has this many elements.
const MAX_ELEMENTS: usize = 7;

/// How deep one element may nest: `args` or `kwargs` around values of [`MAX_DEPTH`].
pub(super) const ELEMENT_DEPTH: usize = MAX_DEPTH + 1;

/// How deep a whole frame may nest.
pub(super) const FRAME_DEPTH: usize = ELEMENT_DEPTH + 1;

/// Writes a message as the list that its frame is.
pub(super) struct Frame<'a>(pub(super) &'a Message);

/// One element of a frame, by reference.
#[derive(Clone, Copy)]
enum Element<'a> {
    Number(u64),
    Text(&'a str),
    Dict(&'a Map),
    List(&'a [Value]),
    Value(&'a Value),
}

/// What stands before the payload. Kept apart from it, so that a payload which is already encoded
/// could follow as it is.
struct Header<'a> {
    elements: [Option<Element<'a>>; MAX_ELEMENTS],
    payload: Option<&'a Payload>,
}

impl<'a> Header<'a> {
    fn of(message: &'a Message) -> Self {
        use Element::{Dict, Number, Text};
        let code = Number(message.code());
        let (elements, payload): ([Option<Element<'a>>; 4], _) = match message {
            Message::Hello { realm, details } => {
                ([Some(Text(realm)), Some(Dict(details)), None, None], None)
            }
            Message::Welcome { session, details } => (
                [Some(Number(session.0)), Some(Dict(details)), None, None],
                None,
            ),
            Message::Abort {
                details,
                reason,
                payload,
            } => (
                [Some(Dict(details)), Some(Text(reason)), None, None],
                Some(payload),
            ),
            Message::Challenge { method, extra } => {
                ([Some(Text(method)), Some(Dict(extra)), None, None], None)
            }
            Message::Authenticate { signature, extra } => {
                ([Some(Text(signature)), Some(Dict(extra)), None, None], None)
            }
            Message::Goodbye { details, reason } => {
                ([Some(Dict(details)), Some(Text(reason)), None, None], None)
            }
            Message::Error {
                request_type,
                request,
                details,
                error,
                payload,
            } => (
                [
                    Some(Number(*request_type)),
                    Some(Number(request.0)),
                    Some(Dict(details)),
                    Some(Text(error)),
                ],
                Some(payload),
            ),
            Message::Publish {
                request,
                options,
                topic: uri,
                payload,
            }
            | Message::Call {
                request,
                options,
                procedure: uri,
                payload,
            } => (
                [
                    Some(Number(request.0)),
                    Some(Dict(options)),
                    Some(Text(uri)),
                    None,
                ],
                Some(payload),
            ),
            Message::Subscribe {
                request,
                options,
                topic: uri,
            }
            | Message::Register {
                request,
                options,
                procedure: uri,
            } => (
                [
                    Some(Number(request.0)),
                    Some(Dict(options)),
                    Some(Text(uri)),
                    None,
                ],
                None,
            ),
            Message::Published {
                request,
                publication,
            } => (Self::pair(request.0, publication.0), None),
            Message::Subscribed {
                request,
                subscription,
            }
            | Message::Unsubscribe {
                request,
                subscription,
            } => (Self::pair(request.0, subscription.0), None),
            Message::Registered {
                request,
                registration,
            }
            | Message::Unregister {
                request,
                registration,
            } => (Self::pair(request.0, registration.0), None),
            Message::Unsubscribed { request, details }
            | Message::Unregistered { request, details } => (
                [
                    Some(Number(request.0)),
                    (!details.is_empty()).then_some(Dict(details)),
                    None,
                    None,
                ],
                None,
            ),
            Message::Event {
                subscription,
                publication,
                details,
                payload,
            } => (
                [
                    Some(Number(subscription.0)),
                    Some(Number(publication.0)),
                    Some(Dict(details)),
                    None,
                ],
                Some(payload),
            ),
            Message::Invocation {
                request,
                registration,
                details,
                payload,
            } => (
                [
                    Some(Number(request.0)),
                    Some(Number(registration.0)),
                    Some(Dict(details)),
                    None,
                ],
                Some(payload),
            ),
            Message::Result {
                request,
                details: dict,
                payload,
            }
            | Message::Yield {
                request,
                options: dict,
                payload,
            } => (
                [Some(Number(request.0)), Some(Dict(dict)), None, None],
                Some(payload),
            ),
            Message::Cancel { request, options } | Message::Interrupt { request, options } => (
                [Some(Number(request.0)), Some(Dict(options)), None, None],
                None,
            ),
            Message::EventReceived { publication } => {
                ([Some(Number(publication.0)), None, None, None], None)
            }
        };
        let [first, second, third, fourth] = elements;
        Self {
            elements: [Some(code), first, second, third, fourth, None, None],
            payload,
        }
    }

    fn pair(first: u64, second: u64) -> [Option<Element<'a>>; 4] {
        [
            Some(Element::Number(first)),
            Some(Element::Number(second)),
            None,
            None,
        ]
    }
}

/// The payload's elements: none, `args`, or `args` and `kwargs`.
fn payload_elements(payload: &Payload) -> [Option<Element<'_>>; 2] {
    if let Some(content) = payload.sealed() {
        return [Some(Element::Value(content)), None];
    }
    let kwargs = (!payload.kwargs().is_empty()).then_some(Element::Dict(payload.kwargs()));
    let args =
        (!payload.args().is_empty() || kwargs.is_some()).then_some(Element::List(payload.args()));
    [args, kwargs]
}

impl Serialize for Frame<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let header = Header::of(self.0);
        let payload = header.payload.map(payload_elements).unwrap_or_default();
        let elements = || header.elements.iter().chain(&payload).flatten();
        let mut list = serializer.serialize_seq(Some(elements().count()))?;
        for element in elements() {
            list.serialize_element(element)?;
        }
        list.end()
    }
}

impl Serialize for Element<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let depth_left = ELEMENT_DEPTH;
        match *self {
            Element::Number(number) => serializer.serialize_u64(number),
            Element::Text(text) => serializer.serialize_str(text),
            Element::Dict(map) => write_map(map, depth_left, serializer),
            Element::List(items) => write_list(items, depth_left, serializer),
            Element::Value(value) => Wire { value, depth_left }.serialize(serializer),
        }
    }
}

/// A value as WAMP writes it, which differs from HTTP's JSON in how binary looks.
struct Wire<'a> {
    value: &'a Value,
    depth_left: usize,
}

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(flag) => serializer.serialize_bool(*flag),
            Value::I64(number) => serializer.serialize_i64(*number),
            Value::U64(number) => serializer.serialize_u64(*number),
            Value::F64(number) => {
                if serializer.is_human_readable() && !number.is_finite() {
                    return Err(S::Error::custom(format_args!("{number} is no JSON number")));
                }
                serializer.serialize_f64(*number)
            }
            Value::Text(text) => {
                if serializer.is_human_readable() && text.starts_with('\0') {
                    return Err(S::Error::custom(
                        "text that begins with U+0000 would be read as binary from JSON",
                    ));
                }
                serializer.serialize_str(text)
            }
            Value::Bytes(bytes) => {
                if serializer.is_human_readable() {
                    serializer.collect_str(&format_args!(
                        "\0{}",
                        data_encoding::BASE64.encode_display(bytes)
                    ))
                } else {
                    serializer.serialize_bytes(bytes)
                }
            }
            Value::List(items) => write_list(items, self.depth_left, serializer),
            Value::Map(map) => write_map(map, self.depth_left, serializer),
        }
    }
}

fn write_list<S: Serializer>(
    items: &[Value],
    depth_left: usize,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let depth_left = deeper(depth_left)?;
    let mut list = serializer.serialize_seq(Some(items.len()))?;
    for value in items {
        list.serialize_element(&Wire { value, depth_left })?;
    }
    list.end()
}

fn write_map<S: Serializer>(
    map: &Map,
    depth_left: usize,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let depth_left = deeper(depth_left)?;
    let mut out = serializer.serialize_map(Some(map.len()))?;
    for (key, value) in map {
        out.serialize_entry(key, &Wire { value, depth_left })?;
    }
    out.end()
}

fn deeper<E: serde::ser::Error>(depth_left: usize) -> Result<usize, E> {
    depth_left
        .checked_sub(1)
        .ok_or_else(|| E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")))
}

/// What could be read of a frame.
#[derive(Debug, Default)]
pub(super) struct Elements {
    /// The elements in order, up to the longest message's count.
    pub(super) values: Vec<Value>,
    /// How many more there were.
    pub(super) surplus: usize,
    /// Why reading ended early. What was read before is kept: it may name the request.
    pub(super) fault: Option<String>,
}

impl Elements {
    pub(super) fn new() -> Self {
        Self {
            values: Vec::with_capacity(MAX_ELEMENTS),
            ..Self::default()
        }
    }

    /// Returns whether a message may still use one more element.
    pub(super) fn wants_more(&self) -> bool {
        self.values.len() < MAX_ELEMENTS
    }
}

/// Reads a frame's list element by element into `elements`.
pub(super) struct FrameSeed<'a> {
    pub(super) elements: &'a mut Elements,
    pub(super) notes: &'a ReadNotes,
}

impl<'de> DeserializeSeed<'de> for FrameSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FrameSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while self.elements.wants_more() {
            match seq.next_element_seed(ValueSeed::new(ELEMENT_DEPTH, self.notes))? {
                Some(value) => self.elements.values.push(value),
                None => return Ok(()),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            self.elements.surplus += 1;
        }
        Ok(())
    }
}
