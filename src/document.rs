//! JSON and TOML text as a tree that knows its places, so that every finding can show where.
//!
//! A [`Document`] is read by hand (see [`ObjectReader`]) rather than by a `serde` derive, because a
//! derive stops at the first mistake and has forgotten where it was. Reading is strict: no comments,
//! no trailing commas, and nesting is bounded before it is followed.
//! It knows nothing of specs or realms. Read `document/json.rs` or `document/reader.rs` next.

mod environment;
mod excerpts;
mod json;
mod overlay;
mod reader;
mod toml;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use indexmap::IndexMap;

use crate::diagnostic::{Diagnostic, Excerpt, Location, SourceId, Span};
use crate::value::{Map, Value};

pub use self::toml::to_toml;
pub use reader::{ObjectReader, parse_duration};

/// A parsed text and what is needed to point into it.
#[derive(Debug)]
pub struct Document {
    file: Option<String>,
    text: String,
    format: Format,
    line_starts: Vec<u32>,
    root: Node,
    /// By [`SourceId`].
    places: Vec<Place>,
    /// Where the environment changed a text, by [`SourceId`].
    substituted: HashMap<u32, Vec<Piece>>,
    notes: Vec<Diagnostic>,
    /// What was laid over it: the first id of each, in rising order.
    layers: Vec<(u32, Document)>,
    /// Bytes that are not to be shown, in rising order. Looked for with the first finding: most
    /// documents have none, and those with thousands must not be searched for each.
    secrets: OnceLock<Vec<Range<u32>>>,
}

/// One value of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Names the value within its document; spans inside a text use it as their source.
    pub id: SourceId,
    /// The value.
    pub kind: NodeKind,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    // INVARIANT: `Value::I64`, `Value::U64` or a finite `Value::F64`.
    /// A number with all its bits.
    Number(Value),
    /// A text, unescaped.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order in which it was written (TOML: by name). Of duplicate keys the last.
    Map(IndexMap<String, Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Toml,
}

/// Where a node is.
#[derive(Debug)]
struct Place {
    parent: Option<u32>,
    step: Step,
    /// Bytes of the value, quotes included.
    value: Range<u32>,
}

#[derive(Debug)]
enum Step {
    Root,
    Item(usize),
    /// The key and its bytes, quotes included.
    Member(String, Range<u32>),
}

/// A part of a text that came from the environment: bytes of the text now, and bytes of the text
/// as it was parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    now: Range<u32>,
    before: Range<u32>,
}

/// What the admin API adds to a spec or realm that it shows. It means nothing where such a document
/// is loaded again.
pub const ADDED_WHEN_SHOWN: &[&str] = &[
    "ts",
    "revision",
    "source",
    "state",
    "serves_older",
    "errors",
];

