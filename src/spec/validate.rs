//! Every rule about a single value: its type as far as it is known, and what it may be.
//!
//! A check takes what was [`Given`] and where, reports what is wrong, and returns what the route
//! needs. What is known only per request passes here and is checked then, by the gateway.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::diagnostic::{Code, Diagnostic, Location};
use crate::mops::{Call, KeyPath, Part, Pipeline, Primary, Stage, Template};
use crate::uri::{Uri, UriCheck};
use crate::value::{Map, Value};
use crate::wamp::options::{self, OptionType};

use super::item::{Given, Reading};
use super::route::{MAX_RETRIES, Schemes};

/// What a template must give, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    List,
    Map,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::List => "a list",
            Kind::Map => "a map",
        }
    }

    fn admits(self, template: &Template) -> bool {
        match template {
            Template::Pipe(_) => true,
            Template::Text(_) => self == Kind::Text,
            Template::List(_) => self == Kind::List,
            Template::Map(_) => self == Kind::Map,
            Template::Literal(value) => match self {
                Kind::Text => value.as_text().is_some(),
                Kind::List => value.as_list().is_some(),
                Kind::Map => value.as_map().is_some(),
            },
        }
    }
}

/// Checks the type, as far as it is known.
pub(super) fn kind(reading: &Reading<'_>, given: &Given, kind: Kind) -> bool {
    let is_right = kind.admits(&given.template);
    if !is_right {
        given.wrong_type(reading, kind.name());
    }
    is_right
}

/// Returns the members of a map that are known, or can be: those of a tag cannot.
fn entries(given: &Given) -> Vec<(&str, Given)> {
    let entry = |key: &str, template: Template| Given {
        template,
        at: given.at.step(key),
    };
    match &given.template {
        Template::Map(entries) => entries
            .iter()
            .map(|(key, template)| (key.as_str(), entry(key, template.clone())))
            .collect(),
        Template::Literal(value) => value
            .as_map()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), entry(key, Template::literal(value.clone()))))
            .collect(),
        Template::List(_) | Template::Text(_) | Template::Pipe(_) => Vec::new(),
    }
}

/// Returns a value that must be known at load; else, that is reported.
fn known<'g>(reading: &Reading<'_>, given: &'g Given, expected: &str) -> Option<&'g Value> {
    let value = given.template.as_literal();
    if value.is_none() {
        given.wrong_type(reading, expected);
    }
    value
}

/// The upper bound of what has none.
pub(super) const NO_BOUND: u64 = u64::MAX;

/// Returns an integer that must be known at load.
pub(super) fn unsigned(reading: &Reading<'_>, given: &Given, low: u64, high: u64) -> Option<u64> {
    let expected = "an integer";
    let value = known(reading, given, expected)?;
    match value {
        Value::I64(_) | Value::U64(_) => {
            let number = value.as_u64().filter(|n| (low..=high).contains(n));
            if number.is_none() {
                let message = match high {
                    NO_BOUND => format!("expected an integer of {low} or more"),
                    _ => format!("expected an integer from {low} to {high}"),
                };
                given.report(reading, Code::BadValue, &message);
            }
            number
        }
        _ => {
            given.wrong_type(reading, expected);
            None
        }
    }
}

/// Returns a boolean that must be known at load.
pub(super) fn flag(reading: &Reading<'_>, given: &Given) -> Option<bool> {
    let value = known(reading, given, "a boolean")?;
    let flag = value.as_bool();
    if flag.is_none() {
        given.wrong_type(reading, "a boolean");
    }
    flag
}

/// The longest time that a spec may set. Deadlines beyond it could not be computed.
const MAX_MILLIS: u64 = 365 * 24 * 60 * 60 * 1000;

/// Returns a time that must be known at load.
pub(super) fn duration(reading: &Reading<'_>, given: &Given) -> Option<Duration> {
    unsigned(reading, given, 1, MAX_MILLIS).map(Duration::from_millis)
}

/// Checks a time in milliseconds that may be known per request only.
pub(super) fn millis(reading: &Reading<'_>, given: &Given, low: u64) {
    if !matches!(given.template, Template::Pipe(_)) {
        unsigned(reading, given, low, MAX_MILLIS);
    }
}

/// Checks a number of retries that may be known per request only.
pub(super) fn retries(reading: &Reading<'_>, given: &Given) {
    if !matches!(given.template, Template::Pipe(_)) {
        unsigned(reading, given, 0, u64::from(MAX_RETRIES));
    }
}

