//! The one path of change: files, the store and SIGHUP all end here, and one task does it all.
//!
//! ```text
//! files change ─┐                                                              ┌─ pools of new realms
//! store changes ┼─ wait for quiet ─ read all texts ─ compile, off the runtime ─┼─ one swap of the table
//! SIGHUP ───────┘                                                              ├─ pools of old realms go
//!                                                                              └─ `Installed` is published
//! ```
//!
//! Changes that come in bursts are one change. What happens while one is dealt with is the next.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use super::clock::now_ms;
use super::embedded::{Embedded, EmbeddedError};
use super::files::Watch;
use super::findings::Told;
use super::older::Older;
use super::presence::Presence;
use super::sessions::{FIRST_SESSION, Sessions};
use super::settings::{Environment, Settings};
use crate::catalog::installed::{Installed, Sources};
use crate::config::Router;
use crate::gateway::Gateway;
use crate::gateway::table::RouteTable;
use crate::realm::Realm;
use crate::store::{Contents, Store};
use crate::telemetry;
use crate::telemetry::lifecycle::Lifecycle;
use crate::uri::Uri;
use crate::wamp::config::RouterConfig;

/// Asks for reloads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloads(mpsc::Sender<Command>);

#[derive(Debug)]
struct Command {
    settings: Option<Box<Settings>>,
    done: oneshot::Sender<Arc<Installed>>,
}

impl Reloads {
    /// Reads everything again now, by other settings if there are, and returns what is served then;
    /// nothing if the gateway has stopped, or failed at it by a mistake of ours.
    ///
    /// # Cancel safety
    ///
    /// What was asked for is done, or not even begun.
    pub async fn reload(&self, settings: Option<Settings>) -> Option<Arc<Installed>> {
        let (done, is_done) = oneshot::channel();
        let settings = settings.map(Box::new);
        self.0.send(Command { settings, done }).await.ok()?;
        is_done.await.ok()
    }
}

/// Files are quiet for as long before they are read: whoever writes several is done by then.
const FILES_QUIET: Duration = Duration::from_millis(80);

/// Writes to the store are whole documents, so only those are gathered that come at once.
const STORE_QUIET: Duration = Duration::from_millis(10);

/// Longest wait for quiet.
const GATHER: Duration = Duration::from_millis(500);

/// Time to the next attempt after a mistake of ours, which may well be made again.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// The task that reloads, and all that it needs.
#[derive(Debug)]
pub(super) struct Reloader {
    settings: Settings,
    environment: Environment,
    store: Arc<dyn Store>,
    contents: watch::Receiver<Contents>,
    watch: Watch,
    /// Folders that have been there.
    seen: Vec<PathBuf>,
    gateway: Arc<Gateway>,
    sessions: Sessions,
    embedded: Embedded,
    older: Older,
    told: Told,
    presence: Presence,
    installed: watch::Sender<Arc<Installed>>,
    commands: mpsc::Receiver<Command>,
}

/// What others have of it.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) installed: watch::Receiver<Arc<Installed>>,
    pub(super) reloads: Reloads,
}

/// What woke the task.
enum Cause {
    Files,
    Store,
    Asked(Command),
}

impl Reloader {
    /// Builds it; nothing is read yet.
    pub(super) fn new(
        settings: Settings,
        environment: Environment,
        store: Arc<dyn Store>,
        gateway: Arc<Gateway>,
        embedded: Embedded,
        lifecycle: &Lifecycle,
    ) -> (Self, Handles) {
        let (installed, of_installed) = watch::channel(Arc::default());
        let (asking, commands) = mpsc::channel(1);
        let reloader = Self {
            watch: Watch::new(&settings.files),
            settings,
            environment,
            contents: store.contents(),
            presence: Presence::new(store.clone(), lifecycle.clone()),
            store,
            seen: Vec::new(),
            sessions: Sessions::new(gateway.pools.clone()),
            gateway,
            embedded,
            older: Older::default(),
            told: Told::default(),
            installed,
            commands,
        };
        let handles = Handles {
            installed: of_installed,
            reloads: Reloads(asking),
        };
        (reloader, handles)
    }

