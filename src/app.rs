//! The composition root: builds everything, owns every task, and orders the shutdown.
//!
//! ```text
//! start   pools, then the table, then the listener: the first request finds all of it
//! stop    listener (no new requests, those in flight finish), then pools (GOODBYE)
//! ```
//!
//! What runs beside a gateway in one process (the embedded router, the demo's service) is started
//! before it and stopped after it, by whoever starts it: `cli/serve.rs` and `cli/demo.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::catalog::Catalog;
use crate::config::Config;
use crate::devrouter::{self, RealmConfig};
use crate::gateway::peer::TrustedProxies;
use crate::gateway::table::{LiveTable, RouteTable};
use crate::gateway::{self, Gateway};
use crate::listener::{self, BindError, Drained, Listener, Serving};
use crate::realm::{self, Realm};
use crate::spec::Route;
use crate::uri::Uri;
use crate::wamp::config::RouterConfig;
use crate::wamp::pool::Pools;

/// What a gateway is made of.
#[derive(Debug)]
pub struct Plan {
    /// Where and how it listens.
    pub listener: listener::Config,
    /// Whose word on the client's address is believed.
    pub trusted_proxies: TrustedProxies,
    /// The realms that its routes use, and how their routers are reached.
    pub realms: Vec<(Uri, RouterConfig)>,
    /// What it serves.
    pub routes: Vec<Route>,
}

/// A gateway that runs. [`App::stop`] is the orderly end; dropping it cuts everything off.
#[derive(Debug)]
pub struct App {
    gateway: Arc<Gateway>,
    serving: Serving,
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

impl App {
    /// Starts a gateway: it listens at once and does not wait for a router.
    ///
    /// # Errors
    ///
    /// [`BindError`] for an address that cannot be had; then nothing runs.
    pub async fn start(plan: Plan) -> Result<Self, BindError> {
        let listener = Listener::bind(plan.listener).await?;
        let pools = Pools::default();
        for (realm, config) in plan.realms {
            pools.start(&realm, config);
        }
        let table = LiveTable::default();
        table.install(RouteTable::build(plan.routes));
        let gateway = Arc::new(Gateway {
            table,
            pools,
            trusted_proxies: plan.trusted_proxies,
        });
        let serving = listener.serve(&gateway::service(gateway.clone()));
        for address in serving.local_addrs() {
            tracing::info!(http.address = %address, "serving HTTP at http://{address}");
        }
        Ok(Self { gateway, serving })
    }

    /// Returns the addresses that are listened on, in the order of the configuration.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.serving.local_addrs()
    }

    /// Returns what all requests share: the live table and the pools.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Stops: no new requests, those in flight finish within the drain time, sessions say GOODBYE.
    ///
    /// # Cancel safety
    ///
    /// When dropped, what has not ended is cut off.
    pub async fn stop(self) -> Drained {
        let drained = self.serving.drain().await;
        if drained.cut > 0 {
            tracing::warn!(
                http.cut = drained.cut,
                "{} connections were cut at the end of the drain time",
                drained.cut
            );
        }
        self.gateway.pools.drain(POOL_DRAIN).await;
        drained
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

    /// Waits for the next signal and returns its name.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
        }
    }

    /// Waits for a signal, then for `stop`; a second signal cuts that short. Returns whether `stop`
    /// came to its end.
    pub async fn then(mut self, stop: impl Future<Output = ()>) -> bool {
        let name = self.next().await;
        tracing::info!("{name}: stopping; a second signal ends at once");
        tokio::select! {
            () = stop => {
                tracing::info!("stopped");
                true
            }
            name = self.next() => {
                tracing::warn!("{name}: ended before everything had stopped");
                false
            }
        }
    }
}
