//! Bodies: bytes of a media type to a [`Value`] and back.
//!
//! The type decides how, whatever the bytes look like. Which types a route takes and gives is
//! `negotiate.rs`'s business.
//!
//! ```text
//! application/json, msgpack, cbor     any value, exactly
//! application/x-www-form-urlencoded   in: a map of text; out: as it is
//! text/*                              in: text (UTF-8);  out: as it is
//! anything else                       in: binary;        out: as it is
//! ```
//!
//! Reference: the API specs' reference, "Order of a request".

use bytes::Bytes;
use http::StatusCode;
use percent_encoding::percent_decode;

use crate::negotiate::essence;
use crate::problem::Problem;
use crate::value::json::{JsonError, from_json};
use crate::value::msgpack::{MsgpackError, from_msgpack};
use crate::value::{MAX_DEPTH, Map, Value};

/// How the bytes of a media type are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/msgpack`
    Msgpack,
    /// `application/cbor`
    Cbor,
    /// `application/x-www-form-urlencoded`
    Form,
    /// `text/*`
    Text,
    /// Everything else.
    Binary,
}

impl Format {
    /// Returns the format of a media type; parameters count for nothing.
    pub fn of(media_type: &str) -> Self {
        let essence = essence(media_type);
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("application/json") {
            Format::Json
        } else if is("application/msgpack") || is("application/x-msgpack") {
            Format::Msgpack
        } else if is("application/cbor") {
            Format::Cbor
        } else if is("application/x-www-form-urlencoded") {
            Format::Form
        } else if essence
            .split_once('/')
            .is_some_and(|(top, _)| top.eq_ignore_ascii_case("text"))
        {
            Format::Text
        } else {
            Format::Binary
        }
    }

    fn name(self) -> &'static str {
        match self {
            Format::Json => "JSON",
            Format::Msgpack => "MessagePack",
            Format::Cbor => "CBOR",
            Format::Form => "form data",
            Format::Text => "text",
            Format::Binary => "binary",
        }
    }
}

/// Returns whether a body that was written as `media_type` may be called `name`, as a spec's own
/// `content-type` has it.
///
/// A spec may know better what its JSON or its text is: `application/problem+json`, a `charset`. But
/// headers are often the same for every answer, and then they do not know what was negotiated: no
/// MessagePack is to be called JSON.
pub fn may_call(name: &str, media_type: &str) -> bool {
    let packed = |media_type: &str| {
        let essence = essence(media_type).to_ascii_lowercase();
        match Format::of(&essence) {
            format @ (Format::Msgpack | Format::Cbor) => Some(format),
            _ if essence.ends_with("+msgpack") => Some(Format::Msgpack),
            _ if essence.ends_with("+cbor") => Some(Format::Cbor),
            _ => None,
        }
    };
    let written = Format::of(media_type);
    match packed(name) {
        // Text and binary go out as they are: only the spec knows what they are.
        _ if matches!(written, Format::Form | Format::Text | Format::Binary) => true,
        Some(format) => format == written,
        None => written == Format::Json,
    }
}

