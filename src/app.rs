//! The composition root: builds everything, owns every task, and orders the shutdown.
//!
//! ```text
//! start   pools, then the table, then the listener: the first request finds all of it
//! SIGTERM not ready any more, while requests are still served for `min_drain`: until whoever
//!         sends them has noticed
//! stop    listener (no new requests, those in flight finish or are canceled), then pools (GOODBYE),
//!         then the admin API, then what is left of traces
//! ```
//!
//! Ctrl-C, which a person sends, stops without the time between. The service manager hears of each
//! stage: `app/notify.rs`.
//!
//! What runs beside a gateway in one process (the embedded router, the demo's service) is started
//! before it and stopped after it, by whoever starts it: `cli/serve.rs` and `cli/demo.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use self::notify::ServiceManager;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::devrouter::{self, RealmConfig};
use crate::gateway::peer::TrustedProxies;
use crate::gateway::table::RouteTable;
use crate::gateway::{self, Gateway};
use crate::listener::{self, BindError, Drained, Listener, Serving};
use crate::realm::{self, Realm};
use crate::spec::Route;
use crate::telemetry::health::Health;
use crate::telemetry::lifecycle::{Lifecycle, Stage};
use crate::telemetry::traces::{Exporter, Traces};
use crate::uri::Uri;
use crate::wamp::config::RouterConfig;
use crate::wamp::pool::Pools;

mod administration;
mod health;
mod metrics;
pub mod notify;

pub use administration::AdminPlan;

/// What a gateway is made of. By default nothing is served, by a listener of the default configuration.
#[derive(Debug, Default)]
pub struct Plan {
    /// Where and how it listens.
    pub listener: listener::Config,
    /// Whose word on the client's address is believed.
    pub trusted_proxies: TrustedProxies,
    /// The realms that its routes use, and how their routers are reached.
    pub realms: Vec<(Uri, RouterConfig)>,
    /// What it serves.
    pub routes: Vec<Route>,
    /// Who is told that it has started, and that it stops.
    pub manager: ServiceManager,
    /// How the admin API is served, if it is.
    pub admin: Option<AdminPlan>,
    /// What is recorded of requests, and where it goes.
    pub traces: Traces,
}

/// A gateway that runs. [`App::stop`] is the orderly end; dropping it cuts everything off.
#[derive(Debug)]
pub struct App {
    gateway: Arc<Gateway>,
    serving: Serving,
    admin: Option<Serving>,
    lifecycle: Lifecycle,
    health: Health,
    manager: ServiceManager,
    exporter: Option<Exporter>,
    /// How long `stop` may take, with all that belongs to it.
    longest_stop: Duration,
    /// What runs beside until the end.
    _tasks: JoinSet<()>,
}

impl Plan {
    /// Plans to serve a catalog's routes. Realms without a router of their own use `default`; a
    /// realm that no route uses gets no sessions.
    pub fn new(catalog: &Catalog, config: &Config, default: &RouterConfig) -> Self {
        let routes = catalog.routes();
        let is_used = |realm: &&Realm| {
            let mut versions = routes.iter().map(|route| &route.operation.version);
            versions.any(|version| version.realm == realm.uri)
        };
        let realms = catalog.realms().filter(is_used).map(|realm| {
            let router = realm.router.clone().unwrap_or_else(|| default.clone());
            (realm.uri.clone(), router)
        });
        Self {
            listener: config.http.clone(),
            trusted_proxies: TrustedProxies::new(config.trusted_proxies.iter().copied()),
            realms: realms.collect(),
            routes,
            manager: ServiceManager::default(),
            admin: None,
            traces: Traces::default(),
        }
    }
}

/// The role of a realm's users at the embedded router; who may do what comes with security.
const USER_ROLE: &str = "user";

/// Returns the realms of a catalog as the embedded router serves them: those that have no router of
/// their own.
pub fn embedded_realms(catalog: &Catalog) -> Vec<RealmConfig> {
    let user = |user: &realm::User| devrouter::User {
        authid: user.username.clone(),
        role: USER_ROLE.to_owned(),
        secret: user.password.clone(),
        is_enabled: user.enabled,
    };
    let realms = catalog.realms().filter(|realm| realm.router.is_none());
    let realms = realms.map(|realm| RealmConfig {
        uri: realm.uri.clone(),
        users: realm.users.iter().map(user).collect(),
    });
    realms.collect()
}

/// Longest wait for calls that are still out when the listener has drained: they belong to nobody
/// any more, and get their GOODBYE.
const POOL_DRAIN: Duration = Duration::from_secs(2);

/// Longest wait for the last spans: a collector that is slow may be gone.
const FLUSH: Duration = Duration::from_secs(2);

/// More than a router may take over its GOODBYE, and the rest of the end.
const LEAVE: Duration = Duration::from_secs(5);

