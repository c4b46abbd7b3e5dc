//! Takes one map of a document apart by hand and collects every finding.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use super::{Document, Node, NodeKind};
use crate::diagnostic::{Code, Diagnostic, Findings, did_you_mean, nearest};
use crate::value::Value;

/// Reads the members of one map.
///
/// Each `read` method asks for one key, notes it as known, and reports a value of another type.
/// [`finish`](Self::finish) then reports every key that nobody asked for, with the nearest known one
/// as a hint; keys that begin with `x-` are the author's own and are skipped. A key that is missing
/// is not reported where an unknown one was probably meant to be it.
///
/// ```
/// use wampgate::diagnostic::Findings;
/// use wampgate::document::{Document, ObjectReader};
///
/// let document = Document::parse_json(None, r#"{"name": 5, "hots": "_", "x-note": 1}"#).unwrap();
/// let findings = Findings::new();
/// let reader = ObjectReader::new(&document, document.root(), &findings).unwrap();
/// reader.text("name");
/// reader.required_text("host");
/// reader.finish();
/// let messages: Vec<String> = findings.into_sorted().into_iter().map(|f| f.message).collect();
/// assert_eq!(messages, ["`name`: found integer, expected text", "unknown key `hots`"]);
/// ```
#[derive(Debug)]
#[must_use = "`finish` reports the unknown keys"]
pub struct ObjectReader<'d> {
    document: &'d Document,
    node: &'d Node,
    members: &'d IndexMap<String, Node>,
    findings: &'d Findings,
    known: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<&'static str>>,
}

impl<'d> ObjectReader<'d> {
    /// Starts to read `node`. If it is no map, that is a finding, and there is nothing to read.
    pub fn new(document: &'d Document, node: &'d Node, findings: &'d Findings) -> Option<Self> {
        let NodeKind::Map(members) = &node.kind else {
            findings.push(wrong_type(document, node, "a map"));
            return None;
        };
        Some(ObjectReader {
            document,
            node,
            members,
            findings,
            known: RefCell::default(),
            missing: RefCell::default(),
        })
    }