/// Returns whether what stands under this key is a secret, in any document.
pub fn is_secret_key(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

/// Values under these keys are never shown, not even in the line that a finding quotes.
const SECRET_KEYS: &[&str] = &[
    "secret",
    "password",
    "password_hash",
    "private_key",
    "client_secret",
    "token",
    "otlp_headers",
];

impl Document {
    /// Parses JSON as RFC 8259 has it; a leading byte order mark is skipped.
    ///
    /// # Errors
    ///
    /// One finding with the place: a syntax error, nesting beyond
    /// [`MAX_DEPTH`](crate::value::MAX_DEPTH), or a number that neither 64 bits nor a double can
    /// hold. Duplicate keys are a warning in its [notes](Self::notes).
    pub fn parse_json(file: Option<&str>, text: &str) -> Result<Self, Vec<Diagnostic>> {
        json::parse(Builder::new(file, text, Format::Json)?)
    }

    /// Parses TOML 1.1.
    ///
    /// # Errors
    ///
    /// One finding with the place of the syntax error.
    pub fn parse_toml(file: Option<&str>, text: &str) -> Result<Self, Vec<Diagnostic>> {
        toml::parse(Builder::new(file, text, Format::Toml)?)
    }

    /// Replaces `${NAME}` and `${NAME:-default}` in every text value (not in keys) by what
    /// `environment` gives for the name; `$${` becomes `${`. What was put in is not looked at
    /// again. The default also stands for a variable that is set but empty, as in a shell.
    ///
    /// Returns a finding for each name without a value and for each `${` that is none.
    pub fn substitute(&mut self, environment: &dyn Fn(&str) -> Option<String>) -> Vec<Diagnostic> {
        let mut root = std::mem::replace(
            &mut self.root,
            Node {
                id: SourceId(0),
                kind: NodeKind::Null,
            },
        );
        let mut findings = Vec::new();
        self.substitute_in(&mut root, environment, &mut findings);
        self.root = root;
        findings
    }

    fn substitute_in(
        &mut self,
        node: &mut Node,
        environment: &dyn Fn(&str) -> Option<String>,
        findings: &mut Vec<Diagnostic>,
    ) {
        match &mut node.kind {
            NodeKind::Null | NodeKind::Bool(_) | NodeKind::Number(_) => {}
            NodeKind::Text(text) => {
                if !text.contains("${") {
                    return;
                }
                let outcome = environment::substitute(text, environment);
                for problem in outcome.problems {
                    let location = self.locate(Span {
                        source: node.id,
                        start: problem.range.start,
                        end: problem.range.end,
                    });
                    findings.push(problem.into_diagnostic(location));
                }
                *text = outcome.text;
                self.substituted.insert(node.id.0, outcome.pieces);
            }
            NodeKind::List(items) => {
                for item in items {
                    self.substitute_in(item, environment, findings);
                }
            }
            NodeKind::Map(members) => {
                for member in members.values_mut() {
                    self.substitute_in(member, environment, findings);
                }
            }
        }
    }

    /// Returns the outermost value.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Returns the file's name as it was given.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Returns what was found while the text became this tree: duplicate keys, which are warnings,
    /// and whatever was [noted](Self::note).
    pub fn notes(&self) -> &[Diagnostic] {
        &self.notes
    }

    /// Keeps findings with the document, so that whoever reads it reports them beside its own.
    pub fn note(&mut self, findings: impl IntoIterator<Item = Diagnostic>) {
        self.notes.extend(findings);
    }

    /// Returns the place of a value.
    pub fn location(&self, id: SourceId) -> Location {
        if let Some((layer, id)) = self.layer(id) {
            return layer.location(id);
        }
        let range = self.place(id).value.clone();
        self.location_of_range(id, range)
    }

    /// Returns the place of the key that a value stands under; of the value itself in a list and at
    /// the root.
    pub fn location_of_key(&self, id: SourceId) -> Location {
        if let Some((layer, id)) = self.layer(id) {
            return layer.location_of_key(id);
        }
        let place = self.place(id);
        let range = match &place.step {
            Step::Member(_, key) => key.clone(),
            // Of a whole list or map only the opening bracket.
            Step::Item(_) | Step::Root => match self.root_or_open(&place.value) {
                Some(open) => open,
                None => place.value.clone(),
            },
        };
        self.location_of_range(id, range)
    }

    fn root_or_open(&self, value: &Range<u32>) -> Option<Range<u32>> {
        let first = self.text.as_bytes().get(value.start as usize)?;
        matches!(first, b'{' | b'[').then(|| value.start..value.start + 1)
    }

    /// Returns the place of a stretch inside a text, through the escapes of JSON and what the
    /// environment put in. In TOML it is the place of the whole text.
    pub fn locate(&self, span: Span) -> Location {
        if let Some((layer, id)) = self.layer(span.source) {
            return layer.locate(Span { source: id, ..span });
        }
        let place = self.place(span.source);
        let (mut start, mut end) = (span.start, span.end.max(span.start));
        if let Some(pieces) = self.substituted.get(&span.source.0) {
            (start, end) = (
                environment::before(pieces, start, false),
                environment::before(pieces, end, true),
            );
        }
        let range = match self.format {
            Format::Json if self.text.as_bytes().get(place.value.start as usize) == Some(&b'"') => {
                json::raw_range(&self.text, &place.value, start..end)
            }
            Format::Json | Format::Toml => place.value.clone(),
        };
        self.location_of_range(span.source, range)
    }

    /// Returns the RFC 6901 pointer to a value.
    pub fn pointer(&self, id: SourceId) -> String {
        if let Some((layer, id)) = self.layer(id) {
            return layer.pointer(id);
        }
        let mut steps = Vec::new();
        let mut place = self.place(id);
        loop {
            match &place.step {
                Step::Root => break,
                Step::Item(index) => steps.push(index.to_string()),
                Step::Member(key, _) => steps.push(key.replace('~', "~0").replace('/', "~1")),
            }
            let Some(parent) = place.parent else { break };
            place = self.place(SourceId(parent));
        }
        let mut pointer = String::new();
        for step in steps.iter().rev() {
            pointer.push('/');
            pointer.push_str(step);
        }
        pointer
    }

    /// Returns the key that a value stands under, if it is a member of a map.
    pub fn key(&self, id: SourceId) -> Option<&str> {
        if let Some((layer, id)) = self.layer(id) {
            return layer.key(id);
        }
        match &self.place(id).step {
            Step::Member(key, _) => Some(key),
            Step::Item(_) | Step::Root => None,
        }
    }

    /// Returns the member of a map by its key; none if the value is no map that has it.
    pub fn member(&self, id: SourceId, key: &str) -> Option<SourceId> {
        let is_member = |place: &Place| {
            place.parent == Some(id.0)
                && matches!(&place.step, Step::Member(name, _) if name == key)
        };
        // Of duplicate keys the last one counts.
        let index = self.places.iter().rposition(is_member)?;
        u32::try_from(index).ok().map(SourceId)
    }

    fn place(&self, id: SourceId) -> &Place {
        // An id of another document is a mistake of ours, not of the text: point at the root then.
        self.places
            .get(id.0 as usize)
            .unwrap_or_else(|| &self.places[0])
    }

    fn location_of_range(&self, id: SourceId, range: Range<u32>) -> Location {
        let source = Source {
            file: self.file.as_deref(),
            text: &self.text,
            line_starts: &self.line_starts,
        };
        let mut location = source.location(range, self.secrets());
        location.pointer = self.pointer(id);
        location
    }

    fn secrets(&self) -> &[Range<u32>] {
        let secret = |place: &&Place| match &place.step {
            Step::Member(key, _) => SECRET_KEYS.contains(&key.as_str()),
            Step::Item(_) | Step::Root => false,
        };
        let in_url = |place: &Place| user_of_url(&self.text, &place.value);
        self.secrets.get_or_init(|| {
            let places = self.places.iter().filter(secret);
            let whole = places.map(|place| place.value.clone());
            let mut ranges: Vec<_> = whole.chain(self.places.iter().filter_map(in_url)).collect();
            ranges.sort_by_key(|range| range.start);
            ranges
        })
    }
}

impl Node {
    /// Returns the name of the value's type as messages say it.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            NodeKind::Null => "null",
            NodeKind::Bool(_) => "boolean",
            NodeKind::Number(number) => number.type_name(),
            NodeKind::Text(_) => "text",
            NodeKind::List(_) => "list",
            NodeKind::Map(_) => "map",
        }
    }

    /// Returns the text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the map, if it is one.
    pub fn as_map(&self) -> Option<&IndexMap<String, Node>> {
        match &self.kind {
            NodeKind::Map(members) => Some(members),
            _ => None,
        }
    }

    /// Returns the value without its places.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(flag) => Value::Bool(*flag),
            NodeKind::Number(number) => number.clone(),
            NodeKind::Text(text) => Value::Text(text.clone()),
            NodeKind::List(items) => Value::List(items.iter().map(Node::to_value).collect()),
            NodeKind::Map(members) => {
                let members = members.iter();
                Value::Map(
                    members
                        .map(|(key, node)| (key.clone(), node.to_value()))
                        .collect::<Map>(),
                )
            }
        }
    }
}

