//! `wampgate apply`: puts specs and realms onto a running gateway.

use std::path::PathBuf;

use super::put::{Done, Fate, Put};
use super::remote::{Access, Author, Gateway, as_admin};
use super::stored::name;
use super::{Outcome, Outside, upload};
use crate::diagnostic::Diagnostic;
use crate::store::Key;

/// Puts specs and realms onto a running gateway, which serves them at once.
///
/// Realms go first. What the gateway has already, letter for letter, is left alone. All documents are
/// tried, and the exit code is 1 if one is refused: its findings are shown as `check` shows them, and
/// what was served before goes on.
///
/// `${NAME}` is not replaced: that is for files that a gateway reads itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate apply specs realms
  wampgate apply specs/market.json --dry-run
  wampgate apply specs/market.json --if-revision 7 --from ada@example.org
  wampgate get spec com.example.market --revision 7 | wampgate apply -     back to that revision
  wampgate apply specs --admin http://127.0.0.1:18081 --token-file admin.token")]
pub(super) struct Args {
    /// Files, or folders with *.json files; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Only if the one document has this revision; 0: only if it is not there
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
    #[command(flatten)]
    author: Author,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let (uploads, findings) = upload::read(&args.paths)?;
    outside.report(&findings)?;
    anyhow::ensure!(!uploads.is_empty(), "there is nothing to apply");
    anyhow::ensure!(
        args.if_revision.is_none() || uploads.len() == 1,
        "--if-revision is for one document, and these are {}",
        uploads.len()
    );
    let mut put = Put::new(args.if_revision, args.author.header(outside));
    if args.dry_run {
        put = put.dry();
    }
    let mut is_good = !findings.iter().any(Diagnostic::is_error);
    as_admin(&args.gateway, Access::Token, outside, async |remote| {
        for upload in &uploads {
            match put.send(&remote, upload, outside).await? {
                Ok(done) => outside.print(&said(&done, &upload.key, args.dry_run))?,
                Err(refusal) => {
                    refusal.tell()?;
                    is_good = false;
                }
            }
        }
        Ok(if is_good {
            Outcome::Done
        } else {
            Outcome::Findings
        })
    })
}

/// What was done, or would be: `created spec com.example.market (revision 7)`.
fn said(done: &Done, key: &Key, is_dry_run: bool) -> String {
    let (name, word) = (name(key), done.fate.word());
    match (done.fate, done.revision) {
        (Fate::Unchanged, _) => format!("{word} {name}\n"),
        _ if is_dry_run => format!("would be {word}: {name}\n"),
        (_, Some(revision)) => format!("{word} {name} (revision {revision})\n"),
        (_, None) => format!("{word} {name}\n"),
    }
}
