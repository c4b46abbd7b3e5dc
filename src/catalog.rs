//! Specs and realms together: a set of texts to the routes and realms that they stand for.
//!
//! The commands that look at files (`check`, `routes`) and the gateway that serves them load alike,
//! here. A file is told to be a spec or a realm by its keys, so that any folder will do.
//! Nothing here connects, listens or watches. Read `catalog/installed.rs` next, for what a gateway
//! serves while its texts change.

pub mod installed;
mod realms;
mod resolve;
mod specs;

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic, Location};
use crate::document::{Document, Node, NodeKind};
use crate::realm::{self, LoadedRealms, Realm};
use crate::spec::{self, LoadedSpec, Route};
use crate::store::Kind;
use crate::uri::Uri;

/// A file's content, or text that came otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// What findings call it, a path usually.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What a set of files stands for.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Every spec, with its routes or its errors.
    pub specs: Vec<LoadedSpec>,
    /// Every file of realms.
    pub realms: Vec<LoadedRealms>,
    /// What is wrong with files that are neither, or no JSON.
    pub others: Vec<Diagnostic>,
    /// The files in the order in which they were given.
    files: Vec<String>,
}

/// Reads files, and of folders every `*.json` that is directly inside and not hidden (`.#a.json` is
/// an editor's), by name. What cannot be read is a finding, and the rest is read all the same.
pub fn read_files(paths: &[PathBuf]) -> (Vec<SourceText>, Vec<Diagnostic>) {
    let mut sources = Vec::new();
    let mut findings = Vec::new();
    for path in paths {
        match files_at(path) {
            Ok(files) if files.is_empty() => {
                let location = Location::of_file(&path.display().to_string());
                let message = "no `*.json` file in this folder";
                findings.push(Diagnostic::warning(Code::Unreadable, location, message));
            }
            Ok(files) => {
                for file in files {
                    match fs::read_to_string(&file) {
                        Ok(text) => sources.push(SourceText {
                            name: file.display().to_string(),
                            text,
                        }),
                        Err(error) => findings.push(unreadable(&file, &error)),
                    }
                }
            }
            Err(error) => findings.push(unreadable(path, &error)),
        }
    }
    (sources, findings)
}

