//! `wampgate serve`: the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use super::run::on_runtime;
use super::{Outcome, Outside, settings};
use crate::app::notify::ServiceManager;
use crate::app::{self, AdminPlan, App, Plan, StopSignal, StopSignals};
use crate::catalog::{self, Catalog};
use crate::config::{Config, Override, Router};
use crate::devrouter::{self, DevRouterConfig};
use crate::diagnostic::{Diagnostic, Severity};
use crate::store;
use crate::telemetry::logs::Stream;
use crate::telemetry::traces::Traces;
use crate::wamp::config::RouterConfig;

/// Serves the APIs of a folder of specs.
///
/// Settings come from flags, then from variables such as WAMPGATE_HTTP__LISTEN, then from the
/// configuration file, then from the defaults. Without `router.urls`, as only on a development
/// machine, wampgate runs a WAMP router for the realms that do not name one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wampgate serve                                  ./specs and ./realms, or as ./wampgate.toml says
  wampgate serve --config /etc/wampgate.toml
  wampgate serve --router ws://127.0.0.1:8080/ws --listen 0.0.0.0:8000
  WAMPGATE_LOG__LEVEL=debug wampgate serve
  wampgate serve --print-config                   what would be used")]
pub(super) struct Args {
    /// The configuration file [default: wampgate.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "WAMPGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Print the configuration that results, secrets redacted, and end
    #[arg(long)]
    print_config: bool,
    /// Address to listen on, may be repeated [default: 127.0.0.1:18080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Address of the admin API [default: 127.0.0.1:18081]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// URL of the WAMP router, may be repeated
    #[arg(long, value_name = "URL")]
    router: Vec<String>,
    /// Folder of API specs
    #[arg(long, value_name = "DIR")]
    specs: Option<String>,
    /// Folder of realms
    #[arg(long, value_name = "DIR")]
    realms: Option<String>,
    /// What to log: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How to log: auto (text on a terminal, else json), text, json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Args {
    /// What the flags say, in the words of the file.
    fn overrides(&self) -> Vec<Override> {
        let list = |values: &[String]| (!values.is_empty()).then(|| values.join(","));
        let all = [
            ("--listen", "http.listen", list(&self.listen)),
            ("--admin", "admin.listen", self.admin.clone()),
            ("--router", "router.urls", list(&self.router)),
            ("--specs", "specs.dir", self.specs.clone()),
            ("--realms", "realms.dir", self.realms.clone()),
            ("--log-level", "log.level", self.log_level.clone()),
            ("--log-format", "log.format", self.log_format.clone()),
        ];
        let set = all
            .into_iter()
            .filter_map(|(origin, key, value)| Some((origin, key, value?)));
        set.map(|(origin, key, value)| Override {
            origin: origin.to_owned(),
            key: key.to_owned(),
            value,
        })
        .collect()
    }
}

pub(super) fn run(args: &Args, outside: &Outside) -> anyhow::Result<Outcome> {
    let config = settings::load(args.config.as_deref(), args.overrides(), outside)?;
    let Some(config) = config else {
        return Ok(Outcome::Findings);
    };
    if args.print_config {
        outside.print(&config.to_toml())?;
        return Ok(Outcome::Done);
    }
    let (catalog, errors) = load(&config, outside)?;
    on_runtime(
        config.log,
        Stream::Stdout,
        outside,
        serve(&config, &catalog, errors, outside),
    )
}

/// Reads both folders; what is wrong with one file keeps only that file from being served. Returns
/// also how many errors were reported.
fn load(config: &Config, outside: &Outside) -> anyhow::Result<(Catalog, usize)> {
    let (specs, mut findings) = catalog::read_files(std::slice::from_ref(&config.specs_dir));
    let (realms, unread) = catalog::read_files(std::slice::from_ref(&config.realms_dir));
    findings.extend(unread);
    let catalog = Catalog::load_folders(&specs, &realms, &|name| outside.variable(name));
    findings.extend(catalog.findings().into_iter().cloned());
    outside.report(&findings)?;
    let is_error = |finding: &&Diagnostic| finding.severity == Severity::Error;
    let errors = findings.iter().filter(is_error).count();
    Ok((catalog, errors))
}

async fn serve(
    config: &Config,
    catalog: &Catalog,
    errors: usize,
    outside: &Outside,
) -> anyhow::Result<Outcome> {
    let signals = StopSignals::listen().context("cannot listen for signals")?;
    let store = store::open(&config.store).await?;
    let (router, sessions) = match &config.router {
        Router::Remote(sessions) => {
            warn_of_users(catalog);
            (None, sessions.clone())
        }
        Router::Embedded { listen, sessions } => {
            let router = embedded(catalog, *listen).await?;
            let urls = router.iter().map(|router| router.endpoint()).collect();
            let sessions = sessions.clone();
            (router, RouterConfig { urls, ..sessions })
        }
    };
    let traces = Traces::start(config.telemetry.clone())?;
    let app = App::start(Plan {
        admin: Some(AdminPlan::new(config)?),
        traces,
        manager: ServiceManager::find(&|name| outside.variable(name), std::process::id()),
        ..Plan::new(catalog, config, &sessions)
    })
    .await?;
    let routes = app.gateway().table.snapshot().len();
    let mut status = format!("{routes} routes");
    if errors > 0 || routes == 0 {
        status += &format!("; errors in specs and realms: {errors}");
        tracing::warn!(routes, specs.errors = errors, "{status}");
    } else {
        tracing::info!(routes, "{status}");
    }
    app.manager().ready(&status);
    let has_stopped = signals
        .then(async |signal| {
            if signal == StopSignal::Terminate {
                app.wind_down().await;
            }
            app.stop().await;
            if let Some(router) = router {
                router.shutdown().await;
            }
            store.close().await;
        })
        .await;
    Ok(Outcome::of_stop(has_stopped))
}

/// Says which realms have users who are nobody at a router elsewhere.
fn warn_of_users(catalog: &Catalog) {
    for realm in catalog.realms().filter(|realm| !realm.users.is_empty()) {
        tracing::warn!(
            realm.uri = %realm.uri,
            "users of realm {} are not used: they are for the embedded router only so far",
            realm.uri
        );
    }
}

/// Starts the embedded router with the realms that have none of their own, if there are any: where
/// each has, its port may well be that of a real one.
async fn embedded(
    catalog: &Catalog,
    listen: SocketAddr,
) -> anyhow::Result<Option<Arc<devrouter::Router>>> {
    let realms = app::embedded_realms(catalog);
    if realms.is_empty() {
        return Ok(None);
    }
    let router = devrouter::Router::new(DevRouterConfig {
        realms,
        ..Default::default()
    });
    router.listen(listen).await.with_context(|| {
        format!(
            "the embedded router cannot listen on {listen}: set `router.urls` to use another router"
        )
    })?;
    Ok(Some(Arc::new(router)))
}
