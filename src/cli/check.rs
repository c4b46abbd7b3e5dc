//! `wampgate check`: every finding about specs and realms, before they are served.

use std::path::PathBuf;

use super::{Outcome, Outside, summary};
use crate::catalog::{self, Catalog};
use crate::diagnostic::Diagnostic;
use crate::value::{Map, Value};

/// Loads specs and realms as `serve` would and reports every finding. Connects nowhere.
///
/// What is a spec and what a realm is told by their keys. Where no realm is given, the realms that
/// specs name are taken for granted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate check specs realms
  wampgate check specs/market.json
  wampgate check --format json specs | jq -r '.findings[].pointer'")]
pub(super) struct Args {
    /// Files, or folders with *.json files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How to report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people, with the line and a caret under the place
    Text,
    /// For programs: findings with file, pointer, line and column
    Json,
}

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let (catalog, findings) = load(&args.paths, outside);
    match args.format {
        Format::Text => {
            for finding in &findings {
                let colour = outside.colour(&std::io::stdout());
                outside.print(&format!("{}\n\n", finding.render(colour)))?;
            }
            outside.print(&format!("{}\n", conclusion(&catalog, &findings)))?;
        }
        Format::Json => outside.print(&format!("{}\n", to_json(&catalog, &findings)))?,
    }
    let has_errors = findings.iter().any(Diagnostic::is_error);
    Ok(if has_errors {
        Outcome::Findings
    } else {
        Outcome::Done
    })
}

/// Loads files and folders; the findings are those of reading them too.
pub(super) fn load(paths: &[PathBuf], outside: &Outside) -> (Catalog, Vec<Diagnostic>) {
    let (sources, mut findings) = catalog::read_files(paths);
    let catalog = Catalog::load(&sources, &|name| outside.variable(name));
    findings.extend(catalog.findings().into_iter().cloned());
    (catalog, findings)
}

/// `2 APIs, 1 realm, 12 routes: 1 error`
fn conclusion(catalog: &Catalog, findings: &[Diagnostic]) -> String {
    let count = |count: usize, name: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {name}{plural}")
    };
    let counts = [
        count(catalog.specs.len(), "API"),
        count(catalog.realms().count(), "realm"),
        count(catalog.routes().len(), "route"),
    ];
    let findings = match summary(findings) {
        none if none.is_empty() => "no findings".to_owned(),
        some => some,
    };
    format!("{}: {findings}", counts.join(", "))
}

fn to_json(catalog: &Catalog, findings: &[Diagnostic]) -> Value {
    let number = |count: usize| Value::from(count as u64);
    Value::from(Map::from_iter([
        ("apis".to_owned(), number(catalog.specs.len())),
        ("realms".to_owned(), number(catalog.realms().count())),
        ("routes".to_owned(), number(catalog.routes().len())),
        (
            "findings".to_owned(),
            Value::List(findings.iter().map(Diagnostic::to_json).collect()),
        ),
    ]))
}
