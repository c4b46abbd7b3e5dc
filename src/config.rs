//! `wampgate.toml`, the environment and flags, read once into plain data.
//!
//! ```text
//! defaults < wampgate.toml < WAMPGATE_HTTP__LISTEN=... < --listen ...
//! ```
//!
//! Each layer is a document laid over the one before, so every rule is written once and a finding
//! names the file, variable or flag that it came from. All findings come at once; an unknown key is
//! one of them, and so is a table that a later version brings. Nothing here reads the environment
//! or a file by itself: the caller hands both in.
//! Read `config/settings.rs` next for the keys, `config/standard.rs` for variables that are not ours,
//! `config/print.rs` for `--print-config`.

mod print;
mod settings;
mod standard;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::admin;
use crate::diagnostic::{Code, Diagnostic, Findings, Location};
use crate::document::Document;
use crate::gateway::peer::Network;
use crate::listener;
use crate::store;
use crate::telemetry::{logs, traces};
use crate::value::{Map, Value};
use crate::wamp::config::RouterConfig;

/// Where the file is looked for when nothing names one.
pub const DEFAULT_FILE: &str = "wampgate.toml";

/// The whole configuration.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The listener without TLS.
    pub http: listener::Config,
    /// The networks whose word on a request's client is believed.
    pub trusted_proxies: Vec<Network>,
    /// The admin API.
    pub admin: admin::Config,
    /// What realms use that have no `router` of their own.
    pub router: Router,
    /// Where uploaded specs and realms are kept.
    pub store: store::Url,
    /// The folder of API specs.
    pub specs_dir: PathBuf,
    /// The folder of realms.
    pub realms_dir: PathBuf,
    /// What is logged, and how.
    pub log: Log,
    /// What is recorded of requests, and where it goes.
    pub telemetry: traces::Config,
}

/// `[router]`.
#[derive(Debug, Clone)]
pub enum Router {
    /// No `urls`: the router of this program, for development, listening here.
    Embedded {
        /// Where other WAMP clients reach it.
        listen: SocketAddr,
        /// How our own sessions use it; without URLs.
        sessions: RouterConfig,
    },
    /// A router somewhere else.
    Remote(RouterConfig),
}

impl Default for Router {
    fn default() -> Self {
        Router::Embedded {
            listen: EMBEDDED_LISTEN,
            sessions: RouterConfig::default(),
        }
    }
}

/// Where the embedded router listens, so that the URL of a real one in its place need not change.
const EMBEDDED_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    /// How a line looks.
    pub format: logs::Format,
    /// From which level on lines are written.
    pub level: LogLevel,
}

/// From which level on log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// And what is doubtful.
    Warn,
    /// And what is normal.
    #[default]
    Info,
    /// And what helps to understand.
    Debug,
    /// And every message.
    Trace,
}

impl LogLevel {
    /// Returns the level's name, as the configuration and the log filter have it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Off => "off",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// The beginnings of the keys that change without a restart.
const LIVE: [&str; 4] = ["router.", "specs.dir", "realms.dir", "log.level"];

/// One value from outside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// What findings call it, for example `--listen` or `WAMPGATE_HTTP__LISTEN`.
    pub origin: String,
    /// The key, for example `http.listen`.
    pub key: String,
    /// The value as text; lists are separated by commas.
    pub value: String,
}

/// What the configuration is made of.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// The file's name and text; none where there is no file.
    pub file: Option<(&'a Path, &'a str)>,
    /// Every variable of the environment. Those with a name like `WAMPGATE_HTTP__LISTEN` are
    /// settings; all may be used as `${NAME}` in the file.
    pub environment: Vec<(String, String)>,
    /// Flags, which win over everything.
    pub flags: Vec<Override>,
}

impl Config {
    /// Reads all sources. Relative paths of the file, and the default ones, begin at the file's
    /// folder; those of variables and flags where the program was started.
    ///
    /// # Errors
    ///
    /// Every finding; at least one is an error. Warnings of a configuration that is usable are
    /// returned beside it.
    pub fn load(sources: &Sources<'_>) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let findings = Findings::new();
        let document = layers(sources, &findings)?;
        let folder = sources.file.and_then(|(file, _)| file.parent());
        let config = settings::read(&document, folder.unwrap_or(Path::new("")), &findings);
        findings.extend(document.notes().iter().cloned());
        let errors = findings.errors();
        let findings = findings.into_sorted();
        if errors == 0 {
            Ok((config, findings))
        } else {
            Err(findings)
        }
    }

