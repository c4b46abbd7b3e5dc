//! One connection: how long each of its phases may last, and what becomes of a panic.
//!
//! ```text
//! accepted --byte--> head --complete--> busy --answer's end--> idle --byte--> head ...
//!    |                 |                                          |
//! header_timeout   header_timeout                           idle_timeout
//! ```
//!
//! hyper has one limit for reading a head, and its clock starts when the connection falls idle: it
//! cannot tell a client that keeps a connection for later from one that sends half a head. So that
//! limit stays off, and the phases are told apart here: by what passes through the socket
//! ([`Watched`]) and by when the service works. While it works, time is the service's business (the
//! body has a limit of its own, the action a deadline). In any phase a client that stops reading
//! what we write is cut after `idle_timeout` without progress.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tower::{Service, ServiceExt};

use crate::listener;
use crate::problem::Problem;
use crate::telemetry;

/// Both ends of the connection that a request came over; in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Who connected: the client or a proxy.
    pub remote: SocketAddr,
    /// What they connected to.
    pub local: SocketAddr,
}

/// How long a connection may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) header_timeout: Duration,
    pub(super) idle_timeout: Duration,
}

/// Largest head of a request, target and header fields together; 431 beyond.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How long we go on reading what a client still sends after it got its last answer. To close on
/// it at once would reset the connection, and the answer could be lost with it.
const LINGER: Duration = Duration::from_secs(5);

/// How long a connection that has not said anything yet may still begin when a drain starts.
const LAST_CHANCE: Duration = Duration::from_millis(250);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// In an orderly way, by the client's going, or because nobody needed it any more.
    Closed,
    /// The client was cut: it sent no head, or did not read its answer, for too long.
    TooSlow,
}

/// Serves `stream` until one side ends it or a limit does.
pub(super) async fn serve<I, S>(
    stream: I,
    peer: Peer,
    service: S,
    limits: Limits,
    mut phase: watch::Receiver<listener::Phase>,
) -> Ending
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let traffic = Arc::new(Traffic::default());
    let io = TokioIo::new(Watched {
        stream,
        traffic: traffic.clone(),
    });
    let answer = {
        let traffic = traffic.clone();
        service_fn(move |request: Request<Incoming>| {
            let busy = Busy::begin(&traffic);
            let request = prepare(request, peer, &traffic);
            let service = service.clone();
            async move {
                let mut response = respond(service, request).await;
                if busy.0.closing.load(Relaxed) {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                // Busy until the last byte of the body was handed over.
                Ok::<_, Infallible>(response.map(|body| Answer { body, _busy: busy }))
            }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(io, answer);
    let mut connection = pin!(connection);
    let ending = {
        let traffic = traffic.clone();
        async move {
            listener::reached(&mut phase, listener::Phase::WindingDown).await;
            traffic.closing.store(true, Relaxed);
            listener::reached(&mut phase, listener::Phase::Draining).await;
            traffic.draining.store(true, Relaxed);
        }
    };
    let mut ending = pin!(ending.fuse());
    let mut clock = Clock::new(traffic, limits);
    loop {
        tokio::select! {
            biased;
            // First, so that the connection's answers say so.
            () = ending.as_mut() => {}
            // Before the clock, which looks at what it has just done.
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, client = %peer.remote, "a connection ended in an error");
                }
                return Ending::Closed;
            }
            event = poll_fn(|cx| clock.poll(cx)) => match event {
                Event::LastRequest => connection.as_mut().graceful_shutdown(),
                Event::Expired(phase) => {
                    tracing::debug!(?phase, client = %peer.remote, "a connection took too long");
                    return match phase {
                        Phase::Fresh | Phase::Head | Phase::Busy | Phase::Writing => {
                            Ending::TooSlow
                        }
                        Phase::Idle | Phase::Lingering => Ending::Closed,
                    };
                }
            },
        }
    }
}

