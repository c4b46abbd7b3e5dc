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

/// Small, so that a router that stops reading is soon felt.
const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024;

/// Where connections arrive.
#[derive(Debug)]
pub(super) struct Port {
    listener: TcpListener,
    pub(super) url: String,
}

impl Port {
    pub(super) fn open() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        Self { listener, url }
    }

    async fn connection(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// Takes the next connection and opens the WebSocket on it; no WAMP is spoken yet. `None` is a
    /// client that went away before.
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
        let connection = self.connection().await;
        let socket = tokio_tungstenite::accept_hdr_async(connection, choose).await;
        socket.ok().map(|socket| Wire { socket })
    }

    /// Takes the next connection and answers its request by a status of HTTP.
    pub(super) async fn refuse(&self, status: &str) {
        let mut connection = self.asked().await;
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        connection.write_all(answer.as_bytes()).await.unwrap();
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
pub(super) struct Wire {
    socket: WebSocketStream<TcpStream>,
}

impl Wire {
    /// Waits for the next message and returns its text; `None` is the end. Pings are answered.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await? {
                Ok(Frame::Text(text)) => return Some(text.as_str().to_owned()),
                Ok(Frame::Binary(bytes)) => return Some(format!("binary {bytes:?}")),
                Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) | Frame::Frame(_)) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends a text frame. A client that is gone is nothing that a script has to care for.
    pub(super) async fn say(&mut self, text: &str) {
        self.send(Frame::text(text)).await;
    }

    pub(super) async fn say_binary(&mut self, text: &str) {
        self.send(Frame::binary(Bytes::copy_from_slice(text.as_bytes())))
            .await;
    }

    /// Sends one message as two frames, with a ping between them.
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
        self.socket.get_mut().write_all(bytes).await.unwrap();
    }

    /// Sends a close frame; without a code that is what others report as 1005.
    pub(super) async fn close(&mut self, close: Option<(u16, String)>) {
        let frame = close.map(|(code, reason)| CloseFrame {
            code: code.into(),
            reason: reason.into(),
        });
        self.send(Frame::Close(frame)).await;
    }

    async fn send(&mut self, frame: Frame) {
        drop(self.socket.send(frame).await);
    }
}
