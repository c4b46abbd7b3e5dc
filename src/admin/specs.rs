//! `/api_specs`: the API specs, as on Bondy.

use std::sync::Arc;

use axum::response::IntoResponse;
use http::StatusCode;

use super::change::{self, Change, DryRun};
use super::condition::Condition;
use super::documents::{self, Document, Info, Revision, RevisionText};
use super::exchange::{Exchange, bad_request};
use super::revisions;
use super::table::Answer;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Document as Text;
use crate::problem::Problem;
use crate::store::{Key, Kind};

/// Lists the API specs.
///
/// In pages; `Link` names the next one.
#[utoipa::path(
    get, path = "/api_specs", tag = "specs",
    params(
        ("limit" = Option<u32>, Query, description = "items of a page, 1 to 1000; 100 without it"),
        ("cursor" = Option<String>, Query, description = "where to go on, from `Link`"),
    ),
    responses((status = 200, description = "the specs by id", body = Vec<Document>)),
)]
pub(super) async fn list(exchange: Exchange) -> Answer {
    documents::list(&exchange, Kind::Spec)
}

/// Loads an API spec.
///
/// It is served when the answer comes. One that fails changes nothing.
#[utoipa::path(
    post, path = "/api_specs", tag = "specs",
    params(("dry_run" = Option<bool>, Query, description = "only say what would happen")),
    request_body(content = Object, description = "the spec"),
    responses(
        (status = 200, description = "it replaced another; or what would happen",
            body = inline(AnswerToLoad)),
        (status = 201, description = "it is new", body = Info),
    ),
)]
pub(super) async fn post(exchange: Exchange) -> Answer {
    let change = of_body(&exchange).await?;
    change.run(&exchange, change::answer).await
}

/// What loading a spec answers: its info, or with `dry_run` what would happen.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "describes two answers, which are sent as they are"
)]
pub(super) enum AnswerToLoad {
    /// What was loaded.
    Info(Info),
    /// What would happen.
    DryRun(DryRun),
}

/// Loads an API spec, as `POST /api_specs` does, and answers without a body.
#[utoipa::path(
    post, path = "/services/load_api_spec", tag = "specs",
    request_body(content = Object, description = "the spec"),
    responses((status = 204, description = "it is served")),
)]
pub(super) async fn load(exchange: Exchange) -> Answer {
    let change = of_body(&exchange).await?;
    let answer = |_: &Exchange, _: &_| Ok(StatusCode::NO_CONTENT.into_response());
    change.run(&exchange, answer).await
}

/// Returns an API spec.
#[utoipa::path(
    get, path = "/api_specs/{id}", tag = "specs",
    params(("id" = String, Path, description = "the spec's id")),
    responses(
        (status = 200, description = "the spec", body = Document),
        (status = 304, description = "the one that `If-None-Match` names"),
    ),
)]
pub(super) async fn get(exchange: Exchange) -> Answer {
    documents::get(&exchange, Kind::Spec, exchange.param("id"))
}

/// Loads an API spec under its id.
///
/// `If-Match` holds the change to one revision, `If-None-Match: *` to a new spec.
#[utoipa::path(
    put, path = "/api_specs/{id}", tag = "specs",
    params(
        ("id" = String, Path, description = "the spec's id, as in the spec"),
        ("dry_run" = Option<bool>, Query, description = "only say what would happen"),
    ),
    request_body(content = Object, description = "the spec"),
    responses(
        (status = 200, description = "it replaced another; or what would happen",
            body = inline(AnswerToLoad)),
        (status = 201, description = "it is new", body = Info),
    ),
)]
pub(super) async fn put(exchange: Exchange) -> Answer {
    let change = of_body(&exchange).await?;
    let id = exchange.param("id");
    if change.key.id != id {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY)
            .detail("The `id` of the spec is another than that of the address.")
            .error("/id", "another id than that of the address"));
    }
    change.run(&exchange, change::answer).await
}

/// Deletes an API spec.
///
/// Its revisions are kept, and can be restored.
#[utoipa::path(
    delete, path = "/api_specs/{id}", tag = "specs",
    params(
        ("id" = String, Path, description = "the spec's id"),
        ("dry_run" = Option<bool>, Query, description = "only say what would happen"),
    ),
    responses(
        (status = 200, description = "what would happen", body = DryRun),
        (status = 204, description = "it is gone"),
    ),
)]
pub(super) async fn delete(exchange: Exchange) -> Answer {
    let change = Change {
        key: key(exchange.param("id")),
        text: None,
        uploaded: None,
        condition: Condition::of(exchange.headers())?,
    };
    change.run(&exchange, change::answer).await
}

