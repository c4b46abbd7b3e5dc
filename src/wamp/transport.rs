//! One connection that carries whole frames, each with one WAMP message.
//!
//! ```text
//! address    what a router's URL means
//! websocket  frames are WebSocket messages, or batch.rs: several in one
//! rawsocket  frames with a length before them
//!   stream   the bytes below both: TCP, tls.rs over it, or a Unix domain socket
//! memory     two ends in this process, through the same frames
//! ```
//!
//! WebSocket and RawSocket speak to routers, and serve the clients of the embedded one. A transport
//! knows nothing of sessions: whoever owns it decides what to answer, when to ping and when to leave.
//!
//! The owner takes it apart into a reader and a writer and must drive both at once, in one task or
//! two: a peer that waits until we have read before it reads itself would else block us for ever.

pub mod address;
pub mod batch;
pub mod memory;
pub mod rawsocket;
mod stream;
pub mod tls;
mod websocket;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpStream, UnixStream};

use crate::wamp::config::RouterConfig;
use crate::wamp::serializer::Serializer;
use address::{Address, UrlError};
use tls::TlsError;

/// An open connection that has agreed on a serializer.
#[derive(Debug)]
pub struct Transport {
    serializer: Serializer,
    reader: FrameReader,
    writer: FrameWriter,
}

/// The receiving half of a [`Transport`].
#[derive(Debug)]
pub struct FrameReader {
    kind: ReaderKind,
    has_ended: bool,
}

#[derive(Debug)]
enum ReaderKind {
    WebSocket(websocket::Reader),
    RawSocket(rawsocket::Reader),
    Memory(memory::Reader),
}

/// The sending half of a [`Transport`].
#[derive(Debug)]
pub struct FrameWriter {
    kind: WriterKind,
    max_message_bytes: usize,
    unflushed_bytes: usize,
}

