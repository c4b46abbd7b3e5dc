//! The keys of the configuration and how each is read.

use std::path::Path;

use super::{Config, EMBEDDED_LISTEN, Log, LogLevel, Router};
use crate::admin;
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::document::{Document, Node, ObjectReader};
use crate::gateway::peer::Network;
use crate::realm;
use crate::store;
use crate::telemetry::logs::Format;
use crate::telemetry::traces::{self, Endpoint, Header};
use crate::value::Value;

/// How the text of a variable or flag is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    /// From 0 to 1.
    Ratio,
    /// `true` or `false`.
    Bool,
    /// Texts, separated by commas.
    List,
}

impl Kind {
    /// Writes the text as a TOML value. A number or boolean that is none becomes a text, so that the
    /// reader words the finding.
    pub(super) fn to_toml(self, text: &str) -> String {
        match self {
            Kind::Number if text.trim().parse::<i64>().is_ok() => text.trim().to_owned(),
            Kind::Ratio if text.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
                // As TOML has it: `.5` is none there.
                format!("{:?}", text.trim().parse::<f64>().unwrap_or_default())
            }
            Kind::Bool if matches!(text.trim(), "true" | "false") => text.trim().to_owned(),
            Kind::Text | Kind::Number | Kind::Ratio | Kind::Bool => quoted(text),
            Kind::List => {
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                let items: Vec<_> = items.map(quoted).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }
}

/// JSON's quoting is TOML's too.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Every setting that a variable can make.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("http.listen", Kind::List),
    ("http.trusted_proxies", Kind::List),
    ("http.proxy_protocol", Kind::Text),
    ("http.header_timeout", Kind::Text),
    ("http.idle_timeout", Kind::Text),
    ("http.max_connections", Kind::Number),
    ("http.min_drain", Kind::Text),
    ("http.drain_timeout", Kind::Text),
    ("admin.listen", Kind::Text),
    ("admin.token_file", Kind::Text),
    ("admin.allow_remote", Kind::Bool),
    ("admin.allow_calls", Kind::Bool),
    ("router.urls", Kind::List),
    ("router.serializers", Kind::List),
    ("router.batched", Kind::Bool),
    ("router.tls.ca_file", Kind::Text),
    ("router.tls.certificate", Kind::Text),
    ("router.tls.key", Kind::Text),
    ("router.tls.server_name", Kind::Text),
    ("router.sessions", Kind::Number),
    ("router.max_message_bytes", Kind::Number),
    ("router.max_in_flight", Kind::Number),
    ("router.auth.method", Kind::Text),
    ("router.auth.authid", Kind::Text),
    ("router.auth.secret", Kind::Text),
    ("router.auth.secret_file", Kind::Text),
    ("router.auth.private_key", Kind::Text),
    ("router.auth.private_key_file", Kind::Text),
    ("router.auth.router_keys", Kind::List),
    ("router.heartbeat", Kind::Text),
    ("router.connect_timeout", Kind::Text),
    ("router.reconnect.min", Kind::Text),
    ("router.reconnect.max", Kind::Text),
    ("router.uri_check", Kind::Text),
    ("router.pass_on", Kind::List),
    ("store.url", Kind::Text),
    ("specs.dir", Kind::Text),
    ("realms.dir", Kind::Text),
    ("log.format", Kind::Text),
    ("log.level", Kind::Text),
    ("telemetry.otlp_endpoint", Kind::Text),
    ("telemetry.otlp_headers", Kind::List),
    ("telemetry.otlp_headers_file", Kind::Text),
    ("telemetry.sample_ratio", Kind::Ratio),
    ("telemetry.trust_incoming", Kind::Bool),
    ("telemetry.service_name", Kind::Text),
    ("telemetry.resource_attributes", Kind::List),
];

/// Returns how the text of a setting is understood; none where there is no such setting.
pub(super) fn kind(key: &str) -> Option<Kind> {
    let (_, kind) = KEYS.iter().find(|(name, _)| *name == key)?;
    Some(*kind)
}

