//! Specs in, routes or findings out: every `cases/*.json` beside its `.txt`.
//!
//! A good spec is compared with the listing of its routes, a bad one with all its findings. With
//! `UPDATE_CASES=1` in the environment the expected files are written instead; read what changed as
//! carefully as code.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wampgate::catalog::{Catalog, SourceText};
use wampgate::diagnostic::Diagnostic;
use wampgate::document::Document;
use wampgate::mops::Template;
use wampgate::spec::{self, Action, LoadedSpec, Operation, Response, Route};
use wampgate::uri::{Uri, UriCheck};
use wampgate::value::Value;

const REALMS: &[&str] = &["com.example.realm", "com.example.market", "com.market.demo"];

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load_texts(texts: &[(&str, &str)]) -> Vec<LoadedSpec> {
    let documents: Vec<Document> = texts
        .iter()
        .map(|(name, text)| Document::parse_json(Some(name), text).unwrap())
        .collect();
    let realm = |realm: &&str| Uri::parse(realm, UriCheck::Loose).unwrap();
    let realms: Vec<Uri> = REALMS.iter().map(realm).collect();
    spec::load(documents, Some(&realms))
}

fn load(name: &str, text: &str) -> LoadedSpec {
    load_texts(&[(name, text)]).remove(0)
}

fn outcome(spec: &LoadedSpec) -> String {
    let mut out = String::new();
    for finding in &spec.findings {
        writeln!(out, "{}\n", finding.render(false)).unwrap();
    }
    if !spec.is_rejected() {
        out.push_str(&spec::listing::table(&spec.routes));
        let mut operations: Vec<&Operation> = Vec::new();
        for route in &*spec.routes {
            if !operations
                .iter()
                .any(|known| std::ptr::eq(*known, &*route.operation))
            {
                operations.push(&route.operation);
            }
        }
        operations
            .into_iter()
            .for_each(|operation| describe(&mut out, operation));
    }
    out
}

/// Writes all that a listing leaves out.
fn describe(out: &mut String, operation: &Operation) {
    let Operation {
        method,
        pattern,
        schemes,
        accepts,
        provides,
        ..
    } = operation;
    writeln!(out, "\n{method} {pattern}").unwrap();
    let schemes = [("http", schemes.http), ("https", schemes.https)];
    let schemes: Vec<&str> = schemes
        .iter()
        .filter(|(_, on)| *on)
        .map(|(name, _)| *name)
        .collect();
    writeln!(out, "  schemes {}", schemes.join(" ")).unwrap();
    writeln!(
        out,
        "  accepts {}, provides {}",
        accepts.join(" "),
        provides.join(" ")
    )
    .unwrap();
    writeln!(
        out,
        "  body {} bytes, {} of them within {:?}; idempotent {}",
        operation.body_max_bytes,
        operation.body_read_bytes,
        operation.body_read_timeout,
        operation.idempotent
    )
    .unwrap();
    let mut part = |name: &str, template: Option<&Template>| {
        if let Some(template) = template {
            writeln!(out, "  {name} {template}").unwrap();
        }
    };
    part("headers", Some(&operation.headers));
    match &operation.action {
        Action::None => {}
        Action::WampCall(action) | Action::WampPublish(action) => {
            part("uri", Some(&action.uri));
            part("options", Some(&action.options));
            part("args", Some(&action.args));
            part("kwargs", Some(&action.kwargs));
            part("timeout", Some(&action.timeout));
            part("connect_timeout", Some(&action.connect_timeout));
            part("retries", Some(&action.retries));
            part("retry_timeout", Some(&action.retry_timeout));
        }
        Action::Static { body, headers } => {
            part("static body", Some(body));
            part("static headers", Some(headers));
        }
    }
    match &operation.response {
        Response::Plain => out.push_str("  response plain\n"),
        Response::Shaped {
            on_result,
            on_error,
        } => {
            part("on_result headers", on_result.headers.as_ref());
            part("on_result body", on_result.body.as_ref());
            part("on_result status", on_result.status_code.as_ref());
            part("on_result uri", on_result.uri.as_ref());
            part("on_error headers", on_error.headers.as_ref());
            part("on_error body", on_error.body.as_ref());
            part("on_error status", on_error.status_code.as_ref());
        }
    }
}

