//! The documents of a gateway: where the admin API has them, as what they come, and how one is put
//! there.

use std::time::Duration;

use http::StatusCode;

use super::remote::{Remote, segment};
use crate::store::{Key, Kind};
use crate::value::{Map, Value, time};

/// Which document.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DocumentArgs {
    /// What it is
    #[arg(value_enum)]
    kind: KindArg,
    /// The `id` of a spec, the `uri` of a realm
    id: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KindArg {
    /// An API spec
    Spec,
    /// A realm
    Realm,
}

impl DocumentArgs {
    /// Returns the document's key.
    pub(super) fn key(&self) -> Key {
        let kind = match self.kind {
            KindArg::Spec => Kind::Spec,
            KindArg::Realm => Kind::Realm,
        };
        key(kind, &self.id)
    }
}

/// Makes a key.
pub(super) fn key(kind: Kind, id: &str) -> Key {
    let id = id.to_owned();
    Key { kind, id }
}

/// Returns what a document is, as people say it.
pub(super) fn name(key: &Key) -> String {
    match key.kind {
        Kind::Spec => format!("spec {}", key.id),
        Kind::Realm => format!("realm {}", key.id),
    }
}

/// Returns the path of all documents of a kind.
pub(super) fn collection(kind: Kind) -> &'static str {
    match kind {
        Kind::Spec => "/api_specs",
        Kind::Realm => "/realms",
    }
}

/// Returns the path of a document.
pub(super) fn path(key: &Key) -> String {
    format!("{}/{}", collection(key.kind), segment(&key.id))
}

/// Reads the text of a document as it was uploaded, a realm's without its secrets; none where there is
/// no such document, or no such revision.
pub(super) async fn source(
    remote: &Remote,
    key: &Key,
    revision: Option<u64>,
) -> anyhow::Result<Option<String>> {
    let query = revision.map(|revision| format!("?revision={revision}"));
    let path = format!("{}/text{}", path(key), query.unwrap_or_default());
    let answer = remote.get(&path).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    Ok(Some(answer.success()?.text()?.to_owned()))
}

/// Returns the member that tells when something was, to the second; empty where there is none.
pub(super) fn time(item: &Map) -> String {
    let millis = item.get("ts").and_then(Value::as_u64);
    let shown = millis.map(|millis| time::show(Duration::from_millis(millis)));
    shown.map_or_else(String::new, |shown| format!("{}Z", &shown[..SECONDS]))
}

/// Length of a time without the parts of a second.
const SECONDS: usize = "2026-11-21T17:00:00".len();

/// Returns a member as a cell shows it; empty where there is none.
pub(super) fn text(item: &Map, name: &str) -> String {
    match item.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::Text(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