    /// Returns the map that is read.
    pub fn node(&self) -> &'d Node {
        self.node
    }

    /// Returns the document it is in.
    pub fn document(&self) -> &'d Document {
        self.document
    }

    /// Returns the value of a key, of whatever type.
    pub fn get(&self, key: &'static str) -> Option<&'d Node> {
        self.known.borrow_mut().push(key);
        self.members.get(key)
    }

    /// Returns the value of a key that must be there.
    pub fn required(&self, key: &'static str) -> Option<&'d Node> {
        let value = self.get(key);
        if value.is_none() {
            self.missing.borrow_mut().push(key);
        }
        value
    }

    /// Notes keys as known without reading them.
    pub fn allow(&self, keys: &[&'static str]) {
        self.known.borrow_mut().extend(keys);
    }

    /// Reads a text.
    pub fn text(&self, key: &'static str) -> Option<&'d str> {
        self.get(key).and_then(|node| self.expect_text(node))
    }

    /// Reads a text that must be there.
    pub fn required_text(&self, key: &'static str) -> Option<&'d str> {
        self.required(key).and_then(|node| self.expect_text(node))
    }

    /// Reads a path. A relative one begins at the folder of the file that it stands in; one that came
    /// from a variable or flag begins where the program was started.
    pub fn path(&self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        let node = self.members.get(key)?;
        if text.is_empty() {
            return self.refuse_value(node, "expected a path");
        }
        Some(self.folder(node).join(text))
    }

    /// Returns where a relative path that stands in a node begins: see [`ObjectReader::path`].
    pub fn folder(&self, node: &Node) -> PathBuf {
        let file = self.document.location(node.id).file;
        let folder = file
            .as_deref()
            .filter(|file| Some(*file) == self.document.file())
            .and_then(|file| Path::new(file).parent());
        folder.unwrap_or(Path::new("")).to_owned()
    }

    /// Reads a boolean.
    pub fn bool(&self, key: &'static str) -> Option<bool> {
        self.get(key).and_then(|node| match &node.kind {
            NodeKind::Bool(flag) => Some(*flag),
            _ => self.refuse(node, "a boolean"),
        })
    }

    /// Reads an integer that is not negative.
    pub fn unsigned(&self, key: &'static str) -> Option<u64> {
        self.get(key).and_then(|node| match &node.kind {
            NodeKind::Number(number) => match number {
                Value::I64(_) | Value::U64(_) => match number.as_u64() {
                    Some(number) => Some(number),
                    None => self.refuse_value(node, "expected an integer of 0 or more"),
                },
                _ => self.refuse(node, "an integer"),
            },
            _ => self.refuse(node, "an integer"),
        })
    }

    /// Reads an integer within bounds, both included.
    pub fn unsigned_within(&self, key: &'static str, low: u64, high: u64) -> Option<u64> {
        let number = self.unsigned(key)?;
        if (low..=high).contains(&number) {
            return Some(number);
        }
        let node = self.members.get(key)?;
        self.refuse_value(node, &format!("expected an integer from {low} to {high}"))
    }

    /// Reads a number from 0 to 1.
    pub fn ratio(&self, key: &'static str) -> Option<f64> {
        let node = self.get(key)?;
        let NodeKind::Number(number) = &node.kind else {
            return self.refuse(node, "a number");
        };
        let ratio = match number {
            Value::F64(ratio) => Some(*ratio),
            // Of integers these two.
            other => match other.as_u64() {
                Some(0) => Some(0.0),
                Some(1) => Some(1.0),
                _ => None,
            },
        };
        match ratio {
            Some(ratio) if (0.0..=1.0).contains(&ratio) => Some(ratio),
            _ => self.refuse_value(node, "expected a number from 0 to 1"),
        }
    }

    /// Reads a duration: a number with a unit, for example `"200ms"`, `"5s"`, `"1.5m"` or `"2h"`.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        let node = self.get(key)?;
        let text = self.expect_text(node)?;
        if let Some(duration) = parse_duration(text) {
            return Some(duration);
        }
        self.findings.push(
            Diagnostic::error(
                Code::BadDuration,
                self.document.location(node.id),
                format!("`{key}`: expected a duration"),
            )
            .with_hint("a number and one of `ms`, `s`, `m`, `h`, for example `\"5s\"`"),
        );
        None
    }

    /// Reads a duration that is not zero.
    pub fn positive_duration(&self, key: &'static str) -> Option<Duration> {
        let duration = self.duration(key)?;
        if duration.is_zero() {
            let node = self.members.get(key)?;
            return self.refuse_value(node, "expected more than zero");
        }
        Some(duration)
    }

    /// Reads a list.
    pub fn list(&self, key: &'static str) -> Option<&'d [Node]> {
        self.get(key).and_then(|node| match &node.kind {
            NodeKind::List(items) => Some(items.as_slice()),
            _ => self.refuse(node, "a list"),
        })
    }

    /// Reads a list of texts; items of another type are findings and left out.
    pub fn texts(&self, key: &'static str) -> Option<Vec<(&'d Node, &'d str)>> {
        let items = self.list(key)?.iter();
        Some(
            items
                .filter_map(|item| self.expect_text(item).map(|text| (item, text)))
                .collect(),
        )
    }

    /// Reads a map with whatever keys.
    pub fn map(&self, key: &'static str) -> Option<&'d IndexMap<String, Node>> {
        self.get(key).and_then(|node| match &node.kind {
            NodeKind::Map(members) => Some(members),
            _ => self.refuse(node, "a map"),
        })
    }

    /// Reads a map with known keys by a reader of its own.
    pub fn object(&self, key: &'static str) -> Option<ObjectReader<'d>> {
        let node = self.get(key)?;
        ObjectReader::new(self.document, node, self.findings)
    }

    /// Reads an item of one of the lists here, which must be a map, by a reader of its own.
    pub fn object_at(&self, item: &'d Node) -> Option<ObjectReader<'d>> {
        ObjectReader::new(self.document, item, self.findings)
    }

    /// Reads one of some words.
    pub fn one_of<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let node = self.get(key)?;
        let text = self.expect_text(node)?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let names: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let message = format!("`{key}`: expected {}", names.join(" or "));
        self.findings.push(
            Diagnostic::error(Code::BadValue, self.document.location(node.id), message)
                .with_nearest(text, words.iter().map(|(word, _)| *word)),
        );
        None
    }

    /// Reports that a value is of the wrong type.
    pub fn refuse<T>(&self, node: &Node, expected: &str) -> Option<T> {
        self.findings
            .push(wrong_type(self.document, node, expected));
        None
    }

    /// Reports that a value is of the right type but not taken.
    pub fn refuse_value<T>(&self, node: &Node, message: &str) -> Option<T> {
        let location = self.document.location(node.id);
        let message = match self.document.key(node.id) {
            Some(key) => format!("`{key}`: {message}"),
            None => message.to_owned(),
        };
        self.findings
            .push(Diagnostic::error(Code::BadValue, location, message));
        None
    }

    /// Reports a finding of the caller's own.
    pub fn push(&self, finding: Diagnostic) {
        self.findings.push(finding);
    }

    /// Reports unknown and missing keys.
    pub fn finish(self) {
        let known = self.known.into_inner();
        let mut missing = self.missing.into_inner();
        for (key, node) in self.members {
            if known.contains(&key.as_str()) || key.starts_with("x-") {
                continue;
            }
            let mut finding = Diagnostic::error(
                Code::UnknownKey,
                self.document.location_of_key(node.id),
                format!("unknown key `{key}`"),
            );
            let absent = known
                .iter()
                .copied()
                .filter(|name| !self.members.contains_key(*name));
            if let Some(name) = nearest(key, absent) {
                missing.retain(|key| *key != name);
                finding = finding.with_hint(did_you_mean(name));
            }
            self.findings.push(finding);
        }
        for key in missing {
            self.findings.push(Diagnostic::error(
                Code::MissingKey,
                self.document.location_of_key(self.node.id),
                format!("missing key `{key}`"),
            ));
        }
    }

    fn expect_text(&self, node: &'d Node) -> Option<&'d str> {
        match &node.kind {
            NodeKind::Text(text) => Some(text),
            _ => self.refuse(node, "text"),
        }
    }
}

/// Reads a number with a unit, `ms`, `s`, `m` or `h`; none for anything else and for more than a year.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit_secs = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let secs = number.parse::<f64>().ok()? * unit_secs;
    let year_secs = 366.0 * 24.0 * 3600.0;
    // To the microsecond, so that the binary fraction of 0.2 does not show.
    let round = |secs: f64| (secs * 1e6).round() / 1e6;
    (secs <= year_secs).then(|| Duration::from_secs_f64(round(secs)))
}

fn wrong_type(document: &Document, node: &Node, expected: &str) -> Diagnostic {
    let what = match document.key(node.id) {
        Some(key) => format!("`{key}`: "),
        None => String::new(),
    };
    let message = format!("{what}found {}, expected {expected}", node.type_name());
    Diagnostic::error(Code::WrongType, document.location(node.id), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings_of(text: &str, read: impl FnOnce(&ObjectReader<'_>)) -> Vec<String> {
        let document = Document::parse_json(None, text).unwrap();
        let findings = Findings::new();
        if let Some(reader) = ObjectReader::new(&document, document.root(), &findings) {
            read(&reader);
            reader.finish();
        }
        let findings = findings.into_sorted();
        findings
            .iter()
            .map(|f| format!("{} {} {}", f.location.column, f.location.pointer, f.message))
            .collect()
    }

    #[test]
    fn all_findings_come_at_once() {
        let text = r#"{"a": 1, "b": "x", "n": -1, "m": 5, "one": "twoo", "x-a": 1, "zz": {}}"#;
        let found = findings_of(text, |reader| {
            assert_eq!(reader.text("a"), None);
            assert_eq!(reader.bool("b"), None);
            assert_eq!(reader.unsigned("n"), None);
            assert_eq!(reader.unsigned_within("m", 1, 4), None);
            assert_eq!(reader.one_of("one", &[("two", 2), ("three", 3)]), None);
            assert_eq!(reader.required_text("gone"), None);
        });
        assert_eq!(
            found,
            [
                "1  missing key `gone`",
                "7 /a `a`: found integer, expected text",
                "15 /b `b`: found text, expected a boolean",
                "25 /n `n`: expected an integer of 0 or more",
                "34 /m `m`: expected an integer from 1 to 4",
                "44 /one `one`: expected `two` or `three`",
                "62 /zz unknown key `zz`",
            ]
        );
    }

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        for (text, expected) in [
            ("5s", Some(Duration::from_secs(5))),
            ("200ms", Some(Duration::from_millis(200))),
            ("0.2s", Some(Duration::from_millis(200))),
            ("1.5m", Some(Duration::from_secs(90))),
            ("2h", Some(Duration::from_secs(7200))),
            ("0s", Some(Duration::ZERO)),
            ("5", None),
            ("s", None),
            ("", None),
            ("-5s", None),
            ("1.2.3s", None),
            ("1e3s", None),
            ("5 s", None),
            ("9999999h", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_map_is_one_finding() {
        assert_eq!(
            findings_of("[1]", |_| {}),
            ["1  found list, expected a map"]
        );
    }
}
