//! The parts of a spec that are no templates, read by hand: API, versions and paths.
//!
//! What may be a template (settings and operations) is kept as the node it is and read by
//! `compile.rs`, once it is known what variables mean there.
//!
//! Reference: `api-spec.md`, "Document".

use indexmap::IndexMap;

use crate::diagnostic::{Code, Diagnostic, Findings, Location};
use crate::document::{ADDED_WHEN_SHOWN, Document, Node, NodeKind, ObjectReader};
use crate::uri::{Uri, UriCheck};
use crate::value::{Map, Value};

use http::Method;

use super::pattern::{self, PatternError};
use super::route::{HostPattern, PathPattern};

/// Members of a map of the document.
pub(super) type Members = IndexMap<String, Node>;

/// An API as it is written. What is wrong or missing is `None` and reported.
#[derive(Debug)]
pub(super) struct ApiSpec<'d> {
    pub(super) id: Option<(&'d Node, &'d str)>,
    pub(super) name: Option<&'d str>,
    pub(super) hosts: Option<Vec<HostPattern>>,
    pub(super) realm: Option<(&'d Node, Uri)>,
    pub(super) meta: Map,
    pub(super) inherited: Inheritable<'d>,
    pub(super) versions: Vec<VersionSpec<'d>>,
}

/// What a level hands down.
#[derive(Debug, Default)]
pub(super) struct Inheritable<'d> {
    pub(super) variables: Option<&'d Members>,
    pub(super) defaults: Option<&'d Members>,
    pub(super) status_codes: Option<&'d Members>,
}

/// A version as it is written.
#[derive(Debug)]
pub(super) struct VersionSpec<'d> {
    pub(super) name: &'d str,
    pub(super) base_path: &'d str,
    pub(super) is_active: bool,
    pub(super) languages: Vec<String>,
    pub(super) info: Map,
    pub(super) pool_size: Option<usize>,
    pub(super) inherited: Inheritable<'d>,
    pub(super) paths: Vec<PathSpec<'d>>,
}

/// A path as it is written.
#[derive(Debug)]
pub(super) struct PathSpec<'d> {
    pub(super) pattern: &'d str,
    /// Base path and path, expanded.
    pub(super) patterns: Option<Vec<PathPattern>>,
    pub(super) inherited: Inheritable<'d>,
    /// Settings that are written on the path itself.
    pub(super) settings: Vec<(&'static str, &'d Node)>,
    pub(super) methods: Vec<(Method, &'d Node)>,
}

/// What a path, or `defaults`, may set.
pub(super) const SETTINGS: &[&str] = &[
    "accepts",
    "provides",
    "schemes",
    "security",
    "headers",
    "timeout",
    "connect_timeout",
    "retries",
    "retry_timeout",
    "body_max_bytes",
    "body_read_bytes",
    "body_read_seconds",
];

const METHODS: &[(&str, Method)] = &[
    ("delete", Method::DELETE),
    ("get", Method::GET),
    ("head", Method::HEAD),
    ("options", Method::OPTIONS),
    ("patch", Method::PATCH),
    ("post", Method::POST),
    ("put", Method::PUT),
];

/// Reads a whole document.
pub(super) fn read<'d>(document: &'d Document, findings: &'d Findings) -> Option<ApiSpec<'d>> {
    let reader = ObjectReader::new(document, document.root(), findings)?;
    reader.allow(ADDED_WHEN_SHOWN);
    let id = non_empty(&reader, "id");
    let name = reader.text("name");
    let host = non_empty_text(&reader, "host");
    let hosts = host.and_then(|(node, text)| checked(&reader, node, text, pattern::parse_host));
    let realm = non_empty_text(&reader, "realm_uri").and_then(|(node, text)| {
        match Uri::parse(text, UriCheck::Loose) {
            Ok(uri) => Some((node, uri)),
            Err(error) => {
                let message = format!("`realm_uri` is no WAMP URI: {error}");
                report(&reader, node, Code::BadUri, message);
                None
            }
        }
    });
    let meta = reader.map("meta").map(to_map).unwrap_or_default();
    let inherited = read_inheritable(&reader, true);
    let mut versions = Vec::new();
    if let Some(node) = reader.required("versions") {
        match &node.kind {
            NodeKind::Map(members) => {
                for (name, node) in members {
                    versions.extend(read_version(document, name, node, findings));
                }
            }
            _ => {
                reader.refuse::<()>(node, "a map");
            }
        }
    }
    reader.finish();
    Some(ApiSpec {
        id,
        name,
        hosts,
        realm,
        meta,
        inherited,
        versions,
    })
}

