//! A strict JSON reader that keeps places.
//!
//! `serde_json` gives no places; `jsonc-parser` gives them, but takes raw line breaks in strings and
//! white space that JSON has not, and builds a tree of its own first. These few lines do neither.
//!
//! Reference: RFC 8259.

use std::ops::Range;

use indexmap::IndexMap;
use indexmap::map::Entry;

use super::{Builder, Document, Node, NodeKind, Step, narrow};
use crate::diagnostic::{Code, Diagnostic, SourceId};
use crate::value::{MAX_DEPTH, Value};

pub(super) fn parse(builder: Builder<'_>) -> Result<Document, Vec<Diagnostic>> {
    let mut parser = Parser {
        at: if builder.text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        },
        depth: 0,
        builder,
    };
    match parser.document() {
        Ok(root) => Ok(parser.builder.finish(root)),
        Err(error) => Err(vec![*error]),
    }
}

/// Boxed, as it is large and rare.
type Parsed<T> = Result<T, Box<Diagnostic>>;

/// Keys that guard something: of two the last would win, and an empty one open what the first
/// closes. So a duplicate of them is an error, not a warning.
const GUARDS: &[&str] = &[
    "security",
    "auth",
    "router_keys",
    "grants",
    "users",
    "enabled",
];

struct Parser<'t> {
    builder: Builder<'t>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn document(&mut self) -> Parsed<Node> {
        self.skip_space();
        let root = self.value(None, Step::Root)?;
        self.skip_space();
        match self.peek() {
            None => Ok(root),
            Some(_) => Err(self.unexpected("the end of the text")),
        }
    }

    fn value(&mut self, parent: Option<u32>, step: Step) -> Parsed<Node> {
        let start = self.at;
        let id = self.builder.open(parent, step, start);
        let kind = match self.peek() {
            Some(b'{') => self.nested(start, |parser| parser.map(id))?,
            Some(b'[') => self.nested(start, |parser| parser.list(id))?,
            Some(b'"') => NodeKind::Text(self.text()?),
            Some(b'-' | b'0'..=b'9') => NodeKind::Number(self.number()?),
            Some(b't') if self.word("true") => NodeKind::Bool(true),
            Some(b'f') if self.word("false") => NodeKind::Bool(false),
            Some(b'n') if self.word("null") => NodeKind::Null,
            _ => return Err(self.unexpected("a value")),
        };
        self.builder.close(id, self.at);
        Ok(Node {
            id: SourceId(id),
            kind,
        })
    }

    /// Bounds the recursion, so that a text of brackets cannot exhaust the stack.
    fn nested<T>(&mut self, start: usize, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(
                Code::TooDeep,
                start..start + 1,
                format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.depth += 1;
        self.at += 1;
        let read = read(self)?;
        self.depth -= 1;
        Ok(read)
    }

    fn list(&mut self, id: u32) -> Parsed<NodeKind> {
        let open = self.at - 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(NodeKind::List(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(Some(id), Step::Item(items.len()))?);
            self.skip_space();
            if self.take(b']') {
                return Ok(NodeKind::List(items));
            }
            let comma = self.at;
            if !self.take(b',') {
                return Err(self.unclosed("`,` or `]`", '[', open));
            }
            self.skip_space();
            if self.peek() == Some(b']') {
                return Err(self.trailing_comma(comma));
            }
        }
    }

    fn map(&mut self, id: u32) -> Parsed<NodeKind> {
        let open = self.at - 1;
        let mut members = IndexMap::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(NodeKind::Map(members));
        }
        loop {
            self.skip_space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unclosed("a key in double quotes", '{', open));
            }
            let key = self.text()?;
            let place = narrow(start)..narrow(self.at);
            self.skip_space();
            if !self.take(b':') {
                return Err(self.unexpected("`:`"));
            }
            self.skip_space();
            let value = self.value(Some(id), Step::Member(key.clone(), place))?;
            self.insert(&mut members, key, value);
            self.skip_space();
            if self.take(b'}') {
                return Ok(NodeKind::Map(members));
            }
            let comma = self.at;
            if !self.take(b',') {
                return Err(self.unclosed("`,` or `}`", '{', open));
            }
            self.skip_space();
            if self.peek() == Some(b'}') {
                return Err(self.trailing_comma(comma));
            }
        }
    }

    /// Of duplicate keys the last wins, as in every JSON reader of ours; but in a document that a
    /// person wrote, the first one was hardly meant to be dropped.
    fn insert(&mut self, members: &mut IndexMap<String, Node>, key: String, value: Node) {
        match members.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(mut entry) => {
                let key_place = |id: SourceId| match &self.builder.places[id.0 as usize].step {
                    Step::Member(_, place) => place.clone(),
                    Step::Item(_) | Step::Root => 0..0,
                };
                let (first, second) = (key_place(entry.get().id), key_place(value.id));
                let locate = |place: Range<u32>| {
                    self.builder
                        .location(place.start as usize, place.end as usize)
                };
                let message = format!(
                    "duplicate key `{}`, the one at line {} is dropped",
                    entry.key(),
                    locate(first).line
                );
                let finding = if GUARDS.contains(&entry.key().as_str()) {
                    Diagnostic::error(Code::DuplicateKey, locate(second), message)
                } else {
                    Diagnostic::warning(Code::DuplicateKey, locate(second), message)
                };
                self.builder.notes.push(finding);
                entry.insert(value);
            }
        }
    }

    fn text(&mut self) -> Parsed<String> {
        let open = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.builder.text[self.at..];
            let plain = rest
                .find(|c: char| c == '"' || c == '\\' || c < '\u{20}')
                .unwrap_or(rest.len());
            text.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => match escape(&self.builder.text[self.at..]) {
                    Some((character, length)) => {
                        text.push(character);
                        self.at += length;
                    }
                    None => {
                        let end = self.at + 2;
                        return Err(self.error(
                            Code::Syntax,
                            self.at..end,
                            "an escape that JSON does not have".to_owned(),
                        ));
                    }
                },
                Some(b'\n' | b'\r') | None => {
                    return Err(self.error(
                        Code::Syntax,
                        open..open + 1,
                        "this text is not closed on its line".to_owned(),
                    ));
                }
                Some(_) => {
                    return Err(self.error(
                        Code::Syntax,
                        self.at..self.at + 1,
                        "a control character in a text must be escaped".to_owned(),
                    ));
                }
            }
        }
    }

    fn number(&mut self) -> Parsed<Value> {
        let start = self.at;
        let text = self.builder.text;
        let digits = |from: usize| {
            let rest = text[from..].bytes();
            rest.take_while(u8::is_ascii_digit).count()
        };
        let mut end = start + usize::from(self.peek() == Some(b'-'));
        let whole = digits(end);
        let leading_zero = whole > 1 && text.as_bytes()[end] == b'0';
        end += whole;
        let mut malformed = whole == 0 || leading_zero;
        let mut is_integer = true;
        if text.as_bytes().get(end) == Some(&b'.') {
            let fraction = digits(end + 1);
            malformed |= fraction == 0;
            end += 1 + fraction;
            is_integer = false;
        }
        if matches!(text.as_bytes().get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(text.as_bytes().get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            malformed |= exponent == 0;
            end += 1 + sign + exponent;
            is_integer = false;
        }
        if malformed {
            return Err(self.error(
                Code::Syntax,
                start..end,
                "not a number as JSON writes them".to_owned(),
            ));
        }
        self.at = end;
        let literal = &text[start..end];
        if is_integer {
            return literal
                .parse()
                .map(Value::I64)
                .or_else(|_| literal.parse::<u64>().map(Value::from))
                .map_err(|_| {
                    self.error(
                        Code::NumberRange,
                        start..end,
                        "an integer beyond 64 bits".to_owned(),
                    )
                });
        }
        match literal.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::F64(number)),
            _ => Err(self.error(
                Code::NumberRange,
                start..end,
                "a number beyond the range of a double".to_owned(),
            )),
        }
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.builder.text[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn peek(&self) -> Option<u8> {
        self.builder.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn trailing_comma(&self, comma: usize) -> Box<Diagnostic> {
        self.error(
            Code::Syntax,
            comma..comma + 1,
            "a comma after the last member".to_owned(),
        )
    }

    fn unclosed(&self, expected: &str, bracket: char, open: usize) -> Box<Diagnostic> {
        let mut error = self.unexpected(expected);
        if self.peek().is_none() {
            let line = self.builder.location(open, open + 1).line;
            error.hint = Some(format!("the `{bracket}` of line {line} is not closed"));
        }
        error
    }

    fn unexpected(&self, expected: &str) -> Box<Diagnostic> {
        let rest = &self.builder.text[self.at..];
        let (found, length) = match rest.chars().next() {
            None => ("the end of the text".to_owned(), 0),
            Some('/') if rest.starts_with("//") || rest.starts_with("/*") => {
                ("a comment, which JSON has not".to_owned(), 2)
            }
            Some(first) if first.is_alphanumeric() => {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                // Any word may be a secret that lost its quotes, so it is marked, not repeated.
                ("a word without quotes".to_owned(), end)
            }
            Some(first) if first.is_control() => {
                ("a control character".to_owned(), first.len_utf8())
            }
            Some(first) => (format!("`{first}`"), first.len_utf8()),
        };
        self.error(
            Code::Syntax,
            self.at..self.at + length,
            format!("expected {expected}, found {found}"),
        )
    }

    fn error(&self, code: Code, range: Range<usize>, message: String) -> Box<Diagnostic> {
        let location = self.builder.location(range.start, range.end);
        Box::new(Diagnostic::error(code, location, message))
    }
}

/// Reads the escape at the start of `rest`: the character and how many bytes it takes.
fn escape(rest: &str) -> Option<(char, usize)> {
    let simple = match rest.as_bytes().get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let high = hex(rest, 2)?;
            if !(0xd800..0xdc00).contains(&high) {
                // A lone second half is no character, and `from_u32` says so.
                return Some((char::from_u32(high)?, 6));
            }
            let low = (rest.get(6..8)? == "\\u").then(|| hex(rest, 8))??;
            if !(0xdc00..0xe000).contains(&low) {
                return None;
            }
            let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return Some((char::from_u32(code)?, 12));
        }
        _ => return None,
    };
    Some((simple, 2))
}

