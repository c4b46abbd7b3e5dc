//! What the commands share that are WAMP clients: which realm, by which router, as whom; arguments and
//! results as JSON; and how a failure is told.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::error::ErrorKind;

use super::{Outcome, Outside, settings};
use crate::catalog::{self, Catalog};
use crate::config::{Config, Override, Router};
use crate::diagnostic::nearest;
use crate::document::parse_duration;
use crate::uri::{Match, Uri, UriCheck, UriPattern};
use crate::value::{Map, Value, json};
use crate::wamp::client::Client;
use crate::wamp::config::{Endpoint, RouterConfig};
use crate::wamp::error::{ApplicationError, CallError, chain};
use crate::wamp::message::Payload;
use crate::wamp::pool::{OfferStatus, Pool};

/// The variable that holds the secret of `--authid`: what stands on a command line is seen by all.
const SECRET: &str = "WAMPGATE_SECRET";

/// Longest wait for a session to leave in good order, with what is still running.
pub(super) const LEAVE: Duration = Duration::from_secs(5);

/// Which realm, and how its router is reached.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Realm and router")]
pub(super) struct Connection {
    /// The realm [default: the one that is configured, if it is the only one]
    #[arg(long, value_name = "URI", value_parser = uri)]
    realm: Option<Uri>,
    /// The configuration file, by which the realm's router and credentials are found as `serve`
    /// finds them [default: wampgate.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "WAMPGATE_CONFIG")]
    config: Option<PathBuf>,
    /// URL of the router, may be repeated; then no configuration is read
    #[arg(long, value_name = "URL", requires = "realm")]
    url: Vec<String>,
    /// Who to be there, with --url [default: anonymous]
    #[arg(long, value_name = "NAME", requires = "url")]
    authid: Option<String>,
    /// How to prove it
    #[arg(
        long,
        value_name = "METHOD",
        requires = "authid",
        default_value = "ticket",
        value_parser = ["ticket", "wampcra", "wamp-scram", "scram", "cryptosign"]
    )]
    authmethod: String,
    /// File with the secret or private key [default: the variable WAMPGATE_SECRET]
    #[arg(long, value_name = "FILE", requires = "authid")]
    secret_file: Option<String>,
}

impl Connection {
    /// Returns the realm and the way to its router. Findings that end it are reported, and give
    /// none.
    pub(super) fn resolve(&self, outside: &Outside) -> anyhow::Result<Option<(Uri, RouterConfig)>> {
        let found = match (&self.realm, self.url.as_slice()) {
            (Some(realm), [_, ..]) => {
                let config = settings::of_flags(self.overrides(outside)?, outside)?;
                config.map(|config| (realm.clone(), sessions(&config)))
            }
            _ => match settings::load(self.config.as_deref(), Vec::new(), outside)? {
                Some(config) => Some(self.configured(&config, outside)?),
                None => None,
            },
        };
        Ok(found.map(|(realm, mut router)| {
            router.sessions = 1;
            (realm, router)
        }))
    }

    /// What the flags about the router say, in the words of the file.
    fn overrides(&self, outside: &Outside) -> anyhow::Result<Vec<Override>> {
        let mut all = vec![("--url", "router.urls", self.url.join(","))];
        if let Some(authid) = &self.authid {
            all.push(("--authid", "router.auth.authid", authid.clone()));
            all.push((
                "--authmethod",
                "router.auth.method",
                self.authmethod.clone(),
            ));
            let is_key = self.authmethod == "cryptosign";
            all.push(match (&self.secret_file, outside.variable(SECRET)) {
                (Some(file), _) if is_key => (
                    "--secret-file",
                    "router.auth.private_key_file",
                    file.clone(),
                ),
                (Some(file), _) => ("--secret-file", "router.auth.secret_file", file.clone()),
                (None, Some(key)) if is_key => (SECRET, "router.auth.private_key", key),
                (None, Some(secret)) => (SECRET, "router.auth.secret", secret),
                (None, None) => {
                    anyhow::bail!(
                        "--authid needs a secret: --secret-file, or the variable {SECRET}"
                    )
                }
            });
        }
        let overrides = all.into_iter().map(|(origin, key, value)| Override {
            origin: origin.to_owned(),
            key: key.to_owned(),
            value,
        });
        Ok(overrides.collect())
    }

