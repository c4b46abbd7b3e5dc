//! The `router` object of a realm, which is also the `[router]` table of the configuration.

use std::time::Duration;

use crate::diagnostic::{Code, Diagnostic};
use crate::document::{Node, ObjectReader};
use crate::uri::UriCheck;
use crate::value::{Map, Value};
use crate::wamp::auth::cryptosign::{NotAKey, check_private_key};
use crate::wamp::auth::scram::Dialect;
use crate::wamp::auth::{Auth, Secret};
use crate::wamp::config::{Endpoint, PassOn, Reconnect, RouterConfig, TlsConfig, TlsIdentity};
use crate::wamp::serializer::Serializer;
use crate::wamp::transport::address::Address;
use crate::wamp::transport::tls::is_server_name;

const URI_CHECKS: [(&str, UriCheck); 2] =
    [("loose", UriCheck::Loose), ("strict", UriCheck::Strict)];

/// The words of `pass_on`.
const TRACE_CONTEXT: &str = "trace_context";
const REQUEST_ID: &str = "request_id";

const METHODS: [(&str, Method); 6] = [
    ("anonymous", Method::Anonymous),
    ("ticket", Method::Ticket),
    ("wampcra", Method::WampCra),
    ("wamp-scram", Method::Scram(Dialect::Specified)),
    ("scram", Method::Scram(Dialect::Autobahn)),
    ("cryptosign", Method::Cryptosign),
];

