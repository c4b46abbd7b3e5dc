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
            if matches!(next, Some(Ok(Message::Close(_)))) {
                // Reading on is what sends the answer to a close; the owner will not read again.
                drop(Pin::new(&mut *self.stream.lock()).poll_next(cx));
            }
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
                // The library has queued the pong, and sends it when it is read from again.
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;

    use super::super::{FrameReader, FrameWriter, connect};
    use super::*;

    const SECOND: Duration = Duration::from_secs(10);
    const MAX: usize = 1 << 20;

    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        (listener, url)
    }

    /// Joins a client that offers one list to a server that accepts another.
    async fn join(
        offered: &[Serializer],
        accepted: &[Serializer],
    ) -> (
        Result<Transport, ConnectError>,
        Result<Transport, AcceptError>,
    ) {
        let (listener, url) = listener().await;
        tokio::join!(connect(&url, offered, MAX, SECOND), async {
            let (stream, _) = listener.accept().await.unwrap();
            accept(stream, accepted, MAX, SECOND).await
        })
    }

    async fn joined(serializer: Serializer) -> [(FrameReader, FrameWriter); 2] {
        let (client, server) = join(&[serializer], &[serializer]).await;
        [client.unwrap().split(), server.unwrap().split()]
    }

    #[tokio::test]
    async fn the_first_offer_that_the_server_accepts_wins() {
        use Serializer::{Cbor, Json, Msgpack};
        for (offered, accepted, chosen) in [
            (vec![Msgpack, Json], vec![Json, Msgpack], Msgpack),
            (vec![Cbor, Json], vec![Json, Msgpack], Json),
        ] {
            let (client, server) = join(&offered, &accepted).await;
            assert_eq!(client.unwrap().serializer(), chosen);
            assert_eq!(server.unwrap().serializer(), chosen);
        }
        let (client, server) = join(&[Cbor], &[Json]).await;
        assert!(matches!(client, Err(ConnectError::Refused(400))));
        assert!(matches!(server, Err(AcceptError::Subprotocol)));
    }

    #[tokio::test]
    async fn carries_batches_both_ways_and_closes_in_order() {
        for serializer in Serializer::ALL {
            let [
                (mut client_reader, mut client),
                (mut server_reader, mut server),
            ] = joined(serializer).await;
            for _ in 0..100 {
                client.feed(Bytes::from_static(b"[1,2]")).unwrap();
            }
            assert_eq!(client.unflushed_bytes(), 500);
            client.flush().await.unwrap();
            for _ in 0..100 {
                let frame = server_reader.next().await.unwrap().unwrap();
                assert_eq!(frame, Incoming::Message(Bytes::from_static(b"[1,2]")));
            }
            server.close().await.unwrap();
            assert!(client_reader.next().await.is_none());
            // A close is answered by whoever hears it.
            assert!(server_reader.next().await.is_none());
            drop(client);
        }
    }

    #[tokio::test]
    async fn pings_are_answered_by_reading_and_both_sides_see_them() {
        let [
            (mut client_reader, mut client),
            (mut server_reader, _server),
        ] = joined(Serializer::Json).await;
        client.ping().unwrap();
        client.flush().await.unwrap();
        assert_eq!(server_reader.next().await.unwrap().unwrap(), Incoming::Ping);
        let (pong, _) = tokio::join!(client_reader.next(), async {
            tokio::select! {
                biased;
                frame = server_reader.next() => panic!("{frame:?}"),
                () = tokio::task::yield_now() => {}
            }
        });
        assert_eq!(pong.unwrap().unwrap(), Incoming::Pong);
    }

    #[tokio::test]
    async fn the_wrong_kind_of_frame_ends_the_connection() {
        let (listener, url) = listener().await;
        let (client, server) =
            tokio::join!(connect(&url, &[Serializer::Json], MAX, SECOND), async {
                let (stream, _) = listener.accept().await.unwrap();
                accept(stream, &[Serializer::Json], MAX, SECOND).await
            });
        let (mut reader, _writer) = client.unwrap().split();
        let (_server_reader, server) = server.unwrap().split();
        let WriterKind::WebSocket(mut server) = server.kind else {
            panic!("no socket");
        };
        server.is_text = false;
        server.feed(Bytes::from_static(b"[1]")).unwrap();
        server.flush().await.unwrap();
        assert!(matches!(
            reader.next().await,
            Some(Err(TransportError::WrongFrameType {
                found: "binary",
                ..
            }))
        ));
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn messages_beyond_the_limit_are_neither_sent_nor_accepted() {
        let (listener, url) = listener().await;
        let (client, server) =
            tokio::join!(connect(&url, &[Serializer::Msgpack], MAX, SECOND), async {
                let (stream, _) = listener.accept().await.unwrap();
                accept(stream, &[Serializer::Msgpack], 100, SECOND).await
            });
        let (_client_reader, mut client) = client.unwrap().split();
        let (mut server_reader, mut server) = server.unwrap().split();
        let long = Bytes::from(vec![0_u8; 101]);
        assert!(matches!(
            server.feed(long.clone()),
            Err(TransportError::TooLong {
                size: 101,
                max: 100
            })
        ));
        client.feed(long).unwrap();
        client.flush().await.unwrap();
        assert!(matches!(
            server_reader.next().await,
            Some(Err(TransportError::TooLong { max: 100, .. }))
        ));
    }

    #[tokio::test]
    async fn a_peer_that_vanishes_is_a_loss_and_its_close_code_is_kept() {
        let [(mut reader, _writer), server] = joined(Serializer::Json).await;
        drop(server);
        assert!(matches!(
            reader.next().await,
            Some(Err(TransportError::Lost(_)))
        ));

        let (listener, url) = listener().await;
        let (client, server) =
            tokio::join!(connect(&url, &[Serializer::Json], MAX, SECOND), async {
                let (stream, _) = listener.accept().await.unwrap();
                accept(stream, &[Serializer::Json], MAX, SECOND).await
            });
        let (mut reader, _writer) = client.unwrap().split();
        let (_server_reader, server) = server.unwrap().split();
        let WriterKind::WebSocket(mut server) = server.kind else {
            panic!("no socket");
        };
        let close = Message::Close(Some(CloseFrame {
            code: CloseCode::Error,
            reason: "bad URI".into(),
        }));
        server.start_send(close).unwrap();
        server.flush().await.unwrap();
        match reader.next().await {
            Some(Err(error @ TransportError::Closed { code: 1011, .. })) => assert_eq!(
                error.to_string(),
                "closed by the peer with code 1011: bad URI"
            ),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn connecting_fails_in_time_and_says_how() {
        let json = [Serializer::Json];
        let error = |url: &'static str| async move {
            connect(url, &json, MAX, SECOND)
                .await
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("wss://localhost").await,
            "scheme `wss` is not supported yet: use ws://"
        );
        assert_eq!(
            error("localhost:80").await,
            "not a usable router URL: it has no scheme"
        );
        assert!(error("ws://").await.starts_with("not a usable router URL"));
        assert!(
            error("ws://a b/")
                .await
                .starts_with("not a usable router URL")
        );

        let (unused, url) = listener().await;
        drop(unused);
        assert!(matches!(
            connect(&url, &json, MAX, SECOND).await,
            Err(ConnectError::Unreachable(_))
        ));

        // A server that takes the connection and says nothing.
        let (silent, url) = listener().await;
        let short = Duration::from_millis(20);
        assert!(matches!(
            connect(&url, &json, MAX, short).await,
            Err(ConnectError::Timeout(_))
        ));
        drop(silent);

        let (http, url) = listener().await;
        let (outcome, ()) = tokio::join!(connect(&url, &json, MAX, SECOND), async {
            let (mut stream, _) = http.accept().await.unwrap();
            let mut request = [0; 2048];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        });
        assert!(matches!(outcome, Err(ConnectError::Refused(404))));

        // A client that takes its time is not waited for.
        let (listener, url) = listener().await;
        let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
        let _client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(matches!(
            accept(stream, &json, MAX, short).await,
            Err(AcceptError::Timeout(_))
        ));
    }

    #[tokio::test]
    async fn two_full_peers_that_read_while_they_flush_do_not_block_each_other() {
        let [client, server] = joined(Serializer::Msgpack).await;
        let pump = |(mut reader, mut writer): (FrameReader, FrameWriter)| async move {
            let big = Bytes::from(vec![7_u8; MAX]);
            for _ in 0..16 {
                writer.feed(big.clone()).unwrap();
            }
            let (flushed, ()) = tokio::join!(writer.flush(), async {
                for _ in 0..16 {
                    let frame = reader.next().await.unwrap().unwrap();
                    assert!(matches!(frame, Incoming::Message(message) if message.len() == MAX));
                }
            });
            flushed.unwrap();
        };
        tokio::join!(pump(client), pump(server));
    }
}
