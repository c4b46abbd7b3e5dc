//! How a document is changed: looked at against all others, written, and served before the answer.
//!
//! ```text
//! expectation (If-Match) -> compile with all others -> write, if nobody was faster -> served
//! ```
//!
//! What is written has been compiled by this gateway against everything that the store held at that
//! moment, and the write happens only if the document is still the one that was looked at: that is
//! how two admins cannot overwrite each other unseen. Without `If-Match` the last one wins, but what
//! it replaces was looked at as well.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{ETAG, LOCATION};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::audit::OUTCOME_UNKNOWN;
use super::condition::{self, Condition};
use super::documents::{self, Document, Finding, Info};
use super::exchange::{Exchange, add_header, segment};
use super::installed::RouteRow;
use super::table::Answer;
use crate::catalog::installed::{Entry, Installed, Origin, State};
use crate::diagnostic::Diagnostic;
use crate::problem::Problem;
use crate::store::{Expect, Key, Kind, ReadError, Record, State as StoreState, Write, WriteError};
use crate::value::Value;

/// Longest wait until what was written is served.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// A change that was asked for.
pub(super) struct Change {
    pub(super) key: Key,
    /// The new text; none deletes the document.
    pub(super) text: Option<Arc<str>>,
    /// What the client wrote, where `text` has secrets that were kept besides: findings are about
    /// this one.
    pub(super) uploaded: Option<Arc<str>>,
    pub(super) condition: Condition,
}

/// A change that was looked at and may be made.
struct Planned {
    /// The revision that is there; none if the document is new.
    present: Option<u64>,
    before: Arc<Installed>,
    /// What would be served.
    after: Installed,
    /// The document as it would be; none if it is deleted.
    entry: Option<Entry>,
    /// Whether the store has this very text.
    is_unchanged: bool,
}

/// A change that was made.
pub(super) struct Changed {
    kind: Kind,
    is_new: bool,
    entry: Option<Entry>,
    /// Whether it is not served yet.
    is_pending: bool,
}

/// What a change would do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DryRun {
    /// The status that the answer would have.
    status: u16,
    /// Whether the store has this very text, so that nothing would be written.
    unchanged: bool,
    /// Why it would fail.
    detail: Option<String>,
    /// Why the document would be refused, and others with it.
    #[schema(value_type = Vec<Object>)]
    errors: Vec<Value>,
    /// What somebody should look at.
    warnings: Vec<Finding>,
    routes: Routes,
}

/// The difference in routes.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Routes {
    /// Routes that would be new.
    added: Vec<RouteRow>,
    /// Routes that would be gone.
    removed: Vec<RouteRow>,
    /// Routes that would do something else, as they would be.
    changed: Vec<RouteRow>,
}

impl Change {
    /// Makes the change, or says in the answer what it would do, as `dry_run` has it.
    pub(super) async fn run(
        self,
        exchange: &Exchange,
        answer: impl FnOnce(&Exchange, &Changed) -> Answer,
    ) -> Answer {
        exchange.trail.about(&self.key.id);
        if exchange.is_on("dry_run")? {
            exchange.trail.dry_run();
            let planned = self.plan(exchange).await;
            return exchange.reply(StatusCode::OK, &DryRun::of(planned));
        }
        let changed = self.make(exchange).await?;
        answer(exchange, &changed)
    }

    async fn make(&self, exchange: &Exchange) -> Result<Changed, Problem> {
        let admin = &exchange.admin;
        // One at a time: compiling takes a processor, and our own changes need not race each other.
        let _turn = admin.changing.lock().await;
        let mut was_faster = false;
        loop {
            let planned = self.plan(exchange).await?;
            // No revision of what is there already: the last 20 are for what was different, and who
            // keeps documents elsewhere uploads all of them again and again.
            if planned.is_unchanged {
                return Ok(Changed {
                    kind: self.key.kind,
                    is_new: false,
                    entry: planned.before.stored(&self.key).cloned(),
                    is_pending: false,
                });
            }
            let write = Write {
                key: self.key.clone(),
                text: self.text.clone(),
                expect: planned.present.map_or(Expect::Nothing, Expect::Revision),
                author: exchange.trail.author.clone(),
                time_ms: (admin.now_ms)(),
            };
            match admin.store.write(write).await {
                Ok(record) => return Ok(self.made(exchange, planned, &record).await),
                // Somebody was faster, elsewhere. Whoever has seen what is there now may be sure.
                Err(WriteError::Conflict { .. }) if !self.condition.is_set() && !was_faster => {
                    was_faster = true;
                }
                Err(error) => return Err(unwritten(exchange, error)),
            }
        }
    }

