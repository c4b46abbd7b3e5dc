//! `wampgate demo`: everything in one process, with nothing to install or configure.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;

use super::run::on_runtime;
use super::{Outcome, Outside};
use crate::app::{self, App, Files, Plan, Settings, StartError, StopSignals};
use crate::catalog::{Catalog, SourceText};
use crate::config::{Config, Log};
use crate::demo::{self, market::Market};
use crate::devrouter::{DevRouterConfig, Listening, Router};
use crate::listener::{self, BindError};
use crate::store::Store as _;
use crate::store::embedded::Embedded;
use crate::telemetry::logs;
use crate::wamp::client::Client;
use crate::wamp::config::RouterConfig;

/// Runs the main job in one process: a WAMP router, a marketplace service on it, and the gateway.
///
/// Prints a few curl lines to try, then one line per request. Listens on loopback only, reads no
/// configuration and writes no file. Ctrl-C ends it.
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
    let files = Files::Fixed {
        specs: vec![source(demo::SPEC)],
        realms: vec![source(demo::REALM)],
    };
    let app = start(&files, &router, &store, args.port).await?;

    outside.print(&banner(&app, listening, args))?;
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

async fn start(
    files: &Files,
    router: &Arc<Router>,
    store: &Arc<Embedded>,
    port: u16,
) -> anyhow::Result<App> {
    for address in ports(port) {
        let http = listener::Config {
            listen: vec![address.to_string()],
            ..Default::default()
        };
        let config = Config {
            http,
            ..Config::default()
        };
        let plan = Plan {
            settings: Settings {
                files: files.clone(),
                router: config.router.clone(),
            },
            embedded: Some(router.clone()),
            ..Plan::new(&config, store.clone())
        };
        match App::start(plan).await {
            Err(StartError::Bind(BindError::InUse { .. })) => {}
            other => return Ok(other?),
        }
    }
    anyhow::bail!("the gateway finds no free port")
}

fn banner(app: &App, listening: Listening, args: &Args) -> String {
    let address = app.local_addrs()[0];
    // Port 0 asks for any.
    let taken = |asked: u16, got: u16| {
        if asked == got || asked == 0 {
            String::new()
        } else {
            format!("   (port {asked} is taken)")
        }
    };
    let lines: Vec<String> = demo::curl_lines(&format!("http://{address}"))
        .into_iter()
        .map(|it| format!("  {it}"))
        .collect();
    format!(
        "\n  gateway      http://{address}{}\n  WAMP router  {}   realm com.example.market{}\n\n\
         Try these, in this order:\n\n{}\n\nCtrl-C ends it. Every request is a line below.\n\n",
        taken(args.port, address.port()),
        listening.url(),
        taken(args.router_port, listening.local_addr.port()),
        lines.join("\n"),
    )
}