    fn configured(
        &self,
        config: &Config,
        outside: &Outside,
    ) -> anyhow::Result<(Uri, RouterConfig)> {
        let (realms, mut findings) = catalog::read_files(std::slice::from_ref(&config.realms_dir));
        let catalog = Catalog::load(&realms, &|name| outside.variable(name));
        findings.extend(catalog.findings().into_iter().cloned());
        outside.report(&findings)?;
        let known: Vec<&str> = catalog.realms().map(|realm| realm.uri.as_str()).collect();
        let realm = match (&self.realm, known.as_slice()) {
            (Some(wanted), _) => {
                let found = catalog.realms().find(|realm| realm.uri == *wanted);
                found.with_context(|| match nearest(wanted.as_str(), known.iter().copied()) {
                    Some(near) => {
                        format!("realm `{wanted}` is not configured: did you mean `{near}`?")
                    }
                    None => format!("realm `{wanted}` is not configured"),
                })?
            }
            (None, [_]) => catalog.realms().next().context("there is one realm")?,
            (None, []) => anyhow::bail!(
                "no realm is configured in {}: name one with --realm, and its router with --url",
                config.realms_dir.display()
            ),
            (None, _) => anyhow::bail!("which realm? --realm may be {}", known.join(", ")),
        };
        let router = realm.router.clone().unwrap_or_else(|| sessions(config));
        Ok((realm.uri.clone(), router))
    }
}

/// How a realm without a router of its own is reached; the embedded router is another process's
/// then.
fn sessions(config: &Config) -> RouterConfig {
    match &config.router {
        Router::Remote(sessions) => sessions.clone(),
        Router::Embedded { listen, sessions } => RouterConfig {
            urls: vec![Endpoint::from(format!("ws://{listen}/ws").as_str())],
            ..sessions.clone()
        },
    }
}

/// Joins a realm.
pub(super) async fn join(realm: &Uri, config: &RouterConfig) -> anyhow::Result<Client> {
    let joined = Client::connect(realm, config).await;
    joined.map_err(|error| anyhow::anyhow!("cannot join {realm}: {}", chain(&error)))
}

/// Starts a pool, whose session comes back when it is lost, and waits for the first one.
pub(super) async fn start(realm: &Uri, config: &RouterConfig) -> anyhow::Result<Pool> {
    let pool = Pool::start(realm.clone(), config.clone());
    let ready = pool.ready(config.connect_timeout).await;
    ready.map_err(|error| anyhow::anyhow!("cannot join {realm}: {}", chain(&error)))?;
    Ok(pool)
}

/// What a call or publication carries.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Positional arguments: each is JSON, or else text as it stands
    #[arg(value_name = "ARG", allow_negative_numbers = true, value_parser = value)]
    args: Vec<Value>,
    /// Named arguments, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    kwargs: Option<Map>,
    /// One named argument, over those of --kwargs; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = named)]
    kwarg: Vec<(String, Value)>,
    /// WAMP options, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    options: Option<Map>,
}

impl Arguments {
    /// Returns the payload and the options.
    pub(super) fn into_parts(self) -> (Payload, Map) {
        let mut kwargs = self.kwargs.unwrap_or_default();
        kwargs.extend(self.kwarg);
        let payload = Payload::new(self.args, kwargs);
        (payload, self.options.unwrap_or_default())
    }
}

/// How a pattern may match.
pub(super) const MATCHES: [&str; 3] = ["exact", "prefix", "wildcard"];

/// Reads a URI.
pub(super) fn uri(text: &str) -> Result<Uri, String> {
    Uri::parse(text, UriCheck::Loose).map_err(|error| error.to_string())
}

/// Reads a URI pattern. What is none is a mistake of usage, although it is found late: what it is to
/// match stands elsewhere on the command line.
pub(super) fn pattern(text: &str, policy: &str) -> Result<UriPattern, clap::Error> {
    let policy = Match::from_name(policy).unwrap_or_default();
    UriPattern::parse(text, policy, UriCheck::Loose).map_err(|error| {
        let message = format!("invalid {} URI '{text}': {error}\n", policy.name());
        clap::Error::raw(ErrorKind::ValueValidation, message)
    })
}

/// Reads a duration.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "expected a number above 0 and one of ms, s, m, h, as in 5s".to_owned())
}

/// Reads an argument: JSON, or else text as it stands. A number that is JSON, but not to be kept
/// exactly, is refused: as text it would be a surprise.
pub(super) fn value(text: &str) -> Result<Value, String> {
    match json::from_json(text.as_bytes()) {
        Ok(value) => Ok(value),
        Err(error) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
            Err(format!("{error}; as text it is '\"{text}\"'"))
        }
        Err(_) => Ok(Value::from(text)),
    }
}