fn prepare(
    request: Request<Incoming>,
    peer: Peer,
    traffic: &Arc<Traffic>,
) -> Result<Request<Body>, Problem> {
    if request.version() == Version::HTTP_11 && request.headers().get_all(HOST).iter().count() != 1
    {
        // Reference: RFC 9112, "Request Target", on Host.
        return Err(Problem::new(StatusCode::BAD_REQUEST)
            .detail("The request must have exactly one Host header.")
            .instance(telemetry::request_id(None)));
    }
    let traffic = traffic.clone();
    let mut request = request.map(|incoming| {
        Body::new(Upload {
            is_over: incoming.is_end_stream(),
            incoming,
            traffic,
        })
    });
    request.extensions_mut().insert(peer);
    Ok(request)
}

async fn respond<S>(service: S, request: Result<Request<Body>, Problem>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let request = match request {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    // What the service shares between requests has to be sound after a panic: locks are poisoned,
    // and nothing else of a request outlives it.
    match AssertUnwindSafe(service.oneshot(request))
        .catch_unwind()
        .await
    {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            let id = telemetry::request_id(None);
            let panic = telemetry::panic_message(&*panic);
            tracing::error!(request.id = id, panic, "a request panicked");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
                .instance(id)
                .into_response()
        }
    }
}

/// What has passed over the connection, and how it stands.
///
/// All of it is read and written by the one task that drives the connection, except that a body may
/// be dropped elsewhere. So the order of memory between them does not matter.
#[derive(Debug, Default)]
struct Traffic {
    /// Bytes from the client.
    read: AtomicU64,
    /// `read` when the connection last fell idle: more than that is the beginning of a request.
    read_when_idle: AtomicU64,
    /// The client has said that it sends no more.
    read_to_end: AtomicBool,
    /// Bytes that the socket took.
    written: AtomicU64,
    /// The socket takes no more until the client reads.
    write_blocked: AtomicBool,
    /// Requests that have begun.
    begun: AtomicU64,
    /// Requests that have ended.
    ended: AtomicU64,
    /// A request's body was dropped before its end.
    unread: AtomicBool,
    /// The next answer is the last.
    closing: AtomicBool,
    /// A drain has begun: what is idle ends at once.
    draining: AtomicBool,
    /// Everything was answered, and we wait for the client to leave.
    lingering: AtomicBool,
}

impl Traffic {
    fn is_busy(&self) -> bool {
        self.begun.load(Relaxed) != self.ended.load(Relaxed)
    }

    fn has_partial_head(&self) -> bool {
        !self.is_busy() && self.read.load(Relaxed) != self.read_when_idle.load(Relaxed)
    }
}

/// One request in progress; its drop ends it, whatever the reason.
struct Busy(Arc<Traffic>);

