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
    let record = find(exchange, key, number(exchange)?).await?;
    exchange.reply(StatusCode::OK, &RevisionText::of(&record))
}

/// Writes the text of one again.
pub(super) async fn restore(exchange: &Exchange, key: Key) -> Answer {
    let record = find(exchange, &key, number(exchange)?).await?;
    let change = Change {
        key,
        text: Some(record.text.ok_or_else(no_text)?),
        uploaded: None,
        condition: Condition::of(exchange.headers())?,
    };
    change.run(exchange, change::answer).await
}

/// The revision deleted the document.
pub(super) fn no_text() -> Problem {
    Problem::new(StatusCode::CONFLICT)
        .code("wampgate.error.conflict")
        .detail("This revision deleted the document: there is no text.")
}

/// Returns the number that the path names.
fn number(exchange: &Exchange) -> Result<u64, Problem> {
    let number = exchange.param("rev").parse();
    number.map_err(|_| bad_request("A revision is a number."))
}

/// Finds a revision of a document.
pub(super) async fn find(exchange: &Exchange, key: &Key, number: u64) -> Result<Record, Problem> {
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
