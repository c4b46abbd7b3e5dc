//! `wampgate delete`: takes a spec or realm off a running gateway.

use http::{Method, StatusCode};

use super::remote::{Access, Author, Gateway, as_admin};
use super::stored::{DocumentArgs, name, path};
use super::{Outcome, Outside};

/// Deletes a spec or realm of a running gateway. Its revisions stay, and can be had again with `get`.
///
/// What comes from a file of the gateway is deleted there; a realm that APIs use is not deleted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate delete spec com.example.shop
  wampgate delete realm com.example.market --from ada@example.org
  wampgate list revisions spec com.example.shop     what there was")]
pub(super) struct Args {
    #[command(flatten)]
    document: DocumentArgs,
    #[command(flatten)]
    author: Author,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let key = args.document.key();
    as_admin(&args.gateway, Access::Token, outside, async |remote| {
        let from = args.author.header(outside);
        let answer = remote.send(Method::DELETE, &path(&key), from, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            anyhow::bail!("there is no {}", name(&key));
        }
        answer.success()?;
        outside.print(&format!("deleted {}\n", name(&key)))?;
        Ok(Outcome::Done)
    })
}
