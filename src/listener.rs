//! Sockets: accept, serve, drain. What is answered is the service's business.
//!
//! An accept loop of our own, because the usual one knows no time limits at all: a head sent by
//! halves would hold its socket for ever. What one connection may do, and for how long, is in
//! `listener/connection.rs`.
//!
//! * HTTP/1.1 only. On cleartext a client can have HTTP/2 by prior knowledge alone, and every
//!   client that does so was told to; with TLS it is negotiated, and comes with it.
//! * Beyond `max_connections` nothing is accepted: new clients wait in the kernel's queue until one
//!   leaves. Answering 503 would cost the memory that the limit is to save, and a limit of time on
//!   every idle and every slow connection makes sure that places do become free.
//!
//! Reference: `[http]` of the program's reference; RFC 9112.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service;

pub mod body;
mod connection;
mod counts;

use connection::Ending;
pub use connection::Peer;
pub use counts::{ConnectionCounts, Connections};

/// What a listener is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Addresses as `host:port`; port 0 takes a free one.
    pub listen: Vec<String>,
    /// Longest wait for the first byte of a connection, and then for the rest of a request's head.
    pub header_timeout: Duration,
    /// Longest wait between two requests of a connection, and for a client that has stopped
    /// reading its answer.
    pub idle_timeout: Duration,
    /// Most connections at once, over all addresses.
    pub max_connections: usize,
    /// How long [`Serving::wind_down`] goes on accepting.
    pub min_drain: Duration,
    /// How long a drain waits for what is in flight.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:18080".to_owned()],
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            max_connections: 10_000,
            min_drain: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has it.
    #[error("cannot listen on {address}: the address is in use by another process")]
    InUse {
        /// As it was written.
        address: String,
    },
    /// Another address of the same list has it.
    #[error("cannot listen on {address}: {other}, listed before it, takes its connections already")]
    Twice {
        /// As it was written.
        address: String,
        /// The one that has it, as it was written.
        other: String,
    },
    /// A port below 1024, usually.
    #[error("cannot listen on {address}: this process may not (ports below 1024 need a privilege)")]
    Denied {
        /// As it was written.
        address: String,
    },
    /// The host is none of this machine's.
    #[error("cannot listen on {address}: this machine has no such address")]
    NotLocal {
        /// As it was written.
        address: String,
    },
    /// Anything else, a malformed address among it.
    #[error("cannot listen on {address}")]
    Other {
        /// As it was written.
        address: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

impl BindError {
    fn new(address: &str, cause: io::Error) -> Self {
        let address = address.to_owned();
        match cause.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::Denied { address },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { address },
            _ => Self::Other { address, cause },
        }
    }

    /// Tells an address that somebody else has from one that we have ourselves: most likely both
    /// `0.0.0.0` and `[::]` are listed, as other servers want it. Here the second takes both kinds.
    fn or_twice(self, listed: &[String], bound: &[SocketAddr]) -> Self {
        let Self::InUse { address } = self else {
            return self;
        };
        let (host, port) = address.rsplit_once(':').unwrap_or_default();
        let takes_all = |host: &str| matches!(host, "0.0.0.0" | "[::]");
        let other = listed.iter().zip(bound).find(|(other, local)| {
            local.port().to_string() == port
                && (local.ip().is_unspecified() || takes_all(host) || **other == address)
        });
        match other {
            Some((other, _)) => Self::Twice {
                other: other.clone(),
                address,
            },
            None => Self::InUse { address },
        }
    }
}

/// Sockets that are bound; clients that connect wait until [`Listener::serve`].
#[derive(Debug)]
pub struct Listener {
    config: Config,
    sockets: Vec<TcpListener>,
    local_addrs: Vec<SocketAddr>,
}

