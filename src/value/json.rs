//! JSON text to [`Value`] without losing a bit of an integer.
//!
//! `serde_json` rounds an integer beyond 64 bits to a double and says nothing. Here it is refused,
//! as is a number beyond a double, so that what comes in is what goes on. Used for HTTP bodies, for
//! files and for WAMP frames. In frames, a double that was written as an integer is a double.

use serde::de::DeserializeSeed;

use super::{MAX_DEPTH, ReadNotes, Value, ValueSeed};

/// Why a text is no JSON that we can keep exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} at line {line}, column {column}")]
pub struct JsonError {
    /// The line, from 1.
    pub line: usize,
    /// The character in that line, from 1.
    pub column: usize,
    /// What is wrong there; names no part of the text.
    pub detail: String,
}

/// Reads one JSON text.
///
/// # Errors
///
/// [`JsonError`] for what is no JSON, for more after it, for nesting beyond [`MAX_DEPTH`], for an
/// integer beyond 64 bits and for a number beyond a double.
pub fn from_json(text: &[u8]) -> Result<Value, JsonError> {
    let notes = ReadNotes::default();
    read(text, ValueSeed::new(MAX_DEPTH, &notes), &notes)
}

/// Reads one JSON text by `seed`, which leaves its findings in `notes`.
pub(crate) fn read<'de, S: DeserializeSeed<'de>>(
    text: &'de [u8],
    seed: S,
    notes: &ReadNotes,
) -> Result<S::Value, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    // Its fixed limit of 127 levels knows nothing of a message around a value; the seed counts.
    deserializer.disable_recursion_limit();
    let value = seed
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| from_serde(text, &error))?;
    // Only a number that large can have been an integer, so the second pass is rare.
    if notes.saw_wide_number.get()
        && let Some(offset) = wide_integer(text, notes.takes_whole_doubles)
    {
        return Err(at_offset(text, offset, "an integer beyond 64 bits"));
    }
    Ok(value)
}

/// Returns where an integer stands that does not fit in 64 bits, nor, if `takes_whole_doubles`, is
/// what a double looks like. `text` is valid JSON.
fn wide_integer(text: &[u8], takes_whole_doubles: bool) -> Option<usize> {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(&byte) = text.get(at) {
                    match byte {
                        b'\\' => at += 1,
                        b'"' => break,
                        _ => {}
                    }
                    at += 1;
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let number = &text[at..];
                let length = number
                    .iter()
                    .position(|b| !matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                    .unwrap_or(number.len());
                let number = std::str::from_utf8(&number[..length]).unwrap_or_default();
                if is_wide_integer(number) && !(takes_whole_doubles && is_whole_double(number)) {
                    return Some(at);
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

fn is_wide_integer(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && number.parse::<i64>().is_err()
        && number.parse::<u64>().is_err()
}

/// Returns whether an integer's digits are those that a double is written with: the fewest that
/// tell it from its neighbours, and then zeros. Nothing is lost by reading it as that double.
fn is_whole_double(number: &str) -> bool {
    number
        .parse::<f64>()
        .is_ok_and(|double| double.to_string() == number)
}

fn from_serde(text: &[u8], error: &serde_json::Error) -> JsonError {
    let message = error.to_string();
    let detail = match message.rfind(" at line ") {
        Some(end) => &message[..end],
        None => message.as_str(),
    };
    let line_start = text
        .split_inclusive(|&byte| byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    // Its columns count bytes, and from 0 where a line has none.
    at_offset(text, line_start + error.column().saturating_sub(1), detail)
}

fn at_offset(text: &[u8], offset: usize, detail: &str) -> JsonError {
    let before = &text[..offset.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |end| end + 1);
    JsonError {
        line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
        column: String::from_utf8_lossy(&before[line_start..])
            .chars()
            .count()
            + 1,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        from_json(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn integers_beyond_64_bits_are_refused_where_they_stand() {
        for text in [
            "18446744073709551616",
            "-9223372036854775809",
            "1000000000000000000000000",
        ] {
            assert_eq!(error(text), "an integer beyond 64 bits at line 1, column 1");
        }
        assert_eq!(
            error("{\"ä\": \"18446744073709551616\\\"\",\n \"ö\": [1, 18446744073709551616]}"),
            "an integer beyond 64 bits at line 2, column 11"
        );
    }

    #[test]
    fn large_doubles_and_exact_integers_are_kept() {
        for (text, value) in [
            ("18446744073709551615", Value::U64(u64::MAX)),
            ("-9223372036854775808", Value::I64(i64::MIN)),
            ("1e300", Value::F64(1e300)),
            (
                "18446744073709551616.0",
                Value::F64(18_446_744_073_709_551_616.0),
            ),
            ("2E64", Value::F64(2e64)),
            // Off by the last bit without serde_json's feature `float_roundtrip`.
            (
                "1.8270964138121805e-80",
                Value::F64(1.827_096_413_812_180_5e-80),
            ),
        ] {
            assert_eq!(from_json(text.as_bytes()).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn a_number_beyond_a_double_is_refused() {
        assert_eq!(
            error("[1, 1e400]"),
            "number out of range at line 1, column 9"
        );
    }

    #[test]
    fn places_count_characters_from_one() {
        assert_eq!(error("{\"ä\": x}"), "expected value at line 1, column 7");
        assert_eq!(
            error("[1,\n"),
            "EOF while parsing a value at line 2, column 1"
        );
        assert_eq!(error(""), "EOF while parsing a value at line 1, column 1");
        assert_eq!(error("1 2"), "trailing characters at line 1, column 3");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(from_json(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(error(&nested(MAX_DEPTH + 1)).starts_with("nested too deeply"));
        assert!(error(&"[".repeat(1_000_000)).starts_with("nested too deeply"));
        assert!(error(&"{\"a\":".repeat(1_000_000)).starts_with("nested too deeply"));
    }

    #[test]
    fn text_that_begins_with_u0000_is_text_outside_wamp() {
        assert_eq!(
            from_json(br#""\u0000AAE=""#).unwrap(),
            Value::Text("\0AAE=".to_owned())
        );
    }
}
