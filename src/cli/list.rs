//! `wampgate list`: what a running gateway has, in columns.

use super::remote::{Access, Gateway, Remote, as_admin};
use super::stored::{self, DocumentArgs, path, text, time};
use super::{Outcome, Outside};
use crate::spec::listing::{self, columns};
use crate::store::Kind;
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
        outside.print(&listed(args, &remote).await?)?;
        Ok(Outcome::Done)
    })
}

async fn listed(args: &Args, remote: &Remote) -> anyhow::Result<String> {
    let kinds: &[Kind] = match &args.what {
        None => &[Kind::Realm, Kind::Spec],
        Some(What::Specs) => &[Kind::Spec],
        Some(What::Realms) => &[Kind::Realm],
        Some(What::Routes) => {
            let items = remote.list("/routes").await?;
            let cells = |item: &Map| listing::COLUMNS.map(|name| text(item, &name.to_lowercase()));
            return Ok(shown(args.format, items, &listing::COLUMNS, cells));
        }
        Some(What::Revisions(document)) => {
            let path = path(&document.key());
            let items = remote.list(&format!("{path}/revisions")).await?;
            let headings = ["REVISION", "CHANGED", "BY", "TEXT"];
            return Ok(shown(args.format, items, &headings, revision));
        }
        Some(What::Gateways) => {
            let items = remote.list("/cluster").await?;
            let headings = ["ID", "VERSION", "STATE", "REVISION", "SEEN"];
            return Ok(shown(args.format, items, &headings, gateway));
        }
    };
    let mut items = Vec::new();
    let mut rows = Vec::new();
    for kind in kinds {
        let collection = remote.list(stored::collection(*kind)).await?;
        let maps = collection.iter().filter_map(Value::as_map);
        rows.extend(maps.map(|item| document(*kind, item)));
        items.extend(collection);
    }
    let headings = ["KIND", "ID", "STATE", "SOURCE", "REVISION", "CHANGED"];
    Ok(match args.format {
        Format::Json => format!("{}\n", Value::List(items)),
        Format::Text => columns(&headings, rows),
    })
}

fn shown<const N: usize>(
    format: Format,
    items: Vec<Value>,
    headings: &[&str; N],
    cells: impl Fn(&Map) -> [String; N],
) -> String {
    match format {
        Format::Json => format!("{}\n", Value::List(items)),
        Format::Text => columns(headings, items.iter().filter_map(Value::as_map).map(cells)),
    }
}

fn document(kind: Kind, item: &Map) -> [String; 6] {
    let (word, id) = match kind {
        Kind::Spec => ("spec", "id"),
        Kind::Realm => ("realm", "uri"),
    };
    let [id, state, source, revision] =
        [id, "state", "source", "revision"].map(|name| text(item, name));
    [word.to_owned(), id, state, source, revision, time(item)]
}

fn revision(item: &Map) -> [String; 4] {
    let what = match item.get("deleted") {
        Some(Value::Bool(true)) => "deleted".to_owned(),
        _ => text(item, "hash").chars().take(SHORT).collect(),
    };
    let [number, author] = ["revision", "author"].map(|name| text(item, name));
    [number, time(item), author, what]
}

/// How much of a text's hash tells it from others.
const SHORT: usize = 12;

fn gateway(item: &Map) -> [String; 5] {
    let [id, version, state, revision] =
        ["id", "version", "state", "revision"].map(|name| text(item, name));
    [id, version, state, revision, time(item)]
}