    async fn made(&self, exchange: &Exchange, planned: Planned, record: &Record) -> Changed {
        exchange.trail.wrote(record.revision);
        let served = exchange.admin.served(record.revision).await;
        if served.is_none() {
            tracing::warn!(
                revision = record.revision,
                "revision {} of the store is not served after {SERVED_WITHIN:?}",
                record.revision
            );
        }
        let own = served.as_ref().and_then(|installed| {
            let entry = installed.stored(&self.key)?;
            (documents::revision(entry) == Some(record.revision)).then(|| entry.clone())
        });
        // Somebody may have written again meanwhile: then it is as it was looked at.
        let planned_entry = planned.entry.map(|entry| Entry {
            origin: Origin::Store {
                revision: record.revision,
                author: record.author.clone(),
            },
            time_ms: record.time_ms,
            ..entry
        });
        Changed {
            kind: self.key.kind,
            is_new: planned.present.is_none(),
            entry: own.or(planned_entry),
            is_pending: served.is_none(),
        }
    }

    /// Looks at what the change would do, and whether it may be made.
    async fn plan(&self, exchange: &Exchange) -> Result<Planned, Problem> {
        let admin = &exchange.admin;
        let contents = admin.store.contents().borrow().clone();
        let stored = contents.records.get(&self.key);
        let present = stored.map(|record| record.revision);
        let is_unchanged = stored.is_some_and(|record| record.text == self.text);
        // Looked at must be what the store holds, or an API that came just now would be overlooked.
        let before = admin.served(contents.revision).await.ok_or_else(|| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE)
                .code("wampgate.error.busy")
                .detail("An earlier change is not served yet; try again.")
        })?;
        let entries = before.entries(self.key.kind).iter();
        let mut of_id = entries.filter(|entry| entry.id == self.key.id);
        let file = of_id.find_map(|entry| match &entry.origin {
            Origin::File { name } => Some(name),
            Origin::Store { .. } => None,
        });
        if let Some(file) = file {
            return Err(Problem::new(StatusCode::CONFLICT)
                .code("wampgate.error.read_only")
                .detail(format!("The file `{file}` holds it: change it there.")));
        }
        self.condition.check(present)?;
        if self.text.is_none() && present.is_none() {
            return Err(documents::missing(self.key.kind));
        }
        if self.text.is_some() {
            let checked = self.key.check_id();
            checked.map_err(|error| unwritten(exchange, error))?;
        }
        let after = self.compiled(&before, &self.text).await?;
        let entry = match &self.text {
            None => None,
            Some(_) => {
                let mut entry = self.written(&after)?;
                if self.uploaded.is_some() && !entry.findings.is_empty() {
                    let plain = self.compiled(&before, &self.uploaded).await?;
                    place(&mut entry.findings, &self.written(&plain)?.findings);
                }
                Some(accepted(self.key.kind, entry)?)
            }
        };
        self.check_others(&before, &after)?;
        Ok(Planned {
            present,
            before,
            after,
            entry,
            is_unchanged,
        })
    }

    /// Compiles what would be served with `text`.
    async fn compiled(
        &self,
        before: &Arc<Installed>,
        text: &Option<Arc<str>>,
    ) -> Result<Installed, Problem> {
        let (served, key, text) = (before.clone(), self.key.clone(), text.clone());
        let compiled = tokio::task::spawn_blocking(move || served.with(&key, text));
        compiled.await.map_err(|error| {
            tracing::error!(%error, "a document could not be looked at");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }

    /// Returns the document as it would be, active or not.
    fn written(&self, after: &Installed) -> Result<Entry, Problem> {
        // It is the newest write; its id may be unreadable.
        let newest = |entry: &&Entry| documents::revision(entry) == Some(after.store_revision);
        let entry = after.entries(self.key.kind).iter().find(newest);
        let entry = entry.cloned();
        entry.ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR))
    }

    /// A change must not take what others need.
    fn check_others(&self, before: &Installed, after: &Installed) -> Result<(), Problem> {
        let mut errors = Vec::new();
        let mut ids = Vec::new();
        for kind in Kind::ALL {
            for entry in after.entries(kind) {
                let is_own = kind == self.key.kind && entry.id == self.key.id;
                if is_own || entry.state == State::Active {
                    continue;
                }
                let same = |other: &&Entry| other.id == entry.id && other.hash == entry.hash;
                let was = before.entries(kind).iter().find(same);
                if was.is_some_and(|was| was.state == State::Active) {
                    ids.push(format!("{} `{}`", word(kind), entry.id));
                    errors.extend(entry.findings.iter().filter(|finding| finding.is_error()));
                }
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "It is in use: {} could not be served any more.",
            ids.join(", ")
        );
        Err(Problem::new(StatusCode::CONFLICT)
            .code("wampgate.error.in_use")
            .detail(detail)
            .errors(errors.into_iter().map(|it| Finding::of(it).to_value())))
    }
}