impl App {
    /// Starts a gateway: it listens at once and does not wait for a router.
    ///
    /// # Errors
    ///
    /// [`BindError`] for an address that cannot be had; then nothing runs.
    pub async fn start(plan: Plan) -> Result<Self, BindError> {
        let longest_stop =
            plan.listener.drain_timeout + POOL_DRAIN + LEAVE + administration::DRAIN + FLUSH;
        let listener = Listener::bind(plan.listener).await?;
        let admin = match plan.admin {
            Some(plan) => Some(administration::Bound::new(plan).await?),
            None => None,
        };
        let pools = Pools::default();
        for (realm, config) in plan.realms {
            pools.start(&realm, config);
        }
        let gateway = Arc::new(Gateway {
            pools,
            trusted_proxies: plan.trusted_proxies,
            tracer: plan.traces.tracer,
            ..Gateway::default()
        });
        gateway.install(RouteTable::build(plan.routes));
        let serving = listener.serve(&gateway::service(gateway.clone()));
        for address in serving.local_addrs() {
            tracing::info!(http.address = %address, "serving HTTP at http://{address}");
        }
        let mut tasks = JoinSet::new();
        if let Some(watchdog) = plan.manager.watchdog() {
            tasks.spawn(watchdog);
        }
        let lifecycle = Lifecycle::default();
        let health = Health::default();
        health::check_lifecycle(&health, lifecycle.clone());
        health::check_pools(&health, gateway.pools.clone());
        let admin = admin.map(|admin| admin.serve(&gateway, &health));
        let mut listeners = vec![("http", serving.connections().clone())];
        listeners.extend(admin.as_ref().map(|it| ("admin", it.connections().clone())));
        metrics::tell_of_listeners(&gateway.metrics, listeners);
        metrics::tell_of_pools(&gateway.metrics, gateway.pools.clone());
        metrics::tell_of_traces(&gateway.metrics, gateway.tracer.clone());
        lifecycle.advance(Stage::Serving);
        Ok(Self {
            gateway,
            serving,
            admin,
            lifecycle,
            health,
            manager: plan.manager,
            exporter: plan.traces.exporter,
            longest_stop,
            _tasks: tasks,
        })
    }

    /// Returns who is told of starts, reloads and the end.
    pub fn manager(&self) -> &ServiceManager {
        &self.manager
    }

    /// Returns the stage that the gateway is in; readiness goes by it.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Returns whether it is ready, and what stands in the way.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Returns the addresses that are listened on, in the order of the configuration.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.serving.local_addrs()
    }

    /// Returns the address of the admin API, if it is served.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        administration::address(self.admin.as_ref())
    }

    /// Returns what all requests share: the live table and the pools.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Begins the end: not ready any more, while requests are served for `http.min_drain` more, each
    /// answer the last of its connection.
    ///
    /// # Cancel safety
    ///
    /// What was begun stays begun.
    pub async fn wind_down(&self) {
        let min_drain = self.serving.min_drain();
        self.lifecycle.advance(Stage::Draining);
        self.manager.stopping(min_drain + self.longest_stop);
        if !min_drain.is_zero() {
            tracing::info!("not ready any more; accepting requests for another {min_drain:?}");
        }
        self.serving.wind_down().await;
    }

    /// Stops: no new requests, those in flight finish within the drain time or are canceled, sessions
    /// say GOODBYE.
    ///
    /// # Cancel safety
    ///
    /// When dropped, what has not ended is cut off.
    pub async fn stop(self) -> Drained {
        self.lifecycle.advance(Stage::Draining);
        self.manager.stopping(self.longest_stop);
        let drain_timeout = self.serving.drain_timeout();
        tracing::info!("accepting no more; up to {drain_timeout:?} for requests in flight");
        let drained = self.serving.drain().await;
        if drained.cut > 0 {
            tracing::warn!(
                http.cut = drained.cut,
                "connections cut at the end of the drain time: {}",
                drained.cut
            );
        }
        // A request that was cut has given its call up, and that is written before the GOODBYE.
        tracing::info!("leaving the routers");
        self.gateway.pools.drain(POOL_DRAIN).await;
        // Nearly last, so that it could be asked until now why the gateway is not ready.
        if let Some(admin) = self.admin {
            admin.drain().await;
        }
        if let Some(exporter) = self.exporter {
            exporter.stop(FLUSH).await;
        }
        drained
    }
}

/// What asks the program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM, of a service manager or orchestrator: requests may still be on their way to us.
    Terminate,
    /// SIGINT, of a person at a terminal.
    Interrupt,
}

impl StopSignal {
    /// Returns the name that people know.
    pub fn name(self) -> &'static str {
        match self {
            StopSignal::Terminate => "SIGTERM",
            StopSignal::Interrupt => "Ctrl-C",
        }
    }
}

/// SIGTERM and Ctrl-C, from the moment this is made: none is missed while the program starts.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to listen for the signals, which do not end the process by themselves any more.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.interrupt.recv() => StopSignal::Interrupt,
        }
    }

    /// Waits for a signal, then for `stop`; a second signal cuts that short. Returns whether `stop`
    /// came to its end.
    pub async fn then(mut self, stop: impl AsyncFnOnce(StopSignal)) -> bool {
        let signal = self.next().await;
        tracing::info!("{}: stopping; a second signal ends at once", signal.name());
        tokio::select! {
            () = stop(signal) => {
                tracing::info!("stopped");
                true
            }
            signal = self.next() => {
                tracing::warn!("{}: ended before everything had stopped", signal.name());
                false
            }
        }
    }
}
