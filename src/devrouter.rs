//! The embedded WAMP router, for development and tests: it needs no installation, forgets everything
//! when it stops, and lets anybody into realms that have no users.
//!
//! ```text
//! listener    where clients come in
//! connection  one client: handshake, strict decoding, leaving     outbox  its queue of frames
//! admission   who may join, and the proof that they are asked for
//! realm       the sessions of a realm: dispatches their requests and writes to their queues
//! session     one of them: who it is, what it can do, what it is told of the router
//! calls       REGISTER, CALL, CANCEL ...   on dealer   who offers what, which calls are open
//! events      SUBSCRIBE, PUBLISH ...       on broker   whom an event reaches   retained  the last ones
//! meta        what the router tells about itself: `wamp.session.*` and the like
//! directory   patterns under ids, with who is attached   patterns  which of them cover a URI
//! options     what a client may ask for and this router does not do
//! ```
//!
//! Its reading is as strict as our client's is tolerant: a malformed message ends the session with
//! ABORT `wamp.error.protocol_violation`, and an option that it knows but does not do is refused
//! rather than ignored. It announces only what it does.
//!
//! A realm is one lock around plain maps. A request is handled whole under it, and what goes out is
//! put into the receivers' queues before it is released, so each receiver sees things in the order
//! in which they happened. A queue is bounded in bytes: a session that does not read is dropped.
//! Everything else that a client can make grow has a bound in [`DevRouterConfig`] as well.
//!
//! A call's timeout is kept by the connection of its caller, which has one alarm for all its calls:
//! neither a task nor a timer per call, and nothing left of it when the caller is gone.
//!
//! What it does not do: authentication other than `anonymous`, `ticket` and `wampcra`; rights, so
//! whoever may join may do all of it, even kill other sessions; progressive invocations, sharded
//! registrations, re-routing of calls, payloads that it cannot read (`ppt_*`), event history,
//! testaments, revocation, reflection. `forward_for` is believed of sessions in process only.
//! Read `devrouter/connection.rs` next, then `devrouter/realm.rs`.

mod admission;
mod broker;
mod calls;
mod connection;
mod dealer;
mod directory;
mod events;
mod listener;
mod meta;
mod options;
mod outbox;
mod patterns;
mod realm;
mod retained;
mod session;
mod time;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::net::ToSocketAddrs;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::uri::Uri;
use crate::wamp::config::Endpoint;
use crate::wamp::serializer::Serializer;
use crate::wamp::transport::{Transport, memory};
use admission::Origin;
pub use admission::User;
use listener::Listener;
use realm::Realm;

/// Frames that one direction of an in-process connection holds.
const IN_PROCESS_FRAMES: usize = 256;

/// How long to wait after a failed `accept`: out of file descriptors, it fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the router serves and how much of it.
#[derive(Debug, Clone)]
pub struct DevRouterConfig {
    /// The realms that exist from the start.
    pub realms: Vec<RealmConfig>,
    /// Whether a realm, without users, comes to be when a client first names it.
    pub creates_realms: bool,
    /// The most realms that exist at once, if clients may create them. One that nobody is in is
    /// forgotten for another.
    pub max_realms: usize,
    /// The most connections over sockets at once; those beyond it are closed unanswered.
    pub max_connections: usize,
    /// The longest message, in bytes, in either direction.
    pub max_message_bytes: usize,
    /// How many bytes may wait for one session to read them before it is dropped.
    pub max_queued_bytes: usize,
    /// The most calls that one session may have open.
    pub max_open_calls: usize,
    /// The most registrations, and the most subscriptions, of one session.
    pub max_entries: usize,
    /// The most events that a realm retains; beyond it the oldest are forgotten.
    pub max_retained_events: usize,
    /// How many bytes the retained events of a realm may take, about. Fewer than `max_queued_bytes`:
    /// a subscriber may ask for all of them at once.
    pub max_retained_bytes: usize,
    /// How long a client may take for the transport's handshake, and then for its HELLO and the proof
    /// that it is asked for.
    pub handshake_timeout: Duration,
    /// How long a client may take to answer GOODBYE.
    pub goodbye_timeout: Duration,
    /// Time between two pings of a WebSocket client; two without an answer end its session, so that
    /// what a client held whose network is gone can be had by others. `None`: no pings.
    pub heartbeat: Option<Duration>,
    /// What clients may choose from, WebSocket clients also in its batched form.
    pub serializers: Vec<Serializer>,
}

