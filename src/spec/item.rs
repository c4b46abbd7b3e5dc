//! Takes apart what may be written out or be given by a template: operations and all below them.
//!
//! `"get": {"action": ...}` and `"get": "{{variables.operation}}"` are the same to whoever reads an
//! [`Item`]: the one is read from the document, the other from the template that partial evaluation
//! leaves. Findings point as near as the text allows: into the document, or at the template and
//! then by words into what it gives.

use std::cell::RefCell;
use std::collections::HashSet;

use indexmap::IndexMap;

use crate::diagnostic::{
    Code, Diagnostic, Findings, Location, SourceId, Span, did_you_mean, nearest,
};
use crate::document::{Document, Node, NodeKind};
use crate::mops::{self, KeyPath, Part, Pipeline, Primary, Scope, Template};
use crate::value::Value;

/// Deepest nesting of JSON in one template.
///
/// Reference: `mops.md`, "Two stages".
const MAX_JSON_DEPTH: usize = 64;

/// The root that stands for a template with an error. No text can spell it, as words hold no space.
///
/// A variable that cannot be read is reported once, where it is; what uses it must not be reported
/// as well. So it becomes a promise on this root, which every check lets pass.
pub(super) const BROKEN: &str = " broken";

/// Reads templates out of one document and reports each mistake once.
#[derive(Debug)]
pub(super) struct Reading<'d> {
    pub(super) document: &'d Document,
    pub(super) findings: &'d Findings,
    /// What was reported: one variable or default serves thousands of paths.
    seen: RefCell<HashSet<(Span, Code, String)>>,
}

impl<'d> Reading<'d> {
    pub(super) fn new(document: &'d Document, findings: &'d Findings) -> Self {
        Reading {
            document,
            findings,
            seen: RefCell::default(),
        }
    }

    /// Parses a value as a template. With an error, which is reported, it is [broken](BROKEN).
    pub(super) fn parse(&self, node: &Node) -> Template {
        self.parse_within(node, 0)
    }

    fn parse_within(&self, node: &Node, depth: usize) -> Template {
        if depth > MAX_JSON_DEPTH {
            let message = format!("nested deeper than {MAX_JSON_DEPTH} levels");
            self.report(node.id, Code::ExpressionTooDeep, message);
            return broken();
        }
        match &node.kind {
            NodeKind::Null => Template::literal(Value::Null),
            NodeKind::Bool(flag) => Template::literal(*flag),
            NodeKind::Number(number) => Template::literal(number.clone()),
            NodeKind::Text(text) => match Template::parse(text, node.id) {
                Ok(template) => template,
                Err(errors) => {
                    errors.iter().for_each(|error| self.report_mops(error));
                    broken()
                }
            },
            NodeKind::List(items) => {
                let items = items.iter();
                Template::list(
                    items
                        .map(|item| self.parse_within(item, depth + 1))
                        .collect(),
                )
            }
            NodeKind::Map(members) => {
                let members = members.iter();
                let entry = |(key, node): (&String, &Node)| {
                    (key.clone(), self.parse_within(node, depth + 1))
                };
                Template::map(members.map(entry).collect())
            }
        }
    }

    /// Evaluates as far as the scope goes. With an error, which is reported, it is broken.
    pub(super) fn partial(&self, template: &Template, scope: &Scope<'_>) -> Template {
        match mops::partial(template, scope) {
            Ok(template) => template,
            Err(error) => {
                self.report_mops(&error);
                self.report_others(template, scope);
                broken()
            }
        }
    }

    /// Evaluation ends at its first error. The other parts of a list, a map or a text are evaluated
    /// by themselves here, so that their errors come with it; what was reported is not again.
    fn report_others(&self, template: &Template, scope: &Scope<'_>) {
        match template {
            Template::Literal(_) | Template::Pipe(_) => {}
            Template::List(items) => {
                for item in items {
                    self.partial(item, scope);
                }
            }
            Template::Map(entries) => {
                for (_, item) in entries {
                    self.partial(item, scope);
                }
            }
            Template::Text(parts) => {
                for part in parts {
                    if let Part::Tag(tag) = part {
                        self.partial(&Template::Pipe(Box::new(tag.clone())), scope);
                    }
                }
            }
        }
    }