/// Returns the document if it would be served.
fn accepted(kind: Kind, entry: Entry) -> Result<Entry, Problem> {
    match entry.state {
        State::Active => Ok(entry),
        State::Rejected => Err(refused(kind, &entry.findings)),
    }
}

/// Gives findings the places that the same ones have in the text that the client knows.
fn place(findings: &mut [Diagnostic], known: &[Diagnostic]) {
    for finding in findings {
        let same = known.iter().find(|known| {
            known.code == finding.code
                && known.message == finding.message
                && known.location.pointer == finding.location.pointer
        });
        match same {
            Some(same) => finding.location = same.location.clone(),
            // It is about what was kept: the pointer says what that is.
            None => (finding.location.line, finding.location.column) = (0, 0),
        }
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Spec => "API",
        Kind::Realm => "realm",
    }
}

/// The document has errors.
pub(super) fn refused(kind: Kind, findings: &[Diagnostic]) -> Problem {
    let errors = findings.iter().filter(|finding| finding.is_error());
    let count = errors.clone().count();
    let plural = if count == 1 { "" } else { "s" };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY)
        .detail(format!(
            "The {} has {count} error{plural}; nothing was changed.",
            kind.name()
        ))
        .errors(errors.map(|finding| Finding::of(finding).to_value()))
}

/// Words why a write was not done, or may not have been.
pub(super) fn unwritten(exchange: &Exchange, error: WriteError) -> Problem {
    let unavailable = || Problem::new(StatusCode::SERVICE_UNAVAILABLE);
    match error {
        WriteError::Conflict { .. } => {
            let has_condition =
                Condition::of(exchange.headers()).is_ok_and(|condition| condition.is_set());
            let (status, code) = if has_condition {
                let code = "wampgate.error.precondition_failed";
                (StatusCode::PRECONDITION_FAILED, code)
            } else {
                (StatusCode::CONFLICT, "wampgate.error.conflict")
            };
            Problem::new(status).code(code).detail(
                "Somebody else has changed the document meanwhile; look at it and try again.",
            )
        }
        WriteError::Id { .. } => {
            let detail = format!("{error}.");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY).detail(detail)
        }
        WriteError::TooLarge { .. } => {
            let detail = format!("{error}.");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE).detail(detail)
        }
        WriteError::Unavailable(reason) => {
            let state = exchange.admin.store.state().borrow().clone();
            tracing::warn!("a change was refused, the store takes none now: {reason}");
            match state {
                StoreState::Held { reason } => unavailable()
                    .code("wampgate.error.store_held")
                    .detail(format!(
                        "The store is held: {reason}. Nothing is changed until somebody says which \
                         contents count: `POST /store/confirm`."
                    ))
                    .without_retry_after(),
                _ => unavailable()
                    .code("wampgate.error.store_unavailable")
                    .detail("The store takes no changes now; nothing was changed."),
            }
        }
        WriteError::Unknown(reason) => {
            tracing::error!("nobody knows whether a change was made: {reason}");
            unavailable()
                .kind("urn:wampgate:problem:outcome-unknown", "Outcome Unknown")
                .code(OUTCOME_UNKNOWN)
                .detail(
                    "The store did not say whether the change was made. It may be, now or later: \
                     look before trying again.",
                )
                .without_retry_after()
        }
        WriteError::Failed(reason) => {
            tracing::error!("the store failed: {reason}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
                .detail("The store failed; nothing was changed.")
        }
    }
}

