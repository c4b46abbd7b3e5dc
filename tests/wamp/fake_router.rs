//! A router that does what a test says, and nothing by itself but open a session when asked to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wampgate::uri::{Uri, UriCheck};
use wampgate::value::{Map, Value};
use wampgate::wamp::client::{Call, Client, Publish};
use wampgate::wamp::config::{Endpoint, RouterConfig};
use wampgate::wamp::id::{RegistrationId, RequestId, SessionId, SubscriptionId};
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::serializer::{Reading, Serializer};
use wampgate::wamp::transport::{
    self, ConnectError, FrameReader, FrameWriter, Incoming, Transport, memory,
};

pub(crate) const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Longer than any test takes, shorter than a person waits for a test that hangs.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// All that our client acts on.
pub(crate) const FEATURES: &str = r#"{"roles": {
    "dealer": {"features": {"call_canceling": true}}, "broker": {"features": {}}}}"#;

pub(crate) struct FakeRouter {
    connections: mpsc::UnboundedReceiver<Transport>,
    pub(crate) is_up: Arc<AtomicBool>,
    pub(crate) attempts: Arc<AtomicUsize>,
    _listener: JoinSet<()>,
}

impl FakeRouter {
    /// A router in this process that speaks JSON; `capacity` frames wait in each direction.
    pub(crate) fn in_process(capacity: usize) -> (Self, Endpoint) {
        let (sender, connections) = mpsc::unbounded_channel();
        let is_up = Arc::new(AtomicBool::new(true));
        let attempts = Arc::new(AtomicUsize::new(0));
        let router = Self {
            connections,
            is_up: is_up.clone(),
            attempts: attempts.clone(),
            _listener: JoinSet::new(),
        };
        let endpoint = Endpoint::in_process("fake", move || {
            attempts.fetch_add(1, Ordering::SeqCst);
            let (near, far) = memory::pair(Serializer::Json, capacity, MAX_MESSAGE_BYTES);
            let connected = is_up.load(Ordering::SeqCst) && sender.send(far).is_ok();
            Box::pin(async move {
                if connected {
                    Ok(near)
                } else {
                    let refused = io::ErrorKind::ConnectionRefused;
                    Err(ConnectError::Unreachable(refused.into()))
                }
            })
        });
        (router, endpoint)
    }

    /// A router behind a real socket.
    pub(crate) async fn on_websocket() -> (Self, Endpoint) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let (sender, connections) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let accepted =
                    transport::accept(stream, &Serializer::ALL, MAX_MESSAGE_BYTES, LONG).await;
                if let Ok(transport) = accepted
                    && sender.send(transport).is_err()
                {
                    return;
                }
            }
        });
        let router = Self {
            connections,
            is_up: Arc::new(AtomicBool::new(true)),
            attempts: Arc::default(),
            _listener: tasks,
        };
        (router, Endpoint::from(url.as_str()))
    }

    /// Waits for the next connection; nothing is said on it yet.
    pub(crate) async fn accept(&mut self) -> Peer {
        let transport = self.connections.recv().await.unwrap();
        let serializer = transport.serializer();
        let (reader, writer) = transport.split();
        Peer {
            reader,
            writer,
            serializer,
        }
    }

    /// Waits for the next connection and opens the session that it asks for.
    pub(crate) async fn welcome(&mut self) -> Peer {
        self.welcome_with(FEATURES).await
    }

    pub(crate) async fn welcome_with(&mut self, details: &str) -> Peer {
        let mut peer = self.accept().await;
        let hello = peer.receive().await;
        assert!(matches!(hello, Message::Hello { .. }), "{hello:?}");
        peer.send(Message::Welcome {
            session: SessionId(4711),
            details: map(details),
        })
        .await;
        peer
    }

    pub(crate) fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }

    pub(crate) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::SeqCst);
    }
}

/// The router's end of one connection.
pub(crate) struct Peer {
    pub(crate) reader: FrameReader,
    pub(crate) writer: FrameWriter,
    pub(crate) serializer: Serializer,
}

impl Peer {
    /// Waits for UNSUBSCRIBE of subscription `id`.
    pub(crate) async fn hears_unsubscribe(&mut self, id: u64) {
        let Message::Unsubscribe { subscription, .. } = self.receive().await else {
            panic!("no UNSUBSCRIBE");
        };
        assert_eq!(subscription, SubscriptionId(id));
    }