    pub(super) fn report_mops(&self, error: &mops::Error) {
        let finding = Diagnostic::error(error.code(), Location::default(), error.message());
        let finding = match error.hint() {
            Some(hint) => finding.with_hint(hint),
            None => finding,
        };
        self.push_once(error.span(), finding, |document, span| {
            document.locate(span)
        });
    }

    /// Reports an error at a value.
    pub(super) fn report(&self, id: SourceId, code: Code, message: impl Into<String>) {
        self.push_at(id, Diagnostic::error(code, Location::default(), message));
    }

    /// Reports a finding at a value; its location is filled in.
    pub(super) fn push_at(&self, id: SourceId, finding: Diagnostic) {
        let whole = Span {
            source: id,
            start: u32::MAX,
            end: u32::MAX,
        };
        self.push_once(whole, finding, |document, span| {
            document.location(span.source)
        });
    }

    /// Reports a finding at the key of a value; its location is filled in.
    pub(super) fn push_at_key(&self, id: SourceId, finding: Diagnostic) {
        let key = Span {
            source: id,
            start: u32::MAX,
            end: 0,
        };
        self.push_once(key, finding, |document, span| {
            document.location_of_key(span.source)
        });
    }

    /// Reports a finding at a stretch of a text; its location is filled in.
    pub(super) fn push_in(&self, span: Span, finding: Diagnostic) {
        self.push_once(span, finding, |document, span| document.locate(span));
    }

    fn push_once(
        &self,
        span: Span,
        finding: Diagnostic,
        locate: impl FnOnce(&Document, Span) -> Location,
    ) {
        let message = finding.message.clone();
        if self.seen.borrow_mut().insert((span, finding.code, message)) {
            let location = locate(self.document, span);
            self.findings.push(Diagnostic {
                location,
                ..finding
            });
        }
    }
}

/// Makes the promise that stands for a template with an error.
pub(super) fn broken() -> Template {
    Template::Pipe(Box::new(Pipeline {
        primary: Primary::Path(KeyPath {
            root: BROKEN.into(),
            segments: Vec::new(),
            span: Span::default(),
        }),
        stages: Vec::new(),
        span: Span::default(),
    }))
}

/// Returns whether a template has an error that was reported elsewhere.
fn is_broken(template: &Template) -> bool {
    template.uses(BROKEN)
}

/// Names a template's type as messages say it, as far as it is known.
pub(super) fn type_name(template: &Template) -> &'static str {
    match template {
        Template::Literal(value) => value.type_name(),
        Template::List(_) => "list",
        Template::Map(_) => "map",
        Template::Text(_) => "text",
        Template::Pipe(_) => "a tag",
    }
}

/// Where an item is: a value of the document, and perhaps a way into what its template gives.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At {
    id: SourceId,
    /// Keys from there; none for the value itself.
    within: Vec<String>,
}

impl At {
    /// Names a value of the document itself.
    pub(super) fn value(id: SourceId) -> Self {
        At {
            id,
            within: Vec::new(),
        }
    }

    /// Names a member of what is at this place.
    pub(super) fn step(&self, key: &str) -> Self {
        let mut within = self.within.clone();
        within.push(key.to_owned());
        At {
            id: self.id,
            within,
        }
    }

    /// Follows the keys as far as they are written in the document. Done only for a finding, as
    /// looking up a member is slow.
    fn resolve(&self, document: &Document) -> At {
        let mut id = self.id;
        let mut keys = self.within.as_slice();
        while let [key, rest @ ..] = keys
            && let Some(member) = document.member(id, key)
        {
            id = member;
            keys = rest;
        }
        At {
            id,
            within: keys.to_vec(),
        }
    }

