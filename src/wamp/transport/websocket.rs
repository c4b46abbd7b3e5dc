//! WAMP over WebSocket, from either end; the only file that knows the WebSocket library.
//!
//! Reference: WAMP Basic Profile, "WebSocket Transport"; RFC 6455.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::{ConnectError, Incoming, ReaderKind, Transport, TransportError, WriterKind};
use crate::wamp::serializer::Serializer;

/// Read at once from a socket; allocated per connection, of which an embedded router has many.
const READ_BUFFER_BYTES: usize = 32 * 1024;

const DEFAULT_PORT: u16 = 80;

/// Why a client's connection did not become a transport.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The client did not finish its handshake in time.
    #[error("no handshake within {0:?}")]
    Timeout(Duration),
    /// The client offers no serializer that we accept; it was told so by status 400.
    #[error("the client offers none of our subprotocols")]
    Subprotocol,
    /// The client does not speak WebSocket, or the connection broke off.
    #[error("WebSocket handshake: {0}")]
    Handshake(String),
}

/// Opens a connection; the caller sets the deadline.
pub(super) async fn connect(
    url: &str,
    serializers: &[Serializer],
    max_message_bytes: usize,
) -> Result<Transport, ConnectError> {
    let uri: Uri = url
        .parse()
        .map_err(|error: http::uri::InvalidUri| ConnectError::Url(error.to_string()))?;
    let host = uri
        .host()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| ConnectError::Url("it has no host".to_owned()))?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = uri.port_u16().unwrap_or(DEFAULT_PORT);

    let offered = serializers
        .iter()
        .map(|serializer| serializer.subprotocol())
        .collect::<Vec<_>>()
        .join(", ");
    let mut request = uri
        .into_client_request()
        .map_err(|error| ConnectError::Url(error.to_string()))?;
    let header =
        HeaderValue::from_str(&offered).map_err(|_| ConnectError::Subprotocol(offered.clone()))?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, header);

    let stream = TcpStream::connect((host, port))
        .await
        .map_err(ConnectError::Unreachable)?;
    // A batch is one write already; waiting for more would only delay a call.
    stream
        .set_nodelay(true)
        .map_err(ConnectError::Unreachable)?;
    let (stream, response) = tokio_tungstenite::client_async_with_config(
        request,
        stream,
        Some(config(max_message_bytes)),
    )
    .await
    .map_err(|error| match error {
        Error::Http(response) => ConnectError::Refused(response.status().as_u16()),
        Error::Io(cause) => ConnectError::Unreachable(cause),
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            ConnectError::Subprotocol(offered.clone())
        }
        other => ConnectError::Handshake(other.to_string()),
    })?;
    let chosen = response
        .headers()
        .get(SEC_WEBSOCKET_PROTOCOL)
        .and_then(|name| name.to_str().ok())
        .and_then(Serializer::from_subprotocol)
        .filter(|serializer| serializers.contains(serializer))
        .ok_or(ConnectError::Subprotocol(offered))?;
    Ok(transport(stream, chosen, max_message_bytes))
}

/// Serves one client's handshake: of the subprotocols that it offers, the first in `serializers`
/// wins.
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
    stream
        .set_nodelay(true)
        .map_err(|error| AcceptError::Handshake(error.to_string()))?;
    let mut chosen = None;
    #[expect(
        clippy::result_large_err,
        reason = "the library fixes the error's type, and it is made once per refused client"
    )]
    let choose = |request: &Request, mut response: Response| {
        chosen = offered(request.headers()).find(|offer| serializers.contains(offer));
        match chosen {
            Some(serializer) => {
                response.headers_mut().insert(
                    SEC_WEBSOCKET_PROTOCOL,
                    HeaderValue::from_static(serializer.subprotocol()),
                );
                Ok(response)
            }
            None => {
                let text = "this is a WAMP router: offer a subprotocol such as wamp.2.json\n";
                let mut refusal = ErrorResponse::new(Some(text.to_owned()));
                *refusal.status_mut() = StatusCode::BAD_REQUEST;
                Err(refusal)
            }
        }
    };
    let handshake = tokio_tungstenite::accept_hdr_async_with_config(
        stream,
        choose,
        Some(config(max_message_bytes)),
    );
    let opened = tokio::time::timeout(timeout, handshake)
        .await
        .map_err(|_| AcceptError::Timeout(timeout))?;
    match (opened, chosen) {
        (Ok(stream), Some(serializer)) => Ok(transport(stream, serializer, max_message_bytes)),
        (Err(Error::Http(_)), None) | (Ok(_), None) => Err(AcceptError::Subprotocol),
        (Err(error), _) => Err(AcceptError::Handshake(error.to_string())),
    }
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = Serializer> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| Serializer::from_subprotocol(name.trim()))
}

fn config(max_message_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes))
}