    /// Waits for UNREGISTER of registration `id`.
    pub(crate) async fn hears_unregister(&mut self, id: u64) {
        let Message::Unregister { registration, .. } = self.receive().await else {
            panic!("no UNREGISTER");
        };
        assert_eq!(registration, RegistrationId(id));
    }

    /// Waits for the next message, and panics when the connection ends instead.
    pub(crate) async fn receive(&mut self) -> Message {
        self.next().await.expect("the client closed the connection")
    }

    /// Waits for the next message; `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            match self.reader.next().await? {
                Ok(Incoming::Message(frame)) => {
                    // As strictly as the strictest router.
                    return Some(self.serializer.decode(&frame, Reading::Strict).unwrap());
                }
                Ok(Incoming::Ping | Incoming::Pong) => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits for a CALL; returns its id, procedure and payload.
    pub(crate) async fn call(&mut self) -> (RequestId, String, Payload) {
        match self.receive().await {
            Message::Call {
                request,
                procedure,
                payload,
                ..
            } => (request, procedure, payload),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, message: Message) {
        let frame = self.serializer.encode(&message).unwrap();
        self.writer.feed(frame).unwrap();
        self.writer.flush().await.unwrap();
    }

    /// Sends what no serializer of ours would write.
    pub(crate) async fn send_raw(&mut self, frame: &str) {
        self.writer
            .feed(Bytes::copy_from_slice(frame.as_bytes()))
            .unwrap();
        self.writer.flush().await.unwrap();
    }

    /// Answers a call with one argument.
    pub(crate) async fn result(&mut self, request: RequestId, argument: impl Into<Value>) {
        self.send(Message::Result {
            request,
            details: Map::new(),
            payload: args([argument.into()]),
        })
        .await;
    }

    /// Answers the next call with what it was called with.
    pub(crate) async fn echo(&mut self) -> RequestId {
        let (request, _, payload) = self.call().await;
        self.send(Message::Result {
            request,
            details: Map::new(),
            payload,
        })
        .await;
        request
    }
}

/// A session in process, and the router's end of it.
pub(crate) async fn session() -> (Client, Peer) {
    session_with(FEATURES, |_| {}).await
}

pub(crate) async fn session_with(
    welcome: &str,
    change: impl FnOnce(&mut RouterConfig),
) -> (Client, Peer) {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let mut config = config(endpoint);
    change(&mut config);
    let realm = realm();
    let (client, peer) = tokio::join!(
        Client::connect(&realm, &config),
        router.welcome_with(welcome)
    );
    (client.unwrap(), peer)
}

pub(crate) fn uri(text: &str) -> Uri {
    Uri::parse(text, UriCheck::Loose).unwrap()
}

pub(crate) fn realm() -> Uri {
    uri("com.example.realm")
}

pub(crate) fn map(json: &str) -> Map {
    let value: Value = serde_json::from_str(json).unwrap();
    value.as_map().unwrap().clone()
}

pub(crate) fn args<const N: usize>(args: [Value; N]) -> Payload {
    Payload::new(args.into(), Map::new())
}

pub(crate) fn config(endpoint: Endpoint) -> RouterConfig {
    RouterConfig {
        urls: vec![endpoint],
        sessions: 1,
        // On paused time an idle moment is as long as it likes: only tests of the heartbeat ping.
        heartbeat: None,
        ..RouterConfig::default()
    }
}

pub(crate) fn call(procedure: &str) -> Call {
    Call::new(uri(procedure), Payload::default(), LONG)
}

pub(crate) fn publish(topic: &str) -> Publish {
    Publish::new(uri(topic), args([Value::I64(1)]), LONG)
}

/// Answers the next SUBSCRIBE or REGISTER, and nothing else, with this id.
pub(crate) async fn grant(peer: &mut Peer, id: u64) {
    let answer = match peer.receive().await {
        Message::Subscribe { request, .. } => format!("[33,{request},{id}]"),
        Message::Register { request, .. } => format!("[65,{request},{id}]"),
        other => panic!("{other:?}"),
    };
    peer.send_raw(&answer).await;
}
