//! `wampgate routes`: the table that specs compile to.

use std::path::PathBuf;

use super::{Outcome, Outside, check};
use crate::diagnostic::Diagnostic;
use crate::spec::listing;

/// Prints the compiled routes: method, host, path, action, realm, security, API and version.
///
/// Routes of specs with errors are left out; the findings go to standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate routes specs realms
  wampgate routes specs/market.json | grep call
  wampgate routes --format json specs | jq -r '.[].path'")]
pub(super) struct Args {
    /// Files, or folders with *.json files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Columns with a heading
    Text,
    /// A list of objects
    Json,
}

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let (catalog, findings) = check::load(&args.paths, outside);
    outside.report(&findings)?;
    let routes = catalog.routes();
    match args.format {
        Format::Text => outside.print(&listing::table(&routes))?,
        Format::Json => outside.print(&format!("{}\n", listing::to_json(&routes)))?,
    }
    let has_errors = findings.iter().any(Diagnostic::is_error);
    Ok(if has_errors {
        Outcome::Findings
    } else {
        Outcome::Done
    })
}