fn read_version<'d>(
    document: &'d Document,
    name: &'d str,
    node: &'d Node,
    findings: &'d Findings,
) -> Option<VersionSpec<'d>> {
    let reader = ObjectReader::new(document, node, findings)?;
    let base_path = reader
        .required("base_path")
        .and_then(|node| match node.as_text() {
            Some(text) => Some((node, text)),
            None => reader.refuse(node, "text"),
        });
    let base_paths =
        base_path.and_then(|(node, text)| checked(&reader, node, text, pattern::parse_base_path));
    let is_active = reader.bool("is_active").unwrap_or(true);
    if reader.bool("is_deprecated") == Some(true) {
        not_built(&reader, "is_deprecated", "deprecation headers come");
    }
    if reader
        .get("sunset")
        .is_some_and(|node| node.kind != NodeKind::Null)
    {
        not_built(&reader, "sunset", "the end of a version at a date comes");
    }
    let languages = read_languages(&reader);
    let info = read_info(&reader);
    let pool_size = reader.unsigned_within("pool_size", 1, MAX_POOL_SIZE);
    let inherited = read_inheritable(&reader, true);
    let mut paths = Vec::new();
    if let Some(node) = reader.required("paths") {
        match &node.kind {
            NodeKind::Map(members) => {
                let own = |pattern: &String| pattern.starts_with("x-");
                for (pattern, node) in members.iter().filter(|(pattern, _)| !own(pattern)) {
                    let base_paths = base_paths.as_deref();
                    paths.extend(read_path(document, base_paths, pattern, node, findings));
                }
            }
            _ => {
                reader.refuse::<()>(node, "a map");
            }
        }
    }
    reader.finish();
    Some(VersionSpec {
        name,
        base_path: base_path.map_or("", |(_, text)| text),
        is_active,
        languages,
        info,
        pool_size: pool_size.and_then(|size| usize::try_from(size).ok()),
        inherited,
        paths,
    })
}

/// No more permits than a semaphore has.
const MAX_POOL_SIZE: u64 = 1_000_000;

fn read_languages(reader: &ObjectReader<'_>) -> Vec<String> {
    let is_tag = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let mut languages = Vec::new();
    if let Some(texts) = reader.texts("languages") {
        for (node, text) in &texts {
            if is_tag(text) {
                languages.push((*text).to_owned());
            } else {
                reader.refuse_value::<()>(node, "a language is a tag such as `en` or `pt-BR`");
            }
        }
    }
    if languages.is_empty() {
        languages.push("en".to_owned());
    }
    languages
}

fn read_info(reader: &ObjectReader<'_>) -> Map {
    let mut map = Map::new();
    if let Some(info) = reader.object("info") {
        for key in ["title", "description"] {
            if let Some(text) = info.text(key) {
                map.insert(key.to_owned(), text.into());
            }
        }
        info.finish();
    }
    map
}

