//! The router's end of a connection, down to the frame: it says whatever a script says, also what
//! no transport of ours would.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{self, FrameHeader};

/// The number of the serializer in RawSocket's handshake.
const JSON: u8 = 1;

/// Small, so that a router that stops reading is soon felt.
const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024;

/// Where connections arrive.
#[derive(Debug)]
pub(super) struct Port {
    listener: TcpListener,
    /// Of RawSocket; else WebSocket is spoken.
    raw_length: Option<u8>,
    pub(super) url: String,
}

impl Port {
    /// `raw_length`, if given, is what the handshake of RawSocket says of the longest message that
    /// is taken: 2^(9 + it) bytes.
    pub(super) fn open(raw_length: Option<u8>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let url = match raw_length {
            Some(_) => format!("tcp://{address}"),
            None => format!("ws://{address}/ws"),
        };
        Self {
            listener,
            raw_length,
            url,
        }
    }

    async fn connection(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// Takes the next connection and answers its handshake; no WAMP is spoken yet. `None` is a client
    /// that went away before.
    pub(super) async fn accept(&self) -> Option<Wire> {
        #[expect(
            clippy::result_large_err,
            reason = "the library fixes the error's type"
        )]
        let choose = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let name = "wamp.2.json".parse().unwrap();
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
            Ok(response)
        };
        let mut connection = self.connection().await;
        if let Some(length) = self.raw_length {
            let mut asked = [0; 4];
            connection.read_exact(&mut asked).await.ok()?;
            assert_eq!((asked[0], asked[1] & 0x0f), (0x7f, JSON), "{asked:02x?}");
            let answer = [0x7f, length << 4 | JSON, 0, 0];
            connection.write_all(&answer).await.ok()?;
            return Some(Wire::Raw(connection));
        }
        let socket = tokio_tungstenite::accept_hdr_async(connection, choose).await;
        socket.ok().map(Box::new).map(Wire::WebSocket)
    }

    /// Takes the next connection and answers its request by a status of HTTP.
    pub(super) async fn refuse(&self, status: &str) {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        self.answer(answer.as_bytes()).await;
    }

    /// Takes the next connection, answers its handshake by these bytes and hangs up.
    pub(super) async fn answer(&self, bytes: &[u8]) {
        self.asked().await.write_all(bytes).await.unwrap();
    }

    /// Takes the next connection and hangs up.
    pub(super) async fn hang_up(&self) {
        drop(self.asked().await);
    }

    /// Takes the next connection, and the request of its handshake.
    async fn asked(&self) -> TcpStream {
        let mut connection = self.connection().await;
        let mut request = [0; 4096];
        assert!(connection.read(&mut request).await.unwrap() > 0);
        connection
    }
}

/// One connection. Dropping it ends it without a word.
#[derive(Debug)]
pub(super) enum Wire {
    WebSocket(Box<WebSocketStream<TcpStream>>),
    Raw(TcpStream),
}

impl Wire {
    /// Waits for the next message and returns its text; `None` is the end. WebSocket's pings are
    /// answered.
    pub(super) async fn next(&mut self) -> Option<String> {
        let socket = match self {
            Wire::WebSocket(socket) => socket,
            Wire::Raw(connection) => return next_raw(connection).await,
        };
        loop {
            match socket.next().await? {
                Ok(Frame::Text(text)) => return Some(text.as_str().to_owned()),
                Ok(Frame::Binary(bytes)) => return Some(format!("binary {bytes:?}")),
                Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) | Frame::Frame(_)) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends a message. A client that is gone is nothing that a script has to care for.
    pub(super) async fn say(&mut self, text: &str) {
        if let Wire::Raw(connection) = self {
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            let frame = [&length, text.as_bytes()].concat();
            drop(connection.write_all(&frame).await);
        } else {
            self.send(Frame::text(text)).await;
        }
    }

    /// Sends a message in a binary frame.
    pub(super) async fn say_binary(&mut self, text: &str) {
        self.send(Frame::binary(Bytes::copy_from_slice(text.as_bytes())))
            .await;
    }

    /// Sends one message as two frames, with pings between and after them.
    pub(super) async fn say_in_pieces(&mut self, text: &str) {
        let (first, second) = text.split_at(text.len() / 2);
        for (opcode, is_last, part) in [
            (OpCode::Data(Data::Text), false, first),
            (OpCode::Data(Data::Continue), true, second),
        ] {
            let header = FrameHeader {
                is_final: is_last,
                opcode,
                ..FrameHeader::default()
            };
            let payload = Bytes::copy_from_slice(part.as_bytes());
            let piece = frame::Frame::from_payload(header, payload);
            self.send(Frame::Frame(piece)).await;
            self.send(Frame::Ping(Bytes::new())).await;
        }
    }

    /// Writes bytes that need be no frame.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        let connection = match self {
            Wire::WebSocket(socket) => socket.get_mut(),
            Wire::Raw(connection) => connection,
        };
        connection.write_all(bytes).await.unwrap();
    }

    /// Sends a close frame; without a code that is what others report as 1005. RawSocket has none:
    /// there it is the end of what is sent.
    pub(super) async fn close(&mut self, close: Option<(u16, String)>) {
        if let Wire::Raw(connection) = self {
            connection.shutdown().await.unwrap();
            return;
        }
        let frame = close.map(|(code, reason)| CloseFrame {
            code: code.into(),
            reason: reason.into(),
        });
        self.send(Frame::Close(frame)).await;
    }

    async fn send(&mut self, frame: Frame) {
        match self {
            Wire::WebSocket(socket) => drop(socket.send(frame).await),
            Wire::Raw(_) => panic!("RawSocket has no such frame"),
        }
    }
}

async fn next_raw(connection: &mut TcpStream) -> Option<String> {
    let head = connection.read_u32().await.ok()?;
    let mut bytes = vec![0; (head & 0x00ff_ffff) as usize];
    connection.read_exact(&mut bytes).await.ok()?;
    let text = String::from_utf8(bytes).unwrap();
    Some(match head >> 24 {
        0 => text,
        1 => format!("PING {text}"),
        2 => format!("PONG {text}"),
        other => format!("type {other}"),
    })
}