    /// Words a message so that it also says where inside the template's value it belongs.
    fn word(&self, message: &str) -> String {
        if self.within.is_empty() {
            message.to_owned()
        } else {
            format!(
                "{message} (at `{}` of what this gives)",
                self.within.join(".")
            )
        }
    }
}

/// A template, evaluated as far as it goes, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) template: Template,
    pub(super) at: At,
}

impl Given {
    /// Reports an error here.
    pub(super) fn report(&self, reading: &Reading<'_>, code: Code, message: &str) {
        self.push(
            reading,
            Diagnostic::error(code, Location::default(), message),
        );
    }

    /// Reports a finding here; its location is filled in.
    pub(super) fn push(&self, reading: &Reading<'_>, mut finding: Diagnostic) {
        let at = self.at.resolve(reading.document);
        finding.message = at.word(&finding.message);
        reading.push_at(at.id, finding);
    }

    /// Reports a finding at the key here; its location is filled in.
    pub(super) fn push_at_key(&self, reading: &Reading<'_>, mut finding: Diagnostic) {
        let at = self.at.resolve(reading.document);
        finding.message = at.word(&finding.message);
        if at.within.is_empty() {
            reading.push_at_key(at.id, finding);
        } else {
            reading.push_at(at.id, finding);
        }
    }

    /// Reports a value of the wrong type here, unless it is an error that was reported already.
    pub(super) fn wrong_type(&self, reading: &Reading<'_>, expected: &str) {
        if is_broken(&self.template) {
            return;
        }
        let at = self.at.resolve(reading.document);
        let key = match reading.document.key(at.id) {
            Some(key) if at.within.is_empty() => format!("`{key}`: "),
            _ => String::new(),
        };
        if matches!(self.template, Template::Pipe(_)) {
            let message = format!(
                "{key}expected {expected} that is known when the spec is loaded, but this needs \
                 the request"
            );
            self.report(reading, Code::LateTemplate, &message);
        } else {
            let found = type_name(&self.template);
            // The type may be right and yet not the whole value known.
            let found = match self.template {
                Template::Literal(_) => found.to_owned(),
                _ => format!("{found} that needs the request"),
            };
            let message = format!("{key}found {found}, expected {expected}");
            self.report(reading, Code::WrongType, &message);
        }
    }
}

/// A value that is written out or given by a template.
#[derive(Debug, Clone)]
pub(super) struct Item<'d> {
    at: At,
    content: Content<'d>,
}

#[derive(Debug, Clone)]
enum Content<'d> {
    /// Written in the document, not evaluated yet.
    Written(&'d Node),
    /// Evaluated as far as it goes.
    Given(Template),
}

impl<'d> Item<'d> {
    /// Begins with a value of the document.
    pub(super) fn written(node: &'d Node) -> Self {
        Item {
            at: At::value(node.id),
            content: Content::Written(node),
        }
    }