/// Words why something of the store could not be read.
pub(super) fn unread(error: &ReadError) -> Problem {
    tracing::error!("{error}");
    match error {
        ReadError::Unavailable(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .code("wampgate.error.store_unavailable")
            .detail("The store cannot be read now."),
        ReadError::Failed(_) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR).detail("The store failed.")
        }
    }
}

/// Answers a change: 201 for what is new and 200 for what was replaced, with the info of a spec or
/// the realm as it is; 204 for what is deleted.
pub(super) fn answer(exchange: &Exchange, changed: &Changed) -> Answer {
    let Some(entry) = &changed.entry else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let status = if changed.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let is_pending = changed.is_pending;
    let id = segment(&entry.id);
    let (mut response, path): (Response, String) = match changed.kind {
        Kind::Realm => {
            let body = Document::of(Kind::Realm, entry).pending(is_pending);
            (exchange.reply(status, &body)?, format!("/realms/{id}"))
        }
        Kind::Spec => {
            let body = Info::of(entry).pending(is_pending);
            (exchange.reply(status, &body)?, format!("/api_specs/{id}"))
        }
    };
    add_header(&mut response, ETAG, &condition::etag(entry));
    if changed.is_new {
        add_header(&mut response, LOCATION, &exchange.path(&path));
    }
    Ok(response)
}

impl DryRun {
    fn of(planned: Result<Planned, Problem>) -> Self {
        let rows = |routes: &[crate::spec::Route]| routes.iter().map(RouteRow::of).collect();
        match planned {
            Ok(planned) => {
                let difference = planned.before.routes_difference(&planned.after);
                let status = match (&planned.entry, planned.present) {
                    (None, _) => StatusCode::NO_CONTENT,
                    (Some(_), None) => StatusCode::CREATED,
                    (Some(_), Some(_)) => StatusCode::OK,
                };
                let findings = planned.entry.iter().flat_map(|entry| &entry.findings);
                let warnings = findings.filter(|finding| !finding.is_error());
                Self {
                    status: status.as_u16(),
                    unchanged: planned.is_unchanged,
                    detail: None,
                    errors: Vec::new(),
                    warnings: warnings.map(Finding::of).collect(),
                    routes: Routes {
                        added: rows(&difference.added),
                        removed: rows(&difference.removed),
                        changed: rows(&difference.changed),
                    },
                }
            }
            Err(problem) => {
                let told = problem.to_value();
                let errors = told.as_map().and_then(|told| told.get("errors"));
                let errors = errors.and_then(Value::as_list).unwrap_or_default();
                Self {
                    status: problem.status().as_u16(),
                    unchanged: false,
                    detail: Some(problem.message().to_owned()),
                    errors: errors.to_vec(),
                    warnings: Vec::new(),
                    routes: Routes::default(),
                }
            }
        }
    }
}

impl super::Admin {
    /// Waits until what is served has seen `revision` of the store, and returns it; none where that
    /// takes too long.
    async fn served(&self, revision: u64) -> Option<Arc<Installed>> {
        let mut installed = self.installed.clone();
        let seen = installed.wait_for(|installed| installed.store_revision >= revision);
        let seen = timeout(SERVED_WITHIN, seen).await.ok()?.ok()?;
        Some(seen.clone())
    }
}
