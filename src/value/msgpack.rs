//! MessagePack to [`Value`], with the place of whatever is wrong.
//!
//! A reader of our own: `rmp-serde` cannot tell where it stands in borrowed bytes (so neither what
//! follows a value nor the place of a mistake would be known), and it hands text that is not UTF-8
//! over as binary without a word.
//!
//! Reference: MessagePack specification, "Formats".

use serde::de::value::Error as Detail;

use super::{KeyText, MAX_DEPTH, MAX_TRUSTED_LENGTH, Map, Value};

/// Why bytes are no MessagePack that we can keep exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} at byte {offset}")]
pub struct MsgpackError {
    /// The offending byte, from 0.
    pub offset: usize,
    /// What is wrong there; names no part of the data.
    pub detail: String,
}

/// Reads one MessagePack value.
///
/// Nothing is allocated on the word of a declared length. Keys that are not text become text; of
/// duplicate keys the last wins.
///
/// # Errors
///
/// [`MsgpackError`] for what is no MessagePack, for more after it, for text that is not UTF-8, for
/// extension types, and for nesting beyond [`MAX_DEPTH`].
pub fn from_msgpack(bytes: &[u8]) -> Result<Value, MsgpackError> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(MAX_DEPTH)?;
    if reader.at < bytes.len() {
        return Err(error(reader.at, "bytes after the value"));
    }
    Ok(value)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth_left: usize) -> Result<Value, MsgpackError> {
        let start = self.at;
        let [marker] = self.array()?;
        Ok(match marker {
            0x00..=0x7f => Value::I64(i64::from(marker)),
            0x80..=0x8f => self.map(start, u64::from(marker & 0x0f), depth_left)?,
            0x90..=0x9f => self.list(start, u64::from(marker & 0x0f), depth_left)?,
            0xa0..=0xbf => self.text(u64::from(marker & 0x1f))?,
            0xc0 => Value::Null,
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length(1 << (marker - 0xc4))?;
                Value::Bytes(bytes::Bytes::copy_from_slice(self.take(length)?))
            }
            0xca => Value::F64(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Value::F64(f64::from_be_bytes(self.array()?)),
            0xcc..=0xcf => Value::from(self.length(1 << (marker - 0xcc))?),
            0xd0 => Value::I64(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => Value::I64(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => Value::I64(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => Value::I64(i64::from_be_bytes(self.array()?)),
            0xd9..=0xdb => {
                let length = self.length(1 << (marker - 0xd9))?;
                self.text(length)?
            }
            0xdc | 0xdd => {
                let length = self.length(2 << (marker - 0xdc))?;
                self.list(start, length, depth_left)?
            }
            0xde | 0xdf => {
                let length = self.length(2 << (marker - 0xde))?;
                self.map(start, length, depth_left)?
            }
            0xc7..=0xc9 | 0xd4..=0xd8 => return Err(error(start, "an extension type")),
            0xc1 => return Err(error(start, "a byte that MessagePack never uses")),
            0xe0..=0xff => Value::I64(i64::from(marker.cast_signed())),
        })
    }

    fn list(&mut self, at: usize, length: u64, depth: usize) -> Result<Value, MsgpackError> {
        let depth_left = deeper(at, depth)?;
        let mut items = Vec::with_capacity(self.trusted(length));
        for _ in 0..length {
            items.push(self.value(depth_left)?);
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, at: usize, length: u64, depth: usize) -> Result<Value, MsgpackError> {
        let depth_left = deeper(at, depth)?;
        let mut map = Map::with_capacity(self.trusted(length));
        for _ in 0..length {
            let start = self.at;
            let key = KeyText::scalar(self.value(depth_left)?)
                .map_err(|detail: Detail| error(start, &detail.to_string()))?;
            let value = self.value(depth_left)?;
            map.insert(key, value);
        }
        Ok(Value::Map(map))
    }

    fn text(&mut self, length: u64) -> Result<Value, MsgpackError> {
        let start = self.at;
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::from(text)),
            Err(fault) => Err(error(start + fault.valid_up_to(), "text that is not UTF-8")),
        }
    }

    /// How many items to make room for: an item takes a byte at least.
    fn trusted(&self, length: u64) -> usize {
        let possible = (self.bytes.len() - self.at).min(MAX_TRUSTED_LENGTH);
        usize::try_from(length).map_or(possible, |length| length.min(possible))
    }

    /// Reads an unsigned number of `width` bytes.
    fn length(&mut self, width: u64) -> Result<u64, MsgpackError> {
        let bytes = self.take(width)?.iter();
        Ok(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MsgpackError> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.try_into().expect("as many bytes as were taken"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], MsgpackError> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(length).ok().and_then(|it| rest.get(..it));
        let Some(taken) = taken else {
            return Err(error(self.bytes.len(), "ends too early"));
        };
        self.at += taken.len();
        Ok(taken)
    }
}

fn deeper(at: usize, depth_left: usize) -> Result<usize, MsgpackError> {
    let deeper = depth_left.checked_sub(1);
    deeper.ok_or_else(|| error(at, "nested too deeply"))
}

fn error(offset: usize, detail: &str) -> MsgpackError {
    MsgpackError {
        offset,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(bytes: &[u8]) -> String {
        from_msgpack(bytes).unwrap_err().to_string()
    }

    #[test]
    fn reads_every_format_that_is_not_an_extension() {
        for (bytes, expected) in [
            (&b"\x7f"[..], "127"),
            (b"\xe0", "-32"),
            (b"\xcc\xff", "255"),
            (b"\xcd\x01\x00", "256"),
            (b"\xce\xff\xff\xff\xff", "4294967295"),
            (
                b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
                "18446744073709551615",
            ),
            (b"\xd0\x80", "-128"),
            (b"\xd1\x80\x00", "-32768"),
            (b"\xd2\x80\x00\x00\x00", "-2147483648"),
            (
                b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
                "-9223372036854775808",
            ),
            (b"\xca\x3f\xc0\x00\x00", "1.5"),
            (b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "1.5"),
            (b"\xc0", "null"),
            (b"\xc2", "false"),
            (b"\xc3", "true"),
            (b"\xa2\xc3\xa4", "\"ä\""),
            (b"\xd9\x01a", "\"a\""),
            (b"\xda\x00\x01a", "\"a\""),
            (b"\xdb\x00\x00\x00\x01a", "\"a\""),
            (b"\xc4\x02\x00\xff", "\"AP8=\""),
            (b"\xc5\x00\x01\xff", "\"/w==\""),
            (b"\xc6\x00\x00\x00\x01\xff", "\"/w==\""),
            (b"\x92\x01\x02", "[1,2]"),
            (b"\xdc\x00\x01\x02", "[2]"),
            (b"\xdd\x00\x00\x00\x01\x02", "[2]"),
            (b"\x81\xa1a\x02", "{\"a\":2}"),
            (b"\xde\x00\x01\xa1a\x02", "{\"a\":2}"),
            (b"\xdf\x00\x00\x00\x01\xa1a\x02", "{\"a\":2}"),
            (b"\x83\x01\x02\xa11\x03\xc0\x04", "{\"1\":3,\"null\":4}"),
        ] {
            assert_eq!(from_msgpack(bytes).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn names_the_byte_where_it_goes_wrong() {
        for (bytes, expected) in [
            (&b""[..], "ends too early at byte 0"),
            (b"\x92\x01", "ends too early at byte 2"),
            (b"\x01\x02", "bytes after the value at byte 1"),
            (b"\x91\xc1", "a byte that MessagePack never uses at byte 1"),
            (b"\x91\xa2a\xff", "text that is not UTF-8 at byte 3"),
            (
                b"\x91\xd6\xff\x00\x00\x00\x00",
                "an extension type at byte 1",
            ),
            (b"\x91\x81\x90\x00", "a list as a map key at byte 2"),
            (b"\xc6\xff\xff\xff\xff", "ends too early at byte 5"),
            (b"\xdd\xff\xff\xff\xff", "ends too early at byte 5"),
            (b"\xdf\xff\xff\xff\xff", "ends too early at byte 5"),
        ] {
            assert_eq!(says(bytes), expected);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| [vec![0x91; depth], vec![0x00]].concat();
        assert!(from_msgpack(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(
            says(&nested(MAX_DEPTH + 1)),
            "nested too deeply at byte 128"
        );
        assert_eq!(says(&nested(1_000_000)), "nested too deeply at byte 128");
        let in_keys = vec![0x81; 1_000_000];
        assert_eq!(says(&in_keys), "nested too deeply at byte 128");
    }
}
