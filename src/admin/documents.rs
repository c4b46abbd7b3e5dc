//! Specs and realms as the API shows them: the text that was written, and what the gateway knows.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::ETAG;
use serde::Serialize;
use utoipa::ToSchema;

use super::exchange::{Exchange, add_header};
use super::page::Page;
use super::table::Answer;
use super::{condition, secrets};
use crate::catalog::installed::{Entry, Installed, Origin, State};
use crate::diagnostic::Diagnostic;
use crate::document::ADDED_WHEN_SHOWN;
use crate::problem::Problem;
use crate::store::{Kind, Record};
use crate::value::json::from_json;
use crate::value::{Map, Value};

/// A document: the members of its text, then what the gateway knows. What the gateway adds is
/// ignored when the document is loaded again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Document {
    /// The members of the text. A realm's secrets are left out.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    text: Map,
    #[serde(flatten)]
    facts: Facts,
}

/// What the gateway knows of a document.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Facts {
    /// When this text was written, in milliseconds since 1970 (UTC).
    ts: u64,
    /// The number of its revision; null where a file holds it.
    revision: Option<u64>,
    /// Where it comes from: `file` or `store`.
    source: &'static str,
    /// `active`, `rejected`, or `pending`: written, and not served yet.
    state: &'static str,
    /// Whether it is rejected and an older text goes on serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    serves_older: Option<bool>,
    /// Why it is rejected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Finding>,
}

/// A finding about a document.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Finding {
    /// `error` or `warning`.
    severity: &'static str,
    /// What kind of finding it is; docs/errors.md explains each.
    code: &'static str,
    message: String,
    /// What to do about it.
    hint: Option<String>,
    /// The JSON Pointer of its place.
    pointer: String,
    /// The line, from one.
    line: Option<u32>,
    /// The column in characters, from one.
    column: Option<u32>,
}

/// The short form of a spec, as Bondy has it, and what the gateway knows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Info {
    id: String,
    name: Option<String>,
    host: Option<String>,
    realm_uri: Option<String>,
    #[schema(value_type = Object)]
    meta: Value,
    #[serde(flatten)]
    facts: Facts,
    /// What somebody should look at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Finding>,
}

/// A revision of a document.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revision {
    revision: u64,
    /// When it was written, in milliseconds since 1970 (UTC).
    ts: u64,
    /// Who wrote it, as the request's `From` said; else `admin`.
    author: String,
    /// Whether it deleted the document.
    deleted: bool,
    /// SHA-256 of the text, in hexadecimal; null for a deletion, and for realms, whose secrets it
    /// would help to guess.
    hash: Option<String>,
}

/// A revision with its text.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevisionText {
    #[serde(flatten)]
    of: Revision,
    /// The text, null for a deletion. A realm's secrets are left out.
    #[schema(value_type = Option<Object>)]
    text: Value,
}

impl Document {
    pub(super) fn of(kind: Kind, entry: &Entry) -> Self {
        let mut text = shown(kind, &entry.text);
        for key in ADDED_WHEN_SHOWN {
            text.shift_remove(*key);
        }
        Self {
            text,
            facts: Facts::of(entry),
        }
    }

    pub(super) fn pending(mut self, is_pending: bool) -> Self {
        if is_pending {
            self.facts.state = "pending";
        }
        self
    }
}

impl Facts {
    fn of(entry: &Entry) -> Self {
        let is_rejected = entry.state == State::Rejected;
        let errors = entry.findings.iter().filter(|finding| finding.is_error());
        Self {
            ts: entry.time_ms,
            revision: revision(entry),
            source: match entry.origin {
                Origin::File { .. } => "file",
                Origin::Store { .. } => "store",
            },
            state: entry.state.name(),
            serves_older: is_rejected.then_some(entry.serves_older),
            errors: errors.filter(|_| is_rejected).map(Finding::of).collect(),
        }
    }
}

impl Finding {
    pub(super) fn of(finding: &Diagnostic) -> Self {
        let location = &finding.location;
        let number = |number: u32| (number > 0).then_some(number);
        Self {
            severity: finding.severity.as_str(),
            code: finding.code.as_str(),
            message: finding.message.clone(),
            hint: finding.hint.clone(),
            pointer: location.pointer.clone(),
            line: number(location.line),
            column: number(location.column),
        }
    }

