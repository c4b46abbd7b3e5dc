//! `wampgate demo`: everything in one process, with nothing to install or configure.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;

use super::run::on_runtime;
use super::{Outcome, Outside};
use crate::admin;
use crate::admin::token::Token;
use crate::app::clock::now_ms;
use crate::app::{self, AdminPlan, App, Files, Plan, Settings, StartError, StopSignals};
use crate::catalog::{Catalog, SourceText};
use crate::config::{Config, Log};
use crate::demo::{self, market::Market};
use crate::devrouter::{DevRouterConfig, Listening, Router};
use crate::listener::{self, BindError};
use crate::store::embedded::Embedded;
use crate::store::{Expect, Key, Kind, Store as _, Write};
use crate::telemetry::logs;
use crate::wamp::client::Client;
use crate::wamp::config::RouterConfig;

/// Runs the main job in one process: a WAMP router, a marketplace service on it, and the gateway with
/// its admin API.
///
/// Prints a few lines to try, the token of the admin API with them, then one line per request. Listens
/// on loopback only, reads no configuration and writes no file; what is uploaded is kept in memory.
/// Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate demo
  wampgate demo --port 9000             where 18080 is wanted by somebody else")]
pub(super) struct Args {
    /// Port of the gateway; where it is taken, the next free one is used
    #[arg(long, default_value_t = 18080)]
    port: u16,
    /// Port of the WAMP router, for WAMP clients of your own; likewise
    #[arg(long, default_value_t = 8080)]
    router_port: u16,
    /// Port of the admin API; likewise
    #[arg(long, default_value_t = 18081)]
    admin_port: u16,
}

/// How many ports are tried, one after the other, before the system chooses one.
const TRIES: u16 = 20;

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let log = Log {
        format: logs::Format::Text,
        ..Log::default()
    };
    on_runtime(
        log,
        logs::Stream::Stdout,
        outside,
        demonstrate(args, outside),
    )
}

async fn demonstrate(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let signals = StopSignals::listen().context("cannot listen for signals")?;
    let source = |(name, text): (&str, &str)| SourceText {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let catalog = Catalog::load(&[source(demo::REALM)], &|_| None);
    let realm = catalog.realms().next().context("the sample has a realm")?;
    let realm = realm.uri.clone();
    let router = Arc::new(Router::new(DevRouterConfig {
        realms: app::embedded_realms(catalog.realms()),
        ..Default::default()
    }));
    let listening = listen(&router, args.router_port).await?;
    let sessions = RouterConfig {
        urls: vec![router.endpoint()],
        ..RouterConfig::default()
    };
    let service = Client::connect(&realm, &sessions)
        .await
        .context("the service cannot join")?;
    let _registrations = demo::offer_market(&service, Arc::new(Market::with_samples())).await?;
    let store = Arc::new(Embedded::in_memory());
    upload(&store, Kind::Realm, demo::REALM).await?;
    upload(&store, Kind::Spec, demo::SPEC).await?;
    let (app, token) = start(&router, &store, args).await?;

    outside.print(&banner(&app, &token, listening, args, &outside.program))?;
    let has_stopped = signals
        .then(async |_| {
            app.stop().await;
            store.close().await;
        })
        .await;
    Ok(Outcome::of_stop(has_stopped))
}

/// The ports to try: the one asked for, those after it, and then any.
fn ports(first: u16) -> impl Iterator<Item = SocketAddr> {
    let ports = (0..TRIES)
        .filter_map(move |more| first.checked_add(more))
        .chain([0]);
    ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

async fn listen(router: &Router, port: u16) -> anyhow::Result<Listening> {
    for address in ports(port) {
        match router.listen(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => return other.context("the router cannot listen"),
        }
    }
    anyhow::bail!("the router finds no free port")
}

/// Puts a sample into the store rather than beside it: what comes from files cannot be changed by the
/// admin API.
async fn upload(store: &Embedded, kind: Kind, (_, text): (&str, &str)) -> anyhow::Result<()> {
    let write = Write {
        key: Key {
            kind,
            id: demo::ID.to_owned(),
        },
        text: Some(text.into()),
        expect: Expect::Nothing,
        author: "demo".to_owned(),
        time_ms: now_ms(),
    };
    let written = store.write(write).await;
    written.context("a sample cannot be kept in memory")?;
    Ok(())
}

/// Starts the gateway and its admin API at free ports; returns also the admin token.
async fn start(
    router: &Arc<Router>,
    store: &Arc<Embedded>,
    args: &Args,
) -> anyhow::Result<(App, String)> {
    let mut http = ports(args.port);
    let mut admin = ports(args.admin_port);
    let mut listen = http.next().context("there is a first port")?;
    let mut admin_listen = admin.next().context("there is a first port")?;
    loop {
        let config = Config {
            http: listener::Config {
                listen: vec![listen.to_string()],
                ..Default::default()
            },
            admin: admin::Config {
                listen: admin_listen.to_string(),
                ..Default::default()
            },
            ..Config::default()
        };
        let token = Token::generate()?;
        let shown = token.reveal().to_owned();
        let plan = Plan {
            settings: Settings {
                files: Files::Fixed {
                    specs: Vec::new(),
                    realms: Vec::new(),
                },
                router: config.router.clone(),
            },
            embedded: Some(router.clone()),
            admin: Some(AdminPlan::with_token(&config, token)),
            ..Plan::new(&config, store.clone())
        };
        match App::start(plan).await {
            Err(StartError::Bind(BindError::InUse { address }))
                if address == config.admin.listen =>
            {
                admin_listen = admin.next().context("the admin API finds no free port")?;
            }
            Err(StartError::Bind(BindError::InUse { .. })) => {
                listen = http.next().context("the gateway finds no free port")?;
            }
            other => return Ok((other?, shown)),
        }
    }
}

fn banner(app: &App, token: &str, listening: Listening, args: &Args, program: &str) -> String {
    let address = app.local_addrs()[0];
    let router = listening.local_addr.port();
    // It is in the plan.
    let admin = app.admin_addr().unwrap_or(address);
    // Port 0 asks for any.
    let taken = |asked: u16, got: u16| {
        if asked == got || asked == 0 {
            String::new()
        } else {
            format!("   (port {asked} is taken)")
        }
    };
    let indented = |lines: Vec<String>| -> String {
        let lines = lines.into_iter().map(|line| format!("  {line}\n"));
        lines.collect()
    };
    format!(
        "\n  gateway      http://{address}{}\n  WAMP router  {}   realm {}{}\n  \
         admin API    http://{admin}   token {token}{}\n\n\
         Try these, in this order:\n\n{}\n\
         Look at what is served, and change it while it runs:\n\n{}\n\
         Ctrl-C ends it. Every request is a line below.\n\n",
        taken(args.port, address.port()),
        listening.url(),
        demo::ID,
        taken(args.router_port, router),
        taken(args.admin_port, admin.port()),
        indented(demo::curl_lines(&format!("http://{address}"))),
        indented(demo::admin_lines(
            &quoted(program),
            &admin.to_string(),
            token
        )),
    )
}

/// Returns a word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(quoted("target/debug/wampgate"), "target/debug/wampgate");
        assert_eq!(quoted("/my bin/it's"), r"'/my bin/it'\''s'");
    }
}