/// Tables that are documented and come with a later version.
const LATER: &[&str] = &["https"];

pub(super) fn read(document: &Document, folder: &Path, findings: &Findings) -> Config {
    let mut config = Config {
        admin: admin::Config {
            token_file: folder.join(admin::Config::default().token_file),
            ..admin::Config::default()
        },
        store: store::Url::File(folder.join("data")),
        specs_dir: folder.join("specs"),
        realms_dir: folder.join("realms"),
        ..Config::default()
    };
    let Some(root) = ObjectReader::new(document, document.root(), findings) else {
        return config;
    };
    for table in LATER {
        if let Some(node) = root.get(table) {
            refuse_later(&root, node, &format!("`[{table}]` is not built yet"));
        }
    }
    if let Some(http) = root.object("http") {
        read_http(&http, &mut config);
        http.finish();
    }
    if let Some(admin) = root.object("admin") {
        read_admin(&admin, &mut config.admin);
        admin.finish();
    }
    if let Some(router) = root.object("router") {
        config.router = read_router(&router);
        router.finish();
    }
    if let Some(reader) = root.object("store") {
        set(&mut config.store, read_store(&reader));
        reader.finish();
    }
    for (table, dir) in [
        ("specs", &mut config.specs_dir),
        ("realms", &mut config.realms_dir),
    ] {
        if let Some(reader) = root.object(table) {
            set(dir, reader.path("dir"));
            reader.finish();
        }
    }
    if let Some(log) = root.object("log") {
        read_log(&log, &mut config.log);
        log.finish();
    }
    if let Some(telemetry) = root.object("telemetry") {
        read_telemetry(&telemetry, &mut config.telemetry);
        telemetry.finish();
    }
    root.finish();
    config
}

fn refuse_later(reader: &ObjectReader<'_>, node: &Node, message: &str) {
    let location = reader.document().location(node.id);
    let finding = Diagnostic::error(Code::NotBuilt, location, message);
    reader.push(finding.with_hint("it comes with a later version; remove it"));
}

fn read_http(reader: &ObjectReader<'_>, config: &mut Config) {
    if let Some(texts) = reader.texts("listen") {
        config.http.listen = texts
            .iter()
            .filter_map(|(node, text)| address(reader, node, text))
            .collect();
        if texts.is_empty()
            && let Some(node) = reader.get("listen")
        {
            reader.refuse_value::<()>(node, "expected at least one address");
        }
    }
    if let Some(texts) = reader.texts("trusted_proxies") {
        let networks = texts
            .iter()
            .filter_map(|(node, text)| network(reader, node, text));
        config.trusted_proxies = networks.collect();
    }
    let http = &mut config.http;
    // The neutral value of what is not built is accepted, so that a whole file can be kept.
    let modes = [("off", true), ("optional", false), ("required", false)];
    if reader.one_of("proxy_protocol", &modes) == Some(false)
        && let Some(node) = reader.get("proxy_protocol")
    {
        refuse_later(reader, node, "the PROXY protocol is not built yet");
    }
    set(
        &mut http.header_timeout,
        reader.positive_duration("header_timeout"),
    );
    set(
        &mut http.idle_timeout,
        reader.positive_duration("idle_timeout"),
    );
    set(&mut http.min_drain, reader.duration("min_drain"));
    set(&mut http.drain_timeout, reader.duration("drain_timeout"));
    let connections = reader.unsigned_within("max_connections", 1, 1_000_000);
    set(
        &mut http.max_connections,
        connections.and_then(|count| usize::try_from(count).ok()),
    );
}