impl Default for DevRouterConfig {
    fn default() -> Self {
        Self {
            realms: Vec::new(),
            creates_realms: false,
            max_realms: 1_000,
            max_connections: 10_000,
            max_message_bytes: 16 << 20,
            max_queued_bytes: 64 << 20,
            max_open_calls: 10_000,
            max_entries: 10_000,
            max_retained_events: 10_000,
            max_retained_bytes: 16 << 20,
            handshake_timeout: Duration::from_secs(10),
            goodbye_timeout: Duration::from_secs(2),
            heartbeat: Some(Duration::from_secs(15)),
            serializers: Serializer::ALL.to_vec(),
        }
    }
}

/// A realm and who may join it.
#[derive(Debug, Clone)]
pub struct RealmConfig {
    /// Its URI.
    pub uri: Uri,
    /// Those who may join over a socket. Without any, anybody may.
    pub users: Vec<User>,
}

/// A realm for anybody.
impl From<Uri> for RealmConfig {
    fn from(uri: Uri) -> Self {
        Self {
            uri,
            users: Vec::new(),
        }
    }
}

/// A running router; owns all its tasks. Dropping it drops every connection without a word.
#[derive(Debug)]
pub struct Router {
    shared: Arc<Shared>,
    /// The listeners, which own their connections, and the connections in process.
    ///
    /// A std mutex: held to add a task or to take the set, never across an await.
    tasks: Mutex<JoinSet<()>>,
    phase: watch::Sender<Phase>,
}

/// What every connection needs.
#[derive(Debug)]
struct Shared {
    config: DevRouterConfig,
    /// Sharded, as every joining session looks its realm up and may create it.
    realms: DashMap<String, Arc<Realm>>,
    /// Room for connections over sockets; closed when the router stops.
    connections: Arc<Semaphore>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Sessions are being told GOODBYE.
    Leaving,
}

/// Where a router listens.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    /// The address, with the port that the system chose if it was asked to.
    pub local_addr: SocketAddr,
}

impl Listening {
    /// Returns the URL for WebSocket clients.
    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.local_addr)
    }

    /// Returns the URL for RawSocket clients.
    pub fn rawsocket_url(&self) -> String {
        format!("tcp://{}", self.local_addr)
    }
}

