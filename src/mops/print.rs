//! Values and templates to text: rendering into interpolations, and the canonical source of what a
//! template says.
//!
//! Canonical source reads back as the same template, but for what partial evaluation alone makes
//! (a constant that is no text, a list inside a tag): that is written as JSON, to be read by people.

use std::fmt::{self, Write as _};
use std::io;

use super::ast::{Call, KeyPath, Part, Pipeline, Primary, Segment, Stage, Template};
use super::error::ErrorKind;
use crate::value::{Map, Value};

/// Adds a value to a text as an interpolation does, up to `limit` bytes in all.
///
/// Floats are written in the shortest form that reads back the same, always with a `.` or an
/// exponent; null is nothing; lists and maps are compact JSON; binary is base64.
pub(crate) fn render(text: &mut String, value: &Value, limit: usize) -> Result<(), ErrorKind> {
    let too_long = Err(ErrorKind::TooLong { limit });
    match value {
        Value::Null => {}
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::I64(number) => push(text, format_args!("{number}")),
        Value::U64(number) => push(text, format_args!("{number}")),
        Value::F64(number) => push(text, format_args!("{number:?}")),
        Value::Text(more) if more.len() > limit.saturating_sub(text.len()) => return too_long,
        Value::Text(more) => text.push_str(more),
        Value::Bytes(bytes) if bytes.len() > limit.saturating_sub(text.len()) => return too_long,
        Value::Bytes(bytes) => push(text, data_encoding::BASE64.encode_display(bytes)),
        Value::List(_) | Value::Map(_) => json(text, value, limit)?,
    }
    if text.len() > limit { too_long } else { Ok(()) }
}

fn push(text: &mut String, piece: impl fmt::Display) {
    write!(text, "{piece}").expect("writing to a String cannot fail");
}

/// A text that JSON is written to until it is full.
struct Bounded<'t> {
    text: &'t mut String,
    limit: usize,
    is_full: bool,
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit.saturating_sub(self.text.len()) {
            self.is_full = true;
            return Err(io::ErrorKind::WriteZero.into());
        }
        // serde_json writes whole characters.
        self.text
            .push_str(std::str::from_utf8(bytes).map_err(io::Error::other)?);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Template {
    /// Returns the template as a JSON value again: texts are canonical source.
    pub fn to_value(&self) -> Value {
        match self {
            Template::Literal(value) => escaped(value),
            Template::List(items) => Value::List(items.iter().map(Template::to_value).collect()),
            Template::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), value.to_value()))
                    .collect::<Map>(),
            ),
            Template::Pipe(_) | Template::Text(_) => Value::Text(self.to_string()),
        }
    }
}

