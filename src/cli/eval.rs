//! `wampgate eval`: one template, tried by hand.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;

use super::{Outcome, Outside};
use crate::diagnostic::{Diagnostic, Excerpt, Findings, Location, SourceId, Span};
use crate::document::{Document, Node, NodeKind, ObjectReader};
use crate::mops::{self, Context, Scope, Template, TemplateMap};
use crate::value::{Map, Value};

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
const DATA: [&str; 3] = ["request", "action", "security"];
/// Roots of the context that hold templates.
const TEMPLATES: [&str; 3] = ["variables", "defaults", "status_codes"];

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let text = match args.template.as_str() {
        "-" => read_stdin()?,
        text => text.to_owned(),
    };
    let context = match &args.context {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the context {}", path.display()))?;
            (path.display().to_string(), text)
        }
        None => ("context".to_owned(), "{}".to_owned()),
    };
    match evaluate(&text, args, (&context.0, &context.1)) {
        Ok((value, explanation)) => {
            if args.explain {
                std::io::stderr().write_all(explanation.as_bytes())?;
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

/// Returns the value, unless it was only to be explained and needs data that is not given, and the
/// explanation.
fn evaluate(
    text: &str,
    args: &Args,
    (file, context): (&str, &str),
) -> Result<(Option<Value>, String), Vec<Diagnostic>> {
    let mut texts = Texts::default();
    let parsed;
    let value = if args.json {
        parsed = Document::parse_json(Some("template"), text)?;
        texts.note(&parsed, parsed.root());
        parsed.root().to_value()
    } else {
        texts.places.push(Place::Raw(text));
        Value::from(text)
    };
    let findings = Findings::new();
    let template = texts.parse(&value, 0, &findings);

    let document = Document::parse_json(Some(file), context)?;
    let known = read_context(&document, &mut texts, &findings);
    if findings.errors() > 0 {
        return Err(findings.into_sorted());
    }

    let mut scope = Scope::new();
    for (root, templates) in TEMPLATES.iter().zip(&known.templates) {
        scope = scope.templates(root, templates);
    }
    for root in DATA {
        scope = scope.later(root);
    }
    let failed = |error: &mops::Error| vec![texts.finding(error)];
    let promise = mops::partial(&template, &scope).map_err(|error| failed(&error))?;
    let explanation = explain(&promise);
    let is_missing = |root: &str| promise.uses(root) && !known.data.contains_key(root);
    if args.explain && DATA.into_iter().any(is_missing) {
        return Ok((None, explanation));
    }

    let nothing = Value::Map(Map::new());
    let random = |below: usize| fastrand::usize(..below);
    let mut context = Context::new().random(&random);
    for root in DATA {
        context = context.data(root, known.data.get(root).unwrap_or(&nothing));
    }
    let value = mops::eval(&promise, &context).map_err(|error| failed(&error))?;
    Ok((Some(value.into_owned()), explanation))
}

/// The context file, taken apart.
#[derive(Debug, Default)]
struct Known {
    data: Map,
    /// In the order of [`TEMPLATES`].
    templates: [TemplateMap; 3],
}

fn read_context<'t>(document: &'t Document, texts: &mut Texts<'t>, findings: &Findings) -> Known {
    let mut known = Known::default();
    let Some(reader) = ObjectReader::new(document, document.root(), findings) else {
        return known;
    };
    for root in DATA {
        if let Some(node) = reader.get(root) {
            known.data.insert(root.to_owned(), node.to_value());
        }
    }
    for (root, templates) in TEMPLATES.into_iter().zip(&mut known.templates) {
        for (name, node) in reader.map(root).into_iter().flatten() {
            let first = texts.places.len();
            texts.note(document, node);
            templates.insert(name.clone(), texts.parse(&node.to_value(), first, findings));
        }
    }
    reader.finish();
    known
}

/// Which texts there are, by the number that a [`SourceId`] of a template holds.
#[derive(Debug, Default)]
struct Texts<'t> {
    places: Vec<Place<'t>>,
}

#[derive(Debug)]
enum Place<'t> {
    /// The whole argument.
    Raw(&'t str),
    Document(&'t Document, SourceId),
}

impl<'t> Texts<'t> {
    /// Numbers the texts of a value in the order in which templates are made of them.
    fn note(&mut self, document: &'t Document, node: &Node) {
        match &node.kind {
            NodeKind::Text(_) => self.places.push(Place::Document(document, node.id)),
            NodeKind::List(items) => items.iter().for_each(|item| self.note(document, item)),
            NodeKind::Map(members) => members.values().for_each(|node| self.note(document, node)),
            NodeKind::Null | NodeKind::Bool(_) | NodeKind::Number(_) => {}
        }
    }

    /// Parses a template whose texts were noted from number `first` on.
    fn parse(&self, value: &Value, first: usize, findings: &Findings) -> Template {
        let mut next = u32::try_from(first).unwrap_or(u32::MAX);
        Template::from_value(value, &mut next).unwrap_or_else(|errors| {
            findings.extend(errors.iter().map(|error| self.finding(error)));
            Template::literal(Value::Null)
        })
    }

    fn finding(&self, error: &mops::Error) -> Diagnostic {
        let location = self.locate(error.span());
        let finding = Diagnostic::error(error.code(), location, error.message());
        match error.hint() {
            Some(hint) => finding.with_hint(hint),
            None => finding,
        }
    }

    fn locate(&self, span: Span) -> Location {
        match self.places.get(span.source.0 as usize) {
            Some(Place::Document(document, id)) => document.locate(Span {
                source: *id,
                ..span
            }),
            Some(Place::Raw(text)) => locate_raw(text, span),
            None => Location::default(),
        }
    }
}

fn locate_raw(text: &str, span: Span) -> Location {
    let (start, end) = (span.start as usize, span.end as usize);
    let before = text.get(..start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Location {
        file: Some("template".to_owned()),
        pointer: String::new(),
        line: number(before.matches('\n').count() + 1),
        column: number(before[line_start..].chars().count() + 1),
        excerpt: Some(Box::new(Excerpt::new(
            line,
            start - line_start,
            end.saturating_sub(line_start),
        ))),
    }
}

/// What partial evaluation leaves, and the data that it waits for.
fn explain(promise: &Template) -> String {
    let mut text = format!("at load: {}\n", promise.to_value());
    let mut paths: Vec<String> = Vec::new();
    for path in promise.key_paths() {
        let path = path.to_string();
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    if promise.as_literal().is_some() {
        text.push_str("waits for: nothing\n");
    } else if paths.is_empty() {
        text.push_str("waits for: each evaluation (time or chance)\n");
    } else {
        writeln!(text, "waits for: {}", paths.join(", ")).expect("a String takes all");
    }
    text
}