    /// Returns the value, if it is written out and no text, which might be a template.
    pub(super) fn node(&self) -> Option<&'d Node> {
        match self.content {
            Content::Written(node) if node.as_text().is_none() => Some(node),
            Content::Written(_) | Content::Given(_) => None,
        }
    }

    /// Evaluates as far as the scope goes.
    pub(super) fn evaluate(&self, reading: &Reading<'_>, scope: &Scope<'_>) -> Given {
        let template = match &self.content {
            Content::Given(template) => template.clone(),
            Content::Written(node) => reading.partial(&reading.parse(node), scope),
        };
        Given {
            template,
            at: self.at.clone(),
        }
    }

    /// Begins to read a map with known keys. If it is no map, that is reported.
    pub(super) fn fields(&self, reading: &'d Reading<'d>, scope: &Scope<'_>) -> Option<Fields<'d>> {
        let (entries, at) = match &self.content {
            Content::Written(node) if node.as_map().is_some() => {
                let members = node.as_map()?;
                let entries = members
                    .iter()
                    .map(|(key, node)| (key.clone(), Item::written(node)))
                    .collect();
                (entries, self.at.clone())
            }
            Content::Written(_) | Content::Given(_) => {
                let given = self.evaluate(reading, scope);
                let at = given.at.clone();
                let entry = |key: &String, template: Template| {
                    let item = Item {
                        at: at.step(key),
                        content: Content::Given(template),
                    };
                    (key.clone(), item)
                };
                let entries = match &given.template {
                    Template::Map(entries) => entries
                        .iter()
                        .map(|(key, template)| entry(key, template.clone()))
                        .collect(),
                    Template::Literal(value) if value.as_map().is_some() => value
                        .as_map()?
                        .iter()
                        .map(|(key, value)| entry(key, Template::literal(value.clone())))
                        .collect(),
                    Template::Literal(_)
                    | Template::List(_)
                    | Template::Text(_)
                    | Template::Pipe(_) => {
                        given.wrong_type(reading, "a map");
                        return None;
                    }
                };
                (entries, given.at)
            }
        };
        Some(Fields {
            reading,
            at,
            entries,
            known: RefCell::default(),
            missing: RefCell::default(),
        })
    }
}

/// Reads the members of an item that is a map; the counterpart of
/// [`ObjectReader`](crate::document::ObjectReader).
#[derive(Debug)]
#[must_use = "`finish` reports the unknown keys"]
pub(super) struct Fields<'d> {
    reading: &'d Reading<'d>,
    at: At,
    entries: IndexMap<String, Item<'d>>,
    known: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<&'static str>>,
}

impl<'d> Fields<'d> {
    /// Returns a member and notes its key as known.
    pub(super) fn get(&self, key: &'static str) -> Option<&Item<'d>> {
        self.known.borrow_mut().push(key);
        self.entries.get(key)
    }

    /// Returns a member that must be there.
    pub(super) fn required(&self, key: &'static str) -> Option<&Item<'d>> {
        let item = self.get(key);
        if item.is_none() {
            self.missing.borrow_mut().push(key);
        }
        item
    }

    /// Returns whether there is nothing but the author's own keys.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.keys().all(|key| key.starts_with("x-"))
    }

    /// Reports a finding at the key of the whole; its location is filled in.
    pub(super) fn push_at_key(&self, finding: Diagnostic) {
        let message = self.at.word(&finding.message);
        let finding = Diagnostic { message, ..finding };
        self.reading.push_at_key(self.at.id, finding);
    }

    /// Leaves the rest unread: the whole was refused already.
    pub(super) fn abandon(self) {}

    /// Reports unknown and missing keys.
    pub(super) fn finish(self) {
        let known = self.known.into_inner();
        let mut missing = self.missing.into_inner();
        for (key, item) in &self.entries {
            if known.contains(&key.as_str()) || key.starts_with("x-") {
                continue;
            }
            let is_written = matches!(item.content, Content::Written(_));
            let at = if is_written { &item.at } else { &self.at };
            let message = at.word(&format!("unknown key `{key}`"));
            let mut finding = Diagnostic::error(Code::UnknownKey, Location::default(), message);
            let absent = known.iter().copied();
            let absent = absent.filter(|name| !self.entries.contains_key(*name));
            if let Some(name) = nearest(key, absent) {
                missing.retain(|key| *key != name);
                finding = finding.with_hint(did_you_mean(name));
            }
            if is_written {
                self.reading.push_at_key(item.at.id, finding);
            } else {
                self.reading.push_at(self.at.id, finding);
            }
        }
        for key in missing {
            let message = self.at.word(&format!("missing key `{key}`"));
            let finding = Diagnostic::error(Code::MissingKey, Location::default(), message);
            self.reading.push_at_key(self.at.id, finding);
        }
    }
}
