//! What is to be uploaded: documents from files, folders and standard input, realms first.
//!
//! The gateway judges them. Here it is only found out what each is and how it is called; what cannot
//! be read as JSON, or has no name, is a finding without asking anybody.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context;

use crate::catalog::{self, SourceText, kind_of};
use crate::diagnostic::{Code, Diagnostic, Location};
use crate::document::{Document, Node, NodeKind};
use crate::store::{Key, Kind};

/// The path that stands for standard input.
const STDIN: &str = "-";

/// A document to be uploaded.
#[derive(Debug)]
pub(super) struct Upload {
    /// What it is, and how it is called.
    pub(super) key: Key,
    /// The whole file: a file of realms holds several documents.
    file: Rc<Document>,
    /// The document in it.
    node: Node,
}

impl Upload {
    /// Returns the text, as it is written.
    pub(super) fn text(&self) -> &str {
        self.file.text_of(self.node.id)
    }

    /// Returns the text with `"***"` in the place of secrets.
    pub(super) fn text_without_secrets(&self) -> String {
        match Document::parse_json(None, self.text()) {
            Ok(document) => document.text_without_secrets(),
            // A part of what has been parsed is never broken.
            Err(_) => String::new(),
        }
    }

    /// Returns the name of the file.
    pub(super) fn file(&self) -> &str {
        self.file.file().unwrap_or_default()
    }

    /// Returns the place in the file that a finding about the text names: by line and column, both from
    /// one, if it knows them, and by JSON Pointer.
    pub(super) fn locate(&self, place: Option<(u32, u32)>, pointer: &str) -> Location {
        let start = match self.node.id == self.file.root().id {
            // The text is the whole file's.
            true => Location {
                line: 1,
                column: 1,
                ..self.file.location_of_key(self.node.id)
            },
            false => self.file.location_of_key(self.node.id),
        };
        let mut location = match place {
            // Only the first line of the text begins within a line of the file.
            Some((line @ ..=1, column)) => {
                let column = (start.column + column).saturating_sub(1);
                self.file
                    .location_at(start.line + line.saturating_sub(1), column)
            }
            Some((line, column)) => self.file.location_at(start.line + line - 1, column),
            None => start.clone(),
        };
        location.pointer = format!("{}{pointer}", start.pointer);
        location
    }
}

/// Reads what is at the paths, and of `-` what comes in. Returns the documents, realms first, and every
/// finding about what is none.
pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<(Vec<Upload>, Vec<Diagnostic>)> {
    let mut uploads: Vec<Upload> = Vec::new();
    let mut findings = Vec::new();
    for path in paths {
        let (sources, unread) = match path.as_path() == Path::new(STDIN) {
            true => (vec![standard_input()?], Vec::new()),
            false => catalog::read_files(std::slice::from_ref(path)),
        };
        findings.extend(unread);
        for source in &sources {
            match Document::parse_json(Some(&source.name), &source.text) {
                Ok(document) => {
                    findings.extend(unreplaced(source));
                    documents(document, &mut uploads, &mut findings);
                }
                Err(errors) => findings.extend(errors),
            }
        }
    }
    // Specs name realms. The order of the files stays, as the sort is stable.
    uploads.sort_by_key(|upload| Reverse(upload.key.kind == Kind::Realm));
    Ok((uploads, findings))
}

fn standard_input() -> anyhow::Result<SourceText> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    Ok(SourceText {
        name: "standard input".to_owned(),
        text,
    })
}

/// Warns of names that the environment would stand for, were the file one of a gateway's own: a secret
/// would else be the text `${SECRET}`, and nobody told.
fn unreplaced(source: &SourceText) -> Option<Diagnostic> {
    let mut document = Document::parse_json(Some(&source.name), &source.text).ok()?;
    let names = RefCell::new(Vec::new());
    document.substitute(&|name| {
        names.borrow_mut().push(format!("`${{{name}}}`"));
        None
    });
    let names = names.into_inner();
    let location = Location::of_file(&source.name);
    let message = format!("uploaded as it stands: {}", names.join(", "));
    let finding = Diagnostic::warning(Code::NotReplaced, location, message);
    let hint = "only files that a gateway reads itself have names of the environment replaced";
    (!names.is_empty()).then(|| finding.with_hint(hint))
}

/// Adds the documents of a file.
fn documents(file: Document, uploads: &mut Vec<Upload>, findings: &mut Vec<Diagnostic>) {
    let Some(kind) = kind_of(file.root()) else {
        findings.push(catalog::unknown(file.file().unwrap_or_default()));
        return;
    };
    findings.extend(file.notes().iter().cloned());
    let file = Rc::new(file);
    let nodes = match &file.root().kind {
        NodeKind::List(nodes) => nodes.clone(),
        _ => vec![file.root().clone()],
    };
    for node in nodes {
        match key(kind, &file, &node) {
            Ok(key) if uploads.iter().any(|other| other.key == key) => {
                let (code, name) = match kind {
                    Kind::Spec => (Code::DuplicateApi, "API"),
                    Kind::Realm => (Code::DuplicateRealm, "realm"),
                };
                let message = format!("a second {name} `{}`", key.id);
                findings.push(Diagnostic::error(code, file.location(node.id), message));
            }
            Ok(key) => uploads.push(Upload {
                key,
                file: file.clone(),
                node,
            }),
            Err(finding) => findings.push(*finding),
        }
    }
}

/// Finds the name of a document: the gateway keeps it under this.
fn key(kind: Kind, file: &Document, node: &Node) -> Result<Key, Box<Diagnostic>> {
    let name = match kind {
        Kind::Spec => "id",
        Kind::Realm => "uri",
    };
    let member = node.as_map().and_then(|members| members.get(name));
    let id = member.and_then(Node::as_text).filter(|id| !id.is_empty());
    match (id, member) {
        (Some(id), _) => Ok(Key {
            kind,
            id: id.to_owned(),
        }),
        (None, Some(member)) => Err(Box::new(Diagnostic::error(
            Code::BadValue,
            file.location(member.id),
            format!("`{name}`: expected a text that names it"),
        ))),
        (None, None) => Err(Box::new(Diagnostic::error(
            Code::MissingKey,
            file.location_of_key(node.id),
            format!("missing key `{name}`"),
        ))),
    }
}