/// A text and its lines.
struct Source<'a> {
    file: Option<&'a str>,
    text: &'a str,
    line_starts: &'a [u32],
}

impl Source<'_> {
    /// Returns the number of the line that holds a byte, and where it starts.
    fn line(&self, at: u32) -> (usize, usize) {
        let started = self.line_starts.partition_point(|start| *start <= at);
        let line = started.max(1);
        (line, self.line_starts[line - 1] as usize)
    }

    /// Returns a line, without its end.
    fn line_text(&self, line: usize) -> &str {
        let start = self.line_starts[line - 1] as usize;
        // The next line's start rather than a search: a line may be megabytes long.
        let end = self.line_starts.get(line).map(|next| *next as usize);
        self.text[start..end.unwrap_or(self.text.len())].trim_end_matches(['\n', '\r'])
    }

    fn location(&self, range: Range<u32>, secrets: &[Range<u32>]) -> Location {
        let (line, line_start) = self.line(range.start);
        let text = self.line_text(line);
        let start = (range.start as usize).saturating_sub(line_start);
        let end = (range.end as usize)
            .saturating_sub(line_start)
            .min(text.len());
        let shown = hide(text, line_start, secrets);
        let before = text.get(..start).unwrap_or(text);
        Location {
            file: self.file.map(str::to_owned),
            pointer: String::new(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX),
            excerpt: Some(Box::new(Excerpt::new(&shown, start, end))),
        }
    }
}