#[derive(Debug, Clone, Copy)]
enum Method {
    Anonymous,
    Ticket,
    WampCra,
    Scram(Dialect),
    Cryptosign,
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
    set(&mut config.batched, reader.bool("batched"));
    if let Some(tls) = reader.object("tls") {
        config.tls = read_tls(&tls);
        refuse_idle_tls(reader, &tls, &config.urls);
        tls.finish();
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
    set(&mut config.pass_on, read_pass_on(reader));
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
    map.insert("batched".to_owned(), config.batched.into());
    let tls = show_tls(&config.tls);
    if !tls.is_empty() {
        map.insert("tls".to_owned(), tls.into());
    }
    for (key, number) in [
        ("sessions", config.sessions),
        ("max_message_bytes", config.max_message_bytes),
        ("max_in_flight", config.max_in_flight),
    ] {
        map.insert(key.to_owned(), Value::from(number as u64));
    }
    map.insert("auth".to_owned(), show_auth(&config.auth).into());
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
    let PassOn {
        trace_context,
        request_id,
    } = config.pass_on;
    let words = [(TRACE_CONTEXT, trace_context), (REQUEST_ID, request_id)];
    let words = words.into_iter().filter(|(_, is_told)| *is_told);
    let words = words.map(|(word, _)| word.to_owned()).collect();
    map.insert("pass_on".to_owned(), texts(words));
    map
}

fn show_auth(auth: &Auth) -> Map {
    let mut map = Map::from_iter([("method".to_owned(), auth.method().into())]);
    if let Some(authid) = auth.authid() {
        map.insert("authid".to_owned(), authid.into());
    }
    let mut show = |key: &str, secret: &Secret| match secret.path() {
        Some(path) => {
            let path = path.to_string_lossy();
            map.insert(format!("{key}_file"), path.as_ref().into());
        }
        None => {
            map.insert(key.to_owned(), "***".into());
        }
    };
    match auth {
        Auth::Anonymous => {}
        Auth::Ticket { secret, .. } | Auth::WampCra { secret, .. } | Auth::Scram { secret, .. } => {
            show("secret", secret);
        }
        Auth::Cryptosign {
            private_key,
            router_keys,
            ..
        } => {
            show("private_key", private_key);
            if !router_keys.is_empty() {
                let keys = router_keys.iter().map(|key| Value::Text(key.to_string()));
                map.insert("router_keys".to_owned(), Value::List(keys.collect()));
            }
        }
    }
    map
}

fn show_tls(tls: &TlsConfig) -> Map {
    let identity = tls.identity.as_ref();
    let paths = [
        ("ca_file", tls.ca_file.as_deref()),
        (
            "certificate",
            identity.map(|identity| identity.certificate.as_path()),
        ),
        ("key", identity.map(|identity| identity.key.as_path())),
    ];
    let paths = paths.into_iter().filter_map(|(key, path)| {
        let path = path?.to_string_lossy().into_owned();
        Some((key.to_owned(), Value::from(path)))
    });
    let mut map: Map = paths.collect();
    if let Some(name) = &tls.server_name {
        map.insert("server_name".to_owned(), name.as_str().into());
    }
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
    match Address::parse(url) {
        Ok(_) => Some(Endpoint::from(url)),
        Err(error) => {
            let location = reader.document().location(node.id);
            let message = format!("not a router's URL: {error}");
            let finding = Diagnostic::error(Code::RouterUrl, location, message);
            reader.push(finding.with_hint(error.hint()));
            None
        }
    }
}

/// Reads what is to be passed on; nothing of it is a list too.
fn read_pass_on(reader: &ObjectReader<'_>) -> Option<PassOn> {
    let mut pass_on = PassOn {
        trace_context: false,
        request_id: false,
    };
    for (node, word) in reader.texts("pass_on")? {
        match word {
            TRACE_CONTEXT => pass_on.trace_context = true,
            REQUEST_ID => pass_on.request_id = true,
            other => {
                let location = reader.document().location(node.id);
                let message = format!("nothing called `{other}` can be passed on");
                let finding = Diagnostic::error(Code::BadValue, location, message);
                reader.push(finding.with_nearest(other, [TRACE_CONTEXT, REQUEST_ID]));
            }
        }
    }
    Some(pass_on)
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
    let Some(method) = method else {
        // Which of them belong here is not known.
        reader.allow(&[
            "authid",
            "secret",
            "secret_file",
            "private_key",
            "private_key_file",
            "router_keys",
        ]);
        return None;
    };
    match method {
        Method::Anonymous => Some(Auth::Anonymous),
        Method::Ticket => {
            let (authid, secret) = read_named(reader)?;
            Some(Auth::Ticket { authid, secret })
        }
        Method::WampCra => {
            let (authid, secret) = read_named(reader)?;
            Some(Auth::WampCra { authid, secret })
        }
        Method::Scram(dialect) => {
            let (authid, secret) = read_named(reader)?;
            Some(Auth::Scram {
                authid,
                secret,
                dialect,
            })
        }
        Method::Cryptosign => {
            let authid = reader.text("authid").map(str::to_owned);
            let private_key =
                read_secret(reader, "private_key", "private_key_file", |node, text| {
                    match check_private_key(text) {
                        Ok(()) => Some(Secret::text(text)),
                        Err(error) => reader.refuse_value(node, &error.to_string()),
                    }
                });
            let keys = reader.texts("router_keys").unwrap_or_default();
            let keys = keys.iter().filter_map(|(node, text)| match text.parse() {
                Ok(key) => Some(key),
                Err(NotAKey) => reader.refuse_value(node, &NotAKey.to_string()),
            });
            let router_keys = keys.collect();
            Some(Auth::Cryptosign {
                authid,
                private_key: private_key?,
                router_keys,
            })
        }
    }
}

/// Reads a name and the secret that proves it.
fn read_named(reader: &ObjectReader<'_>) -> Option<(String, Secret)> {
    let authid = reader.required_text("authid");
    let secret = read_secret(reader, "secret", "secret_file", |_, text| {
        Some(Secret::text(text))
    });
    Some((authid?.to_owned(), secret?))
}

/// Reads a secret that stands here or in a file, one of which must be.
fn read_secret(
    reader: &ObjectReader<'_>,
    here: &'static str,
    in_file: &'static str,
    read: impl FnOnce(&Node, &str) -> Option<Secret>,
) -> Option<Secret> {
    let Some(node) = reader.get(in_file) else {
        let text = reader.required_text(here)?;
        return read(reader.get(here)?, text);
    };
    if reader.get(here).is_some() {
        return reader.refuse_value(node, &format!("there is `{here}` as well: which is it?"));
    }
    reader.path(in_file).map(Secret::file)
}

fn read_tls(reader: &ObjectReader<'_>) -> TlsConfig {
    let server_name = reader.text("server_name").and_then(|name| {
        if is_server_name(name) {
            return Some(name.to_owned());
        }
        let node = reader.get("server_name")?;
        reader.refuse_value(node, "expected a DNS name or an IP address")
    });
    let [certificate, key] = ["certificate", "key"].map(|key| reader.path(key));
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsIdentity { certificate, key }),
        _ => {
            // Each is of no use without the other.
            for (one, other) in [("certificate", "key"), ("key", "certificate")] {
                if reader.get(one).is_some() {
                    reader.required(other);
                }
            }
            None
        }
    };
    TlsConfig {
        ca_file: reader.path("ca_file"),
        identity,
        server_name,
    }
}