/// Why a body is not what its type says. Always the client's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No JSON, or JSON that cannot be kept exactly.
    #[error("the body is not valid JSON: {0}")]
    Json(#[from] JsonError),
    /// No MessagePack, or none that can be kept exactly.
    #[error("the body is not valid MessagePack: {0}")]
    Msgpack(#[from] MsgpackError),
    /// No CBOR, or none that can be kept exactly.
    #[error("the body is not valid CBOR: {detail} at byte {offset}")]
    Cbor {
        /// How far the body could be read, from 0.
        offset: usize,
        /// What is wrong there.
        detail: String,
    },
    /// A text that is not UTF-8.
    #[error("the body is not UTF-8 text at byte {offset}")]
    Text {
        /// The offending byte, from 0.
        offset: usize,
    },
    /// A form whose key or value is not UTF-8 once decoded.
    #[error("the body is not valid form data: pair {place} is not UTF-8 after decoding")]
    Form {
        /// Which `key=value`, from 1.
        place: usize,
    },
}

impl DecodeError {
    /// Words it for the caller: 400 with the place, also as a member of its own.
    pub fn into_problem(self) -> Problem {
        let number = |number: usize| Value::from(number as u64);
        let problem = Problem::new(StatusCode::BAD_REQUEST).detail(format!("{self}."));
        match self {
            DecodeError::Json(error) => problem
                .member("line", number(error.line))
                .member("column", number(error.column)),
            DecodeError::Msgpack(MsgpackError { offset, .. })
            | DecodeError::Cbor { offset, .. }
            | DecodeError::Text { offset } => problem.member("offset", number(offset)),
            DecodeError::Form { .. } => problem,
        }
    }
}

/// Reads a body of `media_type` (none given: binary); an empty one is the empty text, whatever its
/// type.
///
/// # Errors
///
/// [`DecodeError`] where the bytes are not what the type says, are more than one value, nest
/// deeper than [`MAX_DEPTH`], or hold a number that [`Value`] cannot keep exactly.
pub fn decode(media_type: Option<&str>, body: Bytes) -> Result<Value, DecodeError> {
    if body.is_empty() {
        return Ok(Value::Text(String::new()));
    }
    match media_type.map_or(Format::Binary, Format::of) {
        Format::Json => Ok(from_json(&body)?),
        Format::Msgpack => Ok(from_msgpack(&body)?),
        Format::Cbor => from_cbor(&body),
        Format::Form => form(&body),
        Format::Text => match std::str::from_utf8(&body) {
            Ok(text) => Ok(Value::from(text)),
            Err(fault) => Err(DecodeError::Text {
                offset: fault.valid_up_to(),
            }),
        },
        Format::Binary => Ok(Value::Bytes(body)),
    }
}

fn from_cbor(body: &[u8]) -> Result<Value, DecodeError> {
    use ciborium::de::Error;

    let mut rest = body;
    // The value counts its own levels and stops first; this bounds what lies beside a value.
    let read = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH + 1);
    let reached = body.len() - rest.len();
    let (offset, detail) = match read {
        Ok(value) if rest.is_empty() => return Ok(value),
        Ok(_) => (reached, "bytes after the value".to_owned()),
        Err(Error::Io(_)) => (reached, "ends too early".to_owned()),
        Err(Error::Syntax(offset)) => (offset, "no CBOR".to_owned()),
        Err(Error::Semantic(offset, detail)) => (offset.unwrap_or(reached), detail),
        Err(Error::RecursionLimitExceeded) => (reached, "nested too deeply".to_owned()),
    };
    Err(DecodeError::Cbor { offset, detail })
}

/// Reference: URL Standard, "application/x-www-form-urlencoded parsing".
fn form(body: &[u8]) -> Result<Value, DecodeError> {
    let decode = |bytes: &[u8], place: usize| {
        let spaced: Vec<u8> = bytes
            .iter()
            .map(|&byte| if byte == b'+' { b' ' } else { byte })
            .collect();
        match percent_decode(&spaced).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(DecodeError::Form { place }),
        }
    };
    let pairs = body
        .split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty());
    let mut map = Map::new();
    for (place, pair) in (1..).zip(pairs) {
        let equals = pair.iter().position(|&byte| byte == b'=');
        let (key, value) = equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        map.insert(decode(key, place)?, Value::Text(decode(value, place)?));
    }
    Ok(Value::Map(map))
}

/// Why a value cannot be written in the type that the client is to get.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// NaN or an infinity, which JSON has no words for.
    #[error("the answer holds a number that JSON cannot carry")]
    NotANumber,
    /// Only text and binary can go out as they are.
    #[error("a {found} cannot go out as {media_type}: only text and binary can")]
    Untextual {
        /// The value's type.
        found: &'static str,
        /// The type that was to be written.
        media_type: String,
    },
    /// The format's encoder gave up.
    #[error("the answer cannot be written as {format}")]
    Refused {
        /// The format's name.
        format: &'static str,
    },
}