/// Returns where the value under a key begins, by the looks of the text alone: after the key come
/// perhaps a quote and a space, then a colon or an equals sign.
fn after_key(line: &str, key: &str) -> Option<usize> {
    line.match_indices(key).find_map(|(at, _)| {
        let rest = &line[at + key.len()..];
        let value = rest
            .trim_start_matches(['"', '\'', ' ', '\t'])
            .strip_prefix([':', '='])?;
        Some(line.len() - value.len())
    })
}

/// Finds the user and password in a text that is a URL with such.
fn user_of_url(text: &str, value: &Range<u32>) -> Option<Range<u32>> {
    let start = value.start as usize;
    let value = text.get(start..value.end as usize)?;
    // Lists and maps have places of their own inside.
    let quoted = value.starts_with(['"', '\'']).then_some(value)?;
    let from = quoted.find("://")? + "://".len();
    let rest = &quoted[from..];
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let to = from + authority.rfind('@')?;
    Some(narrow(start + from)..narrow(start + to))
}

/// Replaces secrets by asterisks, as many bytes, so that the caret stays in place.
fn hide<'a>(line: &'a str, line_start: usize, secrets: &[Range<u32>]) -> std::borrow::Cow<'a, str> {
    let mut shown = std::borrow::Cow::Borrowed(line);
    for secret in secrets {
        let from = (secret.start as usize).max(line_start);
        let to = (secret.end as usize).min(line_start + line.len());
        if from < to {
            let stars = "*".repeat(to - from);
            shown
                .to_mut()
                .replace_range(from - line_start..to - line_start, &stars);
        }
    }
    shown
}

/// Collects the tree while a parser reads.
struct Builder<'t> {
    file: Option<String>,
    text: &'t str,
    format: Format,
    line_starts: Vec<u32>,
    places: Vec<Place>,
    notes: Vec<Diagnostic>,
}

impl<'t> Builder<'t> {
    fn new(file: Option<&str>, text: &'t str, format: Format) -> Result<Self, Vec<Diagnostic>> {
        if u32::try_from(text.len()).is_err() {
            let location = file.map(Location::of_file).unwrap_or_default();
            let message = "a document of more than 4 GiB";
            return Err(vec![Diagnostic::error(
                crate::diagnostic::Code::TooLarge,
                location,
                message,
            )]);
        }
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(breaks.map(|(index, _)| narrow(index + 1)))
            .collect();
        Ok(Builder {
            file: file.map(str::to_owned),
            text,
            format,
            line_starts,
            places: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Gives the next value its name; its end is set when it is known.
    fn open(&mut self, parent: Option<u32>, step: Step, start: usize) -> u32 {
        let id = narrow(self.places.len());
        let start = narrow(start);
        self.places.push(Place {
            parent,
            step,
            value: start..start,
        });
        id
    }

    fn close(&mut self, id: u32, end: usize) {
        self.places[id as usize].value.end = narrow(end);
    }

    fn location(&self, start: usize, end: usize) -> Location {
        let source = Source {
            file: self.file.as_deref(),
            text: self.text,
            line_starts: &self.line_starts,
        };
        // A text that is broken has no tree to tell where its secrets are: what follows such a key
        // on the line may be one.
        let (line, line_start) = source.line(narrow(start));
        let text = source.line_text(line);
        let first_secret = SECRET_KEYS
            .iter()
            .filter_map(|key| after_key(text, key))
            .min();
        let secret = first_secret.map(|at| narrow(line_start + at)..narrow(self.text.len()));
        source.location(narrow(start)..narrow(end), secret.as_slice())
    }

    fn finish(self, root: Node) -> Document {
        Document {
            file: self.file,
            text: self.text.to_owned(),
            format: self.format,
            line_starts: self.line_starts,
            root,
            places: self.places,
            substituted: HashMap::new(),
            notes: self.notes,
            layers: Vec::new(),
            secrets: OnceLock::new(),
        }
    }
}

/// Offsets fit: `Builder::new` refuses longer texts.
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