    /// Returns the keys that are otherwise in `next` and that a gateway does not take over while it
    /// runs, for example `http.listen`.
    pub fn restart_keys(&self, next: &Config) -> Vec<String> {
        let (before, after) = (print::values(self), print::values(next));
        let tables = |all: Value| match all {
            Value::Map(map) => map,
            _ => Map::new(),
        };
        let mut keys = Vec::new();
        for ((table, before), (_, after)) in tables(before).into_iter().zip(tables(after)) {
            let (before, after) = (tables(before), tables(after));
            let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for key in all {
                let name = format!("{table}.{key}");
                let is_live = LIVE.iter().any(|live| name.starts_with(live));
                if !is_live && before.get(key) != after.get(key) {
                    keys.push(name);
                }
            }
        }
        keys
    }

    /// Takes over from `next` what a gateway can while it runs.
    pub fn take_live(&mut self, next: &Config) {
        // INVARIANT: these are `LIVE`.
        self.router = next.router.clone();
        self.specs_dir.clone_from(&next.specs_dir);
        self.realms_dir.clone_from(&next.realms_dir);
        self.log.level = next.log.level;
    }

    /// Returns the configuration as TOML, with secrets replaced by asterisks.
    pub fn to_toml(&self) -> String {
        print::print(self)
    }
}

/// Parses every source and lays one over the other.
fn layers(sources: &Sources<'_>, findings: &Findings) -> Result<Document, Vec<Diagnostic>> {
    let (name, text) = match sources.file {
        Some((path, text)) => (path.to_string_lossy().into_owned(), text),
        None => (DEFAULT_FILE.to_owned(), ""),
    };
    let mut document = Document::parse_toml(Some(&name), text)?;
    let lookup = |name: &str| {
        let mut all = sources.environment.iter();
        all.find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    findings.extend(document.substitute(&lookup));
    for (name, value) in &sources.environment {
        if let Some(key) = key_of_variable(name) {
            let over = Override {
                origin: name.clone(),
                key,
                value: value.clone(),
            };
            lay(&mut document, &over, findings);
        }
    }
    for flag in &sources.flags {
        lay(&mut document, flag, findings);
    }
    for standard in standard::fill_in(&document, &sources.environment, findings) {
        lay(&mut document, &standard, findings);
    }
    Ok(document)
}

/// `WAMPGATE_HTTP__LISTEN` is `http.listen`. Names without the double underscore are other
/// programs' and our own tools', such as `WAMPGATE_CONFIG`.
fn key_of_variable(name: &str) -> Option<String> {
    let path = name.strip_prefix("WAMPGATE_")?;
    let parts = path.split("__").map(str::to_ascii_lowercase);
    path.contains("__")
        .then(|| parts.collect::<Vec<_>>().join("."))
}

fn lay(document: &mut Document, over: &Override, findings: &Findings) {
    let Some(kind) = settings::kind(&over.key) else {
        let location = Location::of_file(&over.origin);
        let message = format!("there is no setting `{}`", over.key);
        let known = settings::KEYS.iter().map(|(key, _)| *key);
        let nearest = crate::diagnostic::nearest(&over.key, known);
        let mut finding = Diagnostic::error(Code::UnknownKey, location, message);
        if let Some(key) = nearest {
            let name = key.to_ascii_uppercase().replace('.', "__");
            finding = finding.with_hint(format!("did you mean `WAMPGATE_{name}`?"));
        }
        findings.push(finding);
        return;
    };
    let text = format!("{} = {}", over.key, kind.to_toml(&over.value));
    match Document::parse_toml(Some(&over.origin), &text) {
        Ok(layer) => document.overlay(layer),
        Err(errors) => findings.extend(errors),
    }
}

#[cfg(test)]
mod tests;
