//! The life of one client's connection: HELLO, requests, and how it ends.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use super::admission::{Admission, Origin};
use super::outbox::{Dismissal, Outbox, Queued};
use super::realm::{Realm, Violation};
use super::{Phase, Shared};
use crate::value::{Map, Value};
use crate::wamp::id::SessionId;
use crate::wamp::message::{Message, Payload};
use crate::wamp::serializer::{DecodeError, Reading, Serializer};
use crate::wamp::transport::{FrameReader, FrameWriter, Incoming, Transport, TransportError};

/// A batch ends here, so that reading has its turn.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// More pings without an answer than these end a session.
const MAX_UNANSWERED: u32 = 2;

const PROTOCOL_VIOLATION: &str = "wamp.error.protocol_violation";

/// Serves one connection to its end.
pub(super) async fn serve(
    shared: &Shared,
    transport: Transport,
    origin: Origin,
    phase: watch::Receiver<Phase>,
) {
    let serializer = transport.serializer();
    let (reader, writer) = transport.split();
    let connection = Connection {
        serializer,
        reader,
        writer,
        origin,
        phase,
        patience: shared.config.goodbye_timeout,
        heartbeat: match origin {
            Origin::Network => shared.config.heartbeat,
            // It cannot be cut off unnoticed.
            Origin::InProcess => None,
        },
    };
    connection.serve(shared).await;
}

struct Connection {
    serializer: Serializer,
    reader: FrameReader,
    writer: FrameWriter,
    origin: Origin,
    phase: watch::Receiver<Phase>,
    /// How long to wait for the peer once the end is near.
    patience: Duration,
    /// How often the peer is asked whether it is there.
    heartbeat: Option<Duration>,
}

