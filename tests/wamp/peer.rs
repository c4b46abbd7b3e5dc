//! A client that says and hears exactly what a test writes, over either transport.

use std::time::Duration;

use bytes::Bytes;
use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::uri::{Uri, UriCheck};
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::message::Message;
use wampgate::wamp::serializer::{Reading, Serializer};
use wampgate::wamp::transport::{self, FrameReader, FrameWriter, Incoming, Transport};

/// Nothing here takes that long unless it is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const REALM: &str = "com.example.test";

/// A HELLO with all roles, which understands INTERRUPT.
pub(crate) const HELLO: &str = r#"[1,"com.example.test",{"roles":{"caller":{},"callee":{"features":{"call_canceling":true}},"publisher":{},"subscriber":{}}}]"#;

pub(crate) fn uri(text: &str) -> Uri {
    Uri::parse(text, UriCheck::Loose).unwrap()
}

pub(crate) fn config() -> DevRouterConfig {
    DevRouterConfig {
        realms: vec![uri(REALM).into()],
        ..DevRouterConfig::default()
    }
}

pub(crate) fn router() -> Router {
    Router::new(config())
}

/// One client's end of a transport.
pub(crate) struct Peer {
    serializer: Serializer,
    reader: FrameReader,
    writer: FrameWriter,
    /// The session's id, once joined.
    pub(crate) session: u64,
}

/// Opens a connection on which nothing is said yet.
pub(crate) async fn connect(url: &str, serializer: Serializer) -> Transport {
    let config = RouterConfig {
        serializers: vec![serializer],
        connect_timeout: PATIENCE,
        ..RouterConfig::default()
    };
    transport::connect(url, &config).await.unwrap()
}

impl Peer {
    pub(crate) fn new(transport: Transport) -> Self {
        let serializer = transport.serializer();
        let (reader, writer) = transport.split();
        Self {
            serializer,
            reader,
            writer,
            session: 0,
        }
    }

    /// Joins the test realm in process.
    pub(crate) async fn join(router: &Router, serializer: Serializer) -> Self {
        let mut peer = Self::new(router.connect_in_process(serializer));
        peer.greet().await;
        peer
    }

    /// Joins the test realm in process, as a callee that announces these features.
    pub(crate) async fn join_as_callee(router: &Router, features: &str) -> Self {
        let mut peer = Self::new(router.connect_in_process(Serializer::Json));
        peer.greet_by(&format!(
            r#"[1,"{REALM}",{{"roles":{{"callee":{{"features":{features}}}}}}}]"#
        ))
        .await;
        peer
    }

    /// Joins the test realm through a socket.
    pub(crate) async fn dial(url: &str, serializer: Serializer) -> Self {
        let mut peer = Self::new(connect(url, serializer).await);
        peer.greet().await;
        peer
    }

    pub(crate) async fn greet(&mut self) {
        self.greet_by(HELLO).await;
    }

    async fn greet_by(&mut self, hello: &str) {
        self.tell(hello).await;
        match self.hear().await {
            Some(Message::Welcome { session, .. }) => self.session = session.0,
            other => panic!("no WELCOME: {other:?}"),
        }
    }

    /// Says a message that is written as JSON, in the peer's own serializer.
    pub(crate) async fn tell(&mut self, json: &str) {
        let message = Serializer::Json
            .decode(json.as_bytes(), Reading::Strict)
            .unwrap();
        self.send(&message).await;
    }

    pub(crate) async fn send(&mut self, message: &Message) {
        let frame = self.serializer.encode(message).unwrap();
        self.send_raw(frame).await;
    }

    /// Says whatever the bytes are.
    pub(crate) async fn send_raw(&mut self, frame: impl Into<Bytes>) {
        self.writer.feed(frame.into()).unwrap();
        tokio::time::timeout(PATIENCE, self.writer.flush())
            .await
            .unwrap()
            .unwrap();
    }

    /// Hears the next message; `None` is the end of the connection.
    pub(crate) async fn hear(&mut self) -> Option<Message> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.reader.next());
            match next.await.expect("nothing to hear") {
                Some(Ok(Incoming::Message(frame))) => {
                    let message = self.serializer.decode(&frame, Reading::Strict);
                    return Some(message.unwrap());
                }
                Some(Ok(Incoming::Ping | Incoming::Pong)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Hears the next message, written as JSON; `end` is the end of the connection.
    pub(crate) async fn hear_json(&mut self) -> String {
        match self.hear().await {
            Some(message) => {
                let frame = Serializer::Json.encode(&message).unwrap();
                String::from_utf8(frame.to_vec()).unwrap()
            }
            None => "end".to_owned(),
        }
    }

    /// Asserts what the next message is.
    pub(crate) async fn hears(&mut self, json: &str) {
        assert_eq!(self.hear_json().await, json);
    }

    /// Says one message and asserts what is heard next.
    pub(crate) async fn asks(&mut self, question: &str, answer: &str) {
        self.tell(question).await;
        assert_eq!(self.hear_json().await, answer, "after {question}");
    }

    /// Asserts that everything said to this peer so far has been heard: a request of its own is
    /// answered next.
    pub(crate) async fn hears_nothing_more(&mut self) {
        self.asks(
            r#"[34,9000,9000]"#,
            r#"[8,34,9000,{},"wamp.error.no_such_subscription",["you have no subscription 9000"]]"#,
        )
        .await;
    }

    /// Hangs up without a word.
    pub(crate) fn vanish(self) {}

    /// Answers the router's GOODBYE, hears the end and hangs up.
    pub(crate) async fn takes_leave(mut self) {
        self.hears(r#"[6,{},"wamp.close.system_shutdown"]"#).await;
        self.asks(r#"[6,{},"wamp.close.goodbye_and_out"]"#, "end")
            .await;
    }
}