    /// Loads for the first time, and installs the table. What was found is the caller's to tell.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError`]; the rest is done nevertheless.
    pub(super) async fn start(&mut self) -> Result<(), EmbeddedError> {
        let outcome = self.reload(true).await;
        self.told.mark(&self.installed.borrow());
        outcome
    }

    /// Follows every change until `end` comes, also one that is just being dealt with. Ends the pools
    /// that are on their way out, and returns the embedded router, which those that are in use still
    /// need.
    pub(super) async fn run(mut self, mut end: oneshot::Receiver<()>) -> Embedded {
        loop {
            let following = AssertUnwindSafe(self.follow()).catch_unwind();
            let panic = tokio::select! {
                // Also when the sender is dropped, as the gateway is.
                _ = &mut end => break,
                Err(panic) = following => panic,
            };
            // A mistake of ours. What is served goes on, and whatever changes next is followed again.
            let message = telemetry::panic_message(&*panic);
            tracing::error!("a change was not dealt with, what is served stays: panic: {message}");
            tokio::select! {
                _ = &mut end => break,
                () = sleep(AFTER_PANIC) => {}
            }
        }
        self.presence
            .announce(self.installed.borrow().store_revision);
        self.sessions.end().await;
        self.embedded
    }

    /// Follows every change. When dropped, the change that is being dealt with is done in part: no
    /// table is.
    async fn follow(&mut self) -> Infallible {
        loop {
            let cause = tokio::select! {
                Some(command) = self.commands.recv() => Cause::Asked(command),
                Ok(()) = self.contents.changed() => Cause::Store,
                () = self.watch.changed() => Cause::Files,
                () = self.sessions.swept() => {
                    self.settle().await;
                    continue;
                }
                () = self.presence.changed() => {
                    self.presence.announce(self.installed.borrow().store_revision);
                    if !self.older.is_lacking() {
                        continue;
                    }
                    // The store may have come back.
                    Cause::Store
                }
            };
            let mut done = None;
            match cause {
                Cause::Files => self.gather(FILES_QUIET).await,
                Cause::Store => self.gather(STORE_QUIET).await,
                Cause::Asked(command) => {
                    if let Some(settings) = command.settings {
                        if settings.files != self.settings.files {
                            self.watch.follow(&settings.files);
                        }
                        self.settings = *settings;
                    }
                    done = Some(command.done);
                }
            }
            let outcome = self.reload(done.is_some()).await;
            let installed = self.installed.borrow().clone();
            self.told.tell(&installed, outcome.err());
            if let Some(done) = done {
                // Who asked may have gone away.
                drop(done.send(installed));
            }
        }
    }

    /// Waits until nothing has changed for `quiet`.
    async fn gather(&mut self, quiet: Duration) {
        let latest = Instant::now() + GATHER;
        loop {
            let until = latest.min(Instant::now() + quiet);
            tokio::select! {
                () = sleep_until(until) => break,
                () = self.watch.told() => {}
                Ok(()) = self.contents.changed() => {}
            }
        }
    }

    /// Reads all texts and serves what they say. Where they are the same, nothing is done unless it
    /// `may_differ` otherwise, by settings.
    async fn reload(&mut self, may_differ: bool) -> Result<(), EmbeddedError> {
        let previous = self.installed.borrow().clone();
        let mut sources = self.read().await;
        let is_same = previous.is_of(&sources);
        if is_same && !may_differ && !self.older.is_lacking() {
            return Ok(());
        }
        let mut next = previous.clone();
        if !is_same {
            sources.older = self.older.known(&sources.stored);
            next = self.compile(sources, &previous).await;
        }
        if self.older.look_up(&*self.store, &next.wants()).await {
            let mut sources = next.sources().clone();
            sources.older = self.older.known(&sources.stored);
            next = self.compile(sources, &previous).await;
        }
        self.serve(&previous, next).await
    }

