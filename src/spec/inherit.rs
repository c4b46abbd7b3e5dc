//! Variables, defaults and status codes flow down: API and version are merged, then evaluated; what
//! a path adds is merged over the evaluated ones and evaluated in turn.
//!
//! So a path's variable does not change a default that was evaluated above it.
//!
//! Reference: `api-spec.md`, "Document" and "Defaults object".

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use indexmap::IndexMap;

use crate::diagnostic::{Code, Diagnostic, Location};
use crate::mops::{Aliases, Scope, Template, TemplateMap};
use crate::uri::{Uri, UriCheck};
use crate::value::{Map, Value};

use super::item::{At, BROKEN, Given, Reading, broken};
use super::model::{Inheritable, Members};
use super::status;
use super::validate;

/// Names that older specs use below `request` and `action`.
///
/// Reference: `mops.md`, "Paths and the context".
pub static ALIASES: LazyLock<Aliases> = LazyLock::new(|| {
    Aliases::new()
        .with("action.result.arguments", "args")
        .with("action.result.arguments_kw", "kwargs")
        .with("action.error.arguments", "args")
        .with("action.error.arguments_kw", "kwargs")
        .with("request.path_params", "bindings")
});

/// What holds at one level, evaluated.
#[derive(Debug, Clone)]
pub(super) struct Inherited {
    variables: TemplateMap,
    defaults: TemplateMap,
    /// Where each default was written; the built-in ones were not.
    places: HashMap<String, At>,
    /// One literal, which everything that refers to the whole table shares.
    status_codes: Template,
}

impl Inherited {
    /// Merges API and version, evaluates, and returns the table of status codes beside.
    pub(super) fn of_version(
        reading: &Reading<'_>,
        api: &Inheritable<'_>,
        version: &Inheritable<'_>,
    ) -> (Self, Arc<IndexMap<String, u16>>) {
        let mut variables = TemplateMap::new();
        let mut defaults = built_in_defaults();
        let mut places = HashMap::new();
        let mut raw_codes = built_in_codes();
        let mut code_places = HashMap::new();
        for level in [api, version] {
            merge(
                reading,
                level.variables,
                &mut variables,
                &mut HashMap::new(),
            );
            merge(reading, level.defaults, &mut defaults, &mut places);
            merge(
                reading,
                level.status_codes,
                &mut raw_codes,
                &mut code_places,
            );
        }
        let scope = later(Scope::new())
            .templates("variables", &variables)
            .templates("defaults", &defaults)
            .templates("status_codes", &raw_codes);
        let mut codes = IndexMap::new();
        let mut rows = Vec::new();
        for (uri, template) in &raw_codes {
            let code = match code_places.get(uri) {
                Some(at) => {
                    let template = reading.partial(template, &scope);
                    let at = at.clone();
                    status_code(reading, uri, &Given { template, at })
                }
                None => template.as_literal().and_then(validate::status_of),
            };
            codes.extend(code.map(|code| (uri.clone(), code)));
            // A row with an error is reported; it is there, for all that refers to it.
            let row = code.map_or_else(broken, |code| Template::literal(i64::from(code)));
            rows.push((uri.clone(), row));
        }
        drop(scope);
        let status_codes = Template::map(rows);
        let raw = Inherited {
            variables,
            defaults,
            places,
            status_codes,
        };
        (raw.evaluated(reading), Arc::new(codes))
    }

    /// Merges a path's own over these; `None` where it has none, so that these serve as they are.
    pub(super) fn of_path(&self, reading: &Reading<'_>, path: &Inheritable<'_>) -> Option<Self> {
        if path.variables.is_none() && path.defaults.is_none() {
            return None;
        }
        let mut raw = self.clone();
        merge(
            reading,
            path.variables,
            &mut raw.variables,
            &mut HashMap::new(),
        );
        merge(reading, path.defaults, &mut raw.defaults, &mut raw.places);
        Some(raw.evaluated(reading))
    }

