//! WAMP over WebSocket, from either end; the only file that knows the WebSocket library.
//!
//! Reference: WAMP Basic Profile, "WebSocket Transport"; Advanced Profile, "Message Batching";
//! RFC 6455.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream as _};
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::address::UrlError;
use super::batch::{self, Packer, Splitter};
use super::stream::{BoxStream, Stream};
use super::{
    AcceptError, ConnectError, Incoming, ReaderKind, Transport, TransportError, WriterKind, tls,
};
use crate::wamp::config::RouterConfig;
use crate::wamp::serializer::Serializer;

/// Read at once from a socket; allocated per connection, of which an embedded router has many.
const READ_BUFFER_BYTES: usize = 32 * 1024;

/// What ends the name of a subprotocol that packs several messages into one frame.
const BATCHED: &str = ".batched";

/// What both ends agree on in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subprotocol {
    serializer: Serializer,
    is_batched: bool,
}

impl Subprotocol {
    fn from_name(name: &str) -> Option<Self> {
        let plain = name.strip_suffix(BATCHED);
        Some(Self {
            serializer: Serializer::from_subprotocol(plain.unwrap_or(name))?,
            is_batched: plain.is_some(),
        })
    }

    fn name(self) -> String {
        let suffix = if self.is_batched { BATCHED } else { "" };
        format!("{}{suffix}", self.serializer.subprotocol())
    }

    fn header(self) -> HeaderValue {
        HeaderValue::try_from(self.name()).expect("letters, digits and dots")
    }
}

/// Opens a WebSocket on a stream; the caller sets the deadline.
pub(super) async fn connect(
    url: Uri,
    stream: BoxStream,
    config: &RouterConfig,
) -> Result<Transport, ConnectError> {
    let offers: Vec<Subprotocol> = config
        .serializers
        .iter()
        .flat_map(|serializer| {
            // The batched form first, for routers that know it. Not of JSON: Crossbar.io and
            // whatever else is made of Autobahn say that they do, but separate by another character
            // than the specification's, and end the session over it.
            let is_batched = config.batched && !serializer.is_text();
            let forms = if is_batched {
                &[true, false][..]
            } else {
                &[false]
            };
            forms.iter().map(|is_batched| Subprotocol {
                serializer: *serializer,
                is_batched: *is_batched,
            })
        })
        .collect();
    let names: Vec<String> = offers.iter().map(|offer| offer.name()).collect();
    let names = names.join(", ");
    let mut request = url
        .into_client_request()
        .map_err(|error| UrlError::Syntax(error.to_string()))?;
    let header =
        HeaderValue::from_str(&names).map_err(|_| ConnectError::Subprotocol(names.clone()))?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, header);
    let (stream, response) = tokio_tungstenite::client_async_with_config(
        request,
        stream,
        Some(limits(config.max_message_bytes)),
    )
    .await
    .map_err(|error| match error {
        Error::Http(response) => ConnectError::Refused(response.status().as_u16()),
        Error::Io(cause) => tls::failed(cause),
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            ConnectError::Subprotocol(names.clone())
        }
        other => ConnectError::Handshake(other.to_string()),
    })?;
    let chosen = response
        .headers()
        .get(SEC_WEBSOCKET_PROTOCOL)
        .and_then(|name| name.to_str().ok())
        .and_then(Subprotocol::from_name)
        .filter(|chosen| offers.contains(chosen))
        .ok_or(ConnectError::Subprotocol(names))?;
    Ok(transport(stream, chosen, config.max_message_bytes))
}

/// Serves one client's handshake; the caller sets the deadline. Of the subprotocols that the client
/// offers, the first of a serializer in `serializers` wins, batched or not.
pub(super) async fn accept(
    stream: impl Stream + 'static,
    serializers: &[Serializer],
    max_message_bytes: usize,
) -> Result<Transport, AcceptError> {
    let stream: BoxStream = Box::new(stream);
    let mut chosen = None;
    #[expect(
        clippy::result_large_err,
        reason = "the library fixes the error's type, and it is made once per refused client"
    )]
    let choose = |request: &Request, mut response: Response| {
        chosen = offered(request.headers()).find(|offer| serializers.contains(&offer.serializer));
        match chosen {
            Some(subprotocol) => {
                let header = subprotocol.header();
                response
                    .headers_mut()
                    .insert(SEC_WEBSOCKET_PROTOCOL, header);
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
    let opened = tokio_tungstenite::accept_hdr_async_with_config(
        stream,
        choose,
        Some(limits(max_message_bytes)),
    )
    .await;
    match (opened, chosen) {
        (Ok(stream), Some(subprotocol)) => Ok(transport(stream, subprotocol, max_message_bytes)),
        (Err(Error::Http(_)), None) | (Ok(_), None) => Err(AcceptError::Subprotocol),
        (Err(error), _) => Err(AcceptError::Handshake(error.to_string())),
    }
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = Subprotocol> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| Subprotocol::from_name(name.trim()))
}

fn limits(max_message_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes))
}

