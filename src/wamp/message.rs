//! Every message that a client or a router meets, as plain data.
//!
//! Field names are the specification's. The bytes are `serializer.rs`'s subject.
//!
//! Reference: WAMP Basic Profile, "Messages"; Advanced Profile for CANCEL and INTERRUPT.

use crate::value::{Map, Value};
use crate::wamp::id::{PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId};

/// What a call, a publish or a result carries: positional and named arguments.
///
/// Opaque on purpose: today it holds values; the hot path may later hold the encoded bytes of a
/// whole payload instead and pass them through, and only this type and the serializers will know.
/// Missing, null and empty mean the same, so absent is empty here and empty is not written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Payload {
    args: Vec<Value>,
    kwargs: Map,
    // INVARIANT: with it, `args` and `kwargs` are empty.
    sealed: Option<Value>,
}

impl Payload {
    /// Builds a payload of values.
    pub fn new(args: Vec<Value>, kwargs: Map) -> Self {
        Self {
            args,
            kwargs,
            sealed: None,
        }
    }

    /// Builds a payload that only its endpoints understand: `content`, binary or text, stands where
    /// the positional arguments would. Older routers call it payload transparency.
    pub fn from_sealed(content: Value) -> Self {
        Self {
            sealed: Some(content),
            ..Self::default()
        }
    }

    /// Returns the positional arguments.
    pub fn args(&self) -> &[Value] {
        &self.args
    }

    /// Returns the named arguments.
    pub fn kwargs(&self) -> &Map {
        &self.kwargs
    }

    /// Returns the content that only the endpoints understand, if it is such a payload.
    pub fn sealed(&self) -> Option<&Value> {
        self.sealed.as_ref()
    }

    /// Takes the payload apart into `args` and `kwargs`.
    pub fn into_parts(self) -> (Vec<Value>, Map) {
        (self.args, self.kwargs)
    }
}

/// One WAMP message.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields are the specification's own and named as there"
)]
pub enum Message {
    /// Opens a session (code 1).
    Hello { realm: String, details: Map },
    /// The router accepts the session (2).
    Welcome { session: SessionId, details: Map },
    /// The session will not be opened (3). Some routers add a payload.
    Abort {
        details: Map,
        reason: String,
        payload: Payload,
    },
    /// The router asks for a proof (4).
    Challenge { method: String, extra: Map },
    /// The client's proof (5).
    Authenticate { signature: String, extra: Map },
    /// Either side ends the session (6).
    Goodbye { details: Map, reason: String },
    /// A request failed (8). `request_type` is the message code of the request.
    Error {
        request_type: u64,
        request: RequestId,
        details: Map,
        error: String,
        payload: Payload,
    },
    /// A publisher sends an event (16).
    Publish {
        request: RequestId,
        options: Map,
        topic: String,
        payload: Payload,
    },
    /// The broker acknowledges (17).
    Published {
        request: RequestId,
        publication: PublicationId,
    },
    /// A subscriber asks for a topic (32).
    Subscribe {
        request: RequestId,
        options: Map,
        topic: String,
    },
    /// The broker agrees (33).
    Subscribed {
        request: RequestId,
        subscription: SubscriptionId,
    },
    /// A subscriber leaves a topic (34).
    Unsubscribe {
        request: RequestId,
        subscription: SubscriptionId,
    },
    /// The broker agrees, or revokes when `request` is 0 (35).
    Unsubscribed { request: RequestId, details: Map },
    /// An event for a subscriber (36).
    Event {
        subscription: SubscriptionId,
        publication: PublicationId,
        details: Map,
        payload: Payload,
    },
    /// A caller calls (48).
    Call {
        request: RequestId,
        options: Map,
        procedure: String,
        payload: Payload,
    },
    /// A caller no longer wants the result (49).
    Cancel { request: RequestId, options: Map },
    /// The dealer hands the caller a result (50).
    Result {
        request: RequestId,
        details: Map,
        payload: Payload,
    },
    /// A callee offers a procedure (64).
    Register {
        request: RequestId,
        options: Map,
        procedure: String,
    },
    /// The dealer agrees (65).
    Registered {
        request: RequestId,
        registration: RegistrationId,
    },
    /// A callee withdraws a procedure (66).
    Unregister {
        request: RequestId,
        registration: RegistrationId,
    },
    /// The dealer agrees, or revokes when `request` is 0 (67).
    Unregistered { request: RequestId, details: Map },
    /// The dealer asks a callee to run a procedure (68).
    Invocation {
        request: RequestId,
        registration: RegistrationId,
        details: Map,
        payload: Payload,
    },
    /// The dealer asks a callee to stop (69).
    Interrupt { request: RequestId, options: Map },
    /// A callee hands the dealer a result (70).
    Yield {
        request: RequestId,
        options: Map,
        payload: Payload,
    },
    /// A subscriber has an event, where delivery is acknowledged (337). Provisional.
    EventReceived { publication: PublicationId },
}

