//! `--print-config`: the configuration as TOML that could be read again, but for secrets.

use super::settings::{FORMATS, LEVELS};
use super::{Config, Router};
use crate::document::to_toml;
use crate::realm::{show_duration, show_router};
use crate::telemetry::traces;
use crate::value::{Map, Value};

pub(super) fn print(config: &Config) -> String {
    let mut text = to_toml(&values(config));
    if let Router::Embedded { listen, .. } = config.router {
        let note = format!("[router] # no `urls`: the embedded router, on ws://{listen}/ws\n");
        text = text.replacen("[router]\n", &note, 1);
    }
    text
}

/// Returns every setting by table and key, with secrets replaced by asterisks.
pub(super) fn values(config: &Config) -> Value {
    let http = &config.http;
    let listen = http.listen.iter().map(|address| address.as_str().into());
    let proxies = config
        .trusted_proxies
        .iter()
        .map(|network| network.to_string().into());
    let router = match &config.router {
        Router::Embedded { sessions, .. } | Router::Remote(sessions) => show_router(sessions),
    };
    let format = FORMATS
        .iter()
        .find(|(_, format)| *format == config.log.format);
    let level = LEVELS.iter().find(|(_, level)| *level == config.log.level);
    let dir = |path: &std::path::Path| table([("dir", path.to_string_lossy().as_ref().into())]);
    table([
        (
            "http",
            table([
                ("listen", Value::List(listen.collect())),
                ("trusted_proxies", Value::List(proxies.collect())),
                ("proxy_protocol", "off".into()),
                ("header_timeout", show_duration(http.header_timeout).into()),
                ("idle_timeout", show_duration(http.idle_timeout).into()),
                ("max_connections", Value::from(http.max_connections as u64)),
                ("min_drain", show_duration(http.min_drain).into()),
                ("drain_timeout", show_duration(http.drain_timeout).into()),
            ]),
        ),
        (
            "admin",
            table([
                ("listen", config.admin.listen.as_str().into()),
                (
                    "token_file",
                    config.admin.token_file.to_string_lossy().into(),
                ),
                ("allow_remote", config.admin.allow_remote.into()),
                ("allow_calls", config.admin.allow_calls.into()),
            ]),
        ),
        ("router", router.into()),
        ("store", table([("url", config.store.to_string().into())])),
        ("specs", dir(&config.specs_dir)),
        ("realms", dir(&config.realms_dir)),
        (
            "log",
            table([
                ("format", format.map_or("auto", |(word, _)| *word).into()),
                ("level", level.map_or("info", |(word, _)| *word).into()),
            ]),
        ),
        ("telemetry", telemetry(&config.telemetry)),
    ])
}

/// The names of headers are no secret, their values are.
fn telemetry(config: &traces::Config) -> Value {
    let list = |texts: Vec<String>| Value::List(texts.into_iter().map(Value::from).collect());
    let headers = config.headers.iter();
    let headers = headers.map(|header| format!("{}=***", header.name));
    let attributes = config.resource_attributes.iter();
    let attributes = attributes.map(|(name, value)| format!("{name}={}", traces::encoded(value)));
    let endpoint = config.endpoint.as_ref();
    let endpoint = endpoint.map_or_else(String::new, ToString::to_string);
    let mut map = Map::from_iter([
        ("otlp_endpoint".to_owned(), endpoint.into()),
        ("otlp_headers".to_owned(), list(headers.collect())),
    ]);
    if let Some(file) = &config.headers_file {
        let file = file.to_string_lossy().into_owned();
        map.insert("otlp_headers_file".to_owned(), file.into());
    }
    let rest = [
        ("sample_ratio", Value::from(config.sample_ratio)),
        ("trust_incoming", config.trust_incoming.into()),
        ("service_name", config.service_name.as_str().into()),
        ("resource_attributes", list(attributes.collect())),
    ];
    map.extend(rest.map(|(key, value)| (key.to_owned(), value)));
    map.into()
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::from(Map::from_iter(
        entries.map(|(key, value)| (key.to_owned(), value)),
    ))
}
