//! The composition root: builds everything, owns every task, and orders the shutdown.
//!
//! ```text
//! start   sockets, then specs and realms: pools, then the table; then requests are taken, and the
//!         first one finds all of it
//! change  one task follows files and the store: `app/reload.rs`
//! SIGTERM not ready any more, while requests are still served for `min_drain`: until whoever
//!         sends them has noticed
//! stop    listener (no new requests, those in flight finish or are canceled), then no more changes,
//!         then pools (GOODBYE), the embedded router, the admin API, and what is left of traces
//! ```
//!
//! Ctrl-C, which a person sends, stops without the time between. The service manager hears of each
//! stage: `app/notify.rs`.
//!
//! The store is opened before, and closed after, by whoever starts the gateway: `cli/serve.rs` and
//! `cli/demo.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use self::embedded::Embedded;
use self::notify::ServiceManager;
use self::reload::{Handles, Reloader};
use crate::catalog::installed::Installed;
use crate::config::Config;
use crate::devrouter;
use crate::gateway::peer::TrustedProxies;
use crate::gateway::{self, Gateway};
use crate::listener::{self, BindError, Drained, Listener, Serving};
use crate::store::Store;
use crate::telemetry::health::Health;
use crate::telemetry::lifecycle::{Lifecycle, Stage};
use crate::telemetry::traces::{Exporter, Traces};

mod administration;
pub mod clock;
mod embedded;
mod files;
mod findings;
mod health;
mod metrics;
pub mod notify;
mod older;
mod presence;
mod reload;
mod sessions;
mod settings;

pub use administration::AdminPlan;
pub use embedded::{EmbeddedError, embedded_realms};
pub use files::Files;
pub use findings::tell;
pub use reload::Reloads;
pub use settings::{Environment, Settings};

/// What a gateway is made of.
#[derive(Debug)]
pub struct Plan {
    /// Where and how it listens.
    pub listener: listener::Config,
    /// Whose word on the client's address is believed.
    pub trusted_proxies: TrustedProxies,
    /// Where specs and realms come from that are files, and how routers are reached.
    pub settings: Settings,
    /// The values of `${NAME}` in files.
    pub environment: Environment,
    /// Where specs and realms come from that were uploaded. It is not closed.
    pub store: Arc<dyn Store>,
    /// An embedded router that runs already. The gateway uses it in the place of one of its own, and
    /// ends it.
    pub embedded: Option<Arc<devrouter::Router>>,
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
    reloading: Reloading,
    lifecycle: Lifecycle,
    health: Health,
    manager: ServiceManager,
    exporter: Option<Exporter>,
    /// How long `stop` may take, with all that belongs to it.
    longest_stop: Duration,
    /// What runs beside until the end.
    _tasks: JoinSet<()>,
}

/// The task that follows changes.
#[derive(Debug)]
struct Reloading {
    handles: Handles,
    end: oneshot::Sender<()>,
    task: JoinSet<Embedded>,
}

impl Plan {
    /// Plans to serve what a configuration says, beside what is in `store`.
    pub fn new(config: &Config, store: Arc<dyn Store>) -> Self {
        Self {
            listener: config.http.clone(),
            trusted_proxies: TrustedProxies::new(config.trusted_proxies.iter().copied()),
            settings: Settings::new(config),
            environment: Environment::default(),
            store,
            embedded: None,
            manager: ServiceManager::default(),
            admin: None,
            traces: Traces::default(),
        }
    }
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The embedded router's.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
}

/// Longest wait for calls that are still out when the listener has drained: they belong to nobody
/// any more, and get their GOODBYE.
const POOL_DRAIN: Duration = Duration::from_secs(2);

/// Longest wait for the last spans: a collector that is slow may be gone.
const FLUSH: Duration = Duration::from_secs(2);

/// More than a router may take over its GOODBYE, and the rest of the end.
const LEAVE: Duration = Duration::from_secs(5);

/// A gateway that has its sockets and its first table, and takes no request yet.
#[derive(Debug)]
pub struct Loaded {
    listener: Listener,
    admin: Option<administration::Bound>,
    gateway: Arc<Gateway>,
    reloader: Reloader,
    handles: Handles,
    store: Arc<dyn Store>,
    lifecycle: Lifecycle,
    manager: ServiceManager,
    exporter: Option<Exporter>,
    longest_stop: Duration,
}

