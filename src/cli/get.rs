//! `wampgate get`: one thing that a running gateway has.

use anyhow::Context;

use super::remote::{Access, Gateway, Remote, as_admin, segment};
use super::stored::{self, text};
use super::{Outcome, Outside};
use crate::spec::listing::columns;
use crate::store::{Key, Kind};
use crate::value::{Map, Value};

/// Prints one thing that a running gateway has: a spec or realm, or how something is.
///
/// A spec and a realm come as they were uploaded, so that `apply` takes them again; of a realm without
/// its secrets. Asks the admin API.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "Examples:
  wampgate get spec com.example.market > market.json
  wampgate get spec com.example.market --revision 7 | wampgate apply -     back to that revision
  wampgate get spec com.example.market --format json | jq .state
  wampgate get router com.example.market
  wampgate get ready && echo 'send it requests'")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    format: Format,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A spec, as it was uploaded
    Spec {
        /// The spec's `id`
        id: String,
        /// An earlier text of it, also after it was deleted
        #[arg(long, value_name = "N")]
        revision: Option<u64>,
    },
    /// A realm, as it was uploaded but for its secrets
    Realm {
        /// The realm's `uri`
        uri: String,
        /// An earlier text of it, also after it was deleted
        #[arg(long, value_name = "N")]
        revision: Option<u64>,
    },
    /// The sessions of a realm with its router
    Router {
        /// The realm's `uri`
        realm: String,
    },
    /// Whether the gateway should get requests: exit code 1, with the reasons, if not
    Ready,
    /// The store, and whether it can be written
    Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people; of a spec or realm its text
    Text,
    /// As the admin API has it
    Json,
}

impl What {
    /// Returns the path by which the admin API has it.
    fn path(&self) -> String {
        match self {
            What::Spec { id, .. } => stored::path(&stored::key(Kind::Spec, id)),
            What::Realm { uri, .. } => stored::path(&stored::key(Kind::Realm, uri)),
            What::Router { realm } => format!("/realms/{}/router", segment(realm)),
            What::Store => "/store".to_owned(),
            What::Ready => "/readyz".to_owned(),
        }
    }

    /// Returns which document it is, and which revision of it.
    fn document(&self) -> Option<(Key, Option<u64>)> {
        match self {
            What::Spec { id, revision } => Some((stored::key(Kind::Spec, id), *revision)),
            What::Realm { uri, revision } => Some((stored::key(Kind::Realm, uri), *revision)),
            What::Router { .. } | What::Ready | What::Store => None,
        }
    }
}

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let access = match args.what {
        What::Ready => Access::Open,
        _ => Access::Token,
    };
    as_admin(&args.gateway, access, outside, async |remote| {
        match (args.what.document(), args.format) {
            (Some((key, revision)), Format::Text) => {
                let text = stored::source(&remote, &key, revision).await?;
                outside.print(&text.with_context(|| missing(&key, revision))?)?;
                Ok(Outcome::Done)
            }
            _ => show(args, &remote, outside).await,
        }
    })
}

fn missing(key: &Key, revision: Option<u64>) -> String {
    match revision {
        Some(revision) => format!("there is no revision {revision} of {}", stored::name(key)),
        None => format!("there is no {}", stored::name(key)),
    }
}

/// Prints what the gateway tells of something.
async fn show(args: &Args, remote: &Remote, outside: &Outside) -> anyhow::Result<Outcome> {
    if let What::Ready = args.what {
        return ready(args.format, remote, outside).await;
    }
    let value = match args.what.document() {
        Some((key, Some(revision))) => of_revision(remote, &key, revision).await?,
        _ => remote.get(&args.what.path()).await?.success()?.value()?,
    };
    let text = match (args.format, &args.what, value.as_map()) {
        (Format::Text, What::Router { .. }, Some(status)) => router(status),
        (Format::Text, _, Some(members)) => {
            let rows = members
                .keys()
                .map(|name| [name.clone(), text(members, name)]);
            columns(&["", ""], rows).trim_start().to_owned()
        }
        _ => format!("{value}\n"),
    };
    outside.print(&text)?;
    Ok(Outcome::Done)
}

/// Finds what is told of a revision beside its text.
async fn of_revision(remote: &Remote, key: &Key, revision: u64) -> anyhow::Result<Value> {
    let path = format!("{}/revisions", stored::path(key));
    let mut revisions = remote.list(&path).await?.into_iter();
    let is_it = |it: &Value| {
        let number = it.as_map().and_then(|it| it.get("revision"));
        number.and_then(Value::as_u64) == Some(revision)
    };
    revisions
        .find(is_it)
        .with_context(|| missing(key, Some(revision)))
}

async fn ready(format: Format, remote: &Remote, outside: &Outside) -> anyhow::Result<Outcome> {
    let answer = remote.get("/readyz").await?;
    let is_ready = answer.status.is_success();
    let reasons = match answer.member("reasons") {
        _ if is_ready => Vec::new(),
        Some(Value::List(reasons)) => reasons,
        _ => vec![Value::from(answer.refusal())],
    };
    let mut text = String::new();
    match format {
        Format::Text if is_ready => text.push_str("ready\n"),
        Format::Text => {
            for reason in &reasons {
                text.push_str(&format!(
                    "not ready: {}\n",
                    reason.as_text().unwrap_or_default()
                ));
            }
        }
        Format::Json => {
            let told = Map::from_iter([
                ("ready".to_owned(), Value::from(is_ready)),
                ("reasons".to_owned(), Value::List(reasons)),
            ]);
            text = format!("{}\n", Value::from(told));
        }
    }
    outside.print(&text)?;
    Ok(if is_ready {
        Outcome::Done
    } else {
        Outcome::Findings
    })
}

/// The sessions of a realm in columns, below how it is.
fn router(status: &Map) -> String {
    let sessions = status.get("sessions").and_then(Value::as_list);
    let sessions = sessions
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_map);
    let rows = sessions.map(|session| {
        let router = session.get("router").and_then(Value::as_map);
        let of_router = |name| router.map_or_else(String::new, |router| text(router, name));
        [
            text(session, "state"),
            of_router("endpoint"),
            of_router("serializer"),
            of_router("agent"),
            text(session, "in_flight"),
            text(session, "reconnects"),
            text(session, "last_error"),
        ]
    });
    const HEADINGS: [&str; 7] = [
        "SESSION",
        "ROUTER",
        "SERIALIZER",
        "AGENT",
        "IN FLIGHT",
        "RECONNECTS",
        "LAST ERROR",
    ];
    format!(
        "{} is {}\n\n{}",
        text(status, "realm_uri"),
        text(status, "state"),
        columns(&HEADINGS, rows)
    )
}
