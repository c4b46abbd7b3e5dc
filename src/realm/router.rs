//! The `router` object of a realm, which is also the `[router]` table of the configuration.

use std::time::Duration;

use crate::diagnostic::{Code, Diagnostic};
use crate::document::{Node, ObjectReader};
use crate::uri::UriCheck;
use crate::value::{Map, Value};
use crate::wamp::auth::{Auth, Secret};
use crate::wamp::config::{Endpoint, Reconnect, RouterConfig};
use crate::wamp::serializer::Serializer;

const URI_CHECKS: [(&str, UriCheck); 2] =
    [("loose", UriCheck::Loose), ("strict", UriCheck::Strict)];

const METHODS: [(&str, Method); 5] = [
    ("anonymous", Method::Anonymous),
    ("ticket", Method::Ticket),
    ("wampcra", Method::WampCra),
    ("scram", Method::Later),
    ("cryptosign", Method::Later),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    Anonymous,
    Ticket,
    WampCra,
    /// Documented, and refused until it is built.
    Later,
}

/// Reads all members but for requiring `urls`: without them the caller decides which router it is.
/// What is absent has the default of [`RouterConfig`]. The caller finishes the reader.
pub fn read_router(reader: &ObjectReader<'_>) -> RouterConfig {
    let mut config = RouterConfig::default();
    if let Some(urls) = reader.texts("urls") {
        config.urls = urls
            .iter()
            .filter_map(|(node, url)| endpoint(reader, node, url))
            .collect();
        refuse_empty(reader, "urls", urls.is_empty());
    }
    if let Some(names) = reader.texts("serializers") {
        config.serializers = names
            .iter()
            .filter_map(|(node, name)| serializer(reader, node, name))
            .collect();
        refuse_empty(reader, "serializers", names.is_empty());
    }
    set(&mut config.sessions, size(reader, "sessions", 1, 256));
    set(
        &mut config.max_message_bytes,
        size(reader, "max_message_bytes", 1024, 1 << 30),
    );
    set(
        &mut config.max_in_flight,
        size(reader, "max_in_flight", 1, 1_000_000),
    );
    if let Some(auth) = reader.object("auth") {
        set(&mut config.auth, read_auth(&auth));
        auth.finish();
    }
    if let Some(heartbeat) = reader.duration("heartbeat") {
        config.heartbeat = (!heartbeat.is_zero()).then_some(heartbeat);
    }
    set(
        &mut config.connect_timeout,
        reader.positive_duration("connect_timeout"),
    );
    if let Some(reconnect) = reader.object("reconnect") {
        config.reconnect = read_reconnect(&reconnect);
        reconnect.finish();
    }
    set(
        &mut config.uri_check,
        reader.one_of("uri_check", &URI_CHECKS),
    );
    // `per_user` and its kin come with security; the neutral value is taken.
    reader.one_of("identity", &[("service", ())]);
    config
}

/// Returns the members as `read_router` reads them, with secrets replaced by asterisks.
pub fn show_router(config: &RouterConfig) -> Map {
    let texts = |texts: Vec<String>| Value::List(texts.into_iter().map(Value::Text).collect());
    let mut map = Map::new();
    if !config.urls.is_empty() {
        let urls = config.urls.iter().map(Endpoint::to_string).collect();
        map.insert("urls".to_owned(), texts(urls));
    }
    let names = config
        .serializers
        .iter()
        .map(|serializer| serializer.name().to_owned());
    map.insert("serializers".to_owned(), texts(names.collect()));
    for (key, number) in [
        ("sessions", config.sessions),
        ("max_message_bytes", config.max_message_bytes),
        ("max_in_flight", config.max_in_flight),
    ] {
        map.insert(key.to_owned(), Value::from(number as u64));
    }
    let mut auth = Map::from_iter([("method".to_owned(), config.auth.method().into())]);
    if let Some(authid) = config.auth.authid() {
        auth.insert("authid".to_owned(), authid.into());
        auth.insert("secret".to_owned(), "***".into());
    }
    map.insert("auth".to_owned(), auth.into());
    let heartbeat = config.heartbeat.unwrap_or_default();
    map.insert("heartbeat".to_owned(), show_duration(heartbeat).into());
    map.insert(
        "connect_timeout".to_owned(),
        show_duration(config.connect_timeout).into(),
    );
    let reconnect = [("min", config.reconnect.min), ("max", config.reconnect.max)];
    let reconnect = reconnect.map(|(key, wait)| (key.to_owned(), show_duration(wait).into()));
    map.insert("reconnect".to_owned(), Map::from_iter(reconnect).into());
    let check = URI_CHECKS
        .iter()
        .find(|(_, check)| *check == config.uri_check);
    map.insert(
        "uri_check".to_owned(),
        check.map_or("loose", |(word, _)| *word).into(),
    );
    map
}