/// Returns the short form of an API spec.
#[utoipa::path(
    get, path = "/api_specs/{id}/info", tag = "specs",
    params(("id" = String, Path, description = "the spec's id")),
    responses((status = 200, description = "its info", body = Info)),
)]
pub(super) async fn info(exchange: Exchange) -> Answer {
    let installed = exchange.admin.installed();
    let entry = documents::find(&installed, Kind::Spec, exchange.param("id"))?;
    exchange.reply(StatusCode::OK, &Info::of(entry))
}

/// Lists the last 20 revisions of an API spec, the newest first.
///
/// Also of one that is deleted.
#[utoipa::path(
    get, path = "/api_specs/{id}/revisions", tag = "specs",
    params(("id" = String, Path, description = "the spec's id")),
    responses((status = 200, description = "the revisions", body = Vec<Revision>)),
)]
pub(super) async fn list_revisions(exchange: Exchange) -> Answer {
    revisions::list(&exchange, &key(exchange.param("id"))).await
}

/// Returns a revision of an API spec with its text.
#[utoipa::path(
    get, path = "/api_specs/{id}/revisions/{rev}", tag = "specs",
    params(
        ("id" = String, Path, description = "the spec's id"),
        ("rev" = u64, Path, description = "the revision's number"),
    ),
    responses((status = 200, description = "the revision", body = RevisionText)),
)]
pub(super) async fn get_revision(exchange: Exchange) -> Answer {
    revisions::get(&exchange, &key(exchange.param("id"))).await
}

/// Loads a revision of an API spec again.
///
/// A new revision with the old text; the spec may have been deleted.
#[utoipa::path(
    post, path = "/api_specs/{id}/revisions/{rev}/restore", tag = "specs",
    params(
        ("id" = String, Path, description = "the spec's id"),
        ("rev" = u64, Path, description = "the revision's number"),
        ("dry_run" = Option<bool>, Query, description = "only say what would happen"),
    ),
    responses(
        (status = 200, description = "it is served again; or what would happen",
            body = inline(AnswerToLoad)),
        (status = 201, description = "it had been deleted, and is served again", body = Info),
    ),
)]
pub(super) async fn restore(exchange: Exchange) -> Answer {
    revisions::restore(&exchange, key(exchange.param("id"))).await
}

fn key(id: &str) -> Key {
    Key {
        kind: Kind::Spec,
        id: id.to_owned(),
    }
}

/// Reads the change that a spec in the body asks for.
async fn of_body(exchange: &Exchange) -> Result<Change, Problem> {
    let text = exchange.text().await?;
    let id = id_of(&text, Kind::Spec)?;
    Ok(Change {
        key: key(&id),
        text: Some(Arc::from(text)),
        uploaded: None,
        condition: Condition::of(exchange.headers())?,
    })
}

/// Returns the `id` of a spec or the `uri` of a realm.
///
/// # Errors
///
/// 400 for what is no JSON, with the place; 422 for what has no such member.
pub(super) fn id_of(text: &str, kind: Kind) -> Result<String, Problem> {
    let document = Text::parse_json(None, text).map_err(|findings| {
        let problem = bad_request("The body is not JSON.");
        problem.errors(
            findings
                .iter()
                .map(|it| documents::Finding::of(it).to_value()),
        )
    })?;
    let root = document.root();
    let name = match kind {
        Kind::Spec => "id",
        Kind::Realm => "uri",
    };
    let found = root.as_map().and_then(|members| members.get(name));
    if let Some(id) = found
        .and_then(|node| node.as_text())
        .filter(|id| !id.is_empty())
    {
        return Ok(id.to_owned());
    }
    let finding = match (root.as_map(), found) {
        (None, _) => {
            let message = format!("found {}, expected a map", root.type_name());
            Diagnostic::error(Code::WrongType, document.location(root.id), message)
        }
        (Some(_), None) => {
            let message = format!("missing key `{name}`");
            Diagnostic::error(Code::MissingKey, document.location(root.id), message)
        }
        (Some(_), Some(node)) if node.as_text().is_some() => {
            let message = format!("`{name}`: expected a text that is not empty");
            Diagnostic::error(Code::BadValue, document.location(node.id), message)
        }
        (Some(_), Some(node)) => {
            let message = format!("`{name}`: found {}, expected text", node.type_name());
            Diagnostic::error(Code::WrongType, document.location(node.id), message)
        }
    };
    Err(change::refused(kind, &[finding]))
}