    /// Returns it as a member of `errors` in a problem.
    pub(super) fn to_value(&self) -> Value {
        let text = |text: &str| Value::from(text);
        let number = |number: Option<u32>| number.map_or(Value::Null, |it| u64::from(it).into());
        let members = [
            ("pointer", text(&self.pointer)),
            ("line", number(self.line)),
            ("column", number(self.column)),
            ("severity", text(self.severity)),
            ("code", text(self.code)),
            ("message", text(&self.message)),
            ("hint", self.hint.as_deref().map_or(Value::Null, text)),
        ];
        Value::Map(
            members
                .map(|(key, value)| (key.to_owned(), value))
                .into_iter()
                .collect(),
        )
    }
}

impl Info {
    pub(super) fn of(entry: &Entry) -> Self {
        let text = shown(Kind::Spec, &entry.text);
        let member = |key: &str| text.get(key).and_then(Value::as_text).map(str::to_owned);
        let warnings = entry.findings.iter().filter(|finding| !finding.is_error());
        Self {
            // What has no name goes by its id.
            name: member("name").or_else(|| Some(entry.id.clone())),
            id: entry.id.clone(),
            host: member("host"),
            realm_uri: member("realm_uri"),
            meta: text.get("meta").cloned().unwrap_or(Value::Map(Map::new())),
            facts: Facts::of(entry),
            warnings: warnings.map(Finding::of).collect(),
        }
    }

    pub(super) fn pending(mut self, is_pending: bool) -> Self {
        if is_pending {
            self.facts.state = "pending";
        }
        self
    }
}

impl From<&Record> for Revision {
    fn from(record: &Record) -> Self {
        let is_shown = record.key.kind == Kind::Spec && record.text.is_some();
        Self {
            revision: record.revision,
            ts: record.time_ms,
            author: record.author.clone(),
            deleted: record.text.is_none(),
            hash: is_shown.then(|| record.hash.clone()),
        }
    }
}

impl RevisionText {
    pub(super) fn of(record: &Record) -> Self {
        let text = record
            .text
            .as_ref()
            .map(|text| shown(record.key.kind, text));
        Self {
            of: Revision::from(record),
            text: text.map_or(Value::Null, Value::Map),
        }
    }
}

/// Writes members as a text that people read.
pub(super) fn pretty(members: &Map) -> String {
    let text = serde_json::to_string_pretty(members);
    format!("{}\n", text.expect("a map of JSON's values is JSON"))
}

/// Returns the members of a text; none where it is no JSON object, as a file may be.
fn shown(kind: Kind, text: &str) -> Map {
    match (from_json(text.as_bytes()), kind) {
        (Ok(Value::Map(map)), Kind::Spec) => map,
        (Ok(Value::Map(map)), Kind::Realm) => secrets::withheld(&map),
        _ => Map::new(),
    }
}

/// Returns the revision of a document in the store.
pub(super) fn revision(entry: &Entry) -> Option<u64> {
    match entry.origin {
        Origin::Store { revision, .. } => Some(revision),
        Origin::File { .. } => None,
    }
}

/// Answers with all documents of a kind, a page at a time.
pub(super) fn list(exchange: &Exchange, kind: Kind) -> Answer {
    let page = Page::of(exchange)?;
    let installed = exchange.admin.installed();
    let key = |entry: &Entry| match &entry.origin {
        Origin::File { name } => format!("{}\0{name}", entry.id),
        Origin::Store { .. } => format!("{}\0", entry.id),
    };
    let entries = installed.entries(kind).iter();
    let all: BTreeMap<String, &Entry> = entries.map(|entry| (key(entry), entry)).collect();
    let (entries, last) = page.cut(all, |entry| entry.text.len());
    let documents: Vec<Document> = entries
        .into_iter()
        .map(|entry| Document::of(kind, entry))
        .collect();
    page.reply(exchange, &documents, last.as_deref())
}

/// Finds the document that the path names.
pub(super) fn find<'i>(
    installed: &'i Installed,
    kind: Kind,
    id: &str,
) -> Result<&'i Entry, Problem> {
    installed.entry(kind, id).ok_or_else(|| missing(kind))
}

/// There is no such document.
pub(super) fn missing(kind: Kind) -> Problem {
    let detail = match kind {
        Kind::Spec => "There is no API spec with this id.",
        Kind::Realm => "There is no realm with this URI.",
    };
    Problem::new(StatusCode::NOT_FOUND).detail(detail)
}

/// Answers with one document, or with 304 where the client has it.
pub(super) fn get(exchange: &Exchange, kind: Kind, id: &str) -> Answer {
    let installed = exchange.admin.installed();
    let entry = find(&installed, kind, id)?;
    let etag = condition::etag(entry);
    let mut response: Response = if condition::is_known(exchange.headers(), &etag)? {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        exchange.reply(StatusCode::OK, &Document::of(kind, entry))?
    };
    add_header(&mut response, ETAG, &etag);
    Ok(response)
}