/// Returns texts that must be known at load, at least one.
fn texts<'g>(reading: &Reading<'_>, given: &'g Given, expected: &str) -> Option<Vec<&'g str>> {
    let value = known(reading, given, expected)?;
    let texts: Option<Vec<&str>> = value
        .as_list()
        .and_then(|items| items.iter().map(Value::as_text).collect());
    match texts {
        None => given.wrong_type(reading, expected),
        Some(texts) if texts.is_empty() => {
            let message = format!("expected {expected}, found an empty list");
            given.report(reading, Code::BadValue, &message);
        }
        Some(texts) => return Some(texts),
    }
    None
}

/// Returns the listeners of a path.
pub(super) fn schemes(reading: &Reading<'_>, given: &Given) -> Option<Schemes> {
    let mut schemes = Schemes {
        http: false,
        https: false,
    };
    for text in texts(reading, given, "a list of `http` and `https`")? {
        match text {
            "http" => schemes.http = true,
            "https" => schemes.https = true,
            other => {
                let message = format!("`{other}` is no scheme: expected `http` or `https`");
                given.report(reading, Code::BadValue, &message);
                return None;
            }
        }
    }
    Some(schemes)
}

/// Returns media types in lower case.
pub(super) fn media_types(reading: &Reading<'_>, given: &Given) -> Option<Vec<String>> {
    let mut types = Vec::new();
    for text in texts(reading, given, "a list of media types")? {
        let is_token = |part: &str| {
            let is_token_char = |b: u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b);
            !part.is_empty() && part.bytes().all(is_token_char)
        };
        match text.split_once('/') {
            Some((kind, subtype)) if is_token(kind) && (is_token(subtype) || subtype == "*") => {
                let text = text.to_ascii_lowercase();
                if !types.contains(&text) {
                    types.push(text);
                }
            }
            _ => {
                let message = format!(
                    "`{text}` is no media type: expected one like `application/json`, without \
                     parameters"
                );
                given.report(reading, Code::BadMediaType, &message);
                return None;
            }
        }
    }
    Some(types)
}

/// Checks `security`, of which none is all there is so far.
pub(super) fn security(reading: &Reading<'_>, given: &Given) {
    const TYPES: &[&str] = &["oauth2", "oidc", "basic", "api_key", "jwt"];
    let Some(value) = known(reading, given, "a map") else {
        return;
    };
    let Some(map) = value.as_map() else {
        given.wrong_type(reading, "a map");
        return;
    };
    if map.is_empty() {
        return;
    }
    let message = match map.get("type").and_then(Value::as_text) {
        Some(kind) if TYPES.contains(&kind) => {
            format!("security `{kind}` is not built yet: it comes with the security release")
        }
        Some(kind) => {
            let message = format!("`{kind}` is no kind of security");
            let finding = Diagnostic::error(Code::BadValue, Location::default(), message);
            given.push(reading, finding.with_nearest(kind, TYPES.iter().copied()));
            return;
        }
        None => {
            let message = "a security that is not `{}` needs a `type`";
            return given.report(reading, Code::MissingKey, message);
        }
    };
    let finding = Diagnostic::error(Code::NotBuilt, Location::default(), message);
    let hint = "until then a path can only be open: `\"security\": {}`";
    given.push(reading, finding.with_hint(hint));
}

/// Checks headers, as far as they are known.
pub(super) fn headers(reading: &Reading<'_>, given: &Given) {
    if !kind(reading, given, Kind::Map) {
        return;
    }
    let mut seen = Vec::new();
    for (name, value) in entries(given) {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(header) if seen.contains(&header) => {
                let message = format!("header `{name}` is there twice");
                let finding = Diagnostic::error(Code::BadHeader, Location::default(), message);
                value.push_at_key(reading, finding);
            }
            Err(_) => {
                let message = format!("`{name}` is no header name");
                let finding = Diagnostic::error(Code::BadHeader, Location::default(), message);
                value.push_at_key(reading, finding);
            }
            Ok(header) if FRAMING.contains(&header.as_str()) => {
                let message = format!("header `{name}` is the gateway's own");
                let finding = Diagnostic::error(Code::BadHeader, Location::default(), message);
                value.push_at_key(reading, finding);
            }
            Ok(header) => {
                seen.push(header);
                header_value(reading, &value);
            }
        }
    }
    warn_of_open_credentials(reading, given);
}