/// Returns a value whose texts read back as they are.
fn escaped(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(source(&[Part::Text(text.clone())])),
        Value::List(items) => Value::List(items.iter().map(escaped).collect()),
        Value::Map(map) => Value::Map(
            map.iter()
                .map(|(key, value)| (key.clone(), escaped(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Writes the canonical source: of a text that holds tags or none, the text of the string; of
/// everything else, JSON.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Template::Literal(value) => match &**value {
                Value::Text(text) => f.write_str(&source(&[Part::Text(text.clone())])),
                other => escaped(other).fmt(f),
            },
            Template::List(_) | Template::Map(_) => self.to_value().fmt(f),
            Template::Pipe(pipeline) => pipeline.fmt(f),
            Template::Text(parts) => f.write_str(&source(parts)),
        }
    }
}

/// Writes text and tags so that they are read as a text with tags: braces that would open a tag are
/// quoted inside one, and so are double quotes that would be taken for the outer ones; a tag alone
/// gets double quotes.
fn source(parts: &[Part]) -> String {
    let mut out = String::new();
    let mut tags = 0;
    let mut raw = String::new();
    let quote_tag = |out: &mut String, tags: &mut usize, text: &str| {
        *out += &format!("{{{{'{text}'}}}}");
        *tags += 1;
    };
    // Two double quotes in all, at the ends: they would be taken off.
    let quotes: usize = parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.matches('"').count(),
            Part::Tag(_) => 0,
        })
        .sum();
    let first = parts
        .first()
        .is_some_and(|part| matches!(part, Part::Text(text) if text.trim_start().starts_with('"')));
    let last = parts
        .last()
        .is_some_and(|part| matches!(part, Part::Text(text) if text.trim_end().ends_with('"')));
    let has_tags = parts.iter().any(|part| match part {
        Part::Text(text) => text.contains("{{"),
        Part::Tag(_) => true,
    });
    let hide_quotes = has_tags && quotes == 2 && first && last;
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Tag(pipeline) => {
                tags += 1;
                push(&mut out, pipeline);
            }
            Part::Text(text) => {
                let before_tag = parts.get(index + 1).is_some();
                let mut rest = text.as_str();
                while let Some(c) = rest.chars().next() {
                    if c == '{' {
                        let run = rest.len() - rest.trim_start_matches('{').len();
                        let (braces, after) = rest.split_at(run);
                        if run > 1 || (after.is_empty() && before_tag) {
                            quote_tag(&mut out, &mut tags, braces);
                        } else {
                            out.push('{');
                            raw.push('{');
                        }
                        rest = after;
                    } else {
                        if c == '"' && hide_quotes {
                            quote_tag(&mut out, &mut tags, "\"");
                        } else {
                            out.push(c);
                            raw.push(c);
                        }
                        rest = rest.get(c.len_utf8()..).unwrap_or_default();
                    }
                }
            }
        }
    }
    if tags == 1 && raw.trim().is_empty() {
        // With quotes around, outer white space counts and the value becomes text.
        let plain = raw.is_empty() && !matches!(parts, [Part::Tag(_)]);
        if !plain {
            return format!("\"{out}\"");
        }
    }
    out
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{{")?;
        match &self.primary {
            Primary::Constant(value) => constant(f, value, false)?,
            Primary::Path(path) => path.fmt(f)?,
            Primary::Template(template) => template.to_value().fmt(f)?,
        }
        for stage in &self.stages {
            match stage {
                Stage::Call(call) => write!(f, " |> {call}")?,
                Stage::Walk(segments) => {
                    f.write_str(" ")?;
                    segments.iter().try_for_each(|segment| segment.fmt(f))?;
                }
            }
        }
        f.write_str("}}")
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.name)?;
        if self.arguments.is_empty() {
            return Ok(());
        }
        f.write_str("(")?;
        for (index, item) in self.arguments.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            argument(f, item)?;
        }
        f.write_str(if self.piped_last { ", _)" } else { ")" })
    }
}

fn argument(f: &mut fmt::Formatter<'_>, template: &Template) -> fmt::Result {
    match template {
        Template::Literal(value) => constant(f, value, true),
        Template::List(items) => {
            f.write_str("[")?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    f.write_str(", ")?;
                }
                argument(f, item)?;
            }
            f.write_str("]")
        }
        Template::Pipe(pipeline) => write!(f, "{pipeline}"),
        Template::Map(_) | Template::Text(_) => write!(f, "{}", template.to_value()),
    }
}

/// Writes a constant of a tag. A text stands bare only as an argument that is not taken for
/// anything else, by the parser or by a reader: `'10'` is a text, 10 is a number.
fn constant(f: &mut fmt::Formatter<'_>, value: &Value, is_argument: bool) -> fmt::Result {
    match value {
        Value::Text(text) => {
            let special = matches!(
                text.as_str(),
                "" | "_" | "$map" | "$list" | "true" | "false" | "null"
            );
            let numeric = text.parse::<f64>().is_ok();
            let bare = !text.contains(|c: char| c.is_whitespace() || ",()[]{}'\"|".contains(c));
            if is_argument && bare && !special && !numeric {
                f.write_str(text)
            } else {
                quoted(f, text)
            }
        }
        Value::Map(map) if map.is_empty() => f.write_str("$map"),
        Value::List(items) if items.is_empty() => {
            f.write_str(if is_argument { "[]" } else { "$list" })
        }
        Value::List(items) if is_argument => {
            f.write_str("[")?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    f.write_str(", ")?;
                }
                constant(f, item, true)?;
            }
            f.write_str("]")
        }
        other => write!(f, "{other}"),
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('\'')?;
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('\'')
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        self.segments.iter().try_for_each(|segment| segment.fmt(f))
    }
}

/// Writes the dot and the key.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('.')?;
        let special = |c: char| c.is_whitespace() || ".,()[]{}'\"|".contains(c);
        if self.key.is_empty() || self.key.contains(special) {
            quoted(f, &self.key)
        } else {
            f.write_str(&self.key)
        }
    }
}

/// Adds a value as compact JSON, texts in quotes, up to `limit` bytes in all.
pub(crate) fn json(text: &mut String, value: &Value, limit: usize) -> Result<(), ErrorKind> {
    let mut writer = Bounded {
        text,
        limit,
        is_full: false,
    };
    if serde_json::to_writer(&mut writer, value).is_ok() {
        Ok(())
    } else if writer.is_full {
        Err(ErrorKind::TooLong { limit })
    } else {
        Err(ErrorKind::Unprintable)
    }
}
