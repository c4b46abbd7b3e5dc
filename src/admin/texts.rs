//! The text of a document, letter for letter as it was uploaded: what is kept in version control, and
//! what can be uploaded again.
//!
//! A realm with secrets is not given back letter for letter, as they never go out; uploaded again, it
//! keeps them.

use std::sync::Arc;

use axum::response::IntoResponse;
use http::header::{CONTENT_TYPE, ETAG};

use super::exchange::{Exchange, add_header, bad_request};
use super::table::Answer;
use super::{condition, documents, revisions, secrets};
use crate::store::{Key, Kind};
use crate::value::Value;
use crate::value::json::from_json;

/// Returns the text of an API spec, as it was uploaded.
#[utoipa::path(
    get, path = "/api_specs/{id}/text", tag = "specs",
    params(
        ("id" = String, Path, description = "the spec's id"),
        ("revision" = Option<u64>, Query, description = "one of its revisions"),
    ),
    responses((status = 200, description = "the text", body = Object)),
)]
pub(super) async fn spec(exchange: Exchange) -> Answer {
    text(&exchange, Kind::Spec, exchange.param("id")).await
}

/// Returns the text of a realm, as it was uploaded but for its secrets.
#[utoipa::path(
    get, path = "/realms/{uri}/text", tag = "realms",
    params(
        ("uri" = String, Path, description = "the realm's URI"),
        ("revision" = Option<u64>, Query, description = "one of its revisions"),
    ),
    responses((status = 200, description = "the text", body = Object)),
)]
pub(super) async fn realm(exchange: Exchange) -> Answer {
    text(&exchange, Kind::Realm, exchange.param("uri")).await
}

async fn text(exchange: &Exchange, kind: Kind, id: &str) -> Answer {
    let (text, etag) = match exchange.query("revision") {
        None => {
            let installed = exchange.admin.installed();
            let entry = documents::find(&installed, kind, id)?;
            (entry.text.clone(), Some(condition::etag(entry)))
        }
        Some(number) => {
            let number = number.parse();
            let number = number.map_err(|_| bad_request("A revision is a number."))?;
            let id = id.to_owned();
            let record = revisions::find(exchange, &Key { kind, id }, number).await?;
            let text = record.text.ok_or_else(revisions::no_text)?;
            (text, None)
        }
    };
    let body = match kind {
        Kind::Spec => text.to_string(),
        Kind::Realm => without_secrets(&text),
    };
    let mut response = ([(CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(etag) = etag {
        add_header(&mut response, ETAG, &etag);
    }
    Ok(response)
}

/// Returns the text of a realm as it is, if it holds no secret.
fn without_secrets(text: &Arc<str>) -> String {
    match from_json(text.as_bytes()) {
        Ok(Value::Map(realm)) => match secrets::withheld(&realm) {
            shown if shown == realm => text.to_string(),
            shown => documents::pretty(&shown),
        },
        // A file that holds none; what is in it may be anything.
        _ => String::new(),
    }
}