/// Warns of a `tls` that no URL makes use of: often the scheme is what was forgotten.
fn refuse_idle_tls(router: &ObjectReader<'_>, tls: &ObjectReader<'_>, urls: &[Endpoint]) {
    if urls.iter().any(Endpoint::is_secure) {
        return;
    }
    let location = router.document().location_of_key(tls.node().id);
    let message = "`tls` means nothing here: no URL is `wss://` or `tcps://`";
    router.push(Diagnostic::warning(Code::IgnoredKey, location, message));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Findings;
    use crate::document::Document;

    /// What a `router` with this `auth` reads as, and all findings, written out.
    fn read(auth: &str) -> (Auth, String) {
        let text = format!(r#"{{"auth": {auth}}}"#);
        let document = Document::parse_json(Some("conf/r.json"), &text).unwrap();
        let findings = Findings::new();
        let reader = ObjectReader::new(&document, document.root(), &findings).unwrap();
        let config = read_router(&reader);
        reader.finish();
        let findings = findings.into_sorted();
        let findings: Vec<String> = findings.iter().map(|it| it.render(false)).collect();
        (config.auth, findings.join("\n"))
    }

    /// What is shown of it.
    fn show(auth: &Auth) -> String {
        Value::from(show_auth(auth)).to_string()
    }

    #[test]
    fn each_method_is_read_and_shown_without_its_secret() {
        let key = "ab".repeat(32);
        for (text, shown) in [
            (
                r#"{"method": "anonymous"}"#.to_owned(),
                r#"{"method":"anonymous"}"#,
            ),
            (
                r#"{"method": "ticket", "authid": "me", "secret": "hush"}"#.to_owned(),
                r#"{"method":"ticket","authid":"me","secret":"***"}"#,
            ),
            (
                r#"{"method": "wampcra", "authid": "me", "secret_file": "a/b"}"#.to_owned(),
                r#"{"method":"wampcra","authid":"me","secret_file":"conf/a/b"}"#,
            ),
            (
                r#"{"method": "scram", "authid": "me", "secret_file": "/a/b"}"#.to_owned(),
                r#"{"method":"scram","authid":"me","secret_file":"/a/b"}"#,
            ),
            (
                r#"{"method": "wamp-scram", "authid": "me", "secret": "hush"}"#.to_owned(),
                r#"{"method":"wamp-scram","authid":"me","secret":"***"}"#,
            ),
            (
                format!(r#"{{"method": "cryptosign", "private_key": "{key}"}}"#),
                r#"{"method":"cryptosign","private_key":"***"}"#,
            ),
            (
                format!(
                    r#"{{"method": "cryptosign", "authid": "me", "private_key_file": "key",
                        "router_keys": ["{}"]}}"#,
                    "CD".repeat(32)
                ),
                r#"{"method":"cryptosign","authid":"me","private_key_file":"conf/key","router_keys":["cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"]}"#,
            ),
        ] {
            let (auth, findings) = read(&text);
            assert_eq!(findings, "", "{text}");
            assert_eq!(show(&auth), shown, "{text}");
            let debug = format!("{auth:?}");
            assert!(!debug.contains("hush") && !debug.contains(&key), "{debug}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_auth_is_told_without_its_secret() {
        for (auth, expected) in [
            (r#"{}"#, "missing key `method`"),
            (
                r#"{"method": "scramm", "authid": "a", "secret": "hush"}"#,
                "did you mean `scram`?",
            ),
            (
                r#"{"method": "ticket", "secret": "hush"}"#,
                "missing key `authid`",
            ),
            (
                r#"{"method": "scram", "authid": "a"}"#,
                "missing key `secret`",
            ),
            (
                r#"{"method": "wampcra", "authid": "a", "secret": "hush", "secret_file": "f"}"#,
                "`secret_file`: there is `secret` as well: which is it?",
            ),
            (
                r#"{"method": "wampcra", "authid": "a", "secret_file": ""}"#,
                "`secret_file`: expected a path",
            ),
            (
                r#"{"method": "anonymous", "secret": "hush"}"#,
                "unknown key `secret`",
            ),
            (
                r#"{"method": "ticket", "authid": "a", "secret": "hush", "private_key": "k"}"#,
                "unknown key `private_key`",
            ),
            (r#"{"method": "cryptosign"}"#, "missing key `private_key`"),
            (
                r#"{"method": "cryptosign", "private_key": "hush"}"#,
                "`private_key`: expected 64 hexadecimal digits",
            ),
            (
                r#"{"method": "cryptosign", "private_key_file": "k", "router_keys": ["ab"]}"#,
                "expected 64 hexadecimal digits",
            ),
            (
                r#"{"method": "cryptosign", "private_key_file": "k", "secret": "hush"}"#,
                "unknown key `secret`",
            ),
        ] {
            let (_, findings) = read(auth);
            assert!(findings.contains(expected), "{auth}\n{findings}");
            assert_eq!(findings.matches("error[").count(), 1, "{auth}\n{findings}");
            assert!(!findings.contains("hush"), "{findings}");
        }
    }
}