impl Router {
    /// Builds a router that nobody can reach yet.
    pub fn new(config: DevRouterConfig) -> Self {
        tracing::warn!(
            "the embedded router is for development and tests: it keeps nothing, and anybody may \
             join a realm that has no users"
        );
        let realms = DashMap::new();
        for realm in &config.realms {
            let made = Realm::new(realm, true, &config);
            realms.insert(realm.uri.to_string(), Arc::new(made));
        }
        Self {
            shared: Arc::new(Shared {
                connections: Arc::new(Semaphore::new(config.max_connections)),
                config,
                realms,
            }),
            tasks: Mutex::new(JoinSet::new()),
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    /// Serves WebSocket clients, at any path, and RawSocket clients at `address` until the router
    /// stops.
    ///
    /// # Errors
    ///
    /// The system's, when the address cannot be had.
    pub async fn listen(&self, address: impl ToSocketAddrs) -> io::Result<Listening> {
        let (listener, local_addr) = Listener::bind(address).await?;
        tracing::info!(
            router.address = %local_addr,
            "embedded router listening on {local_addr}"
        );
        self.serve(listener);
        Ok(Listening { local_addr })
    }

    /// Serves RawSocket clients at a Unix domain socket until the router stops, and removes it then.
    /// One that a process left behind, so that nobody answers there, is replaced.
    ///
    /// # Errors
    ///
    /// The system's, when there is a file already or none can be made.
    pub async fn listen_unix(&self, path: &Path) -> io::Result<()> {
        let listener = Listener::bind_unix(path).await?;
        let path = path.display();
        tracing::info!(router.address = %path, "embedded router listening on unix:{path}");
        self.serve(listener);
        Ok(())
    }

    fn serve(&self, listener: Listener) {
        let shared = Arc::clone(&self.shared);
        self.own(serve_listener(shared, listener, self.phase.subscribe()));
    }

    /// Joins a client in this process; it speaks first, as over a socket.
    ///
    /// It is trusted: also a realm with users lets it in without any proof, and a router whose
    /// sockets are taken has room for it. Must be called within a tokio runtime. On a router that
    /// has stopped, the transport's other end is gone.
    pub fn connect_in_process(&self, serializer: Serializer) -> Transport {
        let (ours, theirs) = memory::pair(
            serializer,
            IN_PROCESS_FRAMES,
            self.shared.config.max_message_bytes,
        );
        if !self.shared.connections.is_closed() {
            let shared = Arc::clone(&self.shared);
            let phase = self.phase.subscribe();
            self.own(async move {
                connection::serve(&shared, ours, Origin::InProcess, phase).await;
            });
        }
        theirs
    }

    /// Returns this router as an address for sessions of this process.
    pub fn endpoint(self: &Arc<Self>) -> Endpoint {
        let router = Arc::clone(self);
        Endpoint::in_process("the embedded router", move || {
            let transport = router.connect_in_process(Serializer::Msgpack);
            Box::pin(std::future::ready(Ok(transport)))
        })
    }

    /// Serves these realms from now on, beside those that clients named. Those that stay keep their
    /// sessions, but for users who may not join any more; in those that go, all sessions get
    /// GOODBYE `wamp.close.close_realm`.
    pub fn set_realms(&self, realms: &[RealmConfig]) {
        let shared = &self.shared;
        for realm in realms {
            let made = || Arc::new(Realm::new(realm, true, &shared.config));
            let entry = shared.realms.entry(realm.uri.to_string());
            entry.or_insert_with(made).configure(&realm.users);
        }
        let is_wanted = |name: &str| realms.iter().any(|realm| realm.uri.as_str() == name);
        shared.realms.retain(|name, realm| {
            let stays = !realm.is_configured() || is_wanted(name);
            if !stays {
                realm.close();
            }
            stays
        });
    }

    /// Ends every session with GOODBYE `wamp.close.system_shutdown`, waits for the answers as long
    /// as configured, and returns when all tasks have ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connections that are left.
    pub async fn shutdown(&self) {
        self.shared.connections.close();
        self.phase.send_replace(Phase::Leaving);
        let mut tasks = std::mem::take(&mut *self.tasks());
        while tasks.join_next().await.is_some() {}
    }

    /// Drops every connection and listener without a word, as a crash would; for tests.
    pub async fn kill(&self) {
        self.shared.connections.close();
        let mut tasks = std::mem::take(&mut *self.tasks());
        tasks.shutdown().await;
    }

    fn own(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Returns a realm, which may come to be by this.
    fn realm(&self, name: &str) -> Option<Arc<Realm>> {
        if let Some(realm) = self.realms.get(name) {
            return Some(Arc::clone(&realm));
        }
        if !self.config.creates_realms || name.len() > realm::MAX_URI_BYTES {
            return None;
        }
        let uri = Uri::parse(name, crate::uri::UriCheck::Loose).ok()?;
        if self.realms.len() >= self.config.max_realms && !self.forget_idle() {
            return None;
        }
        let realm = self
            .realms
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Realm::new(&uri.into(), false, &self.config)));
        Some(Arc::clone(&realm))
    }

    /// Forgets a realm that a client named and that no connection has to do with any more.
    fn forget_idle(&self) -> bool {
        let is_idle = |realm: &Arc<Realm>| Arc::strong_count(realm) == 1 && !realm.is_configured();
        let idle = self.realms.iter().find(|it| is_idle(it.value()));
        let Some(name) = idle.map(|it| it.key().clone()) else {
            return false;
        };
        // Asked again, now that nobody can look it up meanwhile.
        let forgotten = self.realms.remove_if(&name, |_, it| is_idle(it));
        forgotten.is_some()
    }
}

/// Accepts until the router stops, and then waits for the connections, which it owns.
async fn serve_listener(
    shared: Arc<Shared>,
    listener: Listener,
    mut phase: watch::Receiver<Phase>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = phase.wait_for(|phase| *phase == Phase::Leaving) => break,
        };
        let socket = match accepted {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!("embedded router cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            tracing::warn!("embedded router is full: a connection is refused");
            continue;
        };
        let shared = Arc::clone(&shared);
        let mut phase = phase.clone();
        connections.spawn(async move {
            let opened = tokio::select! {
                opened = socket.open(&shared.config) => opened,
                // There is no way yet to tell it anything.
                _ = phase.wait_for(|phase| *phase == Phase::Leaving) => return,
            };
            match opened {
                Ok(transport) => {
                    connection::serve(&shared, transport, Origin::Network, phase).await;
                }
                Err(error) => tracing::debug!("embedded router: {error}"),
            }
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