fn read_path<'d>(
    document: &'d Document,
    base_paths: Option<&[PathPattern]>,
    pattern: &'d str,
    node: &'d Node,
    findings: &'d Findings,
) -> Option<PathSpec<'d>> {
    let at_key = |error: PatternError| {
        let location = document.location_of_key(node.id);
        let finding = Diagnostic::error(Code::PathPattern, location, error.to_string());
        findings.push(match error.hint() {
            Some(hint) => finding.with_hint(hint),
            None => finding,
        });
    };
    let patterns = match pattern::parse_path(pattern) {
        Err(error) => {
            at_key(error);
            None
        }
        Ok(_) if !pattern.starts_with('/') && !pattern.starts_with("[/") => {
            at_key(PatternError::NoSlash);
            None
        }
        Ok(paths) => base_paths.and_then(|base| pattern::join(base, &paths).map_err(at_key).ok()),
    };
    let reader = ObjectReader::new(document, node, findings)?;
    reader.text("summary");
    reader.text("description");
    reader.bool("is_collection");
    let inherited = read_inheritable(&reader, false);
    let read = |key: &&'static str| reader.get(key).map(|node| (*key, node));
    let settings = SETTINGS.iter().filter_map(read).collect();
    let read = |(name, method): &(&'static str, Method)| {
        reader.get(name).map(|node| (method.clone(), node))
    };
    let methods: Vec<_> = METHODS.iter().filter_map(read).collect();
    if methods.is_empty() {
        let names: Vec<&str> = METHODS.iter().map(|(name, _)| *name).collect();
        findings.push(
            Diagnostic::error(
                Code::NoMethod,
                document.location_of_key(node.id),
                "a path without a method",
            )
            .with_hint(format!("methods are {}", names.join(", "))),
        );
    }
    reader.finish();
    Some(PathSpec {
        pattern,
        patterns,
        inherited,
        settings,
        methods,
    })
}

fn read_inheritable<'d>(reader: &ObjectReader<'d>, has_status_codes: bool) -> Inheritable<'d> {
    let defaults = reader.object("defaults");
    if let Some(defaults) = &defaults {
        for key in SETTINGS {
            defaults.get(key);
        }
    }
    let members = defaults.and_then(|defaults| {
        let members = defaults.node().as_map();
        defaults.finish();
        members
    });
    Inheritable {
        variables: reader.map("variables"),
        defaults: members,
        status_codes: has_status_codes
            .then(|| reader.map("status_codes"))
            .flatten(),
    }
}

fn non_empty<'d>(reader: &ObjectReader<'d>, key: &'static str) -> Option<(&'d Node, &'d str)> {
    let (node, text) = non_empty_text(reader, key)?;
    if text.trim().is_empty() {
        return reader.refuse_value(node, "expected a text that is not empty");
    }
    Some((node, text))
}

fn non_empty_text<'d>(reader: &ObjectReader<'d>, key: &'static str) -> Option<(&'d Node, &'d str)> {
    let node = reader.required(key)?;
    match node.as_text() {
        Some(text) => Some((node, text)),
        None => reader.refuse(node, "text"),
    }
}

fn checked<T>(
    reader: &ObjectReader<'_>,
    node: &Node,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, PatternError>,
) -> Option<T> {
    match parse(text) {
        Ok(patterns) => Some(patterns),
        Err(error) => {
            let is_host = reader.document().key(node.id) == Some("host");
            let code = if is_host {
                Code::HostPattern
            } else {
                Code::PathPattern
            };
            let location = reader.document().location(node.id);
            let finding = Diagnostic::error(code, location, error.to_string());
            reader.push(match error.hint() {
                Some(hint) => finding.with_hint(hint),
                None => finding,
            });
            None
        }
    }
}

fn report(reader: &ObjectReader<'_>, node: &Node, code: Code, message: String) {
    let location = reader.document().location(node.id);
    reader.push(Diagnostic::error(code, location, message));
}

fn not_built(reader: &ObjectReader<'_>, key: &'static str, what: &str) {
    let node = reader.node().as_map().and_then(|members| members.get(key));
    let location = node.map_or_else(Location::default, |node| {
        reader.document().location(node.id)
    });
    let message = format!("`{key}` is not built yet: {what} with a later release");
    reader.push(Diagnostic::error(Code::NotBuilt, location, message).with_hint("leave it out"));
}

fn to_map(members: &Members) -> Map {
    let members = members.iter();
    members
        .map(|(key, node)| (key.clone(), node.to_value()))
        .collect::<IndexMap<String, Value>>()
}
