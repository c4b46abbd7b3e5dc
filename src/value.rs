//! The data that every module shares: JSON's types, with 64-bit integers of both signs and binary.
//!
//! `serde_json::Value` would round integers beyond 64 bits and has no binary, so we keep our own.
//! This file knows no wire format; each codec maps its format to [`Value`] through `serde`, and
//! `json.rs` does so for JSON text, where integers need care.
//! Read `mops.rs` next for what computes with values, or `wamp/serializer.rs` for what sends them.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub mod json;
pub mod msgpack;
pub mod time;

/// Deepest nesting of lists and maps that any decoder of ours accepts.
pub const MAX_DEPTH: usize = 128;

/// A map from text to values that keeps the order in which it was written.
pub type Map = IndexMap<String, Value>;

/// One piece of data: what a body, a WAMP argument or a template's result is made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// JSON's `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any integer that fits in 64 signed bits.
    I64(i64),
    // INVARIANT: above `i64::MAX`; what fits an `i64` is one. Made by `From<u64>` only, so that
    // equal numbers compare equal however they came in.
    /// An integer above [`i64::MAX`]; build it with `Value::from(u64)`.
    U64(u64),
    /// A double; may be infinite or NaN, which JSON cannot carry.
    F64(f64),
    /// Unicode text.
    Text(String),
    /// Binary. JSON carries it as base64 text.
    Bytes(Bytes),
    /// An ordered list.
    List(Vec<Value>),
    /// A map with text keys, in the order in which it was written.
    Map(Map),
}

impl Value {
    /// Returns the name of the value's type as error messages say it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::I64(_) | Value::U64(_) => "integer",
            Value::F64(_) => "float",
            Value::Text(_) => "text",
            Value::Bytes(_) => "binary",
            Value::List(_) => "list",
            Value::Map(_) => "map",
        }
    }

    /// Returns the text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// Returns the integer, if it is one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::I64(number) => u64::try_from(*number).ok(),
            Value::U64(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the integer, if it is one that fits in 64 signed bits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::I64(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the items, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the map, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns whether it is the empty text, which stands for "nothing" in bodies and in Mops.
    pub fn is_empty_text(&self) -> bool {
        matches!(self, Value::Text(text) if text.is_empty())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Bool(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::I64(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Value::U64(number), Value::I64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::F64(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<Cow<'_, str>> for Value {
    fn from(text: Cow<'_, str>) -> Self {
        Value::Text(text.into_owned())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Value::Bytes(bytes)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Value::List(items)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Value::Map(map)
    }
}

/// Writes compact JSON, binary as base64. What JSON cannot carry (NaN, infinities) is null here:
/// this is for people, in messages; bodies go through a codec, which refuses them.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::F64(number) if !number.is_finite() => f.write_str("null"),
            other => match serde_json::to_string(other) {
                Ok(json) => f.write_str(&json),
                Err(_) => f.write_str("?"),
            },
        }
    }
}

/// A format for people (JSON) gets binary as base64 text and refuses NaN and infinities; a binary
/// format gets bytes as they are.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
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
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => {
                if serializer.is_human_readable() {
                    serializer.collect_str(&data_encoding::BASE64.encode_display(bytes))
                } else {
                    serializer.serialize_bytes(bytes)
                }
            }
            Value::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Value::Map(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    out.serialize_entry(key, value)?;
                }
                out.end()
            }
        }
    }
}

/// Reads any self-describing format. Keys that are not text become text; of duplicate keys the last
/// wins. Deeper than [`MAX_DEPTH`] is refused.
///
/// A JSON integer beyond 64 bits would come in rounded here: read JSON by [`json::from_json`].
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ValueSeed::new(MAX_DEPTH, &ReadNotes::default()).deserialize(deserializer)
    }
}

/// How text that begins with U+0000 is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum NulText {
    /// It is text like any other.
    #[default]
    Text,
    /// What follows is binary in base64, as WAMP writes it in JSON; if it is not, it stays text.
    Binary,
    /// What follows is binary in base64, else the text is refused.
    OnlyBinary,
}

/// What a reader is told before and tells after it has read one text.
#[derive(Debug, Default)]
pub(crate) struct ReadNotes {
    /// How text that begins with U+0000 is read.
    pub(crate) nul_text: NulText,
    /// Set when a number was read that may be an integer which the format's decoder rounded.
    pub(crate) saw_wide_number: Cell<bool>,
    /// Whether an integer beyond 64 bits is read as a double if it is written as one would be.
    pub(crate) takes_whole_doubles: bool,
}

/// Reads one [`Value`] and counts its levels, whatever the format's own decoder allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValueSeed<'a> {
    depth_left: usize,
    notes: &'a ReadNotes,
}

