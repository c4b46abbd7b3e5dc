//! Base64, JSON and percent-encoding.

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use super::text::text;
use super::{Arguments, Effects, Example, Function, Output, Refusal};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "base64:encode",
        operand: "text, binary",
        arguments: &[],
        description: "its bytes as base64 text",
        examples: &[Example {
            input: "\"user:pass\"",
            template: "{{x |> base64:encode}}",
            output: Output::Is("\"dXNlcjpwYXNz\""),
        }],
        is_pure: true,
        takes_placeholder: false,
        run: base64_encode,
    },
    Function {
        name: "base64:decode",
        operand: "text, binary",
        arguments: &[],
        description: "text when the bytes are UTF-8, else binary",
        examples: &[
            Example {
                input: "\"dXNlcjpwYXNz\"",
                template: "{{x |> base64:decode}}",
                output: Output::Is("\"user:pass\""),
            },
            Example {
                input: "\"%\"",
                template: "{{x |> base64:decode}}",
                output: Output::Fails("`base64:decode` failed: the text is not base64"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: base64_decode,
    },
    Function {
        name: "json:encode",
        operand: "any",
        arguments: &[],
        description: "the value as compact JSON text",
        examples: &[
            Example {
                input: r#"{"b": [1.0, null], "a": "x"}"#,
                template: "{{x |> json:encode}}",
                output: Output::Is(r#""{\"b\":[1.0,null],\"a\":\"x\"}""#),
            },
            Example {
                input: "\"a\"",
                template: "{{x |> json:encode}}",
                output: Output::Is(r#""\"a\"""#),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: json_encode,
    },
    Function {
        name: "json:decode",
        operand: "text",
        arguments: &[],
        description: "the value that the JSON text says",
        examples: &[
            Example {
                input: r#""{\"n\": 18446744073709551615}""#,
                template: "{{x |> json:decode}}",
                output: Output::Is(r#"{"n": 18446744073709551615}"#),
            },
            Example {
                input: "\"{\"",
                template: "{{x |> json:decode}}",
                output: Output::Fails("`json:decode` failed: the text is not JSON"),
            },
            Example {
                input: "\"[18446744073709551616]\"",
                template: "{{x |> json:decode}}",
                output: Output::Fails(
                    "`json:decode` failed: the text has an integer beyond 64 bits",
                ),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: json_decode,
    },
    Function {
        name: "uri:encode",
        operand: "text",
        arguments: &[],
        description: "the text with all but letters, digits and `-._~` percent-encoded",
        examples: &[Example {
            input: "\"a b/ü~\"",
            template: "{{x |> uri:encode}}",
            output: Output::Is("\"a%20b%2F%C3%BC~\""),
        }],
        is_pure: true,
        takes_placeholder: false,
        run: uri_encode,
    },
    Function {
        name: "uri:decode",
        operand: "text",
        arguments: &[],
        description: "the text with its percent-encoding taken off",
        examples: &[
            Example {
                input: "\"a%20b%2F%C3%BC+\"",
                template: "{{x |> uri:decode}}",
                output: Output::Is("\"a b/ü+\""),
            },
            Example {
                input: "\"%zz\"",
                template: "{{x |> uri:decode}}",
                output: Output::Fails(
                    "`uri:decode` failed: a `%` is not followed by two hex digits",
                ),
            },
            Example {
                input: "\"%FF\"",
                template: "{{x |> uri:decode}}",
                output: Output::Fails("`uri:decode` failed: the bytes are not UTF-8"),
            },
        ],
        is_pure: true,
        takes_placeholder: false,
        run: uri_decode,
    },
];

fn bytes_of(operand: &Value) -> Result<&[u8], Refusal> {
    match operand {
        Value::Text(text) => Ok(text.as_bytes()),
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(Refusal::Operand("a text or binary")),
    }
}

fn base64_encode<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let bytes = bytes_of(&operand)?;
    effects.charge_text(bytes.len().div_ceil(3).saturating_mul(4))?;
    Ok(Cow::Owned(Value::Text(BASE64.encode(bytes))))
}

fn base64_decode<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let mut encoded = Cow::Borrowed(bytes_of(&operand)?);
    effects.charge(encoded.len())?;
    // Encoders break long lines.
    if encoded.iter().any(u8::is_ascii_whitespace) {
        encoded.to_mut().retain(|byte| !byte.is_ascii_whitespace());
    }
    let decoded = BASE64
        .decode(&encoded)
        .map_err(|_| Refusal::Value("the text is not base64"))?;
    Ok(Cow::Owned(match String::from_utf8(decoded) {
        Ok(text) => Value::Text(text),
        Err(error) => Value::Bytes(Bytes::from(error.into_bytes())),
    }))
}

fn json_encode<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let mut text = String::new();
    crate::mops::print::json(&mut text, &operand, effects.text_limit)?;
    effects.charge(text.len())?;
    Ok(Cow::Owned(Value::Text(text)))
}

fn json_decode<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let text = text(&operand)?;
    // Every item takes two bytes of the text at least, so this bounds what is made of it.
    effects.charge(text.len())?;
    let value: Value =
        serde_json::from_str(text).map_err(|_| Refusal::Value("the text is not JSON"))?;
    if has_long_integer(text) {
        return Err(Refusal::Value("the text has an integer beyond 64 bits"));
    }
    effects.charge(super::weight(&value))?;
    Ok(Cow::Owned(value))
}

/// Returns whether valid JSON holds an integer beyond 64 bits, which serde_json hands over as a
/// rounded float.
fn has_long_integer(json: &str) -> bool {
    let mut rest = json;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        let token = rest.get(at..).unwrap_or_default();
        let end = if token.starts_with('"') {
            let mut escaped = false;
            let close = token.bytes().skip(1).position(|byte| {
                let closes = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                closes
            });
            close.map_or(token.len(), |close| close + 2)
        } else {
            let end = token
                .find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c)))
                .unwrap_or(token.len());
            let number = token.get(..end).unwrap_or_default();
            let is_integer = !number.contains(['.', 'e', 'E']);
            if is_integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                return true;
            }
            end
        };
        rest = token.get(end..).unwrap_or_default();
    }
    false
}

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn uri_encode<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let text = text(&operand)?;
    let mut encoded = String::new();
    for piece in percent_encoding::utf8_percent_encode(text, RESERVED) {
        encoded.push_str(piece);
        if encoded.len() > effects.text_limit {
            break;
        }
    }
    effects.charge_text(encoded.len())?;
    Ok(Cow::Owned(Value::Text(encoded)))
}

fn uri_decode<'v>(
    operand: Cow<'v, Value>,
    _: Arguments<'v>,
    effects: &Effects<'_>,
) -> Result<Cow<'v, Value>, Refusal> {
    let text = text(&operand)?;
    effects.charge(text.len())?;
    let is_whole = text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !is_whole {
        return Err(Refusal::Value("a `%` is not followed by two hex digits"));
    }
    let decoded = percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| Refusal::Value("the bytes are not UTF-8"))?;
    Ok(Cow::Owned(Value::from(decoded)))
}
