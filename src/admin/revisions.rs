//! The last revisions of a document: who wrote what when, and how to get it back.

use http::StatusCode;

use super::change::{self, Change};
use super::condition::Condition;
use super::documents::{Revision, RevisionText};
use super::exchange::{Exchange, bad_request};
use super::table::Answer;
use crate::problem::Problem;
use crate::store::{Key, Record};

/// Answers with all, the newest first.
pub(super) async fn list(exchange: &Exchange, key: &Key) -> Answer {
    let records = read(exchange, key).await?;
    let revisions: Vec<Revision> = records.iter().map(Revision::from).collect();
    exchange.reply(StatusCode::OK, &revisions)
}

/// Answers with one.
pub(super) async fn get(exchange: &Exchange, key: &Key) -> Answer {
    let record = find(exchange, key).await?;
    exchange.reply(StatusCode::OK, &RevisionText::of(&record))
}

/// Writes the text of one again.
pub(super) async fn restore(exchange: &Exchange, key: Key) -> Answer {
    let record = find(exchange, &key).await?;
    let Some(text) = record.text else {
        return Err(Problem::new(StatusCode::CONFLICT)
            .code("wampgate.error.conflict")
            .detail("This revision deleted the document: there is no text to restore."));
    };
    let change = Change {
        key,
        text: Some(text),
        condition: Condition::of(exchange.headers())?,
    };
    change.run(exchange, change::answer).await
}

async fn find(exchange: &Exchange, key: &Key) -> Result<Record, Problem> {
    let number: u64 = exchange
        .param("rev")
        .parse()
        .map_err(|_| bad_request("A revision is a number."))?;
    let records = read(exchange, key).await?;
    let mut records = records.into_iter();
    records
        .find(|record| record.revision == number)
        .ok_or_else(|| {
            Problem::new(StatusCode::NOT_FOUND)
                .detail("This revision is none of the last 20 of the document.")
        })
}

async fn read(exchange: &Exchange, key: &Key) -> Result<Vec<Record>, Problem> {
    let read = exchange.admin.store.revisions(key).await;
    let records = read.map_err(|error| change::unread(&error))?;
    if records.is_empty() {
        return Err(
            Problem::new(StatusCode::NOT_FOUND).detail("The store has never held this document.")
        );
    }
    Ok(records)
}
