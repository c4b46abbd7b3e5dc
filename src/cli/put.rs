//! One document on its way to a gateway: the request, and what its answer comes to.

use std::io::{self, Write};

use anyhow::Context;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::Outside;
use super::answer::Answer;
use super::remote::Remote;
use super::stored::{name, path, text};
use super::upload::Upload;
use crate::diagnostic::{Code, GREEN, Paint, RED, YELLOW};
use crate::store::Kind;
use crate::value::{Map, Value};

/// How documents are put, one after the other.
#[derive(Debug, Default)]
pub(super) struct Put {
    /// Nothing is to change.
    dry_run: bool,
    /// The revision that has to be there; 0 for none.
    if_revision: Option<u64>,
    /// Who does it.
    from: Option<(HeaderName, HeaderValue)>,
    /// Whether a realm would be new: then a gateway that only looks refuses the specs that name it.
    has_new_realm: bool,
}

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Created,
    Replaced,
    /// The gateway has this very text.
    Unchanged,
    /// It names a realm that would be new: what it does is known once that is there.
    Awaiting,
}

/// What was done, or would be.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) fate: Fate,
    pub(super) revision: Option<u64>,
    /// What changes for clients, as a gateway that only looks tells it.
    routes: Map,
}

/// Why a document was not taken, in the lines of what is told.
#[derive(Debug)]
pub(super) struct Refusal(Vec<String>);

impl Put {
    /// Puts documents, if they have the revision that is named.
    pub(super) fn new(if_revision: Option<u64>, from: Option<(HeaderName, HeaderValue)>) -> Self {
        Self {
            if_revision,
            from,
            ..Self::default()
        }
    }

    /// Only asks what would be.
    pub(super) fn dry(self) -> Self {
        Self {
            dry_run: true,
            ..self
        }
    }

    /// Puts a document. What the gateway refuses comes with its findings.
    ///
    /// # Errors
    ///
    /// Where there is no gateway, or no answer that can be understood.
    pub(super) async fn send(
        &mut self,
        remote: &Remote,
        upload: &Upload,
        outside: &Outside,
    ) -> anyhow::Result<Result<Done, Refusal>> {
        let path = path(&upload.key);
        // What is there is known by its revision: of a text that it has, a gateway makes no new one.
        let before = match self.dry_run {
            true => None,
            false => revision(&remote.get(&path).await?),
        };
        let query = if self.dry_run { "?dry_run=true" } else { "" };
        let headers = self.from.iter().cloned().chain(self.expectation());
        let (path, text) = (format!("{path}{query}"), Some(upload.text()));
        let mut answer = remote.send(Method::PUT, &path, headers, text).await?;
        if self.dry_run && answer.status.is_success() {
            answer.status = status_of_dry_run(&answer)?;
        }
        if !answer.status.is_success() {
            if self.has_new_realm && names_no_realm(&answer) {
                return Ok(Ok(Done {
                    fate: Fate::Awaiting,
                    revision: None,
                    routes: Map::new(),
                }));
            }
            return Ok(Err(self.refusal(&answer, upload, outside)));
        }
        let is_unchanged = match self.dry_run {
            true => answer.member("unchanged") == Some(Value::from(true)),
            false => before.is_some() && revision(&answer) == before,
        };
        let fate = match answer.status {
            _ if is_unchanged => Fate::Unchanged,
            StatusCode::CREATED => Fate::Created,
            _ => Fate::Replaced,
        };
        self.has_new_realm |= fate == Fate::Created && upload.key.kind == Kind::Realm;
        Ok(Ok(Done {
            fate,
            revision: revision(&answer),
            routes: match answer.member("routes") {
                Some(Value::Map(routes)) => routes,
                _ => Map::new(),
            },
        }))
    }

    /// The header that says which revision has to be there (RFC 9110, "Preconditions").
    fn expectation(&self) -> Option<(HeaderName, HeaderValue)> {
        let tag = match self.if_revision? {
            0 => return Some((header::IF_NONE_MATCH, HeaderValue::from_static("*"))),
            revision => HeaderValue::try_from(format!("\"{revision}\"")),
        };
        Some((
            header::IF_MATCH,
            tag.expect("digits and quotes are a header's"),
        ))
    }

    fn refusal(&self, answer: &Answer, upload: &Upload, outside: &Outside) -> Refusal {
        let name = name(&upload.key);
        let is_own = answer.status == StatusCode::UNPROCESSABLE_ENTITY;
        let findings = answer.findings(is_own.then_some(upload), outside.colour(&io::stderr()));
        let count = findings.len();
        let mut lines: Vec<String> = findings.into_iter().map(|it| format!("{it}\n")).collect();
        lines.push(match (answer.status, self.if_revision) {
            (StatusCode::UNPROCESSABLE_ENTITY, _) if count > 0 => {
                let plural = if count == 1 { "" } else { "s" };
                format!("error: {name} is refused: {count} error{plural}")
            }
            (StatusCode::PRECONDITION_FAILED, Some(wanted)) => {
                format!(
                    "error: {name} is not at revision {wanted}: {}",
                    answer.refusal()
                )
            }
            _ => format!("error: {name}: {}", answer.refusal()),
        });
        Refusal(lines)
    }
}

/// The revision that an answer tells.
fn revision(answer: &Answer) -> Option<u64> {
    answer.member("revision")?.as_u64()
}

/// The status that the answer would have had, had it not been a dry run.
fn status_of_dry_run(answer: &Answer) -> anyhow::Result<StatusCode> {
    let status = answer.member("status").and_then(|status| status.as_u64());
    let status = status.and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    status.context("the gateway did not say what would happen")
}

/// Whether all that is wrong is that there is no such realm.
fn names_no_realm(answer: &Answer) -> bool {
    let Some(Value::List(errors)) = answer.member("errors") else {
        return false;
    };
    let code = |error: &Value| Some(error.as_map()?.get("code")?.as_text()?.to_owned());
    let is_it = |error: &Value| code(error).as_deref() == Some(Code::UnknownRealm.as_str());
    !errors.is_empty() && errors.iter().all(is_it)
}

impl Fate {
    pub(super) fn word(self) -> &'static str {
        match self {
            Fate::Created => "created",
            Fate::Replaced => "replaced",
            Fate::Unchanged => "unchanged",
            Fate::Awaiting => "put once its realm is there",
        }
    }
}

impl Done {
    /// Returns a line for each route that would be added, removed or changed.
    pub(super) fn routes(&self, paint: Paint) -> String {
        let mut lines = String::new();
        for (member, sign, style) in [
            ("removed", '-', RED),
            ("changed", '~', YELLOW),
            ("added", '+', GREEN),
        ] {
            let routes = self.routes.get(member).and_then(Value::as_list);
            let routes = routes.unwrap_or_default().iter();
            for route in routes.filter_map(Value::as_map) {
                let [method, host, path, action] =
                    ["method", "host", "path", "action"].map(|name| text(route, name));
                let line = format!("{sign} {method} {host} {path} {action}");
                lines.push_str(&paint.wrap(style, &line));
                lines.push('\n');
            }
        }
        lines
    }
}

impl Refusal {
    pub(super) fn tell(&self) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        for line in &self.0 {
            writeln!(stderr, "{line}")?;
        }
        Ok(())
    }
}