/// Why a client is not given what it wants: the URI that says so, and a text for people.
pub(super) type Refusal = (&'static str, String);

/// How a session ends.
enum End {
    /// The peer said GOODBYE and wants an answer.
    Goodbye,
    /// Both have said GOODBYE, or the peer is gone.
    Over,
    /// The peer has to go, and GOODBYE says why.
    Farewell {
        reason: String,
        message: Option<String>,
    },
    /// The peer broke the protocol and is told how.
    Violation(Violation),
    /// The peer did not read.
    Overflow,
    /// The peer is there no more, though its connection does not say so.
    Silent,
}

impl Connection {
    async fn serve(mut self, shared: &Shared) {
        let (outbox, mut queue) = Outbox::new(
            self.serializer,
            self.writer.max_message_bytes(),
            shared.config.max_queued_bytes,
        );
        let (realm, session) = match self.join(shared, &outbox).await {
            Ok(Some(joined)) => joined,
            Ok(None) => return,
            Err((reason, text)) => return self.abort(reason, &text).await,
        };
        tracing::debug!(
            realm.uri = realm.name(),
            session.id = session.0,
            "session joined the embedded router"
        );
        let end = self.talk(&realm, session, &outbox, &mut queue).await;
        // First, so that nothing more is queued for it and the others learn of it at once.
        realm.leave(session);
        match end {
            End::Over => {}
            End::Overflow => tracing::warn!(
                realm.uri = realm.name(),
                session.id = session.0,
                "session dropped by the embedded router: it does not read what it is sent"
            ),
            End::Silent => tracing::warn!(
                realm.uri = realm.name(),
                session.id = session.0,
                "session dropped by the embedded router: it does not answer pings"
            ),
            End::Goodbye => {
                self.write_rest(&mut queue);
                self.say_goodbye("wamp.close.goodbye_and_out", None);
                self.close().await;
            }
            End::Farewell { reason, message } => {
                self.write_rest(&mut queue);
                self.say_goodbye(&reason, message.as_deref());
                let patience = self.patience;
                let ending = async {
                    self.await_goodbye().await;
                    self.close().await;
                };
                drop(timeout(patience, ending).await);
            }
            End::Violation(Violation(text)) => {
                tracing::debug!(
                    realm.uri = realm.name(),
                    session.id = session.0,
                    "session aborted by the embedded router: {text}"
                );
                self.write_rest(&mut queue);
                self.abort(PROTOCOL_VIOLATION, &text).await;
            }
        }
    }

    /// Waits for HELLO, has the client prove who it is, and joins the realm. `None` is a peer that
    /// went away.
    async fn join(
        &mut self,
        shared: &Shared,
        outbox: &Outbox,
    ) -> Result<Option<(Arc<Realm>, SessionId)>, Refusal> {
        let deadline = Instant::now() + shared.config.handshake_timeout;
        let (name, details) = match self.hear(deadline, "HELLO").await? {
            Some(Message::Hello { realm, details }) => (realm, details),
            Some(Message::Abort { .. }) | None => return Ok(None),
            Some(_) => return Err((PROTOCOL_VIOLATION, "HELLO must come first".to_owned())),
        };
        let Some(realm) = shared.realm(&name) else {
            return Err((
                "wamp.error.no_such_realm",
                format!("there is no realm `{name}`"),
            ));
        };
        let session = realm.free_id();
        let identity = match realm.users().admit(&details, self.origin, session)? {
            Admission::Granted(identity) => identity,
            Admission::Asked(challenge) => {
                if !self.say(&challenge.message()) {
                    let text = "your connection is too narrow for a CHALLENGE".to_owned();
                    return Err(("wamp.error.payload_size_exceeded", text));
                }
                match self.hear(deadline, "AUTHENTICATE").await? {
                    Some(Message::Authenticate { signature, .. }) => challenge.check(&signature)?,
                    Some(Message::Abort { .. }) | None => return Ok(None),
                    Some(_) => {
                        let text = "AUTHENTICATE must come now".to_owned();
                        return Err((PROTOCOL_VIOLATION, text));
                    }
                }
            }
        };
        let session = realm.join(session, identity, self.origin, &details, outbox.clone())?;
        Ok(Some((realm, session)))
    }

    /// Says what was not said yet and waits for the next message of the handshake. `None` is a peer
    /// that went away.
    async fn hear(&mut self, deadline: Instant, what: &str) -> Result<Option<Message>, Refusal> {
        let Self {
            serializer,
            reader,
            writer,
            phase,
            ..
        } = self;
        let exchange = async {
            let (flushed, frame) = tokio::join!(writer.flush(), next_message(reader));
            // What cannot be said cannot be answered.
            if flushed.is_err() { Ok(None) } else { frame }
        };
        let frame = tokio::select! {
            frame = timeout_at(deadline, exchange) => frame,
            _ = phase.wait_for(|phase| *phase == Phase::Leaving) => {
                return Err(("wamp.close.system_shutdown", "the router stops".to_owned()));
            }
        };
        let frame = match frame {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(Violation(text))) => return Err((PROTOCOL_VIOLATION, text)),
            Err(_) => return Err((PROTOCOL_VIOLATION, format!("no {what} in time"))),
        };
        match serializer.decode(&frame, Reading::Strict) {
            Ok(message) => Ok(Some(message)),
            Err(error @ DecodeError::InvalidUri { .. }) => {
                Err(("wamp.error.invalid_uri", error.to_string()))
            }
            Err(error) => Err((PROTOCOL_VIOLATION, error.to_string())),
        }
    }

    /// Serves requests until the end. Reading, writing and the queue advance side by side: a peer
    /// that reads only after we have read must not block us.
    async fn talk(
        &mut self,
        realm: &Realm,
        session: SessionId,
        outbox: &Outbox,
        queue: &mut mpsc::UnboundedReceiver<Queued>,
    ) -> End {
        let mut phase = self.phase.clone();
        let mut has_unflushed = false;
        // The calls of a session may have deadlines, and this task keeps them: one alarm, set to
        // the next, instead of a task or a timer for each call.
        let mut deadline = None;
        let mut alarm = pin!(sleep_until(Instant::now()));
        let period = self.heartbeat.filter(|_| self.writer.may_ping());
        let mut beat = pin!(sleep_until(Instant::now() + period.unwrap_or_default()));
        let mut unanswered = 0;
        loop {
            tokio::select! {
                dismissal = outbox.dismissed() => return match dismissal {
                    Dismissal::Overflow => End::Overflow,
                    Dismissal::Killed { reason, message } => End::Farewell { reason, message },
                },
                _ = phase.wait_for(|phase| *phase == Phase::Leaving) => {
                    let reason = "wamp.close.system_shutdown".to_owned();
                    return End::Farewell { reason, message: None };
                }
                () = alarm.as_mut(), if deadline.is_some() => {
                    deadline = realm.expire(session);
                    set(alarm.as_mut(), deadline);
                }
                () = beat.as_mut(), if period.is_some() => {
                    if unanswered == MAX_UNANSWERED {
                        return End::Silent;
                    }
                    unanswered += 1;
                    has_unflushed = true;
                    if self.writer.ping().is_err() {
                        return End::Over;
                    }
                    beat.as_mut().reset(Instant::now() + period.unwrap_or_default());
                }
                incoming = next_incoming(&mut self.reader) => match incoming {
                    Err(violation) => return End::Violation(violation),
                    Ok(None) => return End::Over,
                    Ok(Some(Incoming::Ping | Incoming::Pong)) => unanswered = 0,
                    Ok(Some(Incoming::Message(frame))) => {
                        unanswered = 0;
                        let next = match self.handle(realm, session, &frame) {
                            Ok(next) => next,
                            Err(end) => return end,
                        };
                        if next != deadline {
                            deadline = next;
                            set(alarm.as_mut(), deadline);
                        }
                    }
                },
                Some(queued) = queue.recv(), if !has_unflushed => {
                    has_unflushed = true;
                    if !self.write(queued) {
                        return End::Over;
                    }
                    while self.writer.unflushed_bytes() < MAX_BATCH_BYTES
                        && let Ok(queued) = queue.try_recv()
                    {
                        if !self.write(queued) {
                            return End::Over;
                        }
                    }
                }
                flushed = self.writer.flush(), if has_unflushed => match flushed {
                    Ok(()) => has_unflushed = false,
                    Err(_) => return End::Over,
                },
            }
        }
    }

    /// Handles one frame, and returns the session's next deadline.
    ///
    /// # Errors
    ///
    /// How the session ends by it.
    fn handle(
        &self,
        realm: &Realm,
        session: SessionId,
        frame: &[u8],
    ) -> Result<Option<Instant>, End> {
        let handled = match self.serializer.decode(frame, Reading::Strict) {
            Ok(Message::Goodbye { .. }) => return Err(End::Goodbye),
            Ok(Message::Abort { .. }) => return Err(End::Over),
            Ok(message) => realm.handle(session, message),
            Err(DecodeError::InvalidUri {
                code,
                request,
                detail,
            }) => realm.refuse_uri(session, code, request, detail),
            Err(error) => Err(Violation(error.to_string())),
        };
        handled.map_err(End::Violation)
    }

    fn write(&mut self, queued: Queued) -> bool {
        self.writer.feed(queued.into_frame()).is_ok()
    }

    /// Queues what was decided before the end, so that an answer is not lost over a GOODBYE.
    fn write_rest(&mut self, queue: &mut mpsc::UnboundedReceiver<Queued>) {
        while let Ok(queued) = queue.try_recv() {
            if !self.write(queued) {
                break;
            }
        }
    }

    /// Queues a message of the session itself; `false` if it is too long. It can else fail only
    /// with the connection, which the next flush sees as well.
    fn say(&mut self, message: &Message) -> bool {
        match self.serializer.encode(message) {
            Ok(frame) => self.writer.feed(frame).is_ok(),
            Err(_) => false,
        }
    }

    /// Queues a last word, without its text if that makes it too long.
    fn say_last(&mut self, text: Option<&str>, word: impl Fn(Map) -> Message) {
        let details = text.map(|text| ("message".to_owned(), Value::from(text)));
        if !self.say(&word(details.into_iter().collect())) {
            self.say(&word(Map::new()));
        }
    }

    fn say_goodbye(&mut self, reason: &str, text: Option<&str>) {
        self.say_last(text, |details| Message::Goodbye {
            details,
            reason: reason.to_owned(),
        });
    }

    async fn abort(mut self, reason: &str, text: &str) {
        self.say_last(Some(text), |details| Message::Abort {
            details,
            reason: reason.to_owned(),
            payload: Payload::default(),
        });
        self.close().await;
    }

    /// Flushes, and reads until the peer has answered our GOODBYE; the caller sets the deadline.
    async fn await_goodbye(&mut self) {
        let Self {
            serializer,
            reader,
            writer,
            ..
        } = self;
        let answer = async {
            while let Ok(Some(frame)) = next_message(reader).await {
                if let Ok(Message::Goodbye { .. }) = serializer.decode(&frame, Reading::Tolerant) {
                    break;
                }
            }
        };
        drop(tokio::join!(writer.flush(), answer));
    }

    /// Flushes, closes, and reads until the peer closes too: a socket that is dropped with unread
    /// data resets the connection, and our last words with it.
    async fn close(mut self) {
        let both = async {
            tokio::join!(self.writer.close(), async {
                while let Ok(Some(_)) = next_message(&mut self.reader).await {}
            })
        };
        drop(timeout(self.patience, both).await);
    }
}

/// Returns the next message, or `None` when the connection has ended.
///
/// # Errors
///
/// What the peer sent against the transport's rules.
///
/// Cancel safe, as the reader is.
async fn next_message(reader: &mut FrameReader) -> Result<Option<Bytes>, Violation> {
    loop {
        match next_incoming(reader).await? {
            Some(Incoming::Message(frame)) => return Ok(Some(frame)),
            Some(Incoming::Ping | Incoming::Pong) => {}
            None => return Ok(None),
        }
    }
}

/// Waits for whatever comes next. `None` is the end, in good order or not.
async fn next_incoming(reader: &mut FrameReader) -> Result<Option<Incoming>, Violation> {
    match reader.next().await {
        Some(Ok(incoming)) => Ok(Some(incoming)),
        Some(Err(TransportError::Lost(_) | TransportError::Closed { .. })) | None => Ok(None),
        Some(Err(
            error @ (TransportError::TooLong { .. }
            | TransportError::WrongFrameType { .. }
            | TransportError::Protocol(_)),
        )) => Err(Violation(error.to_string())),
    }
}

fn set(alarm: Pin<&mut Sleep>, deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        alarm.reset(deadline);
    }
}