/// Headers that say how a message is framed or the connection used: one that is wrong lets two
/// programs disagree about where a message ends.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn header_value(reading: &Reading<'_>, given: &Given) {
    let text = match &given.template {
        Template::Pipe(_) | Template::Text(_) => return,
        Template::Literal(value) => match &**value {
            Value::Text(text) => text,
            Value::Bool(_) | Value::I64(_) | Value::U64(_) | Value::F64(_) => return,
            Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => {
                return given.wrong_type(reading, "text, as a header is");
            }
        },
        Template::List(_) | Template::Map(_) => {
            return given.wrong_type(reading, "text, as a header is");
        }
    };
    if HeaderValue::from_str(text).is_err() {
        let message = "this holds a character that a header may not";
        given.report(reading, Code::BadHeader, message);
    }
}

/// A warning only: specs in use have it, and it does no more harm than that browsers refuse it.
///
/// Reference: Fetch Standard, "CORS protocol and credentials".
fn warn_of_open_credentials(reading: &Reading<'_>, given: &Given) {
    let entries = entries(given);
    let has = |name: &str, wanted: &str| {
        entries.iter().any(|(key, value)| {
            let text = value.template.as_literal().and_then(Value::as_text);
            key.eq_ignore_ascii_case(name) && text == Some(wanted)
        })
    };
    if has("access-control-allow-origin", "*") && has("access-control-allow-credentials", "true") {
        let message = "`access-control-allow-origin: *` together with credentials";
        let finding = Diagnostic::warning(Code::CorsWildcard, Location::default(), message);
        let hint = "browsers refuse it: name the origin, or leave the credentials out";
        given.push(reading, finding.with_hint(hint));
    }
}

/// Checks a procedure or topic, as far as it is known.
pub(super) fn uri(reading: &Reading<'_>, given: &Given, what: &str) {
    if !kind(reading, given, Kind::Text) {
        return;
    }
    let Some(text) = given.template.as_literal().and_then(Value::as_text) else {
        return;
    };
    if let Err(error) = Uri::parse(text, UriCheck::Loose) {
        let message = format!("`{what}` is no WAMP URI: {error}");
        given.report(reading, Code::BadUri, &message);
    }
}