fn read_admin(reader: &ObjectReader<'_>, admin: &mut admin::Config) {
    set(&mut admin.allow_remote, reader.bool("allow_remote"));
    set(&mut admin.allow_calls, reader.bool("allow_calls"));
    set(&mut admin.token_file, reader.path("token_file"));
    let Some(text) = reader.text("listen") else {
        return;
    };
    let Some(node) = reader.get("listen") else {
        return;
    };
    let Some(listen) = address(reader, node, text) else {
        return;
    };
    let host = listen.rsplit_once(':').map_or("", |(host, _)| host);
    if !admin.allow_remote && !admin::is_this_machine(host) {
        let location = reader.document().location(node.id);
        let message = "the admin API is for this machine only: `listen` is beyond loopback";
        let finding = Diagnostic::error(Code::BadValue, location, message);
        let hint = "`admin.allow_remote = true` allows it; there is no TLS yet, so let only a \
                    trusted network reach it";
        reader.push(finding.with_hint(hint));
    }
    admin.listen = listen;
}

/// The same members as in a realm, but that `urls` may be absent.
fn read_router(reader: &ObjectReader<'_>) -> Router {
    let sessions = realm::read_router(reader);
    if reader.get("urls").is_some() {
        Router::Remote(sessions)
    } else {
        Router::Embedded {
            listen: EMBEDDED_LISTEN,
            sessions,
        }
    }
}

fn read_store(reader: &ObjectReader<'_>) -> Option<store::Url> {
    let text = reader.text("url")?;
    let node = reader.get("url")?;
    match store::Url::parse(text, &reader.folder(node)) {
        Ok(url) => Some(url),
        Err(error) => {
            let message = format!(
                "not a store, for example `file:data` or `nats://host:4222/bucket`: {error}"
            );
            reader.refuse_value(node, &message)
        }
    }
}

fn read_log(reader: &ObjectReader<'_>, log: &mut Log) {
    set(&mut log.format, reader.one_of("format", &FORMATS));
    set(&mut log.level, reader.one_of("level", &LEVELS));
}

fn read_telemetry(reader: &ObjectReader<'_>, config: &mut traces::Config) {
    if let Some(text) = reader.text("otlp_endpoint").filter(|text| !text.is_empty())
        && let Some(node) = reader.get("otlp_endpoint")
    {
        config.endpoint = match text.parse::<Endpoint>() {
            Ok(endpoint) => Some(endpoint),
            Err(error) => reader.refuse_value(node, &error.to_string()),
        };
    }
    if let Some(texts) = reader.texts("otlp_headers") {
        let headers = texts.iter().filter_map(|(node, text)| {
            let header = Header::parse(text);
            header.or_else(|| reader.refuse_value(node, "expected headers, each as `name=value`"))
        });
        config.headers = headers.collect();
    }
    config.headers_file = reader.path("otlp_headers_file");
    set(&mut config.sample_ratio, reader.ratio("sample_ratio"));
    set(&mut config.trust_incoming, reader.bool("trust_incoming"));
    set(
        &mut config.service_name,
        reader.text("service_name").map(str::to_owned),
    );
    if let Some(texts) = reader.texts("resource_attributes") {
        let pairs = texts.iter().filter_map(|(node, text)| {
            let pair = traces::pair(text);
            pair.or_else(|| reader.refuse_value(node, "expected attributes, each as `name=value`"))
        });
        config.resource_attributes = pairs.collect();
    }
}

/// The words of `log.format`.
pub(super) const FORMATS: [(&str, Format); 3] = [
    ("auto", Format::Auto),
    ("text", Format::Text),
    ("json", Format::Json),
];

/// The words of `log.level`.
pub(super) const LEVELS: [(&str, LogLevel); 6] = [
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

fn network(reader: &ObjectReader<'_>, node: &Node, text: &str) -> Option<Network> {
    match text.parse() {
        Ok(network) => Some(network),
        Err(_) => reader.refuse_value(
            node,
            "expected a network, for example `10.0.0.0/8`, `fd00::/8` or `127.0.0.1`",
        ),
    }
}

fn address(reader: &ObjectReader<'_>, node: &Node, text: &str) -> Option<String> {
    let parts = text.rsplit_once(':');
    if parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Some(text.to_owned());
    }
    reader.refuse_value(
        node,
        "expected an address and a port, for example `127.0.0.1:18080` or `[::1]:18080`",
    )
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}