/// A whole batch, like any frame, is no longer than `max_message_bytes`: that is what routers
/// measure, and what we do. A message in it is a little shorter.
fn transport(
    stream: WebSocketStream<BoxStream>,
    subprotocol: Subprotocol,
    max_frame_bytes: usize,
) -> Transport {
    let Subprotocol {
        serializer,
        is_batched,
    } = subprotocol;
    let stream = Shared(Arc::new(Mutex::new(stream)));
    let overhead = if is_batched {
        batch::overhead_bytes(serializer)
    } else {
        0
    };
    let max_message_bytes = max_frame_bytes.saturating_sub(overhead);
    let reader = Reader {
        stream: stream.clone(),
        serializer,
        is_batched,
        max_message_bytes,
        batch: None,
    };
    let writer = Writer {
        stream,
        is_text: serializer.is_text(),
        packer: is_batched.then(|| Packer::new(serializer, max_frame_bytes)),
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
struct Shared(Arc<Mutex<WebSocketStream<BoxStream>>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, WebSocketStream<BoxStream>> {
        // A panic inside one poll leaves a socket whose next use fails by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Reader {
    stream: Shared,
    serializer: Serializer,
    is_batched: bool,
    max_message_bytes: usize,
    /// What is left of the batch that came last.
    batch: Option<Splitter>,
}

impl Reader {
    /// `None` is the end. After it, and after an error, it is not asked again.
    pub(super) async fn next(&mut self) -> Result<Option<Incoming>, TransportError> {
        poll_fn(|cx| self.poll_incoming(cx)).await
    }

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Incoming>, TransportError>> {
        loop {
            if let Some(batch) = &mut self.batch {
                match batch.next_message()? {
                    Some(message) => return Poll::Ready(Ok(Some(Incoming::Message(message)))),
                    None => self.batch = None,
                }
            }
            let next = ready!(Pin::new(&mut *self.stream.lock()).poll_next(cx));
            if matches!(next, Some(Ok(Message::Close(_)))) {
                // Reading on is what sends the answer to a close; the owner will not read again.
                drop(Pin::new(&mut *self.stream.lock()).poll_next(cx));
            }
            let payload = match next {
                Some(Ok(Message::Text(text))) if self.serializer.is_text() => text.into(),
                Some(Ok(Message::Binary(bytes))) if !self.serializer.is_text() => bytes,
                Some(Ok(Message::Text(_))) => return self.wrong("text"),
                Some(Ok(Message::Binary(_))) => return self.wrong("binary"),
                // The library has queued the pong, and sends it when it is read from again.
                Some(Ok(Message::Ping(_))) => return Poll::Ready(Ok(Some(Incoming::Ping))),
                Some(Ok(Message::Pong(_))) => return Poll::Ready(Ok(Some(Incoming::Pong))),
                Some(Ok(Message::Close(Some(frame))))
                    if !matches!(frame.code, CloseCode::Normal | CloseCode::Away) =>
                {
                    return Poll::Ready(Err(TransportError::Closed {
                        code: frame.code.into(),
                        reason: frame.reason.as_str().to_owned(),
                    }));
                }
                Some(Ok(Message::Frame(_))) => continue,
                Some(
                    Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed),
                )
                | None => return Poll::Ready(Ok(None)),
                Some(Err(error)) => return Poll::Ready(Err(ended(error))),
            };
            if !self.is_batched {
                return Poll::Ready(Ok(Some(Incoming::Message(payload))));
            }
            let batch = Splitter::new(self.serializer, self.max_message_bytes, payload)?;
            self.batch = Some(batch);
        }
    }

    fn wrong(&self, found: &'static str) -> Poll<Result<Option<Incoming>, TransportError>> {
        Poll::Ready(Err(TransportError::WrongFrameType {
            found,
            serializer: self.serializer,
        }))
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    stream: Shared,
    is_text: bool,
    /// Gathers what is fed between two flushes.
    packer: Option<Packer>,
}

impl Writer {
    pub(super) fn feed(&mut self, message: Bytes) -> Result<(), TransportError> {
        let frame = match &mut self.packer {
            Some(packer) => packer.push(&message),
            None => Some(message),
        };
        frame.map_or(Ok(()), |frame| self.send(frame))
    }

    /// Sends what was gathered.
    fn seal(&mut self) -> Result<(), TransportError> {
        let batch = self.packer.as_mut().and_then(Packer::take);
        batch.map_or(Ok(()), |batch| self.send(batch))
    }

    fn send(&mut self, frame: Bytes) -> Result<(), TransportError> {
        let message = if self.is_text {
            let text = Utf8Bytes::try_from(frame)
                .map_err(|error| TransportError::Protocol(error.to_string()))?;
            Message::Text(text)
        } else {
            Message::Binary(frame)
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
        self.seal()?;
        poll_fn(|cx| Pin::new(&mut *self.stream.lock()).poll_flush(cx))
            .await
            .map_err(ended)
    }

    pub(super) async fn close(&mut self) -> Result<(), TransportError> {
        self.seal()?;
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

#[cfg(test)]
mod tests;
