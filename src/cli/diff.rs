//! `wampgate diff`: what `apply` would change on a running gateway.

use std::path::PathBuf;

use super::difference::{Named, unified};
use super::put::{Fate, Put};
use super::remote::{Access, Gateway, Remote, as_admin};
use super::stored::{self, name};
use super::upload::{self, Upload};
use super::{Outcome, Outside};
use crate::diagnostic::{Diagnostic, Paint};

/// Shows what `apply` would change on a running gateway: lines of text, then routes. Changes nothing.
///
/// Secrets are not shown; that one has changed is said. Exit code 0 if nothing would change, 1 if
/// something would, or would be refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate diff specs realms
  wampgate diff specs/market.json && echo 'nothing to apply'
  wampgate get spec com.example.market --revision 7 | wampgate diff -")]
pub(super) struct Args {
    /// Files, or folders with *.json files; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let (uploads, findings) = upload::read(&args.paths)?;
    outside.report(&findings)?;
    anyhow::ensure!(!uploads.is_empty(), "there is nothing to compare");
    let mut is_same = !findings.iter().any(Diagnostic::is_error);
    as_admin(&args.gateway, Access::Token, outside, async |remote| {
        let mut put = Put::default().dry();
        for upload in &uploads {
            is_same &= compare(&remote, &mut put, upload, outside).await?;
        }
        Ok(if is_same {
            Outcome::Done
        } else {
            Outcome::Findings
        })
    })
}

/// Shows what would change of one document, and returns whether nothing would.
async fn compare(
    remote: &Remote,
    put: &mut Put,
    upload: &Upload,
    outside: &Outside,
) -> anyhow::Result<bool> {
    let done = match put.send(remote, upload, outside).await? {
        Ok(done) if done.fate == Fate::Unchanged => return Ok(true),
        done => done,
    };
    let old = stored::source(remote, &upload.key, None).await?;
    let paint = Paint {
        colour: outside.colour(&std::io::stdout()),
    };
    let (old_name, old) = match &old {
        Some(old) => (name(&upload.key), old.as_str()),
        None => ("/dev/null".to_owned(), ""),
    };
    let old = Named {
        name: &old_name,
        text: old,
    };
    let shown = upload.text_without_secrets();
    let new = Named {
        name: upload.file(),
        text: &shown,
    };
    let lines = unified(old, new, paint);
    match lines.is_empty() {
        true => outside.print(&format!("{}: only secrets differ\n", name(&upload.key)))?,
        false => outside.print(&lines)?,
    }
    match done {
        Ok(done) if done.fate == Fate::Awaiting => {
            outside.print("(its routes are known once its realm is there)\n")?;
        }
        Ok(done) => outside.print(&done.routes(paint))?,
        Err(refusal) => refusal.tell()?,
    }
    Ok(false)
}