impl Loaded {
    /// Binds the sockets, and loads specs and realms.
    ///
    /// # Errors
    ///
    /// [`StartError`]; then nothing runs. What is wrong with specs and realms is none: see
    /// [`Loaded::installed`].
    pub async fn new(plan: Plan) -> Result<Self, StartError> {
        let longest_stop =
            plan.listener.drain_timeout + POOL_DRAIN + LEAVE + administration::DRAIN + FLUSH;
        let listener = Listener::bind(plan.listener).await?;
        let admin = match plan.admin {
            Some(plan) => Some(administration::Bound::new(plan).await?),
            None => None,
        };
        let gateway = Arc::new(Gateway {
            trusted_proxies: plan.trusted_proxies,
            tracer: plan.traces.tracer,
            ..Gateway::default()
        });
        let lifecycle = Lifecycle::default();
        let embedded = plan.embedded.map(Embedded::of).unwrap_or_default();
        let (mut reloader, handles) = Reloader::new(
            plan.settings,
            plan.environment,
            plan.store.clone(),
            gateway.clone(),
            embedded,
            &lifecycle,
        );
        reloader.start().await?;
        Ok(Self {
            listener,
            admin,
            gateway,
            reloader,
            handles,
            store: plan.store,
            lifecycle,
            manager: plan.manager,
            exporter: plan.traces.exporter,
            longest_stop,
        })
    }

    /// Returns what will be served, with what was found.
    pub fn installed(&self) -> Arc<Installed> {
        self.handles.installed.borrow().clone()
    }

    /// Takes requests, and follows changes.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn serve(self) -> App {
        let gateway = self.gateway;
        let serving = self.listener.serve(&gateway::service(gateway.clone()));
        for address in serving.local_addrs() {
            tracing::info!(http.address = %address, "serving HTTP at http://{address}");
        }
        let mut tasks = JoinSet::new();
        if let Some(watchdog) = self.manager.watchdog() {
            tasks.spawn(watchdog);
        }
        let installed = &self.handles.installed;
        let health = Health::default();
        health::check_lifecycle(&health, self.lifecycle.clone());
        health::check_catalog(&health, installed.clone());
        health::check_store(&health, &*self.store);
        health::check_pools(&health, gateway.pools.clone());
        metrics::tell_of_configuration(&gateway.metrics, installed.clone(), &*self.store);
        let admin = self
            .admin
            .map(|admin| admin.serve(&gateway, &health, self.store, installed.clone()));
        let mut listeners = vec![("http", serving.connections().clone())];
        listeners.extend(admin.as_ref().map(|it| ("admin", it.connections().clone())));
        metrics::tell_of_listeners(&gateway.metrics, listeners);
        metrics::tell_of_pools(&gateway.metrics, gateway.pools.clone());
        metrics::tell_of_traces(&gateway.metrics, gateway.tracer.clone());
        self.lifecycle.advance(Stage::Serving);
        let mut task = JoinSet::new();
        let (end, is_end) = oneshot::channel();
        task.spawn(self.reloader.run(is_end));
        App {
            gateway,
            serving,
            admin,
            reloading: Reloading {
                handles: self.handles,
                end,
                task,
            },
            lifecycle: self.lifecycle,
            health,
            manager: self.manager,
            exporter: self.exporter,
            longest_stop: self.longest_stop,
            _tasks: tasks,
        }
    }
}

impl App {
    /// Starts a gateway: it listens at once and does not wait for a router.
    ///
    /// # Errors
    ///
    /// As for [`Loaded::new`].
    pub async fn start(plan: Plan) -> Result<Self, StartError> {
        Ok(Loaded::new(plan).await?.serve())
    }

    /// Returns what is served, as a value that follows every change.
    pub fn installed(&self) -> watch::Receiver<Arc<Installed>> {
        self.reloading.handles.installed.clone()
    }

    /// Returns what asks for a reload.
    pub fn reloads(&self) -> &Reloads {
        &self.reloading.handles.reloads
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
    pub async fn stop(mut self) -> Drained {
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
        // Before the pools, or a change could add one.
        // It cannot have ended by itself.
        self.reloading.end.send(()).ok();
        let embedded = self.reloading.task.join_next().await;
        // A request that was cut has given its call up, and that is written before the GOODBYE.
        tracing::info!("leaving the routers");
        self.gateway.pools.drain(POOL_DRAIN).await;
        if let Some(Ok(mut embedded)) = embedded {
            embedded.end().await;
        }
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

/// SIGHUP, from the moment this is made: it does not end the process any more.
#[derive(Debug)]
pub struct HangupSignals(Signal);

impl HangupSignals {
    /// Begins to listen for the signal.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one; several that come at once are one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) {
        self.0.recv().await;
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