fn object(text: &str) -> Result<Map, String> {
    match json::from_json(text.as_bytes()) {
        Ok(Value::Map(map)) => Ok(map),
        Ok(other) => Err(format!(
            "expected a JSON object, found a {}",
            other.type_name()
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn named(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, text)) if !name.is_empty() => Ok((name.to_owned(), value(text)?)),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Returns what a payload shows as: the first positional argument if that is all there is, else
/// `{"args": [...], "kwargs": {...}}`; as the gateway answers where no template decides.
pub(super) fn shown(payload: Payload) -> Value {
    if let Some(content) = payload.sealed() {
        return content.clone();
    }
    match payload.args() {
        [only] if payload.kwargs().is_empty() => only.clone(),
        _ => Value::from(members(payload)),
    }
}

/// Returns `args` and `kwargs` as members of an object.
pub(super) fn members(payload: Payload) -> Map {
    let (args, kwargs) = payload.into_parts();
    Map::from_iter([
        ("args".to_owned(), Value::from(args)),
        ("kwargs".to_owned(), Value::from(kwargs)),
    ])
}

/// The other way round: an object that has `args` or `kwargs`, and nothing else, is both; any other
/// value is the one positional argument.
pub(super) fn payload(value: Value) -> Payload {
    let has_only = |map: &Map| {
        !map.is_empty()
            && map.iter().all(|(key, value)| match key.as_str() {
                "args" => value.as_list().is_some(),
                "kwargs" => value.as_map().is_some(),
                _ => false,
            })
    };
    match value {
        Value::Map(mut map) if has_only(&map) => {
            let args = match map.swap_remove("args") {
                Some(Value::List(args)) => args,
                _ => Vec::new(),
            };
            let kwargs = match map.swap_remove("kwargs") {
                Some(Value::Map(kwargs)) => kwargs,
                _ => Map::new(),
            };
            Payload::new(args, kwargs)
        }
        other => Payload::new(vec![other], Map::new()),
    }
}

/// Says how things are, to a person: standard output is for what was asked for.
pub(super) fn say(text: &str) {
    // Without a reader there is nobody to tell.
    writeln!(io::stderr(), "{text}").ok();
}

/// Makes an error of a subscription or registration that was not made in time.
pub(super) fn established(is_ready: bool, status: &OfferStatus) -> anyhow::Result<()> {
    if is_ready {
        return Ok(());
    }
    let name = status.kind.name();
    match &status.last_error {
        Some(error) => anyhow::bail!("the {name} was refused: {error}"),
        None => anyhow::bail!("the router did not answer for the {name} within {LEAVE:?}"),
    }
}

/// Tells a failure: the error's URI in one line, what it carries as JSON in another.
pub(super) fn refused(error: &CallError) -> anyhow::Result<Outcome> {
    let mut stderr = io::stderr().lock();
    match error {
        CallError::Application(error) => {
            let ApplicationError { uri, payload, .. } = &**error;
            writeln!(stderr, "error: {uri}")?;
            if *payload != Payload::default() {
                writeln!(stderr, "{}", Value::from(members(payload.clone())))?;
            }
        }
        other => writeln!(stderr, "error: {}", chain(other))?,
    }
    Ok(Outcome::Findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_json_or_else_text() {
        for (text, expected) in [
            ("5", Value::from(5_i64)),
            ("-5", Value::from(-5_i64)),
            ("true", Value::from(true)),
            ("\"5\"", Value::from("5")),
            ("lamp", Value::from("lamp")),
            ("", Value::from("")),
            ("{not json", Value::from("{not json")),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
        let error = value("18446744073709551616").unwrap_err();
        assert!(error.contains("beyond 64 bits"), "{error}");
        assert_eq!(named("a=b=5"), Ok(("a".to_owned(), Value::from("b=5"))));
        assert!(named("=5").is_err());
    }

    #[test]
    fn a_payload_shows_as_it_is_read() {
        for text in [
            "5",
            "[5]",
            r#"{"a":1}"#,
            r#"{"args":[1,2],"kwargs":{"a":1}}"#,
            r#"{"args":[],"kwargs":{}}"#,
        ] {
            let value = json::from_json(text.as_bytes()).unwrap();
            assert_eq!(shown(payload(value)).to_string(), text);
        }
        let only = json::from_json(br#"{"args": 5}"#).unwrap();
        assert_eq!(payload(only).args().len(), 1);
    }
}