    async fn read(&mut self) -> Sources {
        // First, so that what changes while the rest is read is seen as a change later.
        let stored = self.contents.borrow_and_update().clone();
        self.watch.renew();
        let files = self.settings.files.clone();
        let mut seen = std::mem::take(&mut self.seen);
        let (texts, seen) = off_runtime(move || (files.read(&mut seen), seen)).await;
        self.seen = seen;
        Sources {
            spec_files: texts.specs,
            realm_files: texts.realms,
            unread: texts.unread,
            stored,
            older: BTreeMap::new(),
            time_ms: now_ms(),
        }
    }

    /// Compiles, and has what was served before if that panics: a mistake of ours in one text must
    /// not end what serves the others.
    async fn compile(&self, sources: Sources, previous: &Arc<Installed>) -> Arc<Installed> {
        let environment = self.environment.clone();
        let before = previous.clone();
        let compiling = spawn_blocking(move || {
            let previous = (before.number > 0).then_some(&*before);
            Installed::compile(sources, previous, environment.lookup())
        });
        match compiling.await {
            Ok(installed) => Arc::new(installed),
            Err(error) => {
                tracing::error!("specs and realms cannot be loaded, and stay as they are: {error}");
                previous.clone()
            }
        }
    }

    /// Makes `next` what is served: pools first, then the table, then what is not used any more.
    async fn serve(
        &mut self,
        previous: &Installed,
        next: Arc<Installed>,
    ) -> Result<(), EmbeddedError> {
        let (default, outcome) = self.default_router(&next).await;
        let wanted = wanted(&next, &default);
        // At a start nobody waits for anything yet, and requests wait for their sessions.
        let patience = match previous.number {
            0 => Duration::ZERO,
            _ => FIRST_SESSION,
        };
        self.sessions.provide(&wanted, patience).await;
        let before = self.gateway.table.snapshot();
        if next.number != previous.number {
            let (next, before) = (next.clone(), before.clone());
            let build = move || RouteTable::build_after(next.catalog.routes(), &before);
            self.gateway.install(off_runtime(build).await);
        }
        self.sessions.release(&wanted, &before);
        drop(before);
        self.settle().await;
        self.presence.announce(next.store_revision);
        self.installed.send_replace(next);
        outcome
    }

    /// Returns how realms are reached that have no router of their own.
    async fn default_router(
        &mut self,
        next: &Installed,
    ) -> (RouterConfig, Result<(), EmbeddedError>) {
        match &self.settings.router {
            Router::Remote(sessions) => {
                self.told.users_of_nobody(next.catalog.realms());
                (sessions.clone(), Ok(()))
            }
            Router::Embedded { listen, sessions } => {
                let realms = next.catalog.realms();
                self.embedded.provide(realms, *listen, sessions).await
            }
        }
    }

    /// Takes away what nothing needs any more that was on its way out: realms of the embedded router,
    /// or all of it where the configuration names another.
    async fn settle(&mut self) {
        if !self.sessions.is_settled() {
            return;
        }
        match self.settings.router {
            Router::Remote(_) => self.embedded.end().await,
            Router::Embedded { .. } => self.embedded.let_go(),
        }
    }
}

/// Does work that takes long or blocks.
///
/// # Panics
///
/// As the work does.
async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work)
        .await
        .map_err(JoinError::try_into_panic)
    {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime ends, and this with it.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// Returns the realms that routes use, and how each is reached. One that nobody uses gets no
/// sessions.
fn wanted(installed: &Installed, default: &RouterConfig) -> BTreeMap<Uri, RouterConfig> {
    let specs = installed.catalog.specs.iter();
    let used: BTreeSet<&Uri> = specs
        .filter_map(|spec| spec.routes.first())
        .map(|route| &route.operation.version.realm)
        .collect();
    let is_used = |realm: &&Realm| used.contains(&realm.uri);
    let realms = installed.catalog.realms().filter(is_used);
    let config = |realm: &Realm| {
        let router = realm.router.clone().unwrap_or_else(|| default.clone());
        (realm.uri.clone(), router)
    };
    realms.map(config).collect()
}