fn files_at(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let is_json = file
            .extension()
            .is_some_and(|extension| extension == "json");
        let is_hidden = file
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // A link to a file is as good as a file: mounted volumes are made of them. And one that leads
        // nowhere just now is a file that cannot be read, not one that is gone.
        let may_be_file = || fs::metadata(&file).map_or(true, |meta| meta.is_file());
        if is_json && !is_hidden && may_be_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let location = Location::of_file(&path.display().to_string());
    let message = match error.kind() {
        io::ErrorKind::InvalidData => "cannot be read: it is not UTF-8".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    Diagnostic::error(Code::Unreadable, location, message)
}

impl Catalog {
    /// Loads specs and realms. `environment` gives the values of `${NAME}` in them.
    ///
    /// Where there is no realm among the sources, the realms of specs are not compared with any.
    pub fn load(sources: &[SourceText], environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut others = Vec::new();
        let mut specs = Vec::new();
        let mut realms = Vec::new();
        for source in sources {
            let Some(document) = parse(source, environment, &mut others) else {
                continue;
            };
            match kind_of(document.root()) {
                Some(Kind::Spec) => specs.push(document),
                Some(Kind::Realm) => realms.push(document),
                None => others.push(unknown(&source.name)),
            }
        }
        let compares_realms = !realms.is_empty();
        let realms = realm::load(&realms);
        let refused: Vec<&Uri> = realms.iter().flat_map(|loaded| &loaded.refused).collect();
        // One that is refused is configured all the same: what is wrong is there, not in the spec.
        let good = realms.iter().flat_map(|loaded| &loaded.realms);
        let known: Vec<Uri> = good
            .map(|realm| &realm.uri)
            .chain(refused.iter().copied())
            .cloned()
            .collect();
        let mut specs = spec::load(specs, compares_realms.then_some(known.as_slice()));
        for spec in &mut specs {
            if let Some((realm, location)) = spec.realm.clone()
                && refused.contains(&&realm)
            {
                spec.refuse(refused_realm(&realm, location));
            }
        }
        Catalog {
            specs,
            realms,
            others,
            files: sources.iter().map(|source| source.name.clone()).collect(),
        }
    }

    /// Returns every finding: the files in the order in which they were given, in a file by place.
    pub fn findings(&self) -> Vec<&Diagnostic> {
        let specs = self.specs.iter().flat_map(|spec| &spec.findings);
        let realms = self.realms.iter().flat_map(|realms| &realms.findings);
        let mut findings: Vec<&Diagnostic> =
            self.others.iter().chain(realms).chain(specs).collect();
        findings.sort_by_key(|finding| {
            let file = finding.location.file.as_ref();
            self.files.iter().position(|name| Some(name) == file)
        });
        findings
    }

    /// Returns whether anything is refused.
    pub fn has_errors(&self) -> bool {
        self.findings().into_iter().any(Diagnostic::is_error)
    }

    /// Returns every route that can be served.
    pub fn routes(&self) -> Vec<Route> {
        let specs = self.specs.iter();
        specs.flat_map(|spec| spec.routes.iter().cloned()).collect()
    }

    /// Returns every realm without an error.
    pub fn realms(&self) -> impl Iterator<Item = &Realm> {
        self.realms.iter().flat_map(|loaded| &loaded.realms)
    }
}

/// Returns the finding about a spec whose realm is refused.
fn refused_realm(realm: &Uri, location: Location) -> Diagnostic {
    let message = format!("realm `{realm}` is refused, so nothing here is served");
    let finding = Diagnostic::error(Code::UnknownRealm, location, message);
    finding.with_hint("see the findings about the realm")
}

fn parse(
    source: &SourceText,
    environment: &dyn Fn(&str) -> Option<String>,
    others: &mut Vec<Diagnostic>,
) -> Option<Document> {
    let parsed = parse_text(&source.name, &source.text, environment);
    parsed.map_err(|findings| others.extend(findings)).ok()
}

/// Parses the text of a file, in which `${NAME}` stands for a variable.
fn parse_text(
    name: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Document, Vec<Diagnostic>> {
    let mut document = Document::parse_json(Some(name), text)?;
    let findings = document.substitute(environment);
    document.note(findings);
    Ok(document)
}

/// Parses a text that was uploaded. It is not the operator's, so it is not to see the environment:
/// `${NAME}` stays as it is.
fn parse_stored(name: &str, text: &str) -> Result<Document, Vec<Diagnostic>> {
    Document::parse_json(Some(name), text)
}

/// Has a mistake of ours in one text be about that text alone: the others are served.
fn unless_we_fail<T>(
    name: &str,
    load: impl FnOnce() -> Result<T, Vec<Diagnostic>>,
) -> Result<T, Vec<Diagnostic>> {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| {
        let message = "cannot be loaded, which is a mistake of wampgate's: the log has more";
        let finding = Diagnostic::error(Code::Unreadable, Location::of_file(name), message);
        Err(vec![finding.with_hint("please report it, with this text")])
    })
}

/// Makes the finding about a file of which [`kind_of`] cannot tell what it is.
pub fn unknown(file: &str) -> Diagnostic {
    let location = Location::of_file(file);
    let message = "neither an API spec nor a realm";
    let finding = Diagnostic::error(Code::UnknownDocument, location, message);
    finding.with_hint("a spec has `id` and `versions`, a realm has `uri`")
}

/// Tells by the keys what a file holds, also where one of them is misspelt: a spec, or a realm or a
/// list of them.
pub fn kind_of(root: &Node) -> Option<Kind> {
    let members = match &root.kind {
        NodeKind::Map(members) => members,
        NodeKind::List(_) => return Some(Kind::Realm),
        _ => return None,
    };
    let has = |keys: &[&str]| keys.iter().any(|key| members.contains_key(*key));
    if has(&["versions", "realm_uri", "host"]) {
        Some(Kind::Spec)
    } else if has(&["uri", "router", "authmethods", "grants", "users"]) {
        Some(Kind::Realm)
    } else if has(&["id", "variables", "defaults", "status_codes"]) {
        Some(Kind::Spec)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::installed::{Installed, Sources};
    use super::*;

    fn source(name: &str, text: &str) -> SourceText {
        SourceText {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    fn spec_text(realm: &str) -> String {
        format!(
            r#"{{"id": "a", "host": "_", "realm_uri": "{realm}", "versions": {{"1": {{
                "base_path": "/", "paths": {{"/": {{"get": {{"action": {{"type": "static"}}}}}}}}}}}}}}"#
        )
    }

    #[test]
    fn files_are_told_apart_by_their_keys() {
        let good = spec_text("com.${NAME}");
        let sources = [
            source("s.json", &good),
            source("r.json", r#"[{"uri": "com.a"}]"#),
        ];
        let environment = |name: &str| (name == "NAME").then(|| "a".to_owned());
        let catalog = Catalog::load(&sources, &environment);
        assert!(!catalog.has_errors(), "{:?}", catalog.findings());
        assert_eq!(catalog.routes().len(), 1);
        assert_eq!(catalog.realms().count(), 1);
    }

    #[test]
    fn findings_come_in_the_order_of_the_files() {
        let spec = spec_text("com.b");
        let sources = [
            source("1.json", "{"),
            source("2.json", &spec),
            source("3.json", r#"{"uri": "com.${NONE}"}"#),
            source("4.json", r#"{"uri": "com.a", "x": 1}"#),
            source("5.json", r#"{"what": 1}"#),
        ];
        let catalog = Catalog::load(&sources, &|_| None);
        let seen: Vec<String> = catalog
            .findings()
            .iter()
            .map(|f| format!("{} {}", f.location.file.as_deref().unwrap(), f.code))
            .collect();
        assert_eq!(
            seen,
            [
                "1.json D001",
                "2.json S201",
                "3.json D009",
                "4.json D005",
                "5.json D013"
            ]
        );
        assert!(catalog.routes().is_empty());
    }

    #[test]
    fn a_name_that_the_environment_lacks_is_found_beside_the_rest() {
        let spec = spec_text("com.a").replace("\"_\"", "\"${HOST}\"");
        let spec = spec.replace("\"id\"", "\"nmae\": 1, \"id\"");
        let realms = r#"[{"uri": "com.a", "router": {"urls": ["ws://h"], "auth": {"method":
            "ticket", "authid": "a", "secret": "${TICKET}"}}}, {"uri": "com.b"}, {"uri": "${X}"}]"#;
        let sources = [source("s", &spec), source("r", realms)];
        let catalog = Catalog::load(&sources, &|_| None);
        let seen: Vec<String> = catalog
            .findings()
            .iter()
            .map(|f| format!("{} {} {}", f.code, f.location.pointer, f.message))
            .collect();
        assert_eq!(
            seen,
            [
                "D005 /nmae unknown key `nmae`",
                "D009 /host `HOST` is not set in the environment",
                "S201 /realm_uri realm `com.a` is refused, so nothing here is served",
                "D009 /0/router/auth/secret `TICKET` is not set in the environment",
                "D009 /2/uri `X` is not set in the environment",
            ]
        );
        let realms: Vec<&str> = catalog.realms().map(|realm| realm.uri.as_str()).collect();
        assert_eq!(realms, ["com.b"]);
        assert!(catalog.routes().is_empty());
    }

    #[test]
    fn without_realms_a_check_does_not_ask_for_them_but_the_gateway_does() {
        let spec = vec![source("s.json", &spec_text("com.b"))];
        assert!(!Catalog::load(&spec, &|_| None).has_errors());
        let sources = Sources {
            spec_files: spec,
            ..Sources::default()
        };
        let installed = Installed::compile(sources, None, &|_| None);
        assert_eq!(installed.rejected(), (1, 0));
    }

    #[test]
    fn folders_are_read_by_name_and_what_is_missing_is_a_finding() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.json", "note.txt"] {
            fs::write(folder.path().join(name), "{}").unwrap();
        }
        fs::write(folder.path().join("c.json"), b"\xff").unwrap();
        let paths = [folder.path().to_owned(), folder.path().join("gone.json")];
        let (sources, findings) = read_files(&paths);
        let names: Vec<&str> = sources
            .iter()
            .map(|source| source.name.rsplit('/').next().unwrap())
            .collect();
        assert_eq!(names, ["a.json", "b.json"]);
        assert_eq!(findings.len(), 2);
        assert!(findings[0].message.contains("not UTF-8"));
    }
}