/// The message codes that open each frame.
#[expect(missing_docs, reason = "the names are the specification's")]
pub mod code {
    pub const HELLO: u64 = 1;
    pub const WELCOME: u64 = 2;
    pub const ABORT: u64 = 3;
    pub const CHALLENGE: u64 = 4;
    pub const AUTHENTICATE: u64 = 5;
    pub const GOODBYE: u64 = 6;
    pub const ERROR: u64 = 8;
    pub const PUBLISH: u64 = 16;
    pub const PUBLISHED: u64 = 17;
    pub const SUBSCRIBE: u64 = 32;
    pub const SUBSCRIBED: u64 = 33;
    pub const UNSUBSCRIBE: u64 = 34;
    pub const UNSUBSCRIBED: u64 = 35;
    pub const EVENT: u64 = 36;
    pub const CALL: u64 = 48;
    pub const CANCEL: u64 = 49;
    pub const RESULT: u64 = 50;
    pub const REGISTER: u64 = 64;
    pub const REGISTERED: u64 = 65;
    pub const UNREGISTER: u64 = 66;
    pub const UNREGISTERED: u64 = 67;
    pub const INVOCATION: u64 = 68;
    pub const INTERRUPT: u64 = 69;
    pub const YIELD: u64 = 70;
    pub const EVENT_RECEIVED: u64 = 337;

    /// Returns the specification's name of a message code.
    pub fn name(code: u64) -> Option<&'static str> {
        Some(match code {
            HELLO => "HELLO",
            WELCOME => "WELCOME",
            ABORT => "ABORT",
            CHALLENGE => "CHALLENGE",
            AUTHENTICATE => "AUTHENTICATE",
            GOODBYE => "GOODBYE",
            ERROR => "ERROR",
            PUBLISH => "PUBLISH",
            PUBLISHED => "PUBLISHED",
            SUBSCRIBE => "SUBSCRIBE",
            SUBSCRIBED => "SUBSCRIBED",
            UNSUBSCRIBE => "UNSUBSCRIBE",
            UNSUBSCRIBED => "UNSUBSCRIBED",
            EVENT => "EVENT",
            CALL => "CALL",
            CANCEL => "CANCEL",
            RESULT => "RESULT",
            REGISTER => "REGISTER",
            REGISTERED => "REGISTERED",
            UNREGISTER => "UNREGISTER",
            UNREGISTERED => "UNREGISTERED",
            INVOCATION => "INVOCATION",
            INTERRUPT => "INTERRUPT",
            YIELD => "YIELD",
            EVENT_RECEIVED => "EVENT_RECEIVED",
            _ => return None,
        })
    }
}

impl Message {
    /// Returns the code that opens the message's frame; see [`code`].
    pub fn code(&self) -> u64 {
        match self {
            Message::Hello { .. } => code::HELLO,
            Message::Welcome { .. } => code::WELCOME,
            Message::Abort { .. } => code::ABORT,
            Message::Challenge { .. } => code::CHALLENGE,
            Message::Authenticate { .. } => code::AUTHENTICATE,
            Message::Goodbye { .. } => code::GOODBYE,
            Message::Error { .. } => code::ERROR,
            Message::Publish { .. } => code::PUBLISH,
            Message::Published { .. } => code::PUBLISHED,
            Message::Subscribe { .. } => code::SUBSCRIBE,
            Message::Subscribed { .. } => code::SUBSCRIBED,
            Message::Unsubscribe { .. } => code::UNSUBSCRIBE,
            Message::Unsubscribed { .. } => code::UNSUBSCRIBED,
            Message::Event { .. } => code::EVENT,
            Message::Call { .. } => code::CALL,
            Message::Cancel { .. } => code::CANCEL,
            Message::Result { .. } => code::RESULT,
            Message::Register { .. } => code::REGISTER,
            Message::Registered { .. } => code::REGISTERED,
            Message::Unregister { .. } => code::UNREGISTER,
            Message::Unregistered { .. } => code::UNREGISTERED,
            Message::Invocation { .. } => code::INVOCATION,
            Message::Interrupt { .. } => code::INTERRUPT,
            Message::Yield { .. } => code::YIELD,
            Message::EventReceived { .. } => code::EVENT_RECEIVED,
        }
    }
}
