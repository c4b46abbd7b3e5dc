//! `/realms`: the realms. Their secrets go in and never come out.

use std::sync::Arc;

use http::StatusCode;

use super::change::{self, Change, DryRun};
use super::condition::Condition;
use super::documents::{self, Document, Revision, RevisionText};
use super::exchange::Exchange;
use super::table::Answer;
use super::{revisions, secrets, specs};
use crate::problem::Problem;
use crate::store::{Key, Kind};
use crate::value::Value;
use crate::value::json::from_json;

/// Lists the realms.
///
/// In pages; `Link` names the next one.
#[utoipa::path(
    get, path = "/realms", tag = "realms",
    params(
        ("limit" = Option<u32>, Query, description = "items of a page, 1 to 1000; 100 without it"),
        ("cursor" = Option<String>, Query, description = "where to go on, from `Link`"),
    ),
    responses((status = 200, description = "the realms by URI", body = Vec<Document>)),
)]
pub(super) async fn list(exchange: Exchange) -> Answer {
    documents::list(&exchange, Kind::Realm)
}

/// Adds or replaces a realm.
///
/// What it leaves out of the secrets that the stored realm has is kept: the router's, where method
/// and authid are the same, and those of users.
#[utoipa::path(
    post, path = "/realms", tag = "realms",
    params(("dry_run" = Option<bool>, Query, description = "only say what would happen")),
    request_body(content = Object, description = "the realm"),
    responses(
        (status = 200, description = "it replaced another; or what would happen",
            body = inline(AnswerToWrite)),
        (status = 201, description = "it is new", body = Document),
    ),
)]
pub(super) async fn post(exchange: Exchange) -> Answer {
    let change = of_body(&exchange).await?;
    change.run(&exchange, change::answer).await
}

/// What writing a realm answers: the realm, or with `dry_run` what would happen.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "describes two answers, which are sent as they are"
)]
pub(super) enum AnswerToWrite {
    /// The realm.
    Realm(Document),
    /// What would happen.
    DryRun(DryRun),
}

/// Returns a realm, without its secrets.
#[utoipa::path(
    get, path = "/realms/{uri}", tag = "realms",
    params(("uri" = String, Path, description = "the realm's URI")),
    responses(
        (status = 200, description = "the realm", body = Document),
        (status = 304, description = "the one that `If-None-Match` names"),
    ),
)]
pub(super) async fn get(exchange: Exchange) -> Answer {
    documents::get(&exchange, Kind::Realm, exchange.param("uri"))
}

/// Adds or replaces a realm under its URI, as `POST /realms` does.
///
/// `If-Match` holds the change to one revision, `If-None-Match: *` to a new realm.
#[utoipa::path(
    put, path = "/realms/{uri}", tag = "realms",
    params(
        ("uri" = String, Path, description = "the realm's URI, as in the realm"),
        ("dry_run" = Option<bool>, Query, description = "only say what would happen"),
    ),
    request_body(content = Object, description = "the realm"),
    responses(
        (status = 200, description = "it replaced another; or what would happen",
            body = inline(AnswerToWrite)),
        (status = 201, description = "it is new", body = Document),
    ),
)]
pub(super) async fn put(exchange: Exchange) -> Answer {
    let change = of_body(&exchange).await?;
    if change.key.id != exchange.param("uri") {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY)
            .detail("The `uri` of the realm is another than that of the address.")
            .error("/uri", "another URI than that of the address"));
    }
    change.run(&exchange, change::answer).await
}

/// Deletes a realm that no API uses.
#[utoipa::path(
    delete, path = "/realms/{uri}", tag = "realms",
    params(
        ("uri" = String, Path, description = "the realm's URI"),
        ("dry_run" = Option<bool>, Query, description = "only say what would happen"),
    ),
    responses(
        (status = 200, description = "what would happen", body = DryRun),
        (status = 204, description = "it is gone"),
    ),
)]
pub(super) async fn delete(exchange: Exchange) -> Answer {
    let change = Change {
        key: key(exchange.param("uri")),
        text: None,
        uploaded: None,
        condition: Condition::of(exchange.headers())?,
    };
    change.run(&exchange, change::answer).await
}

/// Lists the last 20 revisions of a realm, the newest first.
#[utoipa::path(
    get, path = "/realms/{uri}/revisions", tag = "realms",
    params(("uri" = String, Path, description = "the realm's URI")),
    responses((status = 200, description = "the revisions", body = Vec<Revision>)),
)]
pub(super) async fn list_revisions(exchange: Exchange) -> Answer {
    revisions::list(&exchange, &key(exchange.param("uri"))).await
}

/// Returns a revision of a realm with its text, without its secrets.
#[utoipa::path(
    get, path = "/realms/{uri}/revisions/{rev}", tag = "realms",
    params(
        ("uri" = String, Path, description = "the realm's URI"),
        ("rev" = u64, Path, description = "the revision's number"),
    ),
    responses((status = 200, description = "the revision", body = RevisionText)),
)]
pub(super) async fn get_revision(exchange: Exchange) -> Answer {
    revisions::get(&exchange, &key(exchange.param("uri"))).await
}

/// Writes a revision of a realm again, with the secrets that it had.
#[utoipa::path(
    post, path = "/realms/{uri}/revisions/{rev}/restore", tag = "realms",
    params(
        ("uri" = String, Path, description = "the realm's URI"),
        ("rev" = u64, Path, description = "the revision's number"),
        ("dry_run" = Option<bool>, Query, description = "only say what would happen"),
    ),
    responses(
        (status = 200, description = "it is used again; or what would happen",
            body = inline(AnswerToWrite)),
        (status = 201, description = "it had been deleted, and is used again", body = Document),
    ),
)]
pub(super) async fn restore(exchange: Exchange) -> Answer {
    revisions::restore(&exchange, key(exchange.param("uri"))).await
}

fn key(uri: &str) -> Key {
    Key {
        kind: Kind::Realm,
        id: uri.to_owned(),
    }
}

/// Reads the change that a realm in the body asks for.
async fn of_body(exchange: &Exchange) -> Result<Change, Problem> {
    let text = exchange.text().await?;
    let key = key(&specs::id_of(&text, Kind::Realm)?);
    let text: Arc<str> = Arc::from(text);
    let with_secrets = with_secrets(exchange, &key, &text);
    Ok(Change {
        uploaded: with_secrets.is_some().then(|| text.clone()),
        text: Some(with_secrets.unwrap_or(text)),
        key,
        condition: Condition::of(exchange.headers())?,
    })
}

/// Returns the text with what it leaves out and the stored one has; none where that is nothing.
fn with_secrets(exchange: &Exchange, key: &Key, text: &str) -> Option<Arc<str>> {
    let contents = exchange.admin.store.contents().borrow().clone();
    let stored = contents.records.get(key).and_then(|it| it.text.clone());
    let stored = stored.and_then(|text| from_json(text.as_bytes()).ok());
    if let (Ok(Value::Map(mut realm)), Some(Value::Map(stored))) =
        (from_json(text.as_bytes()), stored)
        && secrets::keep(&mut realm, &stored)
    {
        return Some(Arc::from(documents::pretty(&realm)));
    }
    None
}
