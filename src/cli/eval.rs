//! `wampgate eval`: one template, tried by hand.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::Context;

use super::{Outcome, Outside};
use crate::diagnostic::{Diagnostic, Span};
use crate::document::{Document, Node, NodeKind};
use crate::mops::{Explanation, Roots, Trial};
use crate::spec;
use crate::value::Value;

/// Evaluates a template and prints the value as JSON.
///
/// The context file is a JSON object with any of `request`, `action`, `security`, which are data,
/// and `variables`, `defaults`, `status_codes`, whose values are templates.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate eval '{{request.body.name |> uppercase}}' --context context.json
  wampgate eval --json '{\"args\": [\"{{request.bindings.id |> integer}}\"]}' --context context.json
  echo 'Hello {{variables.who}}' | wampgate eval - --context context.json
  wampgate eval '{{variables.host}}/{{request.path}}' --context context.json --explain")]
pub(super) struct Args {
    /// The text of one string of a spec; `-` reads it from standard input
    template: String,
    /// The file with the context
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
    /// The template is JSON, in which any string may hold expressions
    #[arg(long)]
    json: bool,
    /// Show, on standard error, what is known when a spec is loaded and what is left for requests
    #[arg(long)]
    explain: bool,
}

/// Roots of the context that are data.
const DATA: &[&str] = &["request", "action", "security"];
/// Roots of the context that hold templates.
const TEMPLATES: &[&str] = &["variables", "defaults", "status_codes"];

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let text = match args.template.as_str() {
        "-" => read_stdin()?,
        text => text.to_owned(),
    };
    let (file, context) = match &args.context {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the context {}", path.display()))?;
            (path.display().to_string(), text)
        }
        None => ("context".to_owned(), "{}".to_owned()),
    };
    match evaluate(args, &text, &file, &context) {
        Ok((value, explanation)) => {
            if args.explain {
                std::io::stderr().write_all(show(&explanation).as_bytes())?;
            }
            if let Some(value) = value {
                outside.print(&format!("{value}\n"))?;
            }
            Ok(Outcome::Done)
        }
        Err(findings) => {
            outside.report(&findings)?;
            Ok(Outcome::Findings)
        }
    }
}

fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read the template")?;
    // The line's end is the shell's, not the template's.
    Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
}

/// Returns the explanation and the value, without a value where it was only to be explained and
/// needs data that is not given.
fn evaluate(
    args: &Args,
    text: &str,
    file: &str,
    context: &str,
) -> Result<(Option<Value>, Explanation), Vec<Diagnostic>> {
    let template = match args.json {
        true => Some(Document::parse_json(Some("template"), text)?),
        false => None,
    };
    let context = Document::parse_json(Some(file), context)?;
    let documents: Vec<&Document> = template.iter().chain([&context]).collect();
    let place = |finding: Diagnostic| relocate(finding, &documents);

    let value = template
        .as_ref()
        .map_or(Value::from(text), |it| it.root().to_value());
    let given = context.root().to_value();
    let roots = Roots {
        templates: TEMPLATES,
        data: DATA,
        aliases: &spec::ALIASES,
    };
    let trial = Trial::new(&value, &given, file, roots)
        .map_err(|findings| findings.into_iter().map(place).collect::<Vec<_>>())?;
    let explanation = trial.explain().map_err(|finding| vec![place(finding)])?;
    let is_given = |root: &str| {
        context
            .root()
            .as_map()
            .is_some_and(|map| map.contains_key(root))
    };
    if args.explain
        && DATA
            .iter()
            .any(|root| explanation.left.uses(root) && !is_given(root))
    {
        return Ok((None, explanation));
    }
    let random = |below: usize| fastrand::usize(..below);
    let value = trial
        .value(&random)
        .map_err(|finding| vec![place(finding)])?;
    Ok((Some(value), explanation))
}

/// What load leaves of the template, and the data that it waits for.
fn show(explanation: &Explanation) -> String {
    let needs = match explanation.needs.join(", ") {
        none if none.is_empty() && explanation.left.as_literal().is_some() => "nothing".to_owned(),
        none if none.is_empty() => "each evaluation (time or chance)".to_owned(),
        paths => paths,
    };
    format!(
        "at load: {}\nwaits for: {needs}\n",
        explanation.left.to_value()
    )
}

/// Points into the file: a [`Trial`] knows values only, so its places are those inside one text.
fn relocate(mut finding: Diagnostic, documents: &[&Document]) -> Diagnostic {
    let location = &finding.location;
    let mut of_file = documents
        .iter()
        .filter(|it| it.file() == location.file.as_deref());
    let Some(document) = of_file.next() else {
        return finding;
    };
    let Some(node) = find(document.root(), &location.pointer) else {
        return finding;
    };
    finding.location = match (node.as_text(), &location.excerpt) {
        (Some(text), Some(excerpt)) => {
            let line = location.line.saturating_sub(1) as usize;
            let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
            let column = location.column.saturating_sub(1) as usize;
            let start = before + bytes(&text[before..], column);
            let end = start + bytes(&text[start..], excerpt.length);
            let offset = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
            document.locate(Span {
                source: node.id,
                start: offset(start),
                end: offset(end),
            })
        }
        _ => document.location_of_key(node.id),
    };
    finding
}

/// How many bytes the first `chars` characters take.
fn bytes(text: &str, chars: usize) -> usize {
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at)
}

fn find<'d>(node: &'d Node, pointer: &str) -> Option<&'d Node> {
    pointer
        .split('/')
        .skip(1)
        .try_fold(node, |node, step| match &node.kind {
            NodeKind::List(items) => items.get(step.parse::<usize>().ok()?),
            NodeKind::Map(members) => members.get(&step.replace("~1", "/").replace("~0", "~")),
            _ => None,
        })
}