/// Writes a duration as documents have it, for example `1500ms` or `5s`.
pub fn show_duration(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_secs_f64() * 1e3)
    }
}

fn endpoint(reader: &ObjectReader<'_>, node: &Node, url: &str) -> Option<Endpoint> {
    let location = || reader.document().location(node.id);
    let scheme = url.split(':').next().unwrap_or_default();
    let refusal = match scheme {
        "ws" if http::Uri::try_from(url).is_ok_and(|uri| uri.host().is_some()) => {
            return Some(Endpoint::from(url));
        }
        "wss" | "tcp" | "tcps" | "unix" => {
            let message = format!("`{scheme}` routers are not built yet");
            Diagnostic::error(Code::NotBuilt, location(), message)
                .with_hint("use a `ws://` listener of the router")
        }
        _ => Diagnostic::error(Code::RouterUrl, location(), "not a router's URL")
            .with_hint("for example `ws://127.0.0.1:8080/ws`"),
    };
    reader.push(refusal);
    None
}

fn serializer(reader: &ObjectReader<'_>, node: &Node, name: &str) -> Option<Serializer> {
    let found = Serializer::ALL
        .into_iter()
        .find(|serializer| serializer.name() == name);
    if found.is_none() {
        let location = reader.document().location(node.id);
        let names = Serializer::ALL.map(Serializer::name);
        let finding = Diagnostic::error(
            Code::BadValue,
            location,
            format!("unknown serializer `{name}`"),
        );
        reader.push(finding.with_nearest(name, names));
    }
    found
}

fn read_auth(reader: &ObjectReader<'_>) -> Option<Auth> {
    let method = match reader.required("method") {
        Some(_) => reader.one_of("method", &METHODS),
        None => None,
    };
    match method {
        Some(Method::Ticket | Method::WampCra) => {
            let authid = reader.required_text("authid");
            let secret = reader.required_text("secret");
            let (authid, secret) = (authid?.to_owned(), Secret::text(secret?));
            Some(match method {
                Some(Method::Ticket) => Auth::Ticket { authid, secret },
                _ => Auth::WampCra { authid, secret },
            })
        }
        Some(Method::Anonymous) => Some(Auth::Anonymous),
        Some(Method::Later) => {
            reader.allow(&["authid", "secret", "private_key"]);
            let node = reader.get("method")?;
            let location = reader.document().location(node.id);
            reader.push(
                Diagnostic::error(Code::NotBuilt, location, "this method is not built yet")
                    .with_hint("use `anonymous`, `ticket` or `wampcra`"),
            );
            None
        }
        None => {
            reader.allow(&["authid", "secret", "private_key"]);
            None
        }
    }
}

fn read_reconnect(reader: &ObjectReader<'_>) -> Reconnect {
    let mut reconnect = Reconnect::default();
    set(&mut reconnect.min, reader.positive_duration("min"));
    set(&mut reconnect.max, reader.positive_duration("max"));
    if reconnect.min > reconnect.max {
        reader.refuse_value::<()>(reader.node(), "`min` is longer than `max`");
    }
    reconnect
}

fn size(reader: &ObjectReader<'_>, key: &'static str, low: u64, high: u64) -> Option<usize> {
    usize::try_from(reader.unsigned_within(key, low, high)?).ok()
}

fn refuse_empty(reader: &ObjectReader<'_>, key: &'static str, is_empty: bool) {
    if is_empty && let Some(node) = reader.get(key) {
        reader.refuse_value::<()>(node, "expected at least one");
    }
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}