#[derive(Debug)]
enum WriterKind {
    WebSocket(websocket::Writer),
    RawSocket(rawsocket::Writer),
    Memory(memory::Writer),
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// One message's bytes, in the transport's serializer.
    Message(Bytes),
    /// The peer asks whether we are there; the transport answers by itself.
    Ping,
    /// The peer is there: the answer to [`FrameWriter::ping`].
    Pong,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one of a router.
    #[error("not a usable router URL: {0}")]
    Url(#[from] UrlError),
    /// No connection and no handshake within the time given.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// The host does not resolve, refuses, or cannot be reached; or there is no such socket.
    #[error("{0}")]
    Unreachable(#[source] io::Error),
    /// There is no TLS connection.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The server answers HTTP, but not by opening a WebSocket.
    #[error("the server answered HTTP status {0} instead of opening a WebSocket")]
    Refused(u16),
    /// The server speaks none of the serializers that were offered by WebSocket.
    #[error("the server accepts none of the subprotocols {0}")]
    Subprotocol(String),
    /// The router speaks none of the serializers that were tried by RawSocket.
    #[error("the router accepts none of the serializers {0}")]
    Serializer(String),
    /// The router closed each connection at the handshake, as some do with serializers that they do
    /// not speak.
    #[error("the router closed the connection at the RawSocket handshake, with each of {0}")]
    Unanswered(String),
    /// The router refuses the RawSocket handshake.
    #[error("the router refuses the RawSocket handshake: {0}")]
    RawSocket(#[source] rawsocket::Refusal),
    /// The handshake broke off, or what answers speaks another protocol.
    #[error("handshake: {0}")]
    Handshake(String),
}

/// Why a client's connection did not become a transport.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The client did not finish its handshake in time.
    #[error("no handshake within {0:?}")]
    Timeout(Duration),
    /// The client offers no serializer that we accept; it was told so, by status 400 or error 1.
    #[error("the client offers none of our serializers")]
    Subprotocol,
    /// The client speaks neither WebSocket nor RawSocket, or the connection broke off.
    #[error("handshake: {0}")]
    Handshake(String),
}

/// Why a connection ended, or a frame could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The connection is gone: reset, or closed without a word.
    #[error("connection lost: {0}")]
    Lost(#[source] io::Error),
    /// The peer closed the connection and gave a reason. Code 1009 says that our message was too
    /// big for it.
    #[error("closed by the peer with code {code}{}", reason_suffix(.reason))]
    Closed {
        /// The WebSocket close code.
        code: u16,
        /// The peer's words, possibly none.
        reason: String,
    },
    /// Text where the serializer is binary, or the other way round.
    #[error("the peer sent a {found} frame, but `{}` needs the other kind", .serializer.subprotocol())]
    WrongFrameType {
        /// What came: `text` or `binary`.
        found: &'static str,
        /// What was agreed.
        serializer: Serializer,
    },
    /// A message beyond the limit; an outgoing one has not been sent and harms nothing.
    #[error("message of {size} bytes, but at most {max} are allowed")]
    TooLong {
        /// The message's size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The peer breaks the transport's own rules.
    #[error("transport: {0}")]
    Protocol(String),
}

fn reason_suffix(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}

/// Opens a connection to a router, at a URL that [`Address`] reads.
///
/// The configured serializers are offered in order; the server chooses. No message longer than
/// `max_message_bytes` is sent, and none accepted (by RawSocket: than the next power of two).
/// `connect_timeout` covers name resolution, connection, TLS and handshake together.
///
/// # Errors
///
/// See [`ConnectError`].
///
/// # Cancel safety
///
/// Dropping the future drops the connection.
pub async fn connect(url: &str, config: &RouterConfig) -> Result<Transport, ConnectError> {
    let opening = async {
        match Address::parse(url)? {
            Address::WebSocket { url, host } => {
                let stream = stream::dial(&host, config).await?;
                websocket::connect(url, stream, config).await
            }
            Address::Tcp(host) => rawsocket::connect(|| stream::dial(&host, config), config).await,
            Address::Unix(path) => rawsocket::connect(|| stream::dial_unix(&path), config).await,
        }
    };
    let timeout = config.connect_timeout;
    tokio::time::timeout(timeout, opening)
        .await
        .unwrap_or(Err(ConnectError::Timeout(timeout)))
}

/// Serves one client's handshake, by WebSocket or RawSocket: the first byte tells them apart.
///
/// Of what the client offers, the first that is in `serializers` wins.
///
/// # Errors
///
/// See [`AcceptError`].
///
/// # Cancel safety
///
/// Dropping the future drops the connection.
pub async fn accept(
    stream: TcpStream,
    serializers: &[Serializer],
    max_message_bytes: usize,
    timeout: Duration,
) -> Result<Transport, AcceptError> {
    let opening = async {
        let broken = |error: io::Error| AcceptError::Handshake(error.to_string());
        stream::prepare(&stream, None).map_err(broken)?;
        let mut first = [0];
        stream.peek(&mut first).await.map_err(broken)?;
        if first == [rawsocket::MAGIC] {
            rawsocket::accept(stream, serializers, max_message_bytes).await
        } else {
            websocket::accept(stream, serializers, max_message_bytes).await
        }
    };
    tokio::time::timeout(timeout, opening)
        .await
        .unwrap_or(Err(AcceptError::Timeout(timeout)))
}

/// Serves one client's RawSocket handshake on a Unix domain socket.
///
/// # Errors
///
/// See [`AcceptError`].
///
/// # Cancel safety
///
/// Dropping the future drops the connection.
pub async fn accept_unix(
    stream: UnixStream,
    serializers: &[Serializer],
    max_message_bytes: usize,
    timeout: Duration,
) -> Result<Transport, AcceptError> {
    let opening = rawsocket::accept(stream, serializers, max_message_bytes);
    tokio::time::timeout(timeout, opening)
        .await
        .unwrap_or(Err(AcceptError::Timeout(timeout)))
}

impl Transport {
    fn new(
        serializer: Serializer,
        reader: ReaderKind,
        writer: WriterKind,
        max_message_bytes: usize,
    ) -> Self {
        Self {
            serializer,
            reader: FrameReader {
                kind: reader,
                has_ended: false,
            },
            writer: FrameWriter {
                kind: writer,
                max_message_bytes,
                unflushed_bytes: 0,
            },
        }
    }

    /// Returns the serializer that both ends agreed on.
    pub fn serializer(&self) -> Serializer {
        self.serializer
    }

    /// Returns the name of the kind of transport: `websocket`, `rawsocket` or `memory`.
    pub fn name(&self) -> &'static str {
        match self.writer.kind {
            WriterKind::WebSocket(_) => "websocket",
            WriterKind::RawSocket(_) => "rawsocket",
            WriterKind::Memory(_) => "memory",
        }
    }

    /// Takes the transport apart. Dropping both halves drops the connection without a word.
    pub fn split(self) -> (FrameReader, FrameWriter) {
        (self.reader, self.writer)
    }
}

impl FrameReader {
    /// Waits for the next frame. `None` is the end: the peer has closed in good order.
    ///
    /// Pings are answered before they are reported. After an error the connection is of no use.
    ///
    /// # Errors
    ///
    /// See [`TransportError`]; [`TransportError::Lost`] for a connection that broke off.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a frame is either returned or still to come.
    pub async fn next(&mut self) -> Option<Result<Incoming, TransportError>> {
        if self.has_ended {
            return None;
        }
        let next = match &mut self.kind {
            ReaderKind::WebSocket(reader) => reader.next().await.transpose(),
            ReaderKind::RawSocket(reader) => reader.next().await.transpose(),
            ReaderKind::Memory(reader) => reader.next().await.map(Ok),
        };
        self.has_ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl FrameWriter {
    /// Returns the size beyond which [`feed`](Self::feed) refuses a message, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// Returns how many bytes were fed since a [`flush`](Self::flush) last completed: the measure
    /// for an owner that bounds its batches.
    pub fn unflushed_bytes(&self) -> usize {
        self.unflushed_bytes
    }

    /// Queues one message without waiting, so that an owner writes a batch by one flush.
    ///
    /// # Errors
    ///
    /// [`TransportError::TooLong`] leaves the connection as it was; any other is its end.
    pub fn feed(&mut self, message: Bytes) -> Result<(), TransportError> {
        if message.len() > self.max_message_bytes {
            return Err(TransportError::TooLong {
                size: message.len(),
                max: self.max_message_bytes,
            });
        }
        self.unflushed_bytes += message.len();
        match &mut self.kind {
            WriterKind::WebSocket(writer) => writer.feed(message),
            WriterKind::RawSocket(writer) => {
                writer.feed(&message);
                Ok(())
            }
            WriterKind::Memory(writer) => {
                writer.feed(message);
                Ok(())
            }
        }
    }

    /// Returns whether a peer may be asked for life by [`ping`](Self::ping). On RawSocket some
    /// routers, Crossbar.io among them, end the connection when asked; there the system watches it.
    pub fn may_ping(&self) -> bool {
        match &self.kind {
            WriterKind::WebSocket(_) | WriterKind::Memory(_) => true,
            WriterKind::RawSocket(_) => false,
        }
    }

    /// Queues a ping without waiting; [`Incoming::Pong`] answers it.
    ///
    /// # Errors
    ///
    /// The connection's end.
    pub fn ping(&mut self) -> Result<(), TransportError> {
        match &mut self.kind {
            WriterKind::WebSocket(writer) => writer.ping(),
            WriterKind::RawSocket(writer) => {
                writer.ping();
                Ok(())
            }
            WriterKind::Memory(writer) => {
                writer.ping();
                Ok(())
            }
        }
    }

    /// Waits until all that was fed has been handed to the system.
    ///
    /// # Errors
    ///
    /// The connection's end.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what is left stays queued, and a later flush goes on with it.
    pub async fn flush(&mut self) -> Result<(), TransportError> {
        match &mut self.kind {
            WriterKind::WebSocket(writer) => writer.flush().await?,
            WriterKind::RawSocket(writer) => writer.flush().await?,
            WriterKind::Memory(writer) => writer.flush().await?,
        }
        self.unflushed_bytes = 0;
        Ok(())
    }

    /// Flushes, and tells the peer that no more will come. The reader still gives what the peer
    /// sends until it closes too.
    ///
    /// # Errors
    ///
    /// The connection's end.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: calling it again goes on.
    pub async fn close(&mut self) -> Result<(), TransportError> {
        match &mut self.kind {
            WriterKind::WebSocket(writer) => writer.close().await,
            WriterKind::RawSocket(writer) => writer.close().await,
            WriterKind::Memory(writer) => writer.close().await,
        }
    }
}
