//! `wampgate list`: what a running gateway has, in columns.

use super::remote::{Access, Gateway, Remote, as_admin};
use super::stored::{DocumentArgs, path, text};
use super::{Outcome, Outside};
use crate::spec::listing::{self, columns};
use crate::value::{Map, Value};

/// Lists what a running gateway has: specs and realms, routes, revisions, gateways.
///
/// Without a word it lists the specs and the realms. Asks the admin API.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "Examples:
  wampgate list
  wampgate list specs --format json | jq -r '.[] | select(.state != \"active\").id'
  wampgate list routes | grep POST
  wampgate list revisions spec com.example.market
  wampgate list gateways --admin http://127.0.0.1:18081")]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    format: Format,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum What {
    /// The specs
    Specs,
    /// The realms
    Realms,
    /// The table of routes that is served
    Routes,
    /// The last revisions of a document, the newest first, also of one that is deleted
    Revisions(DocumentArgs),
    /// The gateways that share the store
    Gateways,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Columns with a heading
    Text,
    /// A list of objects, as the admin API has them
    Json,
}

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    as_admin(&args.gateway, Access::Token, outside, async |remote| {
        let items = items(&remote, args.what.as_ref()).await?;
        match args.format {
            Format::Json => outside.print(&format!("{}\n", Value::List(items)))?,
            Format::Text => outside.print(&table(args.what.as_ref(), &items))?,
        }
        Ok(Outcome::Done)
    })
}

async fn items(remote: &Remote, what: Option<&What>) -> anyhow::Result<Vec<Value>> {
    match what {
        None => {
            let mut all = remote.list("/realms").await?;
            all.extend(remote.list("/api_specs").await?);
            Ok(all)
        }
        Some(What::Specs) => remote.list("/api_specs").await,
        Some(What::Realms) => remote.list("/realms").await,
        Some(What::Routes) => remote.list("/routes").await,
        Some(What::Revisions(document)) => {
            let path = path(&document.key());
            remote.list(&format!("{path}/revisions")).await
        }
        Some(What::Gateways) => remote.list("/cluster").await,
    }
}

fn table(what: Option<&What>, items: &[Value]) -> String {
    let items = items.iter().filter_map(Value::as_map);
    match what {
        None | Some(What::Specs | What::Realms) => {
            const DOCUMENTS: [&str; 6] = ["KIND", "ID", "STATE", "SOURCE", "REVISION", "CHANGED"];
            columns(&DOCUMENTS, items.map(document))
        }
        Some(What::Routes) => {
            let cells = |item| listing::COLUMNS.map(|name| text(item, &name.to_lowercase()));
            columns(&listing::COLUMNS, items.map(cells))
        }
        Some(What::Revisions(_)) => {
            columns(&["REVISION", "CHANGED", "BY", "TEXT"], items.map(revision))
        }
        Some(What::Gateways) => {
            const GATEWAYS: [&str; 5] = ["ID", "VERSION", "STATE", "REVISION", "SEEN"];
            let cells = ["id", "version", "state", "revision", "ts"];
            columns(
                &GATEWAYS,
                items.map(|item| cells.map(|name| text(item, name))),
            )
        }
    }
}

/// A realm is known by its `uri`, a spec by its `id`.
fn document(item: &Map) -> [String; 6] {
    let (kind, id) = match item.get("id") {
        Some(_) => ("spec", "id"),
        None => ("realm", "uri"),
    };
    let [state, source, revision, changed] =
        ["state", "source", "revision", "ts"].map(|name| text(item, name));
    [
        kind.to_owned(),
        text(item, id),
        state,
        source,
        revision,
        changed,
    ]
}

fn revision(item: &Map) -> [String; 4] {
    let [number, changed, author] = ["revision", "ts", "author"].map(|name| text(item, name));
    // A revision without a text is the document's end.
    let hash = match text(item, "hash") {
        none if none.is_empty() => "deleted".to_owned(),
        hash => hash.chars().take(12).collect(),
    };
    [number, changed, author, hash]
}
