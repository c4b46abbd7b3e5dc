//! One document on its way to a gateway: the request, and what its answer comes to.

use std::io::{self, Write};

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::Outside;
use super::answer::Answer;
use super::remote::Remote;
use super::stored::{name, path, text};
use super::upload::Upload;
use crate::diagnostic::{GREEN, Paint, RED, YELLOW};
use crate::value::{Map, Value};

/// How documents are put.
#[derive(Debug, Default)]
pub(super) struct Put {
    /// Nothing is to change.
    pub(super) dry_run: bool,
    /// The revision that has to be there; 0 for none.
    pub(super) if_revision: Option<u64>,
    /// Who does it.
    pub(super) from: Option<(HeaderName, HeaderValue)>,
}

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Created,
    Replaced,
    /// The gateway has this very text.
    Unchanged,
}

impl Fate {
    pub(super) fn word(self) -> &'static str {
        match self {
            Fate::Created => "created",
            Fate::Replaced => "replaced",
            Fate::Unchanged => "unchanged",
        }
    }
}

/// What was done, or would be.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) fate: Fate,
    pub(super) revision: Option<u64>,
    /// What changes for clients, as the admin API tells it of a dry run.
    routes: Map,
}

impl Done {
    fn of(answer: &Answer) -> anyhow::Result<Self> {
        let body = answer.value()?;
        let member = |name: &str| body.as_map()?.get(name);
        let fate = match member("outcome").and_then(Value::as_text) {
            Some("unchanged") => Fate::Unchanged,
            Some("created") => Fate::Created,
            _ if answer.status == StatusCode::CREATED => Fate::Created,
            _ => Fate::Replaced,
        };
        Ok(Self {
            fate,
            revision: member("revision").and_then(Value::as_u64),
            routes: member("routes")
                .and_then(Value::as_map)
                .cloned()
                .unwrap_or_default(),
        })
    }

    /// Returns a line for each route that would be added, removed or changed.
    pub(super) fn routes(&self, paint: Paint) -> String {
        let mut lines = String::new();
        for (member, sign, style) in [
            ("removed", '-', RED),
            ("changed", '~', YELLOW),
            ("added", '+', GREEN),
        ] {
            let routes = self.routes.get(member).and_then(Value::as_list);
            for route in routes.unwrap_or_default().iter().filter_map(Value::as_map) {
                let [method, host, path, action] =
                    ["method", "host", "path", "action"].map(|name| text(route, name));
                let line = format!("{sign} {method} {path} on {host}: {action}");
                lines.push_str(&paint.wrap(style, &line));
                lines.push('\n');
            }
        }
        lines
    }
}

/// Why a document was not taken, in the lines of what is told.
#[derive(Debug)]
pub(super) struct Refusal(Vec<String>);

impl Refusal {
    pub(super) fn tell(&self) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        for line in &self.0 {
            writeln!(stderr, "{line}")?;
        }
        Ok(())
    }
}

impl Put {
    /// Only asks what would be.
    pub(super) fn dry_run() -> Self {
        Self {
            dry_run: true,
            ..Self::default()
        }
    }

    /// Puts a document. What the gateway refuses comes with its findings.
    ///
    /// # Errors
    ///
    /// Where there is no gateway, or no answer that can be understood.
    pub(super) async fn send(
        &self,
        remote: &Remote,
        upload: &Upload,
        outside: &Outside,
    ) -> anyhow::Result<Result<Done, Refusal>> {
        let expect = self.if_revision.map(|revision| match revision {
            0 => (header::IF_NONE_MATCH, HeaderValue::from_static("*")),
            _ => {
                let tag = HeaderValue::try_from(format!("\"{revision}\""));
                (
                    header::IF_MATCH,
                    tag.expect("digits and quotes are a header's"),
                )
            }
        });
        let headers = self.from.iter().cloned().chain(expect);
        let query = if self.dry_run { "?dry_run=true" } else { "" };
        let path = format!("{}{query}", path(&upload.key));
        let text = Some(upload.text());
        let answer = remote.send(Method::PUT, &path, headers, text).await?;
        if answer.status.is_success() {
            return Done::of(&answer).map(Ok);
        }
        Ok(Err(self.refusal(&answer, upload, outside)))
    }

    fn refusal(&self, answer: &Answer, upload: &Upload, outside: &Outside) -> Refusal {
        let name = name(&upload.key);
        let findings = answer.findings(upload, outside.colour(&io::stderr()));
        let count = findings.len();
        let mut lines: Vec<String> = findings.into_iter().map(|it| format!("{it}\n")).collect();
        lines.push(match answer.status {
            StatusCode::PRECONDITION_FAILED => format!(
                "error: {name} has another revision than {}: {}",
                self.if_revision.unwrap_or_default(),
                answer.refusal()
            ),
            StatusCode::UNPROCESSABLE_ENTITY if count > 0 => {
                let plural = if count == 1 { "" } else { "s" };
                format!("error: {name} is refused: {count} error{plural}")
            }
            _ => format!("error: {name}: {}", answer.refusal()),
        });
        Refusal(lines)
    }
}