impl<'a> ValueSeed<'a> {
    /// Builds a reader that accepts `depth` levels of lists and maps.
    pub(crate) fn new(depth: usize, notes: &'a ReadNotes) -> Self {
        Self {
            depth_left: depth,
            notes,
        }
    }

    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth_left = self
            .depth_left
            .checked_sub(1)
            .ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth_left, ..self })
    }

    fn text<E: de::Error>(self, text: Cow<'_, str>) -> Result<Value, E> {
        if self.notes.nul_text != NulText::Text
            && let Some(base64) = text.strip_prefix('\0')
        {
            match data_encoding::BASE64.decode(base64.as_bytes()) {
                Ok(bytes) => return Ok(Value::Bytes(bytes.into())),
                Err(error) if self.notes.nul_text == NulText::OnlyBinary => {
                    return Err(E::custom(format_args!("binary that is no base64: {error}")));
                }
                Err(_) => {}
            }
        }
        Ok(Value::Text(text.into_owned()))
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A declared length is a claim of the sender's: no more than this is allocated on its word.
const MAX_TRUSTED_LENGTH: usize = 1024;

/// The tags of integers written as bytes, which must never pass for binary.
const CBOR_BIG_INTEGERS: [u64; 2] = [2, 3];

/// From here on a double stands for more than one integer of 64 bits.
const WIDE: f64 = 9_223_372_036_854_775_808.0;

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a number, text, binary, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::I64(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Value, E> {
        if let Ok(number) = i64::try_from(number) {
            return Ok(Value::I64(number));
        }
        u64::try_from(number)
            .map(Value::from)
            .map_err(|_| E::custom("an integer beyond 64 bits"))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Value, E> {
        u64::try_from(number)
            .map(Value::from)
            .map_err(|_| E::custom("an integer beyond 64 bits"))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        if number.abs() >= WIDE {
            self.notes.saw_wide_number.set(true);
        }
        Ok(Value::F64(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        self.text(Cow::Owned(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(MAX_TRUSTED_LENGTH));
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::with_capacity(access.size_hint().unwrap_or(0).min(MAX_TRUSTED_LENGTH));
        while let Some(key) = access.next_key_seed(KeyText)? {
            let value = access.next_value_seed(inner)?;
            map.insert(key, value);
        }
        Ok(Value::Map(map))
    }

    /// CBOR tags arrive as an enum of tag and content; the content is what counts for us.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        struct Tagged<'a>(ValueSeed<'a>);
        impl<'de> Visitor<'de> for Tagged<'_> {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a tag and its content")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let tag: Option<u64> = seq.next_element()?;
                let tag = tag.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                if CBOR_BIG_INTEGERS.contains(&tag) {
                    // One that fits has become a number already.
                    return Err(de::Error::custom("an integer beyond 64 bits"));
                }
                seq.next_element_seed(self.0)?
                    .ok_or_else(|| de::Error::invalid_length(1, &self))
            }
        }
        let (_, variant) = access.variant::<de::IgnoredAny>()?;
        variant.tuple_variant(2, Tagged(self.deeper()?))
    }
}

/// Reads a map key of any scalar type as text.
#[derive(Clone, Copy)]
struct KeyText;

impl KeyText {
    fn scalar<E: de::Error>(value: Value) -> Result<String, E> {
        match value {
            Value::Text(text) => Ok(text),
            Value::Null => Ok("null".to_owned()),
            Value::Bool(flag) => Ok(flag.to_string()),
            Value::I64(number) => Ok(number.to_string()),
            Value::U64(number) => Ok(number.to_string()),
            Value::F64(number) => Ok(format!("{number:?}")),
            Value::Bytes(bytes) => Ok(data_encoding::BASE64.encode(&bytes)),
            other @ (Value::List(_) | Value::Map(_)) => Err(E::custom(format_args!(
                "a {} as a map key",
                other.type_name()
            ))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for KeyText {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        // One level, so that a list or a map is read, and named in the refusal, but none inside it.
        ValueSeed::new(1, &ReadNotes::default())
            .deserialize(deserializer)
            .and_then(Self::scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn integers_keep_all_64_bits_of_both_signs() {
        for text in [
            "0",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
            "18446744073709551615",
        ] {
            assert_eq!(json(text).to_string(), text);
        }
    }

    #[test]
    fn an_integer_that_fits_i64_is_never_u64() {
        assert_eq!(Value::from(7_u64), Value::I64(7));
        assert_eq!(Value::from(u64::MAX), Value::U64(u64::MAX));
    }

    #[test]
    fn json_carries_binary_as_base64_and_refuses_nan() {
        let value = Value::List(vec![Value::Bytes(Bytes::from_static(b"\x00\xff"))]);
        assert_eq!(serde_json::to_string(&value).unwrap(), r#"["AP8="]"#);
        assert!(serde_json::to_string(&Value::F64(f64::NAN)).is_err());
        assert!(serde_json::to_string(&Value::F64(f64::INFINITY)).is_err());
    }

    #[test]
    fn binary_formats_keep_binary_and_integers() {
        let value = Value::List(vec![
            Value::Bytes(Bytes::from_static(b"\x00\xff")),
            Value::from(u64::MAX),
            Value::I64(i64::MIN),
            Value::F64(1.5),
            Value::Null,
        ]);
        let packed = rmp_serde::to_vec(&value).unwrap();
        assert_eq!(rmp_serde::from_slice::<Value>(&packed).unwrap(), value);
        let mut cbor = Vec::new();
        ciborium::into_writer(&value, &mut cbor).unwrap();
        assert_eq!(
            ciborium::from_reader::<Value, _>(cbor.as_slice()).unwrap(),
            value
        );
    }

    #[test]
    fn keys_that_are_not_text_become_text_and_the_last_duplicate_wins() {
        let packed = [0x82, 0x01, 0x02, 0xa1, b'1', 0x03]; // {1: 2, "1": 3}
        let value: Value = rmp_serde::from_slice(&packed).unwrap();
        assert_eq!(value, json(r#"{"1": 3}"#));
    }

    #[test]
    fn a_cbor_tag_yields_its_content() {
        let tagged = [0xc1, 0x1a, 0x00, 0x00, 0x00, 0x2a]; // 1(42)
        assert_eq!(
            ciborium::from_reader::<Value, _>(tagged.as_slice()).unwrap(),
            Value::I64(42)
        );
    }

    #[test]
    fn maps_keep_their_order() {
        assert_eq!(json(r#"{"z": 1, "a": 2}"#).to_string(), r#"{"z":1,"a":2}"#);
    }
}
