//! `wampgate serve`: the gateway.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::run::on_runtime;
use super::{Outcome, Outside, settings};
use crate::app::notify::ServiceManager;
use crate::app::{
    self, AdminPlan, Environment, HangupSignals, Loaded, Plan, Reloads, Settings, StopSignal,
    StopSignals,
};
use crate::catalog::installed::Installed;
use crate::config::{Config, Override};
use crate::diagnostic::Diagnostic;
use crate::store;
use crate::telemetry::logs::{self, Stream};
use crate::telemetry::traces::Traces;

/// Serves the APIs of a folder of specs.
///
/// Settings come from flags, then from variables such as WAMPGATE_HTTP__LISTEN, then from the
/// configuration file, then from the defaults. Without `router.urls`, as only on a development
/// machine, wampgate runs a WAMP router for the realms that do not name one.
///
/// Specs and realms are followed while it runs. SIGHUP reads them and the configuration again.
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
    on_runtime(
        config.log,
        Stream::Stdout,
        outside,
        serve(args, config, outside),
    )
}

async fn serve(args: &Args, config: Config, outside: &Outside) -> anyhow::Result<Outcome> {
    let signals = StopSignals::listen().context("cannot listen for signals")?;
    let hangups = HangupSignals::listen().context("cannot listen for SIGHUP")?;
    let store = store::open(&config.store).await?;
    let traces = Traces::start(config.telemetry.clone())?;
    let variables = outside.clone();
    let loaded = Loaded::new(Plan {
        admin: Some(AdminPlan::new(&config)?),
        traces,
        manager: ServiceManager::find(&|name| outside.variable(name), std::process::id()),
        environment: Environment::new(move |name| variables.variable(name)),
        ..Plan::new(&config, store.clone())
    })
    .await?;
    let installed = loaded.installed();
    let findings: Vec<Diagnostic> = installed.findings().into_iter().cloned().collect();
    outside.report(&findings)?;
    let app = loaded.serve();
    let status = status(&installed);
    if findings.iter().any(Diagnostic::is_error) || installed.routes() == 0 {
        tracing::warn!("{status}");
    } else {
        tracing::info!("{status}");
    }
    app.manager().ready(&status);
    let (manager, reloads) = (app.manager().clone(), app.reloads().clone());
    let has_stopped = tokio::select! {
        never = on_hangup(hangups, args, config, outside, &manager, &reloads) => match never {},
        has_stopped = signals.then(async |signal| {
            if signal == StopSignal::Terminate {
                app.wind_down().await;
            }
            app.stop().await;
            store.close().await;
        }) => has_stopped,
    };
    Ok(Outcome::of_stop(has_stopped))
}

/// `12 routes; errors in specs and realms: 2`
fn status(installed: &Installed) -> String {
    let routes = installed.routes();
    let findings = installed.findings();
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    match errors {
        0 => format!("{routes} routes"),
        _ => format!("{routes} routes; errors in specs and realms: {errors}"),
    }
}

/// Reads everything again whenever SIGHUP asks for it. A configuration that is not right changes
/// nothing.
async fn on_hangup(
    mut hangups: HangupSignals,
    args: &Args,
    mut config: Config,
    outside: &Outside,
    manager: &ServiceManager,
    reloads: &Reloads,
) -> Infallible {
    loop {
        hangups.next().await;
        tracing::info!("SIGHUP: reading the configuration, specs and realms again");
        manager.reloading();
        let settings = match settings::read_again(args.config.as_deref(), args.overrides(), outside)
        {
            Ok((mut next, warnings)) => {
                warnings.iter().for_each(app::tell);
                keep_folder("specs.dir", &config.specs_dir, &mut next.specs_dir);
                keep_folder("realms.dir", &config.realms_dir, &mut next.realms_dir);
                for key in config.restart_keys(&next) {
                    tracing::warn!("`{key}` has changed: that needs a restart");
                }
                config.take_live(&next);
                if let Err(error) = logs::set_level(config.log.level.as_str()) {
                    tracing::error!("{error}");
                }
                Some(Settings::new(&config))
            }
            Err(error) => {
                error.tell();
                None
            }
        };
        let status = match reloads.reload(settings).await {
            Some(installed) => status(&installed),
            None => "the reload failed: what was served goes on".to_owned(),
        };
        manager.ready(&status);
    }
}

/// Has a folder that is not there not take the place of one that is: all APIs would be gone for a slip
/// of the pen.
fn keep_folder(key: &str, present: &Path, next: &mut PathBuf) {
    if next != present && !next.is_dir() {
        let (named, present_name) = (next.display(), present.display());
        tracing::error!("`{key}`: {named} is no folder, so it stays {present_name}");
        *next = present.to_owned();
    }
}