/// Checks the options of a call or publish, as far as they are known.
pub(super) fn wamp_options(
    reading: &Reading<'_>,
    given: &Given,
    table: &[(&'static str, OptionType)],
) {
    if !kind(reading, given, Kind::Map) {
        return;
    }
    let names = || table.iter().map(|(name, _)| *name);
    for (name, value) in entries(given) {
        if !names().any(|known| known == name) {
            let message = format!("unknown option `{name}`");
            let finding = Diagnostic::error(Code::BadOption, Location::default(), message);
            value.push_at_key(reading, finding.with_nearest(name, names()));
            continue;
        }
        let Some(known) = value.template.as_literal() else {
            continue;
        };
        let option = Map::from_iter([(name.to_owned(), known.clone())]);
        if let Err(error) = options::check(&option, table) {
            value.report(reading, Code::BadOption, &error.to_string());
        }
    }
}

/// Checks a status, as far as it is known, and makes a number of a numeric text.
pub(super) fn status(reading: &Reading<'_>, mut given: Given) -> Template {
    if let Some(value) = given.template.as_literal() {
        match status_of(value) {
            Some(code) => given.template = Template::literal(i64::from(code)),
            None => refuse_status(reading, &given, &value.clone()),
        }
    } else if !matches!(given.template, Template::Pipe(_) | Template::Text(_)) {
        given.wrong_type(reading, "a status code");
    }
    given.template
}

/// Returns the status that a value means: an integer or a numeric text from 200 to 599.
pub(super) fn status_of(value: &Value) -> Option<u16> {
    let number = match value {
        Value::I64(number) => u16::try_from(*number).ok(),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    };
    number.filter(|code| (200..=599).contains(code))
}

/// Reports a value that is no status.
pub(super) fn refuse_status(reading: &Reading<'_>, given: &Given, value: &Value) {
    match value {
        Value::I64(_) | Value::U64(_) | Value::Text(_) => {
            let message = "expected a status from 200 to 599";
            given.report(reading, Code::BadStatus, message);
        }
        _ => given.wrong_type(reading, "a status code"),
    }
}

/// What is there when a template is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The request; the action has not run.
    Action,
    /// The request and `action.result`.
    Result,
    /// The request and `action.error`.
    Error,
    /// Either: headers that are for every answer.
    Any,
}

/// The members of `request`, older names among them.
///
/// Reference: `api-spec.md`, "Context"; `mops.md`, "Paths and the context".
const REQUEST: &[&str] = &[
    "id",
    "method",
    "scheme",
    "host",
    "port",
    "path",
    "peername",
    "headers",
    "language",
    "query_string",
    "query_params",
    "query_lists",
    "bindings",
    "path_params",
    "path_info",
    "body",
    "body_length",
];

/// Reports paths that can never be there when the template is evaluated: it could only fail.
///
/// A path whose first function is `default` may be missing and is left alone. `variables` are those
/// of host and path, if they are known.
pub(super) fn paths(
    reading: &Reading<'_>,
    template: &Template,
    moment: Moment,
    variables: Option<&[&str]>,
) {
    visit(template, &mut |path| {
        let first = path.segments.first().map(|segment| &*segment.key);
        match (&*path.root, first) {
            ("request", Some(field)) if !REQUEST.contains(&field) => {
                let message = format!("no `{field}` in `request`");
                let finding = Diagnostic::error(Code::MissingName, Location::default(), message);
                let finding = finding.with_nearest(field, REQUEST.iter().copied());
                reading.push_in(path.span, finding);
            }
            ("request", Some("bindings" | "path_params")) => {
                let name = path.segments.get(1).map(|segment| &*segment.key);
                if let (Some(name), Some(variables)) = (name, variables)
                    && !variables.contains(&name)
                {
                    let message = format!("no variable `:{name}` in the path or host");
                    let finding =
                        Diagnostic::error(Code::MissingName, Location::default(), message);
                    let finding = finding.with_nearest(name, variables.iter().copied());
                    reading.push_in(path.span, finding);
                }
            }
            ("action", first) => action_path(reading, path, first, moment),
            _ => {}
        }
    });
}

fn action_path(reading: &Reading<'_>, path: &KeyPath, first: Option<&str>, moment: Moment) {
    let (code, message) = match (moment, first) {
        (Moment::Action, _) => (
            Code::TooEarly,
            "`action` is not there before the action has run".to_owned(),
        ),
        (_, Some(field)) if field != "result" && field != "error" => (
            Code::MissingName,
            format!("no `{field}` in `action`, which has `result` or `error`"),
        ),
        (Moment::Result, Some("error")) => (
            Code::TooEarly,
            "`action.error` is never there in `on_result`".to_owned(),
        ),
        (Moment::Error, Some("result")) => (
            Code::TooEarly,
            "`action.result` is never there in `on_error`".to_owned(),
        ),
        _ => return,
    };
    let finding = Diagnostic::error(code, Location::default(), message);
    reading.push_in(path.span, finding);
}

/// Calls `found` with every path that must be there.
fn visit(template: &Template, found: &mut dyn FnMut(&KeyPath)) {
    match template {
        Template::Literal(_) => {}
        Template::List(items) => items.iter().for_each(|item| visit(item, found)),
        Template::Map(entries) => entries.iter().for_each(|(_, item)| visit(item, found)),
        Template::Pipe(pipeline) => visit_pipeline(pipeline, found),
        Template::Text(parts) => {
            for part in parts {
                if let Part::Tag(pipeline) = part {
                    visit_pipeline(pipeline, found);
                }
            }
        }
    }
}

fn visit_pipeline(pipeline: &Pipeline, found: &mut dyn FnMut(&KeyPath)) {
    let calls = || {
        pipeline.stages.iter().filter_map(|stage| match stage {
            Stage::Call(call) => Some(call),
            Stage::Walk(_) => None,
        })
    };
    let may_be_missing = calls()
        .next()
        .is_some_and(|call| call.function.name == "default");
    match &pipeline.primary {
        Primary::Path(path) if !may_be_missing => found(path),
        Primary::Template(template) if !may_be_missing => visit(template, found),
        Primary::Path(_) | Primary::Template(_) | Primary::Constant(_) => {}
    }
    // Arguments are evaluated always, also those that are not needed.
    let arguments = calls().flat_map(|call: &Call| &call.arguments);
    arguments.for_each(|argument| visit(argument, found));
}