/// Writes a body of `media_type`. The empty text gives no bytes in any type: it is no body.
///
/// JSON carries binary as base64 text.
///
/// # Errors
///
/// [`EncodeError`] where the type cannot carry the value.
pub fn encode(media_type: &str, value: &Value) -> Result<Bytes, EncodeError> {
    if value.is_empty_text() {
        return Ok(Bytes::new());
    }
    let format = Format::of(media_type);
    let refused = EncodeError::Refused {
        format: format.name(),
    };
    match (format, value) {
        (Format::Json, value) => match serde_json::to_vec(value) {
            Ok(json) => Ok(json.into()),
            // A `Value` has text keys and needs no IO: nothing else is left to fail.
            Err(_) => Err(EncodeError::NotANumber),
        },
        (Format::Msgpack, value) => rmp_serde::to_vec(value)
            .map(Bytes::from)
            .map_err(|_| refused),
        (Format::Cbor, value) => {
            let mut cbor = Vec::new();
            ciborium::into_writer(value, &mut cbor).map_err(|_| refused)?;
            Ok(cbor.into())
        }
        (Format::Form | Format::Text | Format::Binary, Value::Text(text)) => {
            Ok(Bytes::copy_from_slice(text.as_bytes()))
        }
        (Format::Form | Format::Text | Format::Binary, Value::Bytes(bytes)) => Ok(bytes.clone()),
        (Format::Form | Format::Text | Format::Binary, other) => Err(EncodeError::Untextual {
            found: other.type_name(),
            media_type: media_type.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const JSON: &str = "application/json";
    const MSGPACK: &str = "application/msgpack";
    const CBOR: &str = "application/cbor";

    fn read(media_type: &str, body: &[u8]) -> Result<Value, DecodeError> {
        decode(Some(media_type), Bytes::copy_from_slice(body))
    }

    fn says(media_type: &str, body: &[u8]) -> String {
        read(media_type, body).unwrap_err().to_string()
    }

    #[test]
    fn the_type_decides_how_bytes_are_read() {
        for (media_type, body, expected) in [
            (JSON, &b"[1, 2.5, \"a\"]"[..], "[1,2.5,\"a\"]"),
            ("Application/JSON; charset=utf-8", b"{}", "{}"),
            (MSGPACK, b"\x92\x01\xc0", "[1,null]"),
            (CBOR, b"\x82\x01\xf6", "[1,null]"),
            ("text/plain; charset=utf-8", "ä".as_bytes(), "\"ä\""),
            ("text/csv", b"[1]", "\"[1]\""),
            ("image/png", b"\x00\xff", "\"AP8=\""),
            ("application/xml", b"<a/>", "\"PGEvPg==\""),
        ] {
            assert_eq!(read(media_type, body).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn a_spec_may_name_its_json_but_not_call_msgpack_json() {
        for name in [
            "application/json; charset=utf-8",
            "application/problem+json",
        ] {
            assert!(may_call(name, JSON), "{name}");
            assert!(!may_call(name, MSGPACK), "{name}");
            assert!(!may_call(name, CBOR), "{name}");
            assert!(may_call(name, "text/plain"), "{name}");
        }
        assert!(may_call("application/x-msgpack", MSGPACK));
        assert!(may_call("application/vnd.example+cbor", CBOR));
        assert!(!may_call(MSGPACK, JSON));
        assert!(!may_call(CBOR, MSGPACK));
    }

    #[test]
    fn an_empty_body_is_the_empty_text_and_the_empty_text_is_no_body() {
        for media_type in [JSON, MSGPACK, CBOR, "text/plain", "image/png"] {
            assert!(read(media_type, b"").unwrap().is_empty_text());
            assert!(encode(media_type, &Value::from("")).unwrap().is_empty());
        }
        assert!(decode(None, Bytes::new()).unwrap().is_empty_text());
    }

    #[test]
    fn a_form_is_a_map_of_text_whose_last_duplicate_wins() {
        let form = |body: &[u8]| read("application/x-www-form-urlencoded", body);
        assert_eq!(
            form(b"a=1&b=x+y%26&&c&a=%C3%A4&d=1=2").unwrap().to_string(),
            r#"{"a":"ä","b":"x y&","c":"","d":"1=2"}"#
        );
        assert_eq!(form(b"a=1&b=%ff"), Err(DecodeError::Form { place: 2 }));
    }

    #[test]
    fn errors_name_the_place() {
        for (media_type, body, expected) in [
            (
                JSON,
                &b"{\"a\": 1,\n \"b\": }"[..],
                "the body is not valid JSON: expected value at line 2, column 7",
            ),
            (
                JSON,
                b"1 2",
                "the body is not valid JSON: trailing characters at line 1, column 3",
            ),
            (
                MSGPACK,
                b"\x92\x01",
                "the body is not valid MessagePack: ends too early at byte 2",
            ),
            (
                CBOR,
                b"\x82\x01",
                "the body is not valid CBOR: ends too early at byte 2",
            ),
            (
                CBOR,
                b"\x01\x02",
                "the body is not valid CBOR: bytes after the value at byte 1",
            ),
            (
                CBOR,
                b"\x81\x1c",
                "the body is not valid CBOR: no CBOR at byte 1",
            ),
            (
                "text/plain",
                b"ab\xff",
                "the body is not UTF-8 text at byte 2",
            ),
        ] {
            assert_eq!(says(media_type, body), expected);
        }
        let problem = read(JSON, b"[\n x]").unwrap_err().into_problem().to_value();
        let problem = problem.as_map().unwrap();
        assert_eq!(problem["status"], Value::I64(400));
        assert_eq!(problem["line"], Value::I64(2));
        assert_eq!(problem["column"], Value::I64(2));
    }

    #[test]
    fn numbers_that_cannot_be_kept_exactly_are_refused() {
        assert!(says(JSON, b"[18446744073709551616]").contains("an integer beyond 64 bits"));
        assert!(says(JSON, b"-9223372036854775809").contains("an integer beyond 64 bits"));
        assert!(says(JSON, b"1e400").contains("out of range"));
        let negative = b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff"; // -2^64
        assert!(says(CBOR, negative).contains("an integer beyond 64 bits"));
        let nine_bytes = b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00"; // 2(2^64)
        assert!(says(CBOR, nine_bytes).contains("an integer beyond 64 bits"));
        let seventeen_bytes = [&b"\xc2\x51"[..], &[1; 17]].concat();
        assert!(says(CBOR, &seventeen_bytes).contains("an integer beyond 64 bits"));
        let in_pieces = b"\xc3\x5f\x41\x01\xff";
        assert!(says(CBOR, in_pieces).contains("an integer beyond 64 bits"));
        let small = b"\xc2\x41\x07"; // 2(7)
        assert_eq!(read(CBOR, small).unwrap(), Value::I64(7));
    }

    #[test]
    fn depth_is_bounded_and_a_million_brackets_do_no_harm() {
        let nested = |open: &[u8], close: &[u8], depth: usize| {
            [open.repeat(depth), close.repeat(depth)].concat()
        };
        assert!(read(JSON, &nested(b"[", b"]", MAX_DEPTH)).is_ok());
        let cbor = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
        assert!(read(CBOR, &cbor(MAX_DEPTH)).is_ok());
        for (media_type, body) in [
            (JSON, nested(b"[", b"]", MAX_DEPTH + 1)),
            (JSON, vec![b'['; 1_000_000]),
            (JSON, b"{\"a\":".repeat(1_000_000)),
            (MSGPACK, vec![0x91; 1_000_000]),
            (MSGPACK, vec![0x81; 1_000_000]),
            (CBOR, cbor(MAX_DEPTH + 1)),
            (CBOR, vec![0x81; 1_000_000]),
            (CBOR, vec![0x9f; 1_000_000]), // lists without a length
            (CBOR, vec![0xa1; 1_000_000]), // maps as keys
            (CBOR, vec![0xc1; 1_000_000]), // tags
        ] {
            assert!(says(media_type, &body).contains("nested too deeply"));
        }
    }

    #[test]
    fn a_declared_length_is_not_taken_for_its_word() {
        for body in [
            &b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"[..], // a list
            b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",      // a map
            b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",      // binary
            b"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff",      // text
        ] {
            assert!(says(CBOR, body).contains("ends too early"));
        }
    }

    #[test]
    fn text_and_binary_go_out_as_they_are_and_nothing_else_can() {
        let binary = Value::Bytes(Bytes::from_static(b"\x00\xff"));
        assert_eq!(encode("image/png", &binary).unwrap(), &b"\x00\xff"[..]);
        assert_eq!(encode("text/csv", &Value::from("a,b")).unwrap(), "a,b");
        assert_eq!(
            encode("text/csv", &Value::Null).unwrap_err().to_string(),
            "a null cannot go out as text/csv: only text and binary can"
        );
    }

    #[test]
    fn json_words_text_null_and_binary_and_refuses_nan() {
        assert_eq!(encode(JSON, &Value::from("a")).unwrap(), "\"a\"");
        assert_eq!(encode(JSON, &Value::Null).unwrap(), "null");
        let binary = Value::List(vec![Value::Bytes(Bytes::from_static(b"\x00\xff"))]);
        assert_eq!(encode(JSON, &binary).unwrap(), "[\"AP8=\"]");
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let value = Value::List(vec![Value::F64(number)]);
            assert_eq!(encode(JSON, &value), Err(EncodeError::NotANumber));
            assert!(encode(MSGPACK, &value).is_ok());
            assert!(encode(CBOR, &value).is_ok());
        }
    }

    /// Any value; binary only where the format keeps it.
    fn values(with_binary: bool) -> impl Strategy<Value = Value> {
        let finite = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
        let binary = prop::collection::vec(any::<u8>(), 0..40).prop_map(move |bytes| {
            if with_binary {
                Value::Bytes(bytes.into())
            } else {
                Value::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
        });
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            finite.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            binary,
        ];
        leaf.prop_recursive(6, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
                prop::collection::vec((any::<String>(), inner), 0..8)
                    .prop_map(|pairs| Value::Map(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in values(false), exact in values(true)) {
            prop_assume!(!value.is_empty_text() && !exact.is_empty_text());
            for (media_type, value) in [(JSON, &value), (MSGPACK, &exact), (CBOR, &exact)] {
                let body = encode(media_type, value).unwrap();
                prop_assert_eq!(&decode(Some(media_type), body).unwrap(), value);
            }
        }

        #[test]
        fn no_bytes_make_a_reader_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            for media_type in [JSON, MSGPACK, CBOR, "application/x-www-form-urlencoded", "text/x"] {
                // Whatever it says: that it says something is the point.
                drop(read(media_type, &body));
            }
        }
    }
}