fn transport(
    stream: WebSocketStream<TcpStream>,
    serializer: Serializer,
    max_message_bytes: usize,
) -> Transport {
    let stream = Shared(Arc::new(Mutex::new(stream)));
    let reader = Reader {
        stream: stream.clone(),
        serializer,
        has_ended: false,
    };
    let writer = Writer {
        stream,
        is_text: serializer.is_text(),
    };
    Transport::new(
        serializer,
        ReaderKind::WebSocket(reader),
        WriterKind::WebSocket(writer),
        max_message_bytes,
    )
}

/// The socket, shared by its two halves.
///
/// A std mutex: it is held for one poll, which never waits. The halves wake separately, as the
/// library keeps a waker for reading and one for writing.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<WebSocketStream<TcpStream>>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, WebSocketStream<TcpStream>> {
        // A panic inside one poll leaves a socket whose next use fails by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Reader {
    stream: Shared,
    serializer: Serializer,
    has_ended: bool,
}

impl Reader {
    pub(super) async fn next(&mut self) -> Option<Result<Incoming, TransportError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Incoming, TransportError>>> {
        loop {
            if self.has_ended {
                return Poll::Ready(None);
            }
            let next = match Pin::new(&mut *self.stream.lock()).poll_next(cx) {
                Poll::Ready(next) => next,
                Poll::Pending => return Poll::Pending,
            };
            let incoming = match next {
                Some(Ok(message)) => self.incoming(message),
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => None,
                Some(Err(error)) => Some(Err(ended(error))),
            };
            match incoming {
                Some(Ok(None)) => {}
                Some(Ok(Some(incoming))) => return Poll::Ready(Some(Ok(incoming))),
                Some(Err(error)) => {
                    self.has_ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.has_ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// Returns what a message means to the owner: `None` is the end, `Some(Ok(None))` nothing.
    fn incoming(&self, message: Message) -> Option<Result<Option<Incoming>, TransportError>> {
        let wrong = |found| {
            Some(Err(TransportError::WrongFrameType {
                found,
                serializer: self.serializer,
            }))
        };
        match message {
            Message::Text(text) if self.serializer.is_text() => {
                Some(Ok(Some(Incoming::Message(text.into()))))
            }
            Message::Binary(bytes) if !self.serializer.is_text() => {
                Some(Ok(Some(Incoming::Message(bytes))))
            }
            Message::Text(_) => wrong("text"),
            Message::Binary(_) => wrong("binary"),
            Message::Ping(_) => {
                // The library has queued the pong; nobody else may be about to flush it.
                Some(Ok(Some(Incoming::Ping)))
            }
            Message::Pong(_) => Some(Ok(Some(Incoming::Pong))),
            Message::Close(Some(frame))
                if !matches!(frame.code, CloseCode::Normal | CloseCode::Away) =>
            {
                Some(Err(TransportError::Closed {
                    code: frame.code.into(),
                    reason: frame.reason.as_str().to_owned(),
                }))
            }
            Message::Close(_) => None,
            Message::Frame(_) => Some(Ok(None)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    stream: Shared,
    is_text: bool,
}

impl Writer {
    pub(super) fn feed(&mut self, message: Bytes) -> Result<(), TransportError> {
        let message = if self.is_text {
            let text = Utf8Bytes::try_from(message)
                .map_err(|error| TransportError::Protocol(error.to_string()))?;
            Message::Text(text)
        } else {
            Message::Binary(message)
        };
        self.start_send(message)
    }

    pub(super) fn ping(&mut self) -> Result<(), TransportError> {
        self.start_send(Message::Ping(Bytes::new()))
    }

    /// Without asking for readiness first: the library queues without a bound of its own, and the
    /// owner's batches are bounded.
    fn start_send(&mut self, message: Message) -> Result<(), TransportError> {
        Pin::new(&mut *self.stream.lock())
            .start_send(message)
            .map_err(ended)
    }

    pub(super) async fn flush(&mut self) -> Result<(), TransportError> {
        poll_fn(|cx| Pin::new(&mut *self.stream.lock()).poll_flush(cx))
            .await
            .map_err(ended)
    }

    pub(super) async fn close(&mut self) -> Result<(), TransportError> {
        poll_fn(|cx| Pin::new(&mut *self.stream.lock()).poll_close(cx))
            .await
            .map_err(ended)
    }
}

fn ended(error: Error) -> TransportError {
    match error {
        Error::Io(cause) => TransportError::Lost(cause),
        Error::ConnectionClosed | Error::AlreadyClosed => {
            TransportError::Lost(io::ErrorKind::NotConnected.into())
        }
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            TransportError::Lost(io::ErrorKind::ConnectionReset.into())
        }
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            TransportError::TooLong {
                size,
                max: max_size,
            }
        }
        other => TransportError::Protocol(other.to_string()),
    }
}