impl Busy {
    fn begin(traffic: &Arc<Traffic>) -> Self {
        traffic.begun.fetch_add(1, Relaxed);
        // What the request before left unread was read away, or this one had not come.
        traffic.unread.store(false, Relaxed);
        Self(traffic.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Traffic {
            read,
            read_when_idle,
            ended,
            ..
        } = &*self.0;
        read_when_idle.store(read.load(Relaxed), Relaxed);
        ended.fetch_add(1, Relaxed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The drain has begun: the request in progress, if any, is the last.
    LastRequest,
    /// A phase took too long.
    Expired(Phase),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte has come yet.
    Fresh,
    /// A part of a head has come.
    Head,
    /// A request is being answered.
    Busy,
    /// Between two requests.
    Idle,
    /// After the last answer.
    Lingering,
    /// In any phase: the client does not read.
    Writing,
}

/// Knows when the phase began and when it has lasted too long.
struct Clock {
    traffic: Arc<Traffic>,
    limits: Limits,
    said_last_request: bool,
    /// The phase, and which request it belongs to, so that two phases of one name are told apart.
    phase: (Phase, u64),
    since: Instant,
    /// How much had been written when writing last stood still, and since when.
    blocked: Option<(u64, Instant)>,
    /// When the timer fires. It is only ever brought forward: moving it for each request would cost
    /// more than looking again when it fires too early.
    armed: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Clock {
    fn new(traffic: Arc<Traffic>, limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            traffic,
            limits,
            said_last_request: false,
            phase: (Phase::Fresh, 0),
            since: now,
            blocked: None,
            armed: None,
            timer: Box::pin(tokio::time::sleep_until(now)),
        }
    }

    /// To be called whenever the connection was polled.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.observe();
        let (phase, _) = self.phase;
        let is_draining = self.traffic.draining.load(Relaxed);
        if is_draining && !self.said_last_request && phase != Phase::Fresh {
            self.said_last_request = true;
            return Poll::Ready(Event::LastRequest);
        }
        loop {
            let Some((deadline, phase)) = self.deadline() else {
                return Poll::Pending;
            };
            if self.armed.is_none_or(|armed| deadline < armed) {
                self.timer.as_mut().reset(deadline);
                self.armed = Some(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            self.armed = None;
            if deadline <= Instant::now() {
                return Poll::Ready(Event::Expired(phase));
            }
        }
    }

    fn observe(&mut self) {
        let begun = self.traffic.begun.load(Relaxed);
        let phase = if self.traffic.lingering.load(Relaxed) {
            Phase::Lingering
        } else if self.traffic.is_busy() || self.traffic.write_blocked.load(Relaxed) {
            // An answer that was handed over whole may still be on its way.
            Phase::Busy
        } else if self.traffic.has_partial_head() {
            Phase::Head
        } else if begun == 0 {
            Phase::Fresh
        } else {
            Phase::Idle
        };
        if self.phase != (phase, begun) {
            self.phase = (phase, begun);
            self.since = Instant::now();
        }
        let written = self.traffic.written.load(Relaxed);
        self.blocked = match self.blocked {
            _ if !self.traffic.write_blocked.load(Relaxed) => None,
            Some((before, since)) if before == written => Some((before, since)),
            _ => Some((written, Instant::now())),
        };
    }

    fn deadline(&self) -> Option<(Instant, Phase)> {
        let (phase, _) = self.phase;
        let limit = match phase {
            Phase::Fresh if self.traffic.draining.load(Relaxed) => {
                Some(LAST_CHANCE.min(self.limits.header_timeout))
            }
            Phase::Fresh | Phase::Head => Some(self.limits.header_timeout),
            Phase::Idle => Some(self.limits.idle_timeout),
            Phase::Lingering => Some(LINGER),
            Phase::Busy | Phase::Writing => None,
        };
        let by_phase = limit.map(|limit| (self.since + limit, phase));
        let by_writing = self
            .blocked
            .map(|(_, since)| (since + self.limits.idle_timeout, Phase::Writing));
        [by_phase, by_writing]
            .into_iter()
            .flatten()
            .min_by_key(|&(deadline, _)| deadline)
    }
}

/// A socket that counts what passes.
struct Watched<I> {
    stream: I,
    traffic: Arc<Traffic>,
}

impl<I> Watched<I> {
    fn note_write(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.traffic
            .write_blocked
            .store(written.is_pending(), Relaxed);
        if let Poll::Ready(Ok(count)) = written {
            self.traffic.written.fetch_add(count as u64, Relaxed);
        }
        written
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let count = buffer.filled().len() - before;
        self.traffic.read.fetch_add(count as u64, Relaxed);
        if count == 0 && buffer.remaining() > 0 {
            self.traffic.read_to_end.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.note_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says that we write no more, then reads away what the client still sends until it leaves.
    ///
    /// Only where it may be sending: a connection that is idle is closed at once. How long this may
    /// take is the clock's business.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.traffic.lingering.load(Relaxed) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            let traffic = &self.traffic;
            let is_sending = traffic.unread.load(Relaxed) || traffic.has_partial_head();
            if traffic.read_to_end.load(Relaxed) || !is_sending {
                return Poll::Ready(Ok(()));
            }
            traffic.lingering.store(true, Relaxed);
        }
        let mut discarded = [0_u8; 8192];
        loop {
            let mut buffer = ReadBuf::new(&mut discarded);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// A request's body that tells when it was not read to its end.
struct Upload {
    incoming: Incoming,
    /// One in chunks does not know by itself that its end was read.
    is_over: bool,
    traffic: Arc<Traffic>,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        self.is_over = frame.is_none() || self.incoming.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_over {
            self.traffic.unread.store(true, Relaxed);
        }
    }
}

/// An answer's body that keeps its request busy until it is sent or given up.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