impl Listener {
    /// Binds every address of `config`.
    ///
    /// # Errors
    ///
    /// [`BindError`] for the first address that cannot be had; then none is kept.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let mut sockets = Vec::with_capacity(config.listen.len());
        let mut local_addrs = Vec::with_capacity(config.listen.len());
        for address in &config.listen {
            let (socket, local) = match bind(address).await {
                Ok(bound) => bound,
                Err(cause) => {
                    let error = BindError::new(address, cause);
                    return Err(error.or_twice(&config.listen, &local_addrs));
                }
            };
            local_addrs.push(local);
            sockets.push(socket);
        }
        Ok(Self {
            config,
            sockets,
            local_addrs,
        })
    }

    /// Returns the addresses, in the order of the configuration, with the ports that were taken.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Starts to accept, and answers every request by `service`, which finds a [`Peer`] in the
    /// request's extensions.
    ///
    /// A panic of the service becomes a 500 and ends nothing else.
    pub fn serve<S>(self, service: &S) -> Serving
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let (phase, _) = watch::channel(Phase::Serving);
        let slots = Arc::new(Semaphore::new(
            self.config.max_connections.min(Semaphore::MAX_PERMITS),
        ));
        let counts = Connections::new(self.config.max_connections);
        let mut loops = JoinSet::new();
        for socket in self.sockets {
            let accepting = Accepting {
                counts: counts.clone(),
                socket,
                limits: connection::Limits {
                    header_timeout: self.config.header_timeout,
                    idle_timeout: self.config.idle_timeout,
                },
                slots: slots.clone(),
                phase: phase.subscribe(),
                connections: JoinSet::new(),
            };
            loops.spawn(accepting.run(service.clone()));
        }
        Serving {
            loops,
            phase,
            local_addrs: self.local_addrs,
            counts,
            min_drain: self.config.min_drain,
            drain_timeout: self.config.drain_timeout,
        }
    }
}

/// How many bytes of answers the kernel may hold for a connection (it doubles this for itself).
///
/// Left alone it would take 4 MiB, and says that a client has read something only when a third of
/// that is free: a slow but steady reader would look like one that does not read, and is cut. With
/// this much, 3 kB a second are enough to stay.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// Clients that may have connected before we accept them; the kernel has a limit of its own.
const QUEUE_LENGTH: u32 = 1024;

