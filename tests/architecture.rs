//! Which module may use which: the dependency direction of `ARCHITECTURE.md`, held by a test.
//!
//! One package has no compiler-checked layers, so the table below is the check. It reads every
//! `crate::x` and every foreign crate's path in `src/` as text and names each offender. Test code is
//! exempt (what follows a `#[cfg(test)]` on a `mod`, files named `tests.rs` and folders named `tests`):
//! a unit test may borrow any peer it likes.

use std::{fs, path::Path};

/// A module of `src/`, and what it may use besides itself, `value` and `uri`. Bottom-up.
const MODULES: &[(&str, &str)] = &[
    ("value", ""),
    ("uri", ""),
    ("diagnostic", ""),
    ("document", "diagnostic"),
    ("problem", ""),
    ("telemetry", ""),
    // Media types and languages: what a request carries and wants.
    ("negotiate", ""),
    // Sockets and connections, of whoever serves HTTP: the gateway and the admin API.
    ("listener", "problem telemetry"),
    ("wamp", ""),
    ("store", ""),
    ("policy", "problem"),
    ("mops", "diagnostic"),
    // Of `wamp` only the table of options, which is the same at load and per request.
    ("spec", "mops document diagnostic wamp"),
    // The file of a realm: who may do what there, and how its router is reached (a `wamp` config).
    ("realm", "document diagnostic wamp"),
    // Texts come from files and from the store.
    ("catalog", "spec realm store document diagnostic"),
    ("security", "store problem document diagnostic"),
    ("action", "spec mops wamp telemetry"),
    ("devrouter", "wamp security"),
    // A service as any other: it joins a router through the client, and knows nothing of HTTP.
    ("demo", "wamp"),
    (
        "gateway",
        "action spec mops wamp listener negotiate security policy problem diagnostic telemetry",
    ),
    (
        "admin",
        "catalog spec realm wamp listener negotiate security store document problem diagnostic telemetry",
    ),
    (
        "config",
        "document diagnostic realm store security listener gateway admin wamp telemetry",
    ),
    ("app", "*"),
    ("cli", "*"),
    ("main", "cli"),
    ("lib", ""),
];

/// A foreign crate, and the only places that may name it: prefixes of paths below `src/`.
const HOMES: &[(&str, &str)] = &[
    ("pest", "mops/parser"),
    ("pest_derive", "mops/parser"),
    ("toml", "document"),
    ("tokio_tungstenite", "wamp/transport"),
    ("argon2", "wamp/auth"),
    ("tokio_rustls", "wamp/transport telemetry/traces/export"),
    ("hyper_rustls", "telemetry/traces/export"),
    ("rustls_native_certs", "wamp/transport"),
    ("socket2", "wamp/transport"),
    ("ring", "wamp/auth store/record admin/token"),
    ("redb", "store"),
    ("async_nats", "store/nats/link store/nats/bucket"),
    ("utoipa", "admin"),
    ("axum", "listener gateway admin security/oauth2 problem"),
    ("hyper", "listener"),
    ("hyper_util", "listener cli/remote telemetry/traces/export"),
    ("notify", "app/files"),
    ("clap", "cli main"),
    ("clap_complete", "cli"),
    ("rustix", "cli/program cli/remote app/notify"),
    ("anyhow", "app cli main"),
    ("tracing_subscriber", "telemetry"),
    ("prometheus_client", "telemetry/metrics"),
    // The rest is synchronous: values, documents, the language, specs and configuration know no runtime.
    (
        "tokio",
        "wamp store security policy action devrouter listener gateway admin telemetry app cli main",
    ),
];

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut offences = Vec::new();
    visit(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        "",
        &mut offences,
    );
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

fn visit(folder: &Path, inside: &str, offences: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{inside}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if name.ends_with("tests") {
                continue;
            }
            visit(&entry.path(), &format!("{name}/"), offences);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            check(
                &name,
                &code(&fs::read_to_string(entry.path()).unwrap()),
                offences,
            );
        }
    }
}

/// The text without comments and unit tests.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn check(file: &str, code: &str, offences: &mut Vec<String>) {
    let module = file.trim_end_matches(".rs").split('/').next().unwrap();
    let Some((_, allowed)) = MODULES.iter().find(|(name, _)| *name == module) else {
        offences.push(format!(
            "{file} belongs to `{module}`, which has no row in MODULES"
        ));
        return;
    };
    // The library's own name is how `main.rs` says `crate`.
    for used in paths(code, "crate")
        .into_iter()
        .chain(paths(code, "wampgate"))
    {
        // Else a macro or a re-export of the crate's root.
        let known = MODULES.iter().any(|(name, _)| *name == used);
        let allowed = format!("value uri {module} {allowed}");
        if known && !allowed.split(' ').any(|name| name == used || name == "*") {
            offences.push(format!("{file} uses crate::{used}"));
        }
    }
    // `super` that leaves the module would be a way around the table.
    let up = "super::".repeat(file.split('/').count());
    if module != "lib" && code.contains(&up) {
        offences.push(format!(
            "{file} reaches the crate's root by `super`: write `crate::`"
        ));
    }
    for (foreign, homes) in HOMES {
        let at_home = homes.split(' ').any(|home| {
            file.strip_prefix(home)
                .is_some_and(|rest| rest.starts_with(['.', '/']))
        });
        if !at_home && !paths(code, foreign).is_empty() {
            offences.push(format!("{file} uses {foreign}, whose home is {homes}"));
        }
    }
}

/// What follows each `root::`, with the members of `root::{a::b, c}` one by one.
fn paths<'a>(code: &'a str, root: &str) -> Vec<&'a str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word = |text: &'a str| &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())];
    let mut found = Vec::new();
    for (at, matched) in code.match_indices(&format!("{root}::")) {
        if code[..at].ends_with(|c| is_word(c) || c == ':') {
            continue;
        }
        let rest = &code[at + matched.len()..];
        let Some(members) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let (mut depth, mut start) = (1, 0);
        for (at, c) in members.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if (c == ',' && depth == 1) || depth == 0 {
                found.push(word(members[start..at].trim_start()));
                start = at + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn paths_are_found_in_lists_and_not_inside_other_names() {
    let code = "use crate::{value::{Map, Value}, wamp};\nlet x = crate::mops::eval(); my_crate::no(); a::crate::no();";
    assert_eq!(paths(code, "crate"), ["value", "wamp", "mops"]);
    let mut offences = Vec::new();
    check(
        "wamp/client.rs",
        "use crate::gateway;\nuse axum::Router;",
        &mut offences,
    );
    assert_eq!(
        offences,
        [
            "wamp/client.rs uses crate::gateway",
            "wamp/client.rs uses axum, whose home is listener gateway admin security/oauth2 problem",
        ]
    );
}