fn hex(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all_hex.then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Returns the bytes of the document that spell the bytes `inside` of the decoded text whose
/// literal, with its quotes, is at `literal`.
pub(super) fn raw_range(text: &str, literal: &Range<u32>, inside: Range<u32>) -> Range<u32> {
    let mut raw = literal.start + 1;
    let end_of_text = literal.end.saturating_sub(1).max(raw);
    let mut decoded = 0;
    let mut start = None;
    while raw < end_of_text {
        let rest = &text[raw as usize..];
        let (character, length) = match rest.chars().next() {
            Some('\\') => escape(rest).unwrap_or(('\\', 1)),
            Some(character) => (character, character.len_utf8()),
            None => break,
        };
        let next = decoded + narrow(character.len_utf8());
        if start.is_none() && inside.start < next {
            start = Some(raw);
        }
        if start.is_some() && decoded >= inside.end {
            break;
        }
        decoded = next;
        raw += narrow(length);
    }
    let start = start.unwrap_or(raw);
    start..raw.max(start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value, String> {
        Document::parse_json(None, text)
            .map(|document| document.root().to_value())
            .map_err(|errors| {
                let place = &errors[0].location;
                format!("{}:{} {}", place.line, place.column, errors[0].message)
            })
    }

    #[test]
    fn agrees_with_serde_json_on_what_json_is() {
        for text in [
            "1",
            " null ",
            "[]",
            "{}",
            "[1,2]",
            r#"{"a":{"b":[true,false,null]}}"#,
            "-0.5e+3",
            "0",
            "10",
            "1E5",
            r#""\u00e9\ud83d\ude00\b\f\/""#,
            "\u{9}[\r\n]",
            "-",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "0x10",
            "NaN",
            "Infinity",
            "-Infinity",
            "tru",
            "truex",
            "[1 2]",
            "[1,]",
            "[,1]",
            r#"{"a":1,}"#,
            r#"{a:1}"#,
            r#"{'a':1}"#,
            r#"{"a" 1}"#,
            r#"{"a":}"#,
            "{",
            "[",
            r#"{"a":1 "b":2}"#,
            r#""a"#,
            "\"a\nb\"",
            "\"a\tb\"",
            r#""\x41""#,
            r#""\'""#,
            r#""\u12""#,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\udc00""#,
            r#""\u+123""#,
            "// c\n1",
            "1 // c",
            "/* c */ 1",
            "1 2",
            "",
            " ",
            "\u{a0}1",
            "\u{b}1",
            "]",
            "}",
            "\"\u{7f}\"",
            "[[]",
        ] {
            let ours = read(text).is_ok();
            let theirs = serde_json::from_str::<Value>(text).is_ok();
            assert_eq!(ours, theirs, "{text:?}: {:?}", read(text));
        }
    }

    #[test]
    fn integers_keep_64_bits_or_are_refused() {
        for text in [
            "9223372036854775807",
            "-9223372036854775808",
            "18446744073709551615",
        ] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        for text in ["18446744073709551616", "-9223372036854775809"] {
            assert_eq!(read(text).unwrap_err(), "1:1 an integer beyond 64 bits");
        }
        assert!(read("1e400").is_err());
    }

    #[test]
    fn errors_say_what_was_expected_and_where() {
        for (text, expected) in [
            (
                "{\n  \"a\": 1\n  \"b\": 2\n}",
                "3:3 expected `,` or `}`, found `\"`",
            ),
            ("[1,]", "1:3 a comma after the last member"),
            ("{\"ü\" 1}", "1:6 expected `:`, found a word without quotes"),
            (
                "{\"a\": // x\n1}",
                "1:7 expected a value, found a comment, which JSON has not",
            ),
            ("[\"a\nb\"]", "1:2 this text is not closed on its line"),
            (r#"["a\qb"]"#, "1:4 an escape that JSON does not have"),
            (
                "{\"a\": 1",
                "1:8 expected `,` or `}`, found the end of the text",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn nesting_is_bounded_before_it_is_followed() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&deep(MAX_DEPTH)).is_ok());
        assert!(read(&deep(MAX_DEPTH + 1)).unwrap_err().contains("deeper"));
        assert!(read(&"[".repeat(1_000_000)).is_err());
        assert!(read(&"{\"a\":".repeat(1_000_000)).is_err());
    }

    #[test]
    fn the_last_duplicate_wins_with_a_warning() {
        let document = Document::parse_json(None, "{\"a\": 1,\n \"b\": 2, \"a\": 3}").unwrap();
        assert_eq!(document.root().to_value().to_string(), r#"{"a":3,"b":2}"#);
        let warning = &document.notes()[0];
        assert_eq!(warning.code, Code::DuplicateKey);
        assert_eq!((warning.location.line, warning.location.column), (2, 10));
        assert!(warning.message.contains("line 1"));
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert!(read("\u{feff}{}").is_ok());
    }
}