fn messages(spec: &LoadedSpec) -> Vec<String> {
    spec.findings.iter().map(Diagnostic::to_string).collect()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test itself, not of what it tests"
)]
fn every_case_gives_what_is_written_beside_it() {
    let update = std::env::var_os("UPDATE_CASES").is_some_and(|value| !value.is_empty());
    let mut names: Vec<PathBuf> = fs::read_dir(folder("tests/spec/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    names.sort();
    assert!(!names.is_empty());
    let mut wrong = Vec::new();
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let found = match Document::parse_json(Some(name), &text) {
            Ok(_) => outcome(&load(name, &text)),
            Err(findings) => findings[0].render(false) + "\n",
        };
        let expected = path.with_extension("txt");
        if update {
            fs::write(&expected, &found).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{name} gives\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn our_own_sample_has_no_finding() {
    let text = fs::read_to_string(folder("specs/market.json")).unwrap();
    let spec = load("specs/market.json", &text);
    assert_eq!(messages(&spec), [] as [&str; 0]);
    assert!(spec.routes.len() >= 8);
}

#[test]
fn what_the_guide_shows_can_be_loaded() {
    let guide = fs::read_to_string(folder("docs/spec-format.md")).unwrap();
    let blocks = guide.split("```json\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    let sources: Vec<SourceText> = blocks
        .enumerate()
        .map(|(index, text)| SourceText {
            name: format!("block {index}"),
            text: text.to_owned(),
        })
        .collect();
    let catalog = Catalog::load(&sources, &|_| None);
    let findings: Vec<String> = catalog.findings().iter().map(|f| f.render(false)).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert_eq!((catalog.specs.len(), catalog.realms().count()), (2, 1));
}

#[test]
fn a_spec_from_bondys_world_compiles_once_it_asks_for_no_security() {
    let path = folder("../shared/specs/marketplace.json");
    let Ok(text) = fs::read_to_string(&path) else {
        eprintln!("skipped: no {}", path.display());
        return;
    };
    let as_it_is = load("marketplace.json", &text);
    assert!(as_it_is.is_rejected());
    assert!(messages(&as_it_is)[0].contains("security `oauth2` is not built yet"));

    let open = text.replace("\"security\":\"{{variables.oauth2}}\"", "\"security\":{}");
    assert_ne!(open, text);
    let spec = load("marketplace.json", &open);
    let messages = messages(&spec);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("warning[S215]"), "{messages:?}");
    // Five paths with eleven operations, each with and without `v1.0`.
    assert_eq!(spec.routes.len(), 22);
    let patterns: Vec<String> = spec.routes.iter().map(|r| r.path.to_string()).collect();
    assert!(patterns.contains(&"/v1.0/market/item/:name".to_owned()));
    assert!(patterns.contains(&"/market/item/:name".to_owned()));
    let operation = &spec.routes[0].operation;
    assert_eq!(operation.pattern, "/[v1.0]/market");
    assert_eq!(
        operation.version.status_codes["com.example.error.not_found"],
        404
    );
    assert_eq!(
        operation.version.status_codes["wamp.error.no_such_procedure"],
        501
    );
}

#[test]
fn specs_are_compared_with_each_other() {
    let spec = |id: &str, path: &str| {
        format!(
            r#"{{"id": "{id}", "host": "_", "realm_uri": "com.example.realm", "versions": {{
                "1": {{"base_path": "/", "paths": {{"{path}": {{"get": {{
                    "action": {{"type": "static"}}, "response": {{}}}}}}}}}}}}}}"#
        )
    };
    let (a, b, c, d) = (
        spec("a", "/x/:one"),
        spec("b", "/x/:two"),
        spec("a", "/y"),
        spec("e", "/x/[...]"),
    );
    let loaded = load_texts(&[("a", &a), ("b", &b), ("c", &c), ("d", &d)]);
    let states: Vec<bool> = loaded.iter().map(LoadedSpec::is_rejected).collect();
    assert_eq!(states, [false, true, true, false]);
    assert_eq!(
        messages(&loaded[1]),
        [
            "b:2:63: error[S204]: GET /x/:two of `b` 1 matches the same requests as GET /x/:one of \
          `a` 1 at a:2:63"
        ]
    );
    assert_eq!(
        messages(&loaded[2]),
        ["c:1:8: error[S205]: an API with the id `a` is there already, at a:1:8"]
    );

    // A spec with a mistake of its own does not push a good one out, whatever the order.
    let broken = b.replace("static", "statix");
    let loaded = load_texts(&[("b", &broken), ("a", &a)]);
    assert!(loaded[0].is_rejected() && !loaded[1].is_rejected());
    assert_eq!(loaded[0].findings.len(), 2);
}