    /// Evaluates every member, also those that nothing uses: a mistake in them is still a mistake.
    /// Variables come first, so that defaults meet what is left of them.
    fn evaluated(mut self, reading: &Reading<'_>) -> Self {
        self.variables = evaluate(reading, &self.variables, &self.scope());
        self.defaults = evaluate(reading, &self.defaults, &self.scope());
        self
    }

    /// Returns what a template at this level can name.
    pub(super) fn scope(&self) -> Scope<'_> {
        later(Scope::new())
            .templates("variables", &self.variables)
            .templates("defaults", &self.defaults)
            .template("status_codes", &self.status_codes)
    }

    /// Returns a default, which may be the built-in one; that is at `fallback`.
    pub(super) fn default(&self, key: &str, fallback: &At) -> Given {
        let template = self.defaults.get(key).cloned();
        Given {
            template: template.unwrap_or_else(|| Template::literal(Value::Null)),
            at: self.places.get(key).unwrap_or(fallback).clone(),
        }
    }
}

/// Parses a level's own members over those of the levels above.
fn merge(
    reading: &Reading<'_>,
    members: Option<&Members>,
    into: &mut TemplateMap,
    places: &mut HashMap<String, At>,
) {
    for (key, node) in members.into_iter().flatten() {
        into.insert(key.clone(), reading.parse(node));
        places.insert(key.clone(), At::value(node.id));
    }
}

/// Adds the roots that are data, known when a request runs.
fn later(scope: Scope<'_>) -> Scope<'_> {
    scope
        .later("request")
        .later("action")
        .later("security")
        .later(BROKEN)
        .aliases(&ALIASES)
}

fn evaluate(reading: &Reading<'_>, raw: &TemplateMap, scope: &Scope<'_>) -> TemplateMap {
    raw.iter()
        .map(|(key, template)| (key.clone(), reading.partial(template, scope)))
        .collect()
}

/// Checks a row of `status_codes`, which must be known at load.
fn status_code(reading: &Reading<'_>, uri: &str, given: &Given) -> Option<u16> {
    if let Err(error) = Uri::parse(uri, UriCheck::Loose) {
        let message = format!("`{uri}` is no WAMP URI: {error}");
        let finding = Diagnostic::error(Code::BadUri, Location::default(), message);
        given.push_at_key(reading, finding);
    }
    let Some(value) = given.template.as_literal() else {
        given.wrong_type(reading, "a status code");
        return None;
    };
    let code = validate::status_of(value);
    if code.is_none() {
        validate::refuse_status(reading, given, value);
    }
    code
}

/// Reference: `api-spec.md`, "Status of an error".
fn built_in_codes() -> TemplateMap {
    let row = |(uri, code): &(&str, u16)| ((*uri).to_owned(), Template::literal(i64::from(*code)));
    status::TABLE.iter().map(row).collect()
}

/// Reference: `api-spec.md`, "Defaults object".
fn built_in_defaults() -> TemplateMap {
    let texts = |texts: &[&str]| {
        let texts = texts.iter().map(|text| Value::from(*text));
        Template::literal(texts.collect::<Vec<_>>())
    };
    let media_types = ["application/json", "application/msgpack"];
    let number = |number: i64| Template::literal(number);
    let empty = || Template::literal(Map::new());
    [
        ("schemes", texts(&["http"])),
        ("security", empty()),
        ("accepts", texts(&media_types)),
        ("provides", texts(&media_types)),
        ("headers", empty()),
        ("body_max_bytes", number(25_000_000)),
        ("body_read_bytes", number(8_000_000)),
        ("body_read_seconds", number(15_000)),
        ("timeout", number(60_000)),
        ("connect_timeout", number(8_000)),
        ("retries", number(0)),
        ("retry_timeout", number(5_000)),
    ]
    .into_iter()
    .map(|(key, template)| (key.to_owned(), template))
    .collect()
}
