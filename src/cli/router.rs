//! `wampgate router`: the embedded router alone.

use std::path::PathBuf;

use anyhow::Context;

use super::run::on_runtime;
use super::session::uri;
use super::{Outcome, Outside};
use crate::app::StopSignals;
use crate::config::Log;
use crate::devrouter::{DevRouterConfig, Router};
use crate::telemetry::logs::{Format, Stream};
use crate::uri::Uri;

/// Runs the embedded WAMP router alone, for development and tests.
///
/// Anybody may join, and nothing is kept. Prints `listening on` and a URL, a line for each that
/// clients may use, once they may; logs go to standard error. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate router
  wampgate router --realm com.example.market
  wampgate router --listen 127.0.0.1:0  on a free port; the line on standard output says which")]
pub(super) struct Args {
    /// Address to listen on for WebSocket and RawSocket clients, may be repeated
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: Vec<String>,
    /// Path of a Unix domain socket to listen on for RawSocket clients, may be repeated
    #[arg(long, value_name = "PATH")]
    unix: Vec<PathBuf>,
    /// URI of a realm, may be repeated [default: whichever realm a client names]
    #[arg(long, value_name = "URI", value_parser = uri)]
    realm: Vec<Uri>,
}

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let log = Log {
        format: Format::Text,
        ..Log::default()
    };
    on_runtime(log, Stream::Stderr, outside, serve(args, outside))
}

async fn serve(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let signals = StopSignals::listen().context("cannot listen for signals")?;
    let router = Router::new(DevRouterConfig {
        creates_realms: args.realm.is_empty(),
        realms: args.realm.iter().cloned().map(Into::into).collect(),
        ..DevRouterConfig::default()
    });
    for address in &args.listen {
        let listening = router
            .listen(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        for url in [listening.url(), listening.rawsocket_url()] {
            outside.print(&format!("listening on {url}\n"))?;
        }
    }
    for path in &args.unix {
        let shown = path.display();
        let listening = router.listen_unix(path).await;
        listening.with_context(|| format!("cannot listen on {shown}"))?;
        outside.print(&format!("listening on unix:{shown}\n"))?;
    }
    let has_stopped = signals.then(async |_| router.shutdown().await).await;
    Ok(Outcome::of_stop(has_stopped))
}