#[test]
fn an_error_that_many_paths_meet_is_reported_once() {
    let mut paths = String::new();
    for index in 0..1000 {
        write!(
            paths,
            r#"{}"/p{index}": {{"get": {{"action": {{"type": "wamp_call", "procedure": "a.b",
                "args": ["{{{{variables.bad}}}}", "{{{{variables.unread}}}}"]}}}}}}"#,
            if index == 0 { "" } else { "," }
        )
        .unwrap();
    }
    let text = format!(
        r#"{{"id": "a", "host": "_", "realm_uri": "com.example.realm",
            "variables": {{"bad": "{{{{variables.gone}}}}", "unread": "{{{{oops"}},
            "defaults": {{"security": {{"type": "basic"}}}},
            "versions": {{"1": {{"base_path": "/", "paths": {{{paths}}}}},
                          "2": {{"base_path": "/2", "paths": {{{paths}}}}}}}}}"#
    );
    let messages = messages(&load("many", &text));
    assert_eq!(messages.len(), 3, "{messages:#?}");
    for code in ["M107", "M101", "D012"] {
        assert!(messages.iter().any(|m| m.contains(code)), "{messages:#?}");
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "it is real time that this is about"
)]
fn ten_thousand_routes_load_in_seconds() {
    let mut paths = String::new();
    for index in 0..10_000 {
        write!(
            paths,
            r#"{}"/group{}/:a/item{index}/:b": {{"get": {{"action": {{"type": "wamp_call",
                "procedure": "com.example.p{index}", "args": ["{{{{request.bindings.a}}}}"],
                "kwargs": "{{{{variables.kwargs}}}}"}},
                "response": {{"on_result": {{"body": "{{{{action.result.args |> head}}}}"}},
                "on_error": {{"status_code": "{{{{variables.status}}}}"}}}}}}}}"#,
            if index == 0 { "" } else { "," },
            index % 100
        )
        .unwrap();
    }
    let text = format!(
        r#"{{"id": "a", "host": "_", "realm_uri": "com.example.realm", "variables": {{
            "kwargs": {{"b": "{{{{request.bindings.b}}}}", "id": "{{{{request.id}}}}"}},
            "status": "{{{{status_codes |> get({{{{action.error.error_uri}}}}, 500) |> integer}}}}"}},
            "versions": {{"1": {{"base_path": "/v1", "paths": {{{paths}}}}}}}}}"#
    );
    let start = Instant::now();
    let spec = load("large", &text);
    let elapsed = start.elapsed();
    assert_eq!(messages(&spec), [] as [&str; 0]);
    assert_eq!(spec.routes.len(), 10_000);
    // Unoptimised and on a busy machine; optimised it is a fraction of a second.
    assert!(elapsed < Duration::from_secs(30), "{elapsed:?}");
    let mut operations: Vec<&Route> = spec.routes.iter().collect();
    operations.dedup_by_key(|route| std::sync::Arc::as_ptr(&route.operation));
    assert_eq!(operations.len(), 10_000);
}

/// As a program may write it, on one line: each finding looks only at what is near it.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "it is real time that this is about"
)]
fn thousands_of_mistakes_are_reported_in_seconds() {
    let path = |index: usize| {
        format!(
            r#""/p{index}/:id": {{"get": {{"action": {{"type": "static"}}, "respons": {{}}}}}},
               "/p{index}/:x": {{"get": {{"action": {{"type": "static", "body": "{{{{a |> b}}}}"}}}}}}"#
        )
    };
    let paths: Vec<String> = (0..2_000).map(path).collect();
    let text = format!(
        r#"{{"id": "x", "host": "_", "realm_uri": "com.example.realm", "versions": {{"1": {{
            "base_path": "/", "paths": {{{}}}}}}}}}"#,
        paths.join(",")
    )
    .replace('\n', " ");
    let start = Instant::now();
    let spec = load("mistaken", &text);
    let elapsed = start.elapsed();
    assert_eq!(spec.findings.len(), 6_000);
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}

/// Every value of the sample replaced by something else, one at a time: whatever stands where, the
/// load ends, and what is refused says where.
#[test]
fn whatever_stands_in_a_spec_is_a_finding_and_never_a_panic() {
    let text = fs::read_to_string(folder("specs/market.json")).unwrap();
    let sample: Value = serde_json::from_str(&text).unwrap();
    let mut replacements: Vec<Value> = ["null", "-1", "[]", "{}", r#"[["a"], {"b": null}]"#]
        .iter()
        .map(|json| serde_json::from_str(json).unwrap())
        .collect();
    replacements.extend(["", "{{request.body}}", "{{oops", "{{variables.x}}"].map(Value::from));
    let mut rejected = 0;
    let count = count_values(&sample);
    for index in 0..count {
        // One replacement for each value, so that all meet all over the document.
        let replacement = &replacements[index % replacements.len()];
        let mut mutated = sample.clone();
        replace_value(&mut mutated, &mut 0, index, replacement);
        let spec = load("mutated", &serde_json::to_string_pretty(&mutated).unwrap());
        rejected += usize::from(spec.is_rejected());
        for finding in &spec.findings {
            assert!(finding.location.line > 0, "{finding}");
            assert!(finding.location.excerpt.is_some(), "{finding}");
        }
    }
    // Most are mistakes; what is not stands where any value may.
    assert!(rejected * 2 > count, "{rejected} of {count}");
}

fn count_values(value: &Value) -> usize {
    1 + match value {
        Value::List(items) => items.iter().map(count_values).sum(),
        Value::Map(map) => map.values().map(count_values).sum(),
        _ => 0,
    }
}

fn replace_value(value: &mut Value, at: &mut usize, index: usize, replacement: &Value) {
    if *at == index {
        *value = replacement.clone();
        *at += 1;
        return;
    }
    *at += 1;
    match value {
        Value::List(items) => {
            for item in items {
                replace_value(item, at, index, replacement);
            }
        }
        Value::Map(map) => {
            for value in map.values_mut() {
                replace_value(value, at, index, replacement);
            }
        }
        _ => {}
    }
}