/// Binds the first address that `address` stands for and that can be had.
async fn bind(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the host has no address");
    for candidate in lookup_host(address).await? {
        match bind_one(candidate) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_one(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Else a restart would have to wait until the connections of its predecessor are forgotten. On
    // Windows it would let another process take the address away.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    let listener = socket.listen(QUEUE_LENGTH)?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// How far the end has come. The phases come in this order, and some may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// All as before, but each answer is the last of its connection: the next request of that
    /// client comes over a new one, and a balancer takes that elsewhere.
    WindingDown,
    /// What is in flight is finished, nothing else begins.
    Draining,
    /// What is still in flight is given up.
    Cut,
}

/// A listener at work. Dropping it cuts every connection; [`Serving::drain`] does not.
#[derive(Debug)]
pub struct Serving {
    loops: JoinSet<Drained>,
    phase: watch::Sender<Phase>,
    local_addrs: Vec<SocketAddr>,
    counts: Connections,
    min_drain: Duration,
    drain_timeout: Duration,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Connections that were open and ended by themselves, idle ones included.
    pub finished: usize,
    /// Connections that were cut at the end of `drain_timeout`.
    pub cut: usize,
}

impl Serving {
    /// Returns the addresses that are listened on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Returns the counts of its connections, over all addresses.
    pub fn connections(&self) -> &Connections {
        &self.counts
    }

    /// Returns how long [`Serving::wind_down`] takes.
    pub fn min_drain(&self) -> Duration {
        self.min_drain
    }

    /// Returns how long [`Serving::drain`] waits for what is in flight.
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// Serves on for `min_drain`, with `Connection: close` in each answer: until those who send
    /// requests have noticed that they are to go elsewhere.
    ///
    /// A connection that stays idle is left alone, as its client may be about to use it.
    ///
    /// # Cancel safety
    ///
    /// Answers say `Connection: close` from the first poll on, also when the future is dropped.
    pub async fn wind_down(&self) {
        self.phase.send_replace(Phase::WindingDown);
        tokio::time::sleep(self.min_drain).await;
    }

    /// Stops to accept, lets every request that has begun finish (its answer says
    /// `Connection: close`), closes idle connections, and cuts what is left after `drain_timeout`.
    ///
    /// Clients that had connected but were not accepted yet are still served.
    ///
    /// # Cancel safety
    ///
    /// When dropped, every connection is cut.
    pub async fn drain(mut self) -> Drained {
        self.phase.send_replace(Phase::Draining);
        let mut total = Drained::default();
        let drained =
            tokio::time::timeout(self.drain_timeout, collect(&mut self.loops, &mut total));
        if drained.await.is_err() {
            self.phase.send_replace(Phase::Cut);
            collect(&mut self.loops, &mut total).await;
        }
        total
    }
}

async fn collect(loops: &mut JoinSet<Drained>, total: &mut Drained) {
    while let Some(ended) = loops.join_next().await {
        match ended {
            Ok(drained) => {
                total.finished += drained.finished;
                total.cut += drained.cut;
            }
            Err(error) => tracing::error!(%error, "an accept loop ended by a panic"),
        }
    }
}

/// The loop of one listening socket, which owns the tasks of its connections.
struct Accepting {
    socket: TcpListener,
    limits: connection::Limits,
    slots: Arc<Semaphore>,
    phase: watch::Receiver<Phase>,
    connections: JoinSet<()>,
    counts: Connections,
}

/// How long a drain goes on accepting: enough to hear of everybody who stands in the queue.
const QUEUE_GRACE: Duration = Duration::from_millis(50);

impl Accepting {
    async fn run<S>(mut self, service: S) -> Drained
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let mut phase = self.phase.clone();
        let mut failures = 0;
        loop {
            tokio::select! {
                biased;
                () = reached(&mut phase, Phase::Draining) => break,
                Some(ended) = self.connections.join_next() => report(ended),
                accepted = accept(&self.socket, &self.slots, back_off(failures)) => match accepted {
                    Ok(accepted) => {
                        failures = 0;
                        self.start(accepted, &service);
                    }
                    Err(error) if is_about_one_client(&error) => {}
                    Err(error) => {
                        failures += 1;
                        self.counts.not_accepted();
                        tracing::error!(%error, "cannot accept connections; trying again");
                    }
                },
            }
        }
        // Who stands in the kernel's queue believes to be connected: closing the socket on them
        // would reset requests that may have been sent already.
        let emptying = async {
            loop {
                match accept(&self.socket, &self.slots, Duration::ZERO).await {
                    Ok(accepted) => self.start(accepted, &service),
                    Err(error) if is_about_one_client(&error) => {}
                    Err(_) => return,
                }
            }
        };
        // Running out of time is how this usually ends.
        let emptied = tokio::time::timeout(QUEUE_GRACE, emptying).await;
        drop(emptied);
        let Self {
            socket,
            mut connections,
            ..
        } = self;
        drop(socket);

        let open = connections.len();
        let finish = async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        };
        tokio::select! {
            biased;
            () = finish => {}
            () = reached(&mut phase, Phase::Cut) => {}
        }
        let cut = connections.len();
        connections.shutdown().await;
        Drained {
            finished: open - cut,
            cut,
        }
    }

    fn start<S>(&mut self, accepted: (TcpStream, SocketAddr, OwnedSemaphorePermit), service: &S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let (stream, remote, slot) = accepted;
        let prepared = stream.set_nodelay(true).and_then(|()| stream.local_addr());
        // An error means that it has gone already.
        let Ok(local) = prepared else { return };
        let peer = Peer { remote, local };
        let service = service.clone();
        let limits = self.limits;
        let phase = self.phase.clone();
        let open = self.counts.open();
        self.connections.spawn(async move {
            match connection::serve(stream, peer, service, limits, phase).await {
                Ending::Closed => {}
                Ending::TooSlow => open.too_slow(),
            }
            drop(slot);
        });
    }
}

/// Waits until the end has come as far as `this`, or until nobody is left who could tell.
async fn reached(phase: &mut watch::Receiver<Phase>, this: Phase) {
    drop(phase.wait_for(|phase| *phase >= this).await);
}

/// The wait before the next attempt to accept: 10 ms after one failure, doubled up to 1.28 s.
///
/// Most likely we are out of file descriptors. The kernel keeps the clients meanwhile; to try again
/// at once would only burn the processor until one becomes free.
fn back_off(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        _ => Duration::from_millis(10 << (failures - 1).min(7)),
    }
}

async fn accept(
    socket: &TcpListener,
    slots: &Arc<Semaphore>,
    back_off: Duration,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    if !back_off.is_zero() {
        tokio::time::sleep(back_off).await;
    }
    let slot = slots.clone().acquire_owned().await;
    let slot = slot.expect("nobody closes this semaphore");
    let (stream, remote) = socket.accept().await?;
    Ok((stream, remote, slot))
}

/// The client left between connecting and being accepted.
fn is_about_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        // Of a body that was being sent; panics before that have become an answer.
        tracing::error!(%error, "a connection ended by a panic");
    }
}

#[cfg(test)]
mod tests;
